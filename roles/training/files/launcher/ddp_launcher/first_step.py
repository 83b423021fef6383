"""Says once that the rank has made a first step, as torch has recorded it: the script need not write anything of it.

A step ends in a reduction of the gradients, which ends when every rank has taken part. That a process group exists, that ranks have
met at a barrier, or have their weights from rank 0, is none: data may still be loaded then, for hours.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

from .child import Child
from .log import say
from .stacks import below, one_asks, traces
from .verdict import groups_of

FIRST, LONGEST, SLOWER = 1.0, 10.0, 1.1  # seconds between two looks, which grow
ANSWER = 2.0  # seconds for a process


def step_of(recorded: dict[int, dict[str, Any]]) -> str:
    """The first reduction that has ended; empty if there is none."""
    calls = (call for said in recorded.values() for group in groups_of(said).values() for call in group.calls.values())
    return next((call.op for call in calls if call.ended and "reduce" in call.op and "barrier" not in call.op), "")


def watch(folder: str, rank: int, child: Child) -> None:
    def look() -> None:
        pause, step = FIRST, ""
        while not step:
            time.sleep(pause)
            pause = min(LONGEST, pause * SLOWER)
            if child.pid:
                with suppress(OSError, ValueError), one_asks(folder) as top:
                    step = step_of(traces(folder, below(top), ANSWER))
        say(f"rank {rank} has made its first step ({step} has ended)")

    threading.Thread(target=look, daemon=True).start()
