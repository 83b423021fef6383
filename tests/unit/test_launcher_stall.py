"""Launchers notice that no rank makes progress, and rank 0's says who hangs. No torch is needed here: what counts is what ranks write."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from ddp_launcher.stall import Watch
from launchers import Job, says

if TYPE_CHECKING:
    from ddp_launcher.child import Child
    from ddp_launcher.peers import Peer

Start = Callable[..., Job]
SECONDS = 3.0
SCRIPT = """
import os, sys, time
rank, folder = sys.argv[1], sys.argv[2]
print("rank", rank, "begins", flush=True)
while not os.path.exists(folder + "/stand-still"):
    time.sleep(0.1)
    if rank == sys.argv[3] or os.path.exists(folder + "/both"):
        print("a line", flush=True)
time.sleep(600)  # here
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[Job] = []

    def begin(speaks: str, size: int = 2) -> Job:
        job = Job(tmp_path, size, snapshots="rank0")
        job.options.append(f"--stall_minutes={SECONDS / 60}")
        made.append(job)
        script = tmp_path / "train.py"
        script.write_text(SCRIPT)
        for rank in job.ranks:
            rank.start(["env", f"RANK={rank.rank}", sys.executable, str(script), str(rank.rank), str(tmp_path), speaks])
        return job

    yield begin
    for job in made:
        for rank in job.ranks:
            for one in rank.dump().get("processes", []):
                os.kill(one["pid"], signal.SIGKILL)
        job.end()


@pytest.mark.parametrize("speaks", ["0", "1"])
def test_it_is_said_once_when_no_rank_writes_any_more(start: Start, tmp_path: Path, speaks: str) -> None:
    job = start(speaks)
    says(job.ranks[0], "begins", 60)
    time.sleep(SECONDS * 3)
    assert "[launcher]" not in job.ranks[0].said, "one rank writes"
    (tmp_path / "stand-still").touch()
    says(
        job.ranks[0],
        "no rank has written anything or entered a collective for 0.05 minutes: No rank waits for another.",
        60,
    )
    for rank in (0, 1):
        assert "is in train.py:9" in job.ranks[0].said
        assert f"ank {rank} on " in job.ranks[0].said
    time.sleep(SECONDS * 2)
    assert job.ranks[0].said.count("no rank has written") == 1
    assert "[launcher]" not in job.ranks[1].said
    (kept,) = (job.ranks[0].volume / ".ddp-launcher/stalls").iterdir()
    assert [len(one["record"]["processes"]) for one in json.loads(kept.read_text())["given"]] == [1, 1]
    (log,) = (job.ranks[0].volume / ".ddp-launcher/logs").glob("*/*.log")
    assert "no rank has written" in log.read_text()


def test_a_launcher_that_is_gone_is_named(start: Start, tmp_path: Path) -> None:
    job = start("0")
    says(job.ranks[0], "begins", 60)
    says(job.ranks[1], "begins", 60)
    job.ranks[1].kill()
    (tmp_path / "stand-still").touch()
    says(job.ranks[0], "rank 1 on 127.0.1.2 cannot be asked: its launcher does not answer", 60)


def test_a_rank_that_has_no_other(start: Start, tmp_path: Path) -> None:
    job = start("0", 1)
    says(job.ranks[0], "begins", 60)
    (tmp_path / "stand-still").touch()
    says(job.ranks[0], "No rank waits for another. Rank 0 on ", 60)


def test_without_a_limit_for_stalls_slow_ranks_are_told_of_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddp_launcher.stall.threading.Thread.start", lambda _self: None)
    child = SimpleNamespace(pid=1, output=SimpleNamespace(time=-1e6))
    watch = Watch(str(tmp_path), 0, cast("Child", child), [cast("Peer", None)], True, "")
    done: list[str] = []
    monkeypatch.setattr(watch, "compare", lambda: done.append("compared"))
    monkeypatch.setattr(watch, "count", lambda: None)
    monkeypatch.setattr(watch, "report", lambda: done.append("reported"))
    watch.step(30)
    assert done == []
    watch.moved = watch.compared = time.monotonic() - 100_000
    watch.step(30)
    assert done == ["compared"]
