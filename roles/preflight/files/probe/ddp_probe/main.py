"""The main thread: it waits, prints the report, and leaves."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from typing import Any

from . import waiting, worker
from .contract import MARKER
from .settings import Settings
from .state import State
from .torch_process import child_main


def main() -> int:
    if len(sys.argv) == 3 and sys.argv[1] == "--child":
        child_main(int(sys.argv[2]))
        return 0
    state = State(Settings(dict(os.environ)))
    told: list[int] = []

    def leave(signum: int, frame: Any) -> None:
        # No event: the main thread may hold its lock just now.
        told.append(signum)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    threading.Thread(target=worker.run, args=(state,), daemon=True).start()
    # In short turns: a signal just before a long wait would be heard only after it.
    while not told and not state.finished.wait(0.2) and time.monotonic() < state.deadline - 0.5:
        pass
    if state.blocked_by:
        why = state.blocked_by
    elif told:
        why = "the probe was told to stop"
    elif state.report.first_failure() is not None:
        why = "an earlier layer failed"
    else:
        why = f"time was over while {state.stage}"
    line = MARKER + json.dumps(finish(state, why), separators=(",", ":"))
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    if state.status == "busy":
        state.status = "gave up"
    for child in state.children():
        child.kill()
    if not told:
        waiting.linger(state, told)
    sys.stdout.flush()
    # Threads may still hang in a system call, and must not keep the container.
    os._exit(0)


def finish(state: State, why: str) -> dict[str, Any]:
    state.report.note(
        heard={str(rank): count for rank, count in (state.listener.heard.items() if state.listener else ())},
        pairs={str(rank): dict(peer.pair) for rank, peer in state.peers.items()},
        clock={str(rank): dict(peer.clock) for rank, peer in state.peers.items() if peer.clock},
    )
    return state.report.close(why)
