"""Real ranks of the examples under launchers on this machine, one of them slowed down: is it named, and is none where all are alike?"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from ddp_launcher.pace import Pace, pace_of, slowest
from ddp_launcher.verdict import Verdict
from launchers import Job, says
from stalls import DRAW, SLOW, STALLS, Stall
from test_stalls import SECONDS, asked, below, job, shapes, start

__all__ = ["job", "shapes"]  # fixtures
PLAIN = next(stall for stall in STALLS if not stall.planted)
SLEEPS = Stall("its data come late, step by step", DRAW, "if rank == 1: time.sleep(0.5)  # late", "# late", "slow")


@contextmanager
def stopped_again_and_again(pid: int, stopped: float = 0.4, runs: float = 0.2) -> Iterator[None]:
    """As somebody who takes its processor away would do: most of the time it is stopped."""
    over = threading.Event()

    def cycle() -> None:
        with suppress(ProcessLookupError):
            while not over.wait(runs):
                os.kill(pid, signal.SIGSTOP)
                over.wait(stopped)
                os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=cycle)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def trains(job: Job) -> None:
    until = time.monotonic() + SECONDS
    while "step 10 of" not in job.ranks[0].said:
        assert time.monotonic() < until, job.ranks[0].said
        time.sleep(0.2)


def named(job: Job) -> tuple[Verdict, Pace]:
    until = time.monotonic() + SECONDS
    shown: Any = None
    while time.monotonic() < until:
        verdict, pace = slowest(asked(job))
        if verdict and pace:
            return verdict, pace
        shown = pace.shown() if pace else shown
        time.sleep(2)
    pytest.fail(f"nobody was named: {shown}\n{job.ranks[0].said[-1000:]}")


def test_a_rank_that_is_kept_from_its_processor(job: Job, tmp_path: Path, shapes: Path, rows: list[str]) -> None:
    start(job, PLAIN, PLAIN.plant(tmp_path), shapes)
    trains(job)
    with stopped_again_and_again(below(job.ranks[1])[-1]):
        verdict, pace = named(job)
    assert [(one.rank, one.host) for one in verdict.culprits] == [(1, "host2")], verdict.sentence
    assert pace.waits[1] > 2 * pace.waits[0]
    rows.append(f"| {SLOW[0]} | {verdict.sentence} |")


def test_a_rank_whose_data_come_late(job: Job, tmp_path: Path, shapes: Path, rows: list[str]) -> None:
    """Rank 0's launcher says it, too, and playbooks/status.yml reads it in the volume."""
    script = SLEEPS.plant(tmp_path)
    job.options.append("--stall_minutes=0.5")
    start(job, SLEEPS, script, shapes)
    trains(job)
    verdict, _pace = named(job)
    assert f"Rank 1 on host2 is in train.py:{SLEEPS.number(script)} main()" in verdict.sentence
    rows.append(f"| {SLOW[1]} | {verdict.sentence} |")
    says(job.ranks[0], " is slow: in the last ", 60)
    noted = json.loads((job.ranks[0].volume / ".ddp-launcher/pace.json").read_text())
    assert (noted["slow"], noted["sentence"] in job.ranks[0].said) == ([1], True)


def test_ranks_that_are_alike(job: Job, tmp_path: Path, shapes: Path) -> None:
    start(job, PLAIN, PLAIN.plant(tmp_path), shapes)
    trains(job)
    found = []
    until = time.monotonic() + SECONDS
    while len(found) < 5 and time.monotonic() < until:
        pace = pace_of(asked(job))
        found += [pace] if pace else []
        time.sleep(1)
    assert [pace.shown() for pace in found if pace.slow] == []
    assert len(found) == 5
