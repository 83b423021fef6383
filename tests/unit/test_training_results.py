"""Results and logs, taken on the host that has them: each state of the module, and what it says where there is nothing to take."""

import io
import os
import stat
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.results import rank_logs
from ansible_collections.ddp.swarm.plugins.module_utils.results.volume_files import ASKED
from ansible_collections.ddp.swarm.plugins.modules import training_results
from results_host import AGE, Host, host_in, nothing_stays_open

NOTHING = {"changed": False, "run": "", "empty": True, "saved": AGE, "copied": AGE}
INSPECT = "inspect --format {{.Created}},{{.State.Status}},{{.State.ExitCode}},{{.State.FinishedAt}}"
NONE_LAID_OUT = {
    "changed": False,
    "files": [],
    "logs": [],
    "left_out": [],
    "missing": [],
    "unnamed": [],
    "instead": False,
}
NEW, OLD = "0123456789ab" + "0" * 52, "ba9876543210" + "f" * 52
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files to somebody else")


@pytest.fixture(autouse=True)
def all_is_closed() -> Iterator[None]:
    yield from nothing_stays_open()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return host_in(tmp_path, monkeypatch, capsys)


@pytest.fixture
def others_group(tmp_path: Path) -> int:
    """What is made in the directory belongs to this group, and is to keep it."""
    os.chown(tmp_path, -1, 4321)
    tmp_path.chmod(0o2755)
    return 4321


# --- where the results are --------------------------------------------------------------------------------


def test_docker_says_where_a_volume_is(host: Host) -> None:
    host.put(**{"metrics.jsonl": '{"run": "first"}\n'})
    assert host.call("named", volume="job_snapshots")["run"] == "first"
    (call,) = host.docker.calls()
    assert call["argv"] == ["volume", "inspect", "--format", ASKED, "job_snapshots"]


def test_a_directory_needs_no_docker(host: Host) -> None:
    host.put(**{"metrics.jsonl": '{"run": "first"}\n'})
    assert host.call("named")["run"] == "first"
    assert host.docker.calls() == []


@pytest.mark.parametrize("missing", ["no volume", "no directory", "neither is said"])
def test_where_there_is_no_such_place_there_are_no_results(missing: str, host: Host) -> None:
    host.docker.answer({"volume inspect": ("Error: no such volume", 1)})
    where = {"no volume": {"volume": "job_snapshots"}, "no directory": {"path": "/nowhere"}}.get(
        missing, {"path": None}
    )
    assert host.call("named", **where) == NOTHING
    assert host.call("laid_out", patterns=["*"], otherwise_max_mb=1, **where) == NONE_LAID_OUT
    assert host.call("set_aside", run="first", **where) == {"changed": False, "place": "", "removed": []}
    assert host.call("set_aside", run="first", check=True, **where) == {"changed": False, "place": "", "removed": []}


def test_an_archive_of_no_volume_is_an_error(host: Host) -> None:
    host.docker.answer({"volume inspect": ("Error: no such volume", 1)})
    found = host.call("packed", volume="job_snapshots")
    assert (found["failed"], found["msg"]) == (True, "There is no volume job_snapshots.")
    assert not host.archive.exists()


# --- the run's name ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "run"),
    [
        ('{"run": "first"}\n{"run": "second"}\n', "second"),
        ('{"run": "first"}\n{"event": "step"}\n{"run": null}\n', "first"),
        ('{"run": "first"}\n{"run": "sec', "first"),
        ('{"run": "first"}\nno JSON\n[1]\n"text"\n7\nnull\n\n', "first"),
        ('{"run": "first"}\n{"run": "../../x"}\n', ""),
        ('{"run": "first"}\n{"run": 7}\n', ""),
        ('{"run": "first"}\n{"run": ""}\n', ""),
        ("", ""),
        ("no JSON\n", ""),
    ],
)
def test_the_last_line_that_names_a_run_decides(lines: str, run: str, host: Host) -> None:
    host.put(**{"metrics.jsonl": lines})
    assert host.call("named")["run"] == run


