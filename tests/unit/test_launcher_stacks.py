"""A rank's processes are asked where they are, and notice nothing of it. No torch is needed here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ddp_launcher import stacks
from launchers import Job, Rank, says
from waiting import until

Start = Callable[..., Rank]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[Rank] = []

    def begin(script: str, *options: str, **variables: str) -> Rank:
        rank = Job(tmp_path, 1).ranks[0]
        made.append(rank)
        (tmp_path / "train.py").write_text(script)
        words = [f"{name}={value}" for name, value in variables.items()]
        return rank.start(["env", *words, sys.executable, *options, str(tmp_path / "train.py")])

    yield begin
    for rank in made:
        if rank.process and rank.process.poll() is None:
            for one in rank.dump().get("processes", []):
                os.kill(one["pid"], signal.SIGKILL)
            rank.process.kill()


def main_stack(process: dict[str, Any]) -> list[tuple[str, int, str]]:
    return [(Path(file).name, line, function) for file, line, function in process["threads"][0]["frames"]]


def test_a_process_that_sleeps_says_its_line(start: Start) -> None:
    rank = start("import time\ndef wait():\n    print('here', flush=True)\n    time.sleep(600)\nwait()\n", RANK="3")
    says(rank, "here")
    (process,) = rank.dump()["processes"]
    assert main_stack(process) == [("train.py", 4, "wait"), ("train.py", 5, "<module>")]
    assert (process["rank"], process["state"], process["cpu"] < 0.5) == (3, "S", True)
    # Asking again is as good, and the process still runs.
    assert main_stack(rank.dump()["processes"][0])[0] == ("train.py", 4, "wait")


def test_an_endless_loop_says_its_line(start: Start) -> None:
    rank = start("print('here', flush=True)\nwhile True:\n    pass\n")
    says(rank, "here")
    (process,) = rank.dump()["processes"]
    assert main_stack(process)[-1][0] == "train.py"
    assert main_stack(process)[-1][1] in (2, 3)
    assert process["runs"] or process["cpu"] > 0.3


def test_one_that_holds_the_interpreter_in_c_answers(start: Start) -> None:
    rank = start("print('here', flush=True)\nimport re\nre.match(r'(a+)+$', 'a' * 64 + 'b')\n")
    says(rank, "here")
    until(lambda: [main_stack(one)[-1] for one in rank.dump()["processes"]] == [("train.py", 3, "<module>")])


def test_a_stopped_process_answers_and_stays_stopped(start: Start) -> None:
    rank = start("import os, time\nprint('pid', os.getpid(), flush=True)\ntime.sleep(600)\nprint('went on')\n")
    says(rank, "pid ")
    pid = int(rank.said.split()[1])
    os.kill(pid, signal.SIGSTOP)
    (process,) = rank.dump()["processes"]
    assert process["state"] == "T"
    assert main_stack(process) == [("train.py", 3, "<module>")]
    until(lambda: Path(f"/proc/{pid}/stat").read_text().split()[2] == "T")


def test_forked_children_and_other_programs_are_told_apart(start: Start) -> None:
    script = (
        "import os, subprocess, time\nother = subprocess.Popen(['sleep', '600'])\n"
        "if os.fork() == 0:\n    print('child', flush=True)\n    time.sleep(600)\n"
        "print('parent', flush=True)\ntime.sleep(601)\n"
    )
    rank = start(script)
    says(rank, "child")
    says(rank, "parent")
    until(lambda: max(one["name"] for one in rank.dump()["processes"]) == "sleep")
    stacks = sorted(
        (one["name"], [f[1] for f in main_stack(one)] if one["threads"] else []) for one in rank.dump()["processes"]
    )
    assert [lines for name, lines in stacks if name != "sleep"] == [[5], [7]]
    assert [lines for name, lines in stacks if name == "sleep"] == [[]], "it has not taken the signal, and lives"


@pytest.mark.parametrize("option", ["-I", "-E", "-S"])
def test_a_python_that_reads_no_sitecustomize_is_left_alone(start: Start, option: str) -> None:
    rank = start("import time\nprint('here', flush=True)\ntime.sleep(600)\n", option)
    says(rank, "here")
    (process,) = rank.dump()["processes"]
    assert process["threads"] == []
    assert len(rank.dump()["processes"]) == 1, "the signal would have killed it"


def test_the_script_finds_what_it_finds_without_a_launcher(start: Start, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import builtins\nbuiltins.mine = __file__\n")
    script = (
        "import sys, threading, sitecustomize, time\n"
        "print('mine', mine, sitecustomize.__file__)\n"
        "print('path', [p for p in sys.path if 'stacks' in p], 'threads', threading.active_count())\n"
        "print('end', flush=True)\ntime.sleep(600)\n"
    )
    rank = start(script, PYTHONPATH=f"{tmp_path / 'stacks0'}:{own}")
    says(rank, "end")
    assert f"mine {own}/sitecustomize.py {own}/sitecustomize.py" in rank.said
    assert "path [] threads 1" in rank.said
    assert main_stack(rank.dump()["processes"][0]) == [("train.py", 5, "<module>")]


def test_a_sitecustomize_of_the_user_that_fails_does_so_as_ever(start: Start, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("raise RuntimeError('mine is broken')\n")
    rank = start("print('the script')\n", PYTHONPATH=f"{tmp_path / 'stacks0'}:{own}")
    rank.wait()
    assert "mine is broken" in rank.said


def test_where_sys_exit_was_called(start: Start) -> None:
    """As under torchrun, which goes on."""
    code = "import sys\ndef leave():\n    sys.exit(0)\nleave()\n"
    script = (
        f"import os, subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {code!r}], env={{**os.environ, 'RANK': '1'}})\n"
        "print('gone', flush=True)\ntime.sleep(600)\n"
    )
    rank = start(script)
    says(rank, "gone")
    (note,) = rank.dump()["exits"]
    assert (note["rank"], note["status"]) == ("1", "0")
    assert note["frames"][0][1:] == [3, "leave"]


def test_a_program_of_a_rank_is_no_rank(start: Start) -> None:
    """Such as a data loader's process. What it leaves would be taken for the rank's end."""
    code = "import sys; sys.exit(3)"
    rank = start(
        f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {code!r}])\nprint('gone', flush=True)\ntime.sleep(600)\n",
        RANK="1",
    )
    says(rank, "gone")
    assert rank.dump()["exits"] == []


def test_exit_codes_stay(start: Start) -> None:
    assert start("import sys\nsys.exit(7)\n", RANK="0").wait() == 7
    assert start("import sys\nsys.exit('a reason')\n", RANK="0").wait() == 1


def test_without_a_launcher_there_is_a_sentence(tmp_path: Path) -> None:
    rank = Job(tmp_path, 1).ranks[0]
    assert rank.dump()["why"].startswith("no launcher of this rank can be asked: ")


def test_the_last_epoch_of_the_trainers_metrics(tmp_path: Path) -> None:
    lines = [
        {"event": "epoch", "time": 5.0, "epoch": 1, "seconds": 2.0, "comm_seconds": 1.0, "loss": 3.0},
        {"event": "epoch", "time": 7.0, "epoch": 2, "seconds": 2.5, "comm_seconds": 0.5, "loss": 3.0},
        {"event": "step", "time": 9.0, "loss": 3.0},
    ]
    volume = tmp_path / "volume"
    volume.mkdir()
    (tmp_path / "results").write_text(str(volume))
    metrics = volume / "metrics-rank1.jsonl"
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"event": "epoch", "ti')
    child = subprocess.Popen(["sleep", "60"], env={"RANK": "1"})
    try:
        until(lambda: stacks.text_of(f"/proc/{child.pid}/cmdline").startswith("sleep"))
        rank = [stacks.Process(child.pid, stacks.text_of(f"/proc/{child.pid}/stat"))]
        last = {"1": {"epoch": 2.0, "seconds": 2.5, "comm_seconds": 0.5, "time": 7.0}}
        assert stacks.epochs(str(tmp_path), rank) == last, "the last line was cut off"
        metrics.write_text(metrics.read_text() + "\n" + json.dumps(lines[2]) + "\n")
        assert stacks.epochs(str(tmp_path), rank) == last
        metrics.unlink()
        metrics.symlink_to("/etc/passwd")
        assert stacks.epochs(str(tmp_path), rank) == {}
        assert stacks.epochs(str(volume), rank) == {}
    finally:
        child.kill()
        child.wait()


def test_dumps_of_nccl_go_to_the_volume(start: Start) -> None:
    """NCCL is not run here: what counts is where torch would write."""
    names = ("TORCH_FR_DUMP_TEMP_FILE", "TORCH_NCCL_DEBUG_INFO_TEMP_FILE", "TORCH_NCCL_DUMP_ON_TIMEOUT")
    rank = start(
        f"import os; print([os.environ.get(name) for name in {names}], os.listdir(os.path.dirname(os.environ[{names[0]!r}])), flush=True)"
    )
    path = f"{rank.volume}/.ddp-launcher/dumps/rank"
    says(rank, f"{[path, path, '1']} []")
    other = start(
        "import os; print(os.environ['TORCH_NCCL_DUMP_ON_TIMEOUT'], 'as it was', flush=True)",
        TORCH_NCCL_DUMP_ON_TIMEOUT="0",
    )
    says(other, "0 as it was")
