"""How fast one connection to each of the other ranks is."""

from __future__ import annotations

import statistics
import time

from ..contract import FAST_ENOUGH_MB_S, SLOW_MB_S, TRIES_THAT_AGREE
from ..sizes import MEBIBYTE
from ..state import State
from . import loss, path


def measure_pairs(state: State) -> None:
    """Bandwidth of one TCP connection to every peer: the best of at least three, until it gets no better.

    A busy moment only ever slows, and differs from the next one; a slow network is as slow every time.
    """
    state.stage = "measuring pairs"
    limit = time.monotonic() + 6
    for peer in state.peers.values():
        # On a network as slow as the first MiB says, more would take seconds.
        payload = bytes((8 if peer.pair.get("bandwidth_mb_s", 0) >= SLOW_MB_S else 1) * MEBIBYTE)
        rates: list[float] = []
        while time.monotonic() < limit and not settled(rates):
            try:
                seconds, _ = path.bulk(state, peer, payload, checksum=False, timeout=5)
            except (OSError, ValueError):
                break
            rates.append(round(len(payload) / max(seconds, 1e-6) / 1e6, 1))
        if rates:
            steady = round(statistics.median(rates) / max(rates), 2) if len(rates) > 2 else 0.0
            peer.pair.update(bandwidth_mb_s=max(rates), bandwidth_bytes=len(payload), bandwidth_steady=steady)
        loss.measure_loss(state, peer, limit)


def settled(rates: list[float]) -> bool:
    """Whether another measure would say the same: three agree, or no network that needs repair is that fast."""
    best = sorted(rates)[-3:]
    return len(best) == 3 and (best[-1] >= FAST_ENOUGH_MB_S or best[0] >= TRIES_THAT_AGREE * best[-1])
