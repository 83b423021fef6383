"""What a rank's launcher has kept of its log, fetched where the engine has it no longer. Nothing in a volume is trusted."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.modules import training_artifacts
from ddp_launcher.log import Log
from docker_stand_in import StandIn, run
from test_training_results import NEW, OLD, Host

GONE = "c" * 64


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, StandIn(tmp_path / "docker", monkeypatch), capsys)


def kept(
    host: Host, container: str, text: str, deployed: str = "d", at: str = "20260101T000001Z", limit: int = 10**6
) -> Path:
    """As the launcher writes it."""
    log = Log(str(host.results / ".ddp-launcher/logs"), limit, {"container": container, "deployed": deployed})
    for line in text.splitlines(keepends=True):
        log.write(0, line.encode())
    log.close()
    folder = Path(log.folder)
    return folder.rename(folder.with_name(f"{at}-{os.urandom(3).hex()}"))


def laid(host: Host, **params: Any) -> dict[str, str]:
    logs = host.call("laid_out", service="job_node0", **params)["logs"]
    return {entry["name"]: (host.stage / entry["file"]).read_text() for entry in logs}


def engine(host: Host, log: str = "") -> None:
    host.docker.answer({"ps": f"{NEW}\n" if log else "", "inspect": "2026-01-02T03:04:05Z\n", "logs": log})


def test_of_a_container_that_is_gone_its_launchers_log_is_taken(host: Host) -> None:
    kept(host, GONE, "starts\nends\n")
    engine(host, "of another\n")
    assert laid(host) == {
        "20260102T030405.0123456789ab.log": "of another\n",
        "20260101T000001.cccccccccccc.log": "starts\nends\n",
    }


def test_the_engines_is_taken_where_it_is_whole_and_the_launchers_where_it_was_rotated(host: Host) -> None:
    kept(host, NEW, "step 1\nstep 2\nstep 3\n")
    engine(host, "[launcher] begins\nstep 1\nstep 2\nstep 3\nmore\n")
    assert laid(host) == {"20260102T030405.0123456789ab.log": "[launcher] begins\nstep 1\nstep 2\nstep 3\nmore\n"}
    engine(host, "step 3\nmore\n")
    assert laid(host) == {"20260102T030405.0123456789ab.log": "step 1\nstep 2\nstep 3\n"}


def test_a_gigabyte_has_its_beginning_and_its_end(host: Host) -> None:
    """In small: of 4 MB 100 KB are kept."""
    kept(host, GONE, "".join(f"line {number}\n" for number in range(300_000)), limit=200_000)
    engine(host)
    (text,) = laid(host).values()
    assert text.startswith("line 0\n")
    assert text.endswith("line 299999\n")
    assert "parts of this log are left out here" in text
    assert len(text) < 150_000


def test_only_the_newest_deployment_and_within_the_bound(host: Host) -> None:
    kept(host, OLD, "of the run before\n", deployed="c", at="20260101T000000Z")
    kept(host, GONE, "x" * 999_999 + "\n")
    engine(host)
    assert list(laid(host)) == ["20260101T000001.cccccccccccc.log"]
    assert laid(host, log_max_mb=0.5) == laid(host, log_max_mb=0) == {}


@pytest.mark.parametrize("about", [{}, {"container": 7}, {"container": "../x", "deployed": "d"}, "text", None])
def test_a_start_whose_container_is_none_is_left(host: Host, about: Any) -> None:
    folder = kept(host, GONE, "a\n")
    (folder / "about.json").write_text(json.dumps(about))
    engine(host)
    assert laid(host) == {}


def test_links_pipes_and_odd_names_are_left(host: Host, tmp_path: Path) -> None:
    secret = tmp_path / "shadow"
    secret.write_text("root:x\n")
    folder = kept(host, GONE, "mine\n")
    (folder / "000001.log").symlink_to(secret)
    os.link(secret, folder / "000002.log")
    os.mkfifo(folder / "000003.log")
    (folder / "odd.log").write_text("odd\n")
    (folder.parent / "20260103T000000Z-abcdef").symlink_to(tmp_path)
    engine(host)
    assert laid(host) == {"20260101T000001.cccccccccccc.log": "mine\n"}
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    assert laid(host) == {}


def test_what_was_fetched_before_from_the_engine_is_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifacts, source = tmp_path / "artifacts", tmp_path / "incoming"
    source.mkdir()
    run(training_artifacts, capsys, state="begun", path=str(artifacts))
    for name, text in (
        ("20260101T000000.cccccccccccc.log", "half\n"),
        ("20260101T000001.cccccccccccc.log", "half\nall\n"),
    ):
        (source / "log00000").write_text(text)
        placed = {"state": "placed", "path": str(artifacts), "source": str(source), "rank": 0}
        found = run(training_artifacts, capsys, **placed, logs=[{"name": name, "file": "log00000"}])
        assert found["left_out"] == []
    assert (artifacts / "node0.log").read_text() == "half\nall\n"


def test_the_launcher_knows_its_container() -> None:
    """On a machine that is none there is no ID, and a directory that is only called so is none either."""
    from ddp_launcher.origin import CONTAINER, deployment

    line = f"999 1 254:1 /var/lib/docker/containers/{GONE}/hostname /etc/hostname rw"
    found = CONTAINER.search(line)
    assert found
    assert found[1] == GONE
    assert not CONTAINER.search("/var/lib/containers/storage/overlay")
    assert deployment("/nowhere") == ""
    assert len(deployment(sys.executable)) == 16
