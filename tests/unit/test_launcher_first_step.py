"""A launcher says when its rank has made a first step, whatever the script writes: real ranks of torch over gloo, and what others record."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from ddp_launcher.first_step import step_of
from launchers import Job, says
from ports import free_port
from waiting import until

# The group exists, as gloo says if it is asked to, and the ranks have met, long before anything is trained.
SCRIPT = """
import os, sys, time
import torch, torch.distributed as dist
dist.init_process_group("gloo")
dist.barrier()
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
print("downloading", flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.1)
model(torch.randn(8, 4)).sum().backward()
time.sleep(600)
"""
SAID = "[launcher] rank {} has made its first step (all_reduce has ended)"


def test_a_script_that_writes_nothing_of_it(tmp_path: Path) -> None:
    job, port = Job(tmp_path, 2), str(free_port())
    (tmp_path / "train.py").write_text(SCRIPT)
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_LOG_LEVEL": "INFO"}
    try:
        for rank in job.ranks:
            words = [f"{name}={value}" for name, value in {**shared, "RANK": str(rank.rank)}.items()]
            rank.start(["env", *words, sys.executable, str(tmp_path / "train.py"), str(tmp_path / "downloaded")])
        for rank in job.ranks:
            says(rank, "downloading", 120)
            says(rank, "is connected to 1", 10)
            until(lambda rank=rank: "barrier" in str(rank.dump()), 60)  # type: ignore[misc]
            assert "first step" not in rank.said
        (tmp_path / "downloaded").touch()
        for rank in job.ranks:
            says(rank, SAID.format(rank.rank), 60)
    finally:
        job.end()


def recorded(*entries: tuple[str, bool], **more: Any) -> dict[int, dict[str, Any]]:
    said = [{"seq": number, "op": op, "ended": ended, **more} for number, (op, ended) in enumerate(entries)]
    return {7: {"why": "no torch.distributed"}, 8: {"groups": {"0": {"entries": said}}}}


@pytest.mark.parametrize(
    ("entries", "step"),
    [
        ([], ""),
        ([("gloo:barrier", True), ("gloo:all_gather", True), ("gloo:broadcast", True)], ""),
        # NCCL's barrier is a reduction, of nothing.
        ([("nccl:all_reduce_barrier", True)], ""),
        ([("gloo:broadcast", True), ("gloo:all_reduce", False)], ""),
        ([("gloo:broadcast", True), ("gloo:all_reduce", True)], "all_reduce"),
        ([("nccl:_all_gather_base", True), ("nccl:_reduce_scatter_base", True)], "_reduce_scatter_base"),
        ([("nccl:allreduce_coalesced", True)], "allreduce_coalesced"),
    ],
)
def test_a_step_is_a_reduction_that_has_ended(entries: list[tuple[str, bool]], step: str) -> None:
    assert step_of(recorded(*entries)) == step
