"""Real ranks of a script that knows nothing of this project, under torchrun under launchers, started again as swarm does it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from by_path import ROOT
from launchers import Job, Rank
from ports import free_port
from waiting import until

EVERY = 100  # steps between two saves, of 20 ms and a little each


class Swarm:
    """Starts a rank that has failed again, a second later."""

    def __init__(self, job: Job) -> None:
        self.job, self.over = job, False
        port = free_port()
        self.commands = [
            [
                *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=1", "--nnodes=2"),
                *(f"--node_rank={rank}", "--master_addr=127.0.0.1", f"--master_port={port}", "--"),
                str(ROOT / "tests/scripts/same_path/train.py"),
                *("--steps=100000", f"--save_every={EVERY}", f"--out={job.ranks[rank].volume}/out"),
            ]
            for rank in (0, 1)
        ]
        self.threads = [threading.Thread(target=self.run, args=(rank,)) for rank in job.ranks]
        for thread in self.threads:
            thread.start()

    def run(self, rank: Rank) -> None:
        while not self.over:
            if rank.start(self.commands[rank.rank]).wait(600) == 0:
                return
            time.sleep(1)

    def end(self) -> None:
        self.over = True
        for rank in self.job.ranks:
            kill_all(rank)
        for thread in self.threads:
            thread.join()


def below(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [every for child in map(int, children.read_text().split()) for every in (*below(child), child)]
    except OSError:
        return []


def kill_all(rank: Rank) -> None:
    """As a container is killed: the launcher, torchrun and the script at once."""
    assert rank.process
    for pid in (rank.process.pid, *below(rank.process.pid)):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def kill_script(rank: Rank) -> None:
    assert rank.process
    pids = [
        pid for pid in below(rank.process.pid) if b"torch.distributed" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(pids[0], signal.SIGKILL)


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Swarm]:
    made = Swarm(Job(tmp_path, 2))
    yield made
    made.end()


def starts(rank: Rank) -> list[int]:
    return [int(number) for number in re.findall(r"starts at step (\d+)", rank.said)]


def step(rank: Rank) -> int:
    return max(map(int, re.findall(r"step (\d+): loss", rank.said)), default=0)


def saved_twice(first: Rank) -> int:
    now = step(first)
    until(lambda: step(first) > now + 2 * EVERY, timeout=120)
    return step(first)


def resumed(ranks: list[Rank], before: list[list[int]]) -> int:
    """The step that all went on from, once they train again."""

    def alike() -> bool:
        now = [starts(rank) for rank in ranks]
        return all(len(n) > len(b) for n, b in zip(now, before, strict=True)) and now[0][-1] == now[1][-1]

    until(alike, timeout=120)
    began = starts(ranks[0])[-1]
    until(lambda: re.search(r"step \d+: loss", ranks[0].said.split("starts at step")[-1]), timeout=60)
    return began


def test_whatever_is_lost_all_ranks_go_on_from_one_step(swarm: Swarm) -> None:
    first, second = swarm.job.ranks
    until(lambda: starts(first) == starts(second) == [0], timeout=180)
    for lost in ("the script of rank 1", "the container of rank 0", "the volume of rank 1", "the volume of rank 0"):
        reached = saved_twice(first)
        before = [starts(first), starts(second)]
        when = time.monotonic()
        if lost == "the script of rank 1":
            kill_script(second)
        else:
            rank = swarm.job.ranks[int(lost[-1])]
            kill_all(rank)
            if "volume" in lost:
                shutil.rmtree(rank.volume)
        began = resumed([first, second], before)
        print(f"{lost}: at step {reached}, went on from {began} after {time.monotonic() - when:.1f} s")
        assert reached - 2 * EVERY <= began, lost
    assert "rank 0 goes on from what rank 1 kept" in first.said
