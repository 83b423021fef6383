"""By how much this container's clock is ahead of rank 0's: what ranks did at which time can then be compared."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from typing import Any

from .peers import ERRORS, MORE, Peer
from .stacks import CLOCK

TRIES = 8  # the one with the shortest way there and back counts
AGAIN, RETRY = 60.0, 5.0  # seconds between two measurements, and after one that failed


def measured(peer: Peer, tries: int = TRIES) -> dict[str, float]:
    """`offset` in seconds, and the most that it may be wrong by."""
    found = []
    with peer.channel() as channel:
        for _try in range(tries):
            began, moment = time.monotonic(), time.time()
            channel.send({"ask": "clock"})
            theirs = channel.receive().get("time")
            way = time.monotonic() - began
            if isinstance(theirs, (int, float)):
                found.append((way, moment + way / 2 - theirs))
    if not found:
        raise OSError("it tells no time")
    way, offset = min(found)
    return {"offset": offset, "error": way / 2, "time": time.time()}


class Clock:
    """Rank 0's is the one that counts."""

    def __init__(self, folder: str, rank: int, first: Peer | None) -> None:
        self.folder, self.offset = folder, 0.0
        MORE.update(clock=lambda: {"time": time.time()})
        if rank == 0 or not first:
            self.note({"offset": 0.0, "error": 0.0, "time": time.time()} if rank == 0 else {})
        else:
            threading.Thread(target=self.watch, args=(first,), daemon=True).start()

    def ahead(self) -> float:
        return self.offset

    def note(self, found: dict[str, Any]) -> None:
        with suppress(OSError):
            path = os.path.join(self.folder, CLOCK)
            with open(path + ".new", "w", encoding="ascii") as file:
                json.dump(found, file)
            os.rename(path + ".new", path)

    def watch(self, first: Peer) -> None:
        while True:
            wait = AGAIN
            try:
                found = measured(first)
                self.offset = found["offset"]
                self.note(found)
            except ERRORS:
                wait = RETRY
            time.sleep(wait)
