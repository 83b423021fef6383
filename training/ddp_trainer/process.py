"""The process of a rank: its cores, where it can write, its signs of life, and its end."""

import os
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

import torch
import torch.distributed as dist
from torch.distributed.elastic.timer.file_based_local_timer import FileTimerClient

from .ranks import local_world_size, rank

HANG_SECONDS = 30.0  # a process that gives no sign of life for so long is killed by torchrun


def cpu_cores() -> int:
    """Cores that this container may use: its CPU set, or less where a cgroup sets a quota."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = (Path(f"/sys/fs/cgroup/cpu/cpu.cfs_{part}_us").read_text() for part in ("quota", "period"))
        except OSError:
            return cores
    limited = quota.strip() not in ("max", "-1")
    return max(1, min(cores, int(quota) // int(period))) if limited else cores


def take_cores() -> int:
    """Those of this rank: its share of what there is, but one for communication. Returns their number."""
    cores = max(1, cpu_cores() // local_world_size() - 1)
    if "OMP_NUM_THREADS" not in os.environ:  # torchrun sets it to 1 when it starts several ranks on a host
        torch.set_num_threads(cores)
    return cores


def try_to_write(directory: Path) -> None:
    """Makes it if need be. An OSError says why this process cannot write there."""
    directory.mkdir(parents=True, exist_ok=True)
    probe = directory / f".write-test-{rank()}-{os.getpid()}"
    probe.touch()
    probe.unlink()


class Heartbeat:
    """Lets torchrun's watchdog kill this process when it is stopped or stuck, so that the other ranks notice soon.

    A process that waits for a silent peer is alive: that ends by --timeout. The watchdog listens where
    TORCHELASTIC_ENABLE_FILE_TIMER=1 is set.
    """

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.client = FileTimerClient(os.environ["TORCHELASTIC_TIMER_FILE"])
        self.thread = threading.Thread(target=self.beat, daemon=True)
        self.thread.start()

    def beat(self) -> None:
        while not self.ended.is_set():
            self.client.acquire("heartbeat", time.time() + HANG_SECONDS)
            self.ended.wait(HANG_SECONDS / 6)

    def end(self) -> None:
        self.ended.set()
        self.thread.join()
        self.client.release("heartbeat")


heartbeat: Heartbeat | None = None


def begin_heartbeat() -> None:
    global heartbeat
    if "TORCHELASTIC_TIMER_FILE" in os.environ:
        heartbeat = Heartbeat()


def leave(code: int) -> NoReturn:
    dist.barrier()  # a rank that goes while another is still in its last collective would abort that one
    dist.destroy_process_group()
    if heartbeat:
        heartbeat.end()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # gloo's threads sometimes abort a finished rank while the interpreter is taken down
