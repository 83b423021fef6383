"""Results in their place on the controller, from a host that says what it likes."""

import fcntl
import json
import os
import re
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.modules import training_artifacts
from ansible_collections.ddp.swarm.plugins.modules.training_artifacts import begun, placed, removed
from docker_stand_in import run


@pytest.fixture(autouse=True)
def all_is_closed() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What nobody may touch, with the artifacts somewhere in it."""
    (tmp_path / ".bashrc").write_text("mine")
    return tmp_path


@pytest.fixture
def artifacts(home: Path) -> Path:
    begun(home / "artifacts" / "job", "first")
    return home / "artifacts" / "job"


def place(artifacts: Path, *files: Any, logs: tuple[Any, ...] = (), rank: int = 0) -> list[dict[str, str]]:
    source = artifacts / ".ddp-swarm" / "incoming" / "host1"
    source.mkdir(parents=True, exist_ok=True)
    for entry in (*files, *logs):
        if str(entry["file"]).endswith(("00000", "00001")):
            (source / entry["file"]).write_bytes(entry.pop("content", b"content"))
    return placed({"path": artifacts, "source": source, "rank": rank, "files": list(files), "logs": list(logs)})


def files_in(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


HOSTILE = [
    "../../.bashrc",
    "/tmp/x",
    "..",
    ".",
    "",
    "a/../../../.bashrc",
    "a\nb",
    "\x1b[2J",
    "a//b",
    "a/",
    None,
    7,
    ["x"],
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_name_that_leads_elsewhere_is_left_out(name: Any, home: Path, artifacts: Path) -> None:
    left_out = place(artifacts, {"name": name, "file": "00000"}, {"name": "good", "file": "00001"})
    assert [entry["name"].isprintable() for entry in left_out] == [True]
    assert [name for name in files_in(artifacts) if not name.startswith(".ddp-swarm")] == ["good"]
    assert (home / ".bashrc").read_text() == "mine"
    assert sorted(path.name for path in home.iterdir()) == [".bashrc", "artifacts"]


@pytest.mark.parametrize(
    "name",
    [
        ".ddp-swarm/run_id",
        ".DDP-swarm/x",
        "runs/x",
        "stack.yml",
        "preflight.json",
        "report.html",
        "node0.log",
        "NODE12.log",
    ],
)
def test_what_the_tool_keeps_is_not_a_result(name: str, artifacts: Path) -> None:
    before = files_in(artifacts)
    ((left_out),) = place(artifacts, {"name": name, "file": "00000"})
    assert left_out["why"] == "the tool itself has a file of this name"
    assert [file for file in files_in(artifacts) if "incoming" not in file] == before


@pytest.mark.parametrize("file", ["../run_id", "/etc/passwd", "x", "", None, "00000/../x"])
def test_a_file_that_was_not_laid_out_is_not_moved(file: Any, artifacts: Path) -> None:
    ((left_out),) = place(artifacts, {"name": "good", "file": file})
    assert "outside of what it has laid out" in left_out["why"]
    assert files_in(artifacts) == [".ddp-swarm/run_id"]


def test_results_get_their_modes_and_folders(artifacts: Path) -> None:
    files = [{"name": "deep/er/a", "file": "00000", "public": True}, {"name": "b", "file": "00001", "public": False}]
    assert place(artifacts, *files) == []
    assert [file for file in files_in(artifacts) if file[0] != "."] == ["b", "deep/er/a"]
    assert stat.S_IMODE((artifacts / "b").stat().st_mode) == 0o600
    assert stat.S_IMODE((artifacts / "deep/er/a").stat().st_mode) == 0o644


def test_a_folder_of_the_artifacts_that_is_a_link_is_not_followed(home: Path, artifacts: Path) -> None:
    (artifacts / "tensorboard").symlink_to(home)
    ((left_out),) = place(artifacts, {"name": "tensorboard/.bashrc", "file": "00000"})
    assert left_out["name"] == "tensorboard/.bashrc"
    assert (home / ".bashrc").read_text() == "mine"


def test_logs_are_put_together_in_their_order_and_cleaned(artifacts: Path) -> None:
    old = {"name": "20260101T000000.0123456789ab.log", "file": "log00001", "content": b"old\n"}
    new = {"name": "20260102T000000.fedcba987654.log", "file": "log00000"}
    new["content"] = b"\x1b]0;title\x07new\xff\n 10%\r 20%\r\n\x1b[31mred\x1b[0m\n"
    assert place(artifacts, logs=(new, old), rank=1) == []
    assert (artifacts / "node1.log").read_text() == "old\nnew\ufffd\n 20%\nred\n"
    assert not (artifacts / "node0.log").exists()


def test_of_a_progress_bar_the_last_state_is_kept_and_all_in_what_the_tool_keeps(artifacts: Path) -> None:
    states = [f" {step}%|#| {step}/9 [00:0{step}<00:09]" for step in range(9)]
    first = "begin\n" + "\r".join(states) + "\nend, without a line feed"
    second = "".join(f"[default{process}]:{state}\n" for state in states for process in (0, 1))
    old = {"name": "20260101T000000.0123456789ab.log", "file": "log00000", "content": first.encode()}
    new = {"name": "20260102T000000.fedcba987654.log", "file": "log00001", "content": second.encode()}
    assert place(artifacts, logs=(old, new)) == []
    expected = ["begin", states[-1], "end, without a line feed", f"[default0]:{states[-1]}", f"[default1]:{states[-1]}"]
    assert (artifacts / "node0.log").read_text().split("\n") == [*expected, ""]
    whole = artifacts / ".ddp-swarm" / "logs" / "node0.20260101T000000.0123456789ab.log"
    assert whole.read_bytes().decode() == first


def test_how_containers_ended_is_kept_beside_their_logs(artifacts: Path) -> None:
    """Also of those that swarm has forgotten since; and only what can be one."""
    log = {"file": "log00000", "content": b"x\n"}
    old = {"name": "20260101T000000.0123456789ab.log", "exit_code": 1, "finished": "2026-01-01T00:01:00.5Z", **log}
    new = {"name": "20260102T000000.fedcba987654.log", "exit_code": 0, "finished": "2026-01-02T00:01:00Z", **log}
    assert place(artifacts, logs=(old,), rank=1) == []
    assert place(artifacts, logs=(new,), rank=1) == []
    file = artifacts / ".ddp-swarm" / "logs" / "ended.node1.json"
    known = json.loads(file.read_text())
    assert known == {
        "0123456789ab": {"exit_code": 1, "finished": "2026-01-01T00:01:00.5Z"},
        "fedcba987654": {"exit_code": 0, "finished": "2026-01-02T00:01:00Z"},
    }
    assert (artifacts / "node1.log").read_text() == "x\nx\n"
    for odd in ({"exit_code": "0"}, {"finished": "now"}, {"finished": 1}):
        place(artifacts, logs=({**new, "name": "20260103T000000.000000000000.log", **odd},), rank=1)
    place(artifacts, logs=({**new, "name": "../../x"},), rank=1)
    assert json.loads(file.read_text()) == known


@pytest.mark.parametrize("name", ["../run_id", "x.log", "20260101T000000.0123456789ab.log/../../x", "node0.log"])
def test_a_log_has_a_time_and_a_container(name: str, artifacts: Path) -> None:
    ((left_out),) = place(artifacts, logs=({"name": name, "file": "log00000"},))
    assert "not the name of a container's log" in left_out["why"]
    assert (artifacts / ".ddp-swarm" / "run_id").read_text() == "first\n"


def test_an_earlier_run_is_kept_with_its_logs(artifacts: Path) -> None:
    place(artifacts, {"name": "snapshot.pt", "file": "00000"})
    place(artifacts, logs=({"name": "20260101T000000.0123456789ab.log", "file": "log00000"},))
    (artifacts / "preflight.json").write_text("{}")
    assert begun(artifacts, "first") == ""
    assert begun(artifacts, "") == ""
    assert begun(artifacts, "second") == "runs/first"
    kept = files_in(artifacts / "runs" / "first")
    assert kept == ["logs/node0.20260101T000000.0123456789ab.log", "node0.log", "preflight.json", "snapshot.pt"]
    assert (artifacts / "preflight.json").exists()
    assert begun(artifacts, "third") == ""


def test_each_run_keeps_its_own_check_and_diagnosis(artifacts: Path) -> None:
    """The check of the next run is over before its job is there, and a job may be diagnosed before it is collected."""
    (artifacts / "node0.log").write_text("first")
    (artifacts / "preflight.json").write_text("first")
    assert begun(artifacts, "first") == ""
    (artifacts / "diagnosis.json").write_text("first")
    os.utime(artifacts / "diagnosis.json", (1_800_000_000, 1_800_000_000))
    (artifacts / "preflight.json").write_text("second")
    assert begun(artifacts, "second", "2027-01-15T09:00:00Z") == "runs/first"
    assert (artifacts / "runs/first/preflight.json").read_text() == "first"
    assert (artifacts / "runs/first/diagnosis.json").read_text() == "first"
    assert (artifacts / "preflight.json").read_text() == "second"
    (artifacts / "preflight.json").unlink()
    (artifacts / "node0.log").write_text("second")
    (artifacts / "diagnosis.json").write_text("third")
    os.utime(artifacts / "diagnosis.json", (1_900_000_000, 1_900_000_000))
    assert begun(artifacts, "third", "2027-01-15T09:00:00Z") == "runs/second"
    assert (artifacts / "diagnosis.json").read_text() == "third"
    assert (artifacts / "runs/second/preflight.json").read_text() == "second"
    assert begun(artifacts, "fourth") == "runs/third"
    assert files_in(artifacts / "runs/third") == ["diagnosis.json"]


def test_earlier_runs_are_bounded_by_count_and_age(home: Path, artifacts: Path) -> None:
    now = time.time()
    for age, name in enumerate(["new", "young", "old", "older", "-older"]):
        (artifacts / "runs" / name / "logs").mkdir(parents=True)
        os.utime(artifacts / "runs" / name, (now - age * 20 * 86400, now - age * 20 * 86400))
    (artifacts / "runs" / "my notes").mkdir()
    (artifacts / "runs" / "link").symlink_to(home)
    os.utime(artifacts / "runs" / "my notes", (1, 1))
    assert removed(artifacts, 0, 30) == []
    assert removed(artifacts, 2, 90) == []
    assert removed(artifacts, 2, 50) == ["runs/-older", "runs/older"]
    assert removed(artifacts, 4, 1) == []
    assert removed(artifacts, 1, 30) == ["runs/old"]
    assert sorted(path.name for path in (artifacts / "runs").iterdir()) == ["link", "my notes", "new", "young"]
    assert home.exists()


@pytest.mark.parametrize("run", ["../../x", "a/b", "..", ".x", "a\nb", "a b", "x" * 200])
def test_a_run_that_is_no_name_moves_nothing(run: str, home: Path, artifacts: Path) -> None:
    place(artifacts, {"name": "snapshot.pt", "file": "00000"})
    assert begun(artifacts, run) == ""
    (artifacts / ".ddp-swarm" / "run_id").write_text(run)
    assert begun(artifacts, "honest") == ""
    assert (artifacts / "snapshot.pt").exists()
    assert sorted(path.name for path in home.iterdir()) == [".bashrc", "artifacts"]


def test_the_run_of_an_earlier_version_is_known(artifacts: Path) -> None:
    (artifacts / ".ddp-swarm" / "run_id").rename(artifacts / "run_id")
    (artifacts / "snapshot.pt").write_text("x")
    assert begun(artifacts, "second") == "runs/first"


def test_why_something_was_left_out_is_told(artifacts: Path) -> None:
    """The reasons of the system and of this module, for a name as it is and for one that no terminal can show."""
    files = ({"name": "missing", "file": "00007"}, {"name": "a\x9bb", "file": "00000"}, {"file": "00001"})
    assert place(artifacts, *files) == [
        {"name": "missing", "why": "No such file or directory"},
        {"name": "'a\\x9bb'", "why": "its name holds control characters"},
        {"name": "None", "why": "the host says that it lies outside of what it has laid out"},
    ]


def test_an_error_of_the_system_without_a_reason_tells_what_it_has(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise OSError("the disk is on fire")

    monkeypatch.setattr(training_artifacts, "place", refused)
    assert place(artifacts, {"name": "a", "file": "00000"}) == [{"name": "a", "why": "the disk is on fire"}]


def test_what_the_tool_keeps_is_the_users_alone_and_logs_are_for_all(artifacts: Path) -> None:
    own = artifacts / ".ddp-swarm"
    place(artifacts, logs=({"name": "20260101T000000.0123456789ab.log", "file": "log00000"},), rank=3)
    log = own / "logs" / "node3.20260101T000000.0123456789ab.log"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (own, log)] == [0o700, 0o644]


def test_a_log_is_put_together_from_all_that_were_ever_fetched(artifacts: Path) -> None:
    """The rank's own, and no other's; a name that leads nowhere does not keep the rest away."""
    good = {"name": "20260102T000000.fedcba987654.log", "file": "log00000", "content": b"second\n"}
    old = {"name": "20260101T000000.0123456789ab.log", "file": "log00000", "content": b"first\n"}
    other = {"name": "20260101T000000.0123456789ab.log", "file": "log00000", "content": b"other\n"}
    place(artifacts, logs=(old,), rank=1)
    place(artifacts, logs=(other,), rank=12)
    assert len(place(artifacts, logs=({"name": "x.log", "file": "log00001"}, good), rank=1)) == 1
    assert (artifacts / "node1.log").read_text() == "first\nsecond\n"
    assert (artifacts / "node12.log").read_text() == "other\n"


def test_logs_without_results_stay_where_they_are(artifacts: Path) -> None:
    (artifacts / ".ddp-swarm" / "logs").mkdir()
    assert begun(artifacts, "second") == ""
    assert (artifacts / ".ddp-swarm" / "logs").is_dir()
    assert (artifacts / ".ddp-swarm" / "run_id").read_text() == "second\n"


# The module as Ansible calls it.


def call(capsys: pytest.CaptureFixture[str], **params: Any) -> dict[str, Any]:
    found = run(training_artifacts, capsys, **params)
    found.pop("invocation", None)
    if params.get("state") == "begun" and "kept" in found:
        assert re.fullmatch(r"[0-9a-f]{12}", found.pop("collection"))
    return found


def test_each_collection_has_a_name_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {run(training_artifacts, capsys, state="begun", path=str(tmp_path))["collection"] for _time in range(3)}
    assert len(names) == 3


def test_what_interrupted_collections_have_fetched_is_removed_after_a_day(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    incoming = tmp_path / ".ddp-swarm" / "incoming"
    for name in ("host1.0123456789ab", "host2", "host3.0123456789ab"):
        (incoming / name).mkdir(parents=True)
        (incoming / name / "00000").write_text("weights")
    (tmp_path / "mine").mkdir()
    (incoming / "link").symlink_to(tmp_path / "mine")
    for name in ("host1.0123456789ab", "host2", "link"):
        os.utime(incoming / name, (time.time() - 90_000,) * 2, follow_symlinks=False)
    assert call(capsys, state="begun", path=str(tmp_path))["removed"] == []
    assert sorted(path.name for path in incoming.iterdir()) == ["host3.0123456789ab", "link"]
    assert (tmp_path / "mine").exists()


def test_two_at_once_take_turns(tmp_path: Path) -> None:
    """Whoever puts files in their place is waited for."""
    begun(tmp_path, "first")
    own = os.open(tmp_path / ".ddp-swarm", os.O_RDONLY)
    fcntl.flock(own, fcntl.LOCK_EX)
    (tmp_path / "incoming").mkdir()
    params = {"path": str(tmp_path), "source": str(tmp_path / "incoming"), "rank": 0, "files": [], "logs": []}
    other = threading.Thread(target=placed, args=(params,))
    other.start()
    other.join(0.3)
    waited = other.is_alive()
    os.close(own)
    other.join(10)
    assert (waited, other.is_alive()) == (True, False)


def test_the_module_says_what_it_kept_and_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, source = tmp_path / "artifacts", tmp_path / "incoming"
    source.mkdir()
    (source / "00000").write_text("weights")
    assert call(capsys, state="begun", path=str(path), run="first") == {"changed": False, "kept": "", "removed": []}
    where = {"state": "placed", "path": str(path), "source": str(source), "rank": 0}
    left_out = [{"name": "runs/x", "why": "the tool itself has a file of this name"}]
    files = [{"name": "snapshot.pt", "file": "00000"}, {"name": "runs/x", "file": "00001"}]
    assert call(capsys, **where, files=files) == {"changed": False, "left_out": left_out, "moments": []}
    assert call(capsys, **where) == {"changed": False, "left_out": [], "moments": []}
    assert (path / "snapshot.pt").read_text() == "weights"
    assert call(capsys, state="begun", path=str(path)) == {"changed": False, "kept": "", "removed": []}
    assert call(capsys, state="begun", path=str(path), run="second") == {
        "changed": True,
        "kept": "runs/first",
        "removed": [],
    }


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"state": "placed", "source": None}, "missing: source"),
        ({"state": "placed", "rank": None}, "missing: rank"),
        ({"state": "ended"}, "must be one of: begun, placed"),
        ({"state": None}, "missing required arguments: state"),
        ({"state": "begun", "path": None}, "missing required arguments: path"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(
    params: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = call(capsys, **{"path": str(tmp_path), "source": str(tmp_path), "rank": 0, **params})
    assert words in found["msg"]


def test_a_place_that_cannot_be_made_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    path = tmp_path / "file" / "artifacts"
    found = call(capsys, state="begun", path=str(path), run="first")
    sentence = f"Results cannot be written to {path} on the controller: [Errno 20] Not a directory: {str(path)!r}."
    assert found["msg"] == sentence


def test_check_mode_begins_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = call(capsys, state="begun", path=str(tmp_path / "artifacts"), run="first", _ansible_check_mode=True)
    assert found["skipped"] is True
    assert not (tmp_path / "artifacts").exists()


FAILED = b"2027-01-15T08:00:01Z Traceback (most recent call last):\nE0115 08:00:20.5 1 torch/api.py:1] failed (exitcode: 1) local_rank: 0\n"


def wanted(artifacts: Path, rank: int, *logs: dict[str, Any]) -> list[dict[str, str]]:
    place(artifacts, logs=logs, rank=rank)
    return training_artifacts.wanted(artifacts, rank)


def log_of(container: str, content: bytes, **ended: Any) -> dict[str, Any]:
    return {"name": f"20270115T080000.{container}.log", "file": "log00000", "content": content, **ended}


def test_of_ranks_that_failed_the_moments_are_wanted_until_they_are_noted(artifacts: Path) -> None:
    assert wanted(artifacts, 0, log_of("00000000000a", b"fine\n", exit_code=0, finished="2027-01-15T08:00:30Z")) == []
    # 143 is SIGTERM: it was stopped.
    assert wanted(artifacts, 0, log_of("00000000000b", b"x\n", exit_code=143, finished="2027-01-15T08:00:30Z")) == []
    found = wanted(artifacts, 1, log_of("00000000000c", FAILED, exit_code=1, finished="2027-01-15T08:00:30Z"))
    assert found == [{"container": "00000000000c", "at": "2027-01-15T08:00:20"}]
    # Killed as a whole, with no last word.
    found = wanted(artifacts, 2, log_of("00000000000d", b"x\n", exit_code=137, finished="2027-01-15T08:00:30.5Z"))
    assert found == [{"container": "00000000000d", "at": "2027-01-15T08:00:30"}]
    said = {"time": "2027-01-15T08:00:30Z", "what": "the\x1b[2J kernel", "line": "x" * 999}
    moments = [{"item": found[0], "events": [said, 7, {"what": 7}], "why": ""}, {"item": {"container": "../x"}}, 7]
    training_artifacts.noted(artifacts, 2, {"offset": 3.0, "error": 0.01}, moments)
    assert training_artifacts.wanted(artifacts, 2) == []
    noted = json.loads((artifacts / ".ddp-swarm/logs/moment.node2.json").read_text())
    (note,) = noted.values()
    assert list(noted) == ["00000000000d"]
    assert {name: note[name] for name in ("at", "offset", "error", "why")} == {
        "at": "2027-01-15T08:00:30", "offset": 3.0, "error": 0.01, "why": "",
    }  # fmt: skip
    assert [len(one["line"]) for one in note["events"]] == [300]
    assert "\x1b" not in note["events"][0]["what"]
    # A host that did not answer is asked again.
    training_artifacts.noted(
        artifacts,
        1,
        {"unreachable": True},
        [{"item": {"container": "00000000000c", "at": "2027-01-15T08:00:20"}, "unreachable": True}],
    )
    assert [one["container"] for one in training_artifacts.wanted(artifacts, 1)] == ["00000000000c"]


def test_of_many_failures_the_first_and_the_newest_are_asked_for(artifacts: Path) -> None:
    for number in range(9):
        wanted(artifacts, 0, log_of(f"00000000000{number}", FAILED))
    found = [one["container"][-1] for one in training_artifacts.wanted(artifacts, 0)]
    assert found == ["0", "6", "7", "8"]
