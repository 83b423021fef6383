"""Real ranks of the examples under launchers on this machine, each with a stall planted: is rank, host and line named?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from by_path import ROOT
from ddp_launcher.verdict import Worker, judge, node_of
from launchers import Job, Rank
from ports import free_port
from stalls import STALLS, Stall

SMALL = ["--width=16", "--layers=1", "--heads=2", "--length=8", "--batch_size=4", "--steps=100000", "--sleep=0.05"]
SECONDS = 300  # many cores would need a tenth of it


def below(rank: Rank) -> list[int]:
    return [one["pid"] for one in rank.dump().get("processes", [])]


def end(job: Job) -> None:
    for rank in job.ranks:
        for pid in below(rank):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    job.end()


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = tmp_path_factory.mktemp("shapes")
    subprocess.run([sys.executable, ROOT / "examples/images/make_shapes.py", drawn], check=True)
    return drawn


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = Job(tmp_path, 2, patience=100)
    yield made
    end(made)


def start(job: Job, stall: Stall, script: Path, shapes: Path) -> None:
    port = free_port()
    for rank in job.ranks:
        args = [str(script), f"--checkpoint={rank.volume}/saved.pt"]
        args += SMALL if stall.example == "char_gpt" else [f"--data={shapes}", "--epochs=1000"]
        if stall.torchrun:
            first = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=1", "--nnodes=2"]
            first += [f"--node_rank={rank.rank}", "--master_addr=127.0.0.1", f"--master_port={port}", "--"]
        else:
            told = {
                "RANK": rank.rank,
                "WORLD_SIZE": 2,
                "LOCAL_RANK": 0,
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            }
            first = ["env", *(f"{name}={value}" for name, value in told.items()), sys.executable]
        rank.start([*first, *args])


def still(given: list[dict[str, Any]]) -> list[Any]:
    """What changes as long as anything goes on."""

    def of(worker: Worker) -> Any:
        return worker.rank, worker.stack, [(name, group.entered) for name, group in worker.groups.items()]

    return [list(map(of, node_of(one, index).workers)) for index, one in enumerate(given)]


def asked(job: Job) -> list[dict[str, Any]]:
    return [{"host": f"host{rank.rank + 1}", "record": rank.dump()} for rank in job.ranks]


def stop(job: Job) -> None:
    until = time.monotonic() + SECONDS
    while "step 10 of" not in job.ranks[0].said:
        assert time.monotonic() < until, job.ranks[0].said
        time.sleep(0.2)
    os.kill(below(job.ranks[1])[-1], signal.SIGSTOP)


@pytest.mark.parametrize("stall", STALLS, ids=[stall.name for stall in STALLS])
def test_a_stall_is_named(job: Job, tmp_path: Path, shapes: Path, stall: Stall, rows: list[str]) -> None:
    script = stall.plant(tmp_path)
    start(job, stall, script, shapes)
    if stall.stopped:
        stop(job)
    until, before, said = time.monotonic() + SECONDS, None, ""
    while time.monotonic() < until:
        given = asked(job)
        if still(given) == before:
            verdict = judge(given)
            said = verdict.sentence
            if is_named(stall, script, verdict.shown()):
                rows.append(f"| {stall.name} | {said} |")
                return
        before = still(given)
        time.sleep(1)
    pytest.fail(f"{said}\n{job.ranks[0].said[-2000:]}\n{job.ranks[1].said[-2000:]}")


def is_named(stall: Stall, script: Path, shown: dict[str, Any]) -> bool:
    lines = [place.get("line") for place in shown["places"]]
    return (
        shown["kind"] == stall.kind
        and shown["ranks"][0] == 1
        and shown["hosts"][0] == "host2"
        and (stall.stopped or lines[0] == stall.number(script) and f"train.py:{lines[0]}" in shown["sentence"])
        and stall.says in shown["sentence"]
    )
