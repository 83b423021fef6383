"""SELinux labels of bind mounts. The labels are invented: this machine has no SELinux."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe import labels
from preflight_ranks import verdict

LABELS = {
    "/data": b"system_u:object_r:default_t:s0\0",
    "/home/ada/out": b"unconfined_u:object_r:user_home_t:s0",
    "/srv/out": b"system_u:object_r:container_file_t:s0:c1,c2",
    "/srv/old": b"system_u:object_r:svirt_sandbox_file_t:s0",
    "/mnt/nfs": b"system_u:object_r:nfs_t:s0",
    "/usr/share/data": b"system_u:object_r:usr_t:s0",
    "/odd": b"nonsense",
}


@pytest.fixture(autouse=True)
def labelled(monkeypatch: pytest.MonkeyPatch) -> None:
    def getxattr(path: str, name: str) -> bytes:
        assert name == "security.selinux"
        if path not in LABELS:
            raise OSError(errno.ENODATA, "No data available")
        return LABELS[path]

    monkeypatch.setattr(os, "getxattr", getxattr)


@pytest.mark.parametrize(
    ("path", "read_only", "kind"),
    [
        ("/data", False, "default_t"),
        ("/data", True, "default_t"),
        ("/home/ada/out", False, "user_home_t"),
        ("/srv/out", False, ""),
        ("/srv/old", False, ""),
        ("/mnt/nfs", False, ""),
        ("/usr/share/data", True, ""),
        ("/usr/share/data", False, "usr_t"),
        ("/odd", False, ""),
        ("/nowhere", False, ""),
    ],
)
def test_what_selinux_keeps_from_a_container(path: str, read_only: bool, kind: str) -> None:
    found = labels.denied([{"source": path, "read_only": read_only}])
    assert found == ([{"path": path, "type": kind}] if kind else [])


@pytest.mark.parametrize(("text", "enforcing"), [("1\n", True), ("0\n", False), (None, False)])
def test_whether_it_is_in_force(text: str | None, enforcing: bool, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "sys/fs/selinux").mkdir(parents=True)
        (tmp_path / "sys/fs/selinux/enforce").write_text(text)
    assert labels.is_enforcing(str(tmp_path)) is enforcing


def test_the_sentence(pair: Any) -> None:
    pair[1]["host_checks"]["bind_labels"] = labels.denied([{"source": "/data", "read_only": False}])
    found = verdict(pair)
    (finding,) = found["findings"]
    assert (finding["layer"], finding["host"], finding["check"]) == (2, pair[1]["host"], "SELinux label")
    assert finding["observed"] == "/data has the type default_t"
    assert "semanage fcontext --add --type container_file_t '/data(/.*)?'" in finding["hint"]
    assert "restorecon -R /data" in finding["hint"]
    assert finding["host"] in finding["hint"]
