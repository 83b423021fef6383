"""Ranks of the trainer as forked processes: a real gloo group, without the seconds that each import of torch takes."""

import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist
from ports import free_port


@dataclass
class Ended:
    code: int | None  # None: it hung
    output: str


@cache
def load_compiler() -> None:
    """What an optimizer loads: once here, which takes seconds, and not once in each rank."""
    # It refuses what Ansible puts in sys.intern's place.
    with mock.patch.object(sys, "intern", getattr(sys.intern, "unpatched_implementation", sys.intern)):
        import torch._dynamo  # noqa: F401


def run(
    ranks: int, work: Callable[[int], object], folder: Path, group: bool = True, optimizer: bool = False
) -> list[Ended]:
    """Call work(rank) in a process per rank. Without `group` it is left to the work to form the process group."""
    if optimizer:
        load_compiler()
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    fork, logs = multiprocessing.get_context("fork"), [folder / f"rank{rank}.log" for rank in range(ranks)]
    started = [
        fork.Process(target=be_rank, args=(rank, ranks, work, log, port, group)) for rank, log in enumerate(logs)
    ]
    for process in started:
        process.start()
    deadline = time.monotonic() + 40
    # Not join(40): a loader's worker that outlives its rank for some seconds would be waited for as well.
    while any(process.exitcode is None for process in started) and time.monotonic() < deadline:
        time.sleep(0.01)
    ended = [Ended(process.exitcode, log.read_text()) for process, log in zip(started, logs, strict=True)]
    for process in started:
        process.kill()
    return ended


def be_rank(rank: int, ranks: int, work: Callable[[int], object], log: Path, port: int, group: bool) -> None:
    code = 1
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout = sys.stderr = os.fdopen(file, "w", buffering=1)
        torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        if group:
            dist.init_process_group("gloo", timeout=timedelta(seconds=20))
        work(rank)
        if group:
            dist.barrier()  # a rank that leaves early would abort one that is still in its last collective
        code = 0
    except SystemExit as left:
        print(left.code)
    except BaseException:  # noqa: BLE001 - what a rank says at its end is what is looked at
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)
