"""How fast a job fills its volume: two measurements, so that the next preflight can tell when the disk will be full."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress

from .store import write_whole

FIRST, EVERY = (
    60.0,
    300.0,
)  # seconds after the start, when what is downloaded and restored at the beginning is there; and between two looks
NAME = "growth.json"


def used(root: str) -> int:
    """Bytes on the disk, each file once, through no link."""
    seen = set()
    total = 0
    for folder, _folders, names in os.walk(root):
        for name in names:
            with suppress(OSError):
                status = os.lstat(os.path.join(folder, name))
                if (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    total += status.st_blocks * 512
    return total


def watch(root: str, own: str) -> None:
    """Beside the command. Of one that ends before its second measurement, what is known of an earlier one stays."""
    threading.Thread(target=_watch, args=(root, own), daemon=True).start()


def _watch(root: str, own: str) -> None:
    time.sleep(FIRST)
    first = [time.time(), used(root)]
    while True:
        time.sleep(EVERY)
        with suppress(OSError):
            write_whole(os.path.join(own, NAME), {"first": first, "last": [time.time(), used(root)]})
