"""What is mounted into containers from the host: tried with real directories, as root, for a user that is not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.docker.cli import DockerError
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe import mounts
from preflight_ranks import verdict
from test_observe_engine import Engine

ID = "run --rm --pull never --network none --entrypoint id trainer:1"
USER = {ID: "uid=1000(trainer) gid=1000(trainer) groups=1000(trainer),44(video)\n"}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


def look(path: Path, answers: dict[str, Any] | None = None, **mount: Any) -> list[dict[str, Any]]:
    of = {"source": str(path), "target": "/snapshots", "read_only": False, **mount}
    return mounts.unusable(Engine(USER if answers is None else answers), "trainer:1", [of], "/snapshots")


def made(tmp_path: Path, mode: int, uid: int = 0, gid: int = 0) -> Path:
    # Nobody but root reaches tmp_path itself, which does not count.
    path = tmp_path / "out"
    path.mkdir()
    os.chown(path, uid, gid)
    path.chmod(mode)
    return path


def test_what_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "none"
    assert look(path, {}) == [{"path": str(path), "lack": "missing"}]


@needs_root
@pytest.mark.parametrize(
    ("mode", "owner", "mount", "lack"),
    [
        (0o755, (0, 0), {}, "write"),
        (0o755, (0, 0), {"target": "/snapshots/"}, "write"),
        (0o755, (0, 0), {"target": "/data"}, ""),
        (0o755, (0, 0), {"read_only": True}, ""),
        (0o700, (0, 0), {"target": "/data", "read_only": True}, "read"),
        (0o744, (0, 0), {"target": "/data"}, "read"),
        (0o700, (1000, 0), {}, ""),
        (0o770, (0, 1000), {}, ""),
        (0o770, (0, 44), {}, ""),
        (0o770, (0, 45), {}, "read"),
        (0o777, (0, 0), {}, ""),
    ],
)
def test_what_the_user_of_the_image_may(
    tmp_path: Path, mode: int, owner: tuple[int, int], mount: dict[str, Any], lack: str
) -> None:
    tmp_path.chmod(0o700)
    found = look(made(tmp_path, mode, *owner), **mount)
    assert [one["lack"] for one in found] == ([lack] if lack else [])
    if lack:
        assert (found[0]["uid"], found[0]["gid"], found[0]["mode"]) == (1000, 1000, f"{mode:04o}")


@needs_root
def test_a_file(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    path = tmp_path / "key"
    path.write_text("x")
    path.chmod(0o600)
    assert [one["lack"] for one in look(path, target="/key")] == ["read"]
    path.chmod(0o644)
    assert look(path, target="/key") == []


@pytest.mark.parametrize(
    ("said", "user"),
    [
        ("uid=1000(trainer) gid=1000(trainer) groups=1000(trainer),44(video)", (1000, 1000, [1000, 44])),
        ("uid=0(root) gid=0(root) groups=0(root)", (0, 0, [0])),
        ("uid=4711 gid=0(root) groups=0(root)", (4711, 0, [0])),
        ("uid=4711 gid=4712", (4711, 4712, [])),
        ("uid=1(a=2,) gid=0(root)", None),
        ("uid=99999999999 gid=0", None),
        ("uid=-1 gid=0", None),
        ("root", None),
        ("", None),
        (DockerError("no such image"), None),
    ],
)
def test_the_user_of_an_image(tmp_path: Path, said: Any, user: Any) -> None:
    assert mounts.user_of(Engine({ID: said}), "trainer:1") == user
    if user is None:
        assert look(made(tmp_path, 0o700), {ID: said}) == []


def test_an_image_is_asked_only_where_something_is_mounted() -> None:
    assert mounts.unusable(Engine({}), "trainer:1", [], "/snapshots") == []


def test_the_sentences(pair: Any) -> None:
    host = pair[1]["host"]
    pair[1]["host_checks"]["bind_mounts"] = [
        {"path": "/srv/none", "lack": "missing"},
        {"path": "/srv/my out", "lack": "write", "uid": 1000, "gid": 1000, "owner": "root (0)", "mode": "0755"},
    ]
    missing, closed = verdict(pair)["findings"]
    assert (missing["layer"], missing["host"], missing["observed"]) == (2, host, "/srv/none is not there")
    assert f"create /srv/none on {host}" in missing["hint"]
    assert closed["observed"] == "/srv/my out belongs to root (0) with mode 0755: user 1000 may not write there"
    assert f"run 'chown 1000:1000 \"/srv/my out\"' on {host}" in closed["hint"]