def test_of_long_metrics_the_end_is_read(host: Host) -> None:
    """Bytes that are no text, and a line of which only the end is read, are passed by."""
    long = b'{"run": "first", "x": "' + b"\xff" * 80_000 + b'"}\n'
    (host.results / "metrics.jsonl").write_bytes(long + b'\xff\n{"run": "second"}\n\xff\n')
    assert host.call("named")["run"] == "second"
    (host.results / "metrics.jsonl").write_bytes(b'{"run": "first"}\n' + long + b'{"event": "step"}\n')
    assert host.call("named")["run"] == ""


# --- laid out ---------------------------------------------------------------------------------------------


def test_results_are_laid_out_under_numbers(host: Host) -> None:
    host.put(a="1", b="2", c="3")
    (host.results / "link").symlink_to("a")
    found = host.call("laid_out", patterns=["b", "a", "link", "missing"])
    assert found == {
        "changed": False,
        "files": [
            {"name": "b", "file": "00000", "public": True, "size": 1},
            {"name": "a", "file": "00001", "public": True, "size": 1},
        ],
        "logs": [],
        "left_out": [{"name": "link", "why": "it is a symbolic link"}],
        "missing": ["link", "missing"],
        "unnamed": [{"name": "c", "files": 1, "size": 1}],
        "instead": False,
    }
    assert host.staged() == {"00000": "2", "00001": "1"}
    assert host.docker.calls() == []


def test_where_nothing_matches_all_is_laid_out_instead(host: Host) -> None:
    """But earlier runs, caches, the launcher's own and hidden files; nothing beyond the limit."""
    host.put(
        **{"last.ckpt": "x" * 400_000, "last[1].ckpt": "y" * 400_000, "empty": "", ".hidden": "h", "z": "z" * 400_000}
    )
    for folder in ("runs/first", ".ddp-caches", ".ddp-launcher", "out/deep"):
        (host.results / folder).mkdir(parents=True)
        (host.results / folder / "file").write_text("1")
    found = host.call("laid_out", patterns=["snapshot.pt"], otherwise_max_mb=1)
    assert [(one["name"], one["size"]) for one in found["files"]] == [
        ("last.ckpt", 400_000),
        ("last[1].ckpt", 400_000),
        ("out/deep/file", 1),
    ]
    assert found["left_out"] == [{"name": "z", "why": "with it, it would be more than 1 MB"}]
    assert (found["missing"], found["unnamed"], found["instead"]) == (["snapshot.pt"], [], True)
    for params in ({"patterns": ["snapshot.pt"]}, {"patterns": []}, {"patterns": ["z"], "otherwise_max_mb": 1}):
        again = host.call("laid_out", **params)
        assert ([one["name"] for one in again["files"]], again["instead"]) == (
            ["z"] if "z" in params["patterns"] else [],
            False,
        )


def test_what_nobody_named_is_told_with_its_size(host: Host) -> None:
    host.put(**{"a": "12", "empty": "", ".hidden": "h", "b": "123"})
    (host.results / "logs" / "deep").mkdir(parents=True)
    for name in ("one", "deep/two"):
        (host.results / "logs" / name).write_text("12345")
    found = host.call("laid_out", patterns=["a", "best.pt", "l*/nothing"])
    assert found["missing"] == ["best.pt", "l*/nothing"]
    assert found["unnamed"] == [
        {"name": "b", "files": 1, "size": 3},
        {"name": "empty", "files": 1, "size": 0},
        {"name": "logs", "files": 2, "size": 10},
    ]


def test_without_patterns_no_file_is_laid_out(host: Host) -> None:
    host.put(a="1")
    assert host.call("laid_out")["files"] == []


def test_what_an_interrupted_run_has_laid_out_is_gone(host: Host) -> None:
    (host.stage / "folder").mkdir(parents=True)
    (host.stage / "00000").write_text("old")
    host.put(a="1")
    assert host.call("laid_out", patterns=["a"])["files"][0]["file"] == "00000"
    assert host.staged() == {"00000": "1"}


