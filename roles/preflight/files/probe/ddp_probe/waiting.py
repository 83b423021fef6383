"""How ranks wait for each other, before the group and at the end."""

from __future__ import annotations

import time

from . import wire
from .state import State
from .wire import describe


def wait_for_peers(state: State, wanted: str) -> bool:
    """True when every rank says so. A rank that failed ends the waiting at once: nothing more can be learnt."""
    missing = set(state.peers)
    silent: dict[int, float] = {}
    while missing:
        for rank in sorted(missing):
            peer = state.peers[rank]
            try:
                peer.hello = wire.ask(state.settings, str(peer.address), {"op": "status"}, timeout=2)
                silent.pop(rank, None)
            except (OSError, ValueError) as error:
                now = time.monotonic()
                silent.setdefault(rank, now - 2)
                if now - silent[rank] > 10 or now > state.work_deadline:
                    state.blocked_by = f"rank {rank} ({peer.name}) answered before and is silent now"
                    state.report.add(11, "ready", False, describe(error), "every rank is ready", state.blocked_by, rank)
                    state.status = "failed: " + state.blocked_by
                    return False
                continue
            status = str(peer.hello.get("status"))
            if status in (wanted, "ready", "go", "done"):
                missing.discard(rank)
            elif status != "busy":
                state.blocked_by = f"rank {rank} ({peer.name}) {status}"
                return False
        if missing:
            if time.monotonic() > state.work_deadline:
                names = ", ".join(f"rank {rank} ({state.peers[rank].name})" for rank in sorted(missing))
                state.blocked_by = f"{names} did not become ready in time"
                return False
            time.sleep(0.1)
    return True


def linger(state: State, told: list[int]) -> None:
    """Stay to answer the ranks that are not done yet; leave when they are, or are gone, or at a signal in `told`."""
    present = [peer for peer in state.peers.values() if peer.reached and peer.address]
    for peer in present:
        try:
            wire.ask(state.settings, str(peer.address), {"op": "bye"}, timeout=1)
        except (OSError, ValueError):
            pass
    gone: dict[int, int] = {}
    while state.listener is not None and time.monotonic() < state.deadline and not told:
        waiting = [peer for peer in present if peer.rank not in state.listener.goodbyes and gone.get(peer.rank, 0) < 3]
        if not waiting:
            # The last answer may still be on its way.
            time.sleep(0.3)
            return
        for peer in waiting:
            try:
                wire.ask(state.settings, str(peer.address), {"op": "status"}, timeout=1)
                gone[peer.rank] = 0
            except (OSError, ValueError):
                gone[peer.rank] = gone.get(peer.rank, 0) + 1
        time.sleep(0.3)
