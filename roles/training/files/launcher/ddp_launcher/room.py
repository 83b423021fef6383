"""Whether there is room where results lie, and what is said where there is none: a job that goes on would lose what it saves next."""

from __future__ import annotations

import os
from collections.abc import Iterable

LEAST = 2**22  # bytes, or a hundredth of a small disk
# Of the operating system, in what a script writes at its end.
WORDS = ("No space left on device", "Disk quota exceeded")


def left(path: str) -> tuple[int, int]:
    """Bytes that are free for this user, and all."""
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize


def is_full(path: str) -> bool:
    try:
        free, size = left(path)
        disk = os.statvfs(path)
    except OSError:
        return False
    return free < min(LEAST, size // 100) or (disk.f_files > 0 and disk.f_favail == 0)


def ended_by(path: str, lines: Iterable[str]) -> bool:
    return is_full(path) or any(words in line for line in lines for words in WORDS)


def sentence(path: str) -> str:
    """What to know, and what to do."""
    free, size = left(path)
    return (
        f"the disk of {os.uname().nodename} on which {path} lies is full ({free / 1e6:.1f} of {size / 1e6:.0f} MB are free). What was saved last is "
        f"whole. Free space on that host ('docker system df' there, and old runs in {path}/runs), and start the job again"
    )