def test_what_another_collection_has_laid_out_stays_for_a_day(host: Host) -> None:
    """One that was interrupted has left it, or one that still fetches it."""
    at = host.stage.parent
    names = [
        "collect-job",
        "collect-job.000000000001",
        "collect-job.000000000002",
        "collect-job2.000000000003",
        "collect-job.x",
    ]
    for name in names:
        (at / name).mkdir()
        (at / name / "00000").write_text("old")
    (at / "collect-job.000000000004").symlink_to(host.results)
    for name in [*names[:2], *names[3:], "collect-job.000000000004"]:
        os.utime(at / name, (time.time() - 90_000,) * 2, follow_symlinks=False)
    host.put(a="1")
    assert host.call("laid_out", patterns=["a"], stage=at / "collect-job.000000000005")["files"]
    assert sorted(path.name for path in at.glob("collect-*")) == [
        "collect-job.000000000002", "collect-job.000000000004", "collect-job.000000000005", "collect-job.x", "collect-job2.000000000003",
    ]  # fmt: skip
    assert host.moved() == ["a"]


def test_logs_of_all_containers_are_laid_out(host: Host) -> None:
    """Of one that has failed and of one that runs; both its streams in one file."""
    host.docker.answer(
        {
            "ps": f"{NEW}\nremoved\n{OLD}\n",
            f"{INSPECT} {NEW}": "2026-01-02T03:04:05.678901234Z,running,0,0001-01-01T00:00:00Z\n",
            f"{INSPECT} {OLD}": "2026-01-01T00:00:00Z,exited,1,2026-01-01T00:01:00.5Z\n",
            "inspect": ("Error: No such object", 1),
            f"logs --timestamps {NEW}": "epoch 1\n",
            f"logs --timestamps {OLD}": ("Traceback\n", 1),
        }
    )
    host.put(a="1")
    found = host.call("laid_out", patterns=["a"], service="job_node1")
    assert found["logs"] == [
        {"name": "20260102T030405.0123456789ab.log", "file": "log00000"},
        {
            "name": "20260101T000000.ba9876543210.log",
            "file": "log00001",
            "exit_code": 1,
            "finished": "2026-01-01T00:01:00.5Z",
        },
    ]
    assert host.staged() == {"00000": "1", "log00000": "epoch 1\n", "log00001": "Traceback\n"}
    label = "label=com.docker.swarm.service.name=job_node1"
    (listed,) = host.docker.calls("ps")
    assert listed["argv"] == ["ps", "--all", "--no-trunc", "--quiet", "--filter", label]


def test_the_streams_of_a_log_are_put_together_by_their_lines(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the pieces of a bar that Docker has cut nothing stands, and what is no UTF-8 stays as it is."""
    first, second, third = (f"2026-01-01T00:00:0{second}.000000000Z" for second in (1, 2, 3))
    bar = f"{first} 10%\r 2{first} 0%\r\xff\n{third} Traceback\n"
    script = "import sys; out, err = sys.stdout.buffer, sys.stderr.buffer\n" + "".join(
        f"{stream}.write({text.encode('latin-1')!r}); {stream}.flush()\n"
        for stream, text in (("err", bar[:40]), ("out", f"{second} epoch 1\r\n"), ("err", bar[40:]))
    )
    host.docker.answer({"ps": NEW, "inspect": "2026-01-01T00:00:00Z\n"})
    real = rank_logs.streamed
    monkeypatch.setattr(
        rank_logs, "streamed", lambda command, **options: real([sys.executable, "-c", script], **options)
    )
    assert host.call("laid_out", service="job_node0")["logs"] != []
    assert (host.stage / "log00000").read_bytes() == b"epoch 1\r\n10%\r 20%\r\xff\nTraceback\n"
    assert os.listdir(host.stage) == ["log00000"]


def test_a_container_whose_id_is_none_has_no_log(host: Host) -> None:
    """It would be part of a file's name."""
    host.docker.answer({"ps": "../../etc\n", "inspect": "2026-01-01T00:00:00Z\n", "logs": "text"})
    assert host.call("laid_out", service="job_node0")["logs"] == []
    assert host.staged() == {}


@needs_root
def test_what_is_laid_out_is_the_login_users_and_nobody_elses(
    host: Host, monkeypatch: pytest.MonkeyPatch, others_group: int
) -> None:
    monkeypatch.setenv("SUDO_UID", "1234")
    host.docker.answer({"ps": NEW, "inspect": "2026-01-01T00:00:00Z\n", "logs": "text"})
    host.put(private="1")
    (host.results / "private").chmod(0o600)
    assert host.call("laid_out", patterns=["*"], service="job_node0")["files"][0]["public"] is False
    for path, mode in ((host.stage, 0o700), (host.stage / "00000", 0o600), (host.stage / "log00000", 0o600)):
        found = path.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1234, others_group, mode), path


