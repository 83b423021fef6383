"""The process of a rank: its cores, where it can write, its signs of life, and its end."""

import faulthandler
import os
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import torch
import torch.distributed as dist
from torch.distributed.elastic.timer.file_based_local_timer import FileTimerClient

from .ranks import log, rank

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


def try_to_write(directory: Path) -> None:
    """Makes it if need be. An OSError says why this process cannot write there."""
    directory.mkdir(parents=True, exist_ok=True)
    probe = directory / f".write-test-{rank()}-{os.getpid()}"
    probe.touch()
    probe.unlink()


def make_nccl_group(device: torch.device, timeout: float) -> dist.ProcessGroup:
    """All ranks, with their communicators made at once. If that takes more than `timeout` seconds, the process ends.

    NCCL's own watchdog looks at collectives only, and not at what comes before the first one (pytorch#88103).
    """
    torch.cuda.set_device(device)
    log(f"creating NCCL communicators: this process ends if that takes more than {timeout:g} s")
    faulthandler.dump_traceback_later(timeout, exit=True)  # a thread of C, which no lock of Python holds up
    group: dist.ProcessGroup = dist.new_group(backend="nccl", timeout=timedelta(seconds=timeout), device_id=device)
    dist.all_reduce(torch.zeros(1, device=device), group=group)
    torch.cuda.synchronize(device)
    faulthandler.cancel_dump_traceback_later()
    return group


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