def test_a_stage_that_somebody_swaps_for_a_link_is_not_followed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir, outside = os.mkdir, host.results.parent / "outside"
    outside.mkdir(mode=0o755)

    def swapping(path: str, mode: int = 0o777) -> None:
        mkdir(path, mode)
        if path == str(host.stage):
            host.stage.rmdir()
            host.stage.symlink_to(outside)

    monkeypatch.setattr(os, "mkdir", swapping)
    host.put(a="1")
    assert host.call("laid_out", patterns=["a"])["failed"] is True
    assert list(outside.iterdir()) == []


def test_check_mode_lays_nothing_out(host: Host) -> None:
    host.put(a="1")
    found = host.call("laid_out", check=True, patterns=["a"], service="job_node0")
    assert found == NONE_LAID_OUT
    assert not host.stage.exists()
    assert host.docker.calls() == []


# --- set aside --------------------------------------------------------------------------------------------


def test_results_are_set_aside_once(host: Host) -> None:
    host.put(a="1")
    assert host.call("set_aside", check=True, run="first") == {"changed": True, "place": "", "removed": []}
    assert host.moved() == ["a"]
    assert host.call("set_aside", run="first") == {"changed": True, "place": "runs/first", "removed": []}
    assert host.moved() == ["runs/first/a"]
    # Caches serve the next run too.
    (host.results / ".ddp-caches").mkdir()
    assert host.call("set_aside", check=True, run="second") == {"changed": False, "place": "", "removed": []}
    assert host.call("set_aside", run="second") == {"changed": False, "place": "", "removed": []}
    assert host.moved() == ["runs/first/a"]


def test_runs_that_were_set_aside_are_bounded_by_count_and_age(host: Host, tmp_path: Path) -> None:
    host.put(a="1")
    for name in ("old", "older", "my notes"):
        (host.results / "runs" / name / "deep").mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "key").write_text("mine")
    (host.results / "runs" / "old" / "link").symlink_to(outside, target_is_directory=True)
    (host.results / "runs" / "link").symlink_to(outside, target_is_directory=True)
    for name, days in (("old", 40), ("older", 50), ("my notes", 99)):
        at = time.time() - days * 86400
        os.utime(host.results / "runs" / name, (at, at))
    keep = {"keep_runs": 2, "keep_days": 30}
    assert host.call("set_aside", check=True, run="first", **keep)["removed"] == ["runs/older"]
    assert host.call("set_aside", run="first", **keep)["removed"] == ["runs/older"]
    # By age alone, or by count alone, none goes.
    assert host.call("set_aside", run="x", keep_runs=1, keep_days=45)["removed"] == []
    assert host.call("set_aside", run="x", keep_runs=0, keep_days=1)["removed"] == []
    assert host.call("set_aside", run="x", check=True, keep_runs=1)["removed"] == ["runs/old"]
    assert host.call("set_aside", run="x", keep_runs=1)["removed"] == ["runs/old"]
    assert sorted(path.name for path in (host.results / "runs").iterdir()) == ["first", "link", "my notes"]
    assert (outside / "key").read_text() == "mine"


@pytest.mark.parametrize("run", ["../x", "", "a b", ".x"])
def test_a_run_that_is_no_name_is_refused(run: str, host: Host) -> None:
    host.put(a="1")
    found = host.call("set_aside", run=run)
    assert found["failed"] is True
    assert found["msg"].startswith(f"run is {run!r}, which is not the name of a run: ")
    assert host.moved() == ["a"]


def test_what_is_in_the_way_of_the_runs_is_told(host: Host) -> None:
    host.put(a="1", runs="a file")
    found = host.call("set_aside", run="first")
    assert found["msg"] == (
        "The results of first cannot be moved into the directory 'runs' beside them (Not a directory): it has to be a directory "
        "there, not a link. Move it away on that host, and run this again."
    )
    assert host.moved() == ["a", "runs"]


# --- packed -----------------------------------------------------------------------------------------------


def test_an_archive_holds_the_results(host: Host) -> None:
    host.put(a="1")
    os.mkfifo(host.results / "pipe")
    found = host.call("packed", volume="job_snapshots")
    assert found == {"changed": False, "left_out": [{"name": "pipe", "why": "it is a pipe"}]}
    with tarfile.open(fileobj=io.BytesIO(host.archive.read_bytes())) as archive:
        assert archive.getnames() == [".", "a"]
        own, there = archive.getmember("."), host.results.stat()
        # A volume that is restored belongs to whoever wrote to the one that was packed.
        assert (own.isdir(), own.uid, own.gid, own.mode) == (True, there.st_uid, there.st_gid, there.st_mode & 0o7777)


@needs_root
def test_an_archive_is_the_login_users_and_nobody_elses(
    host: Host, monkeypatch: pytest.MonkeyPatch, others_group: int
) -> None:
    monkeypatch.setenv("SUDO_UID", "1234")
    assert "failed" not in host.call("packed")
    found = host.archive.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, others_group, 0o600)


def test_check_mode_packs_nothing(host: Host) -> None:
    assert host.call("packed", check=True) == {"changed": False, "left_out": []}
    assert not host.archive.exists()


def test_an_archive_takes_the_place_of_no_file(host: Host) -> None:
    host.archive.write_text("mine")
    found = host.call("packed")
    assert found["msg"].startswith("The results cannot be read: ")
    assert "File exists" in found["msg"]
    assert host.archive.read_text() == "mine"


# --- what cannot be done ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"state": "laid_out", "stage": None}, "missing: stage"),
        ({"state": "set_aside"}, "missing: run"),
        ({"state": "packed", "archive": None}, "missing: archive"),
        ({"state": "named", "volume": "v", "path": "/p"}, "mutually exclusive: volume|path"),
        ({"state": "thrown_away"}, "must be one of: named, laid_out, set_aside, packed"),
        ({"state": None}, "missing required arguments: state"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(params: dict[str, Any], words: str, host: Host) -> None:
    assert words in host.call(**params)["msg"]


def test_docker_that_does_not_answer_is_told(host: Host) -> None:
    host.docker.answer({"ps": ("Cannot connect to the Docker daemon", 1)})
    found = host.call("laid_out", service="job_node0")
    assert found["msg"] == "The results cannot be read: docker ps: Cannot connect to the Docker daemon."


def test_a_host_without_docker_is_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(host.results))
    monkeypatch.setattr("ansible.module_utils.common.process.get_bin_path", lambda *_, **__: None)
    monkeypatch.setattr("ansible.module_utils.basic.get_bin_path", lambda *_, **__: None)
    found = host.call("laid_out", service="job_node0")
    assert found["msg"] == "The results cannot be read: the docker command line is not installed on this host."


def test_a_results_directory_that_cannot_be_read_is_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: str) -> Any:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(training_results, "Tree", refused)
    found = host.call("named")
    assert found["msg"] == f"The results cannot be read: [Errno 13] Permission denied: {str(host.results)!r}."
