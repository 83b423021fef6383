"""What is lost on the way to another rank, of datagrams and of a connection's segments, by itself for each direction.

No hurry: a sender that fills a queue loses packets by its own doing. Datagrams are counted where they arrive, so that only the
way there counts, and a peer without time to read is waited for.
"""

from __future__ import annotations

import socket
import statistics
import time

from .. import tcp_info
from ..contract import COUNTED_TURNS, SUSPECT_PERCENT
from ..sizes import MEBIBYTE
from ..state import Peer, State
from ..wire import UDP_COUNTED, UDP_HEADER, UDP_MAGIC, read_line, send_line
from . import path

# So many that of 2 % lost hardly ever less than 1 % are seen.
DATAGRAMS, BURST = 1024, 16
OUTSTANDING = 64  # as many of all peers together have room in the buffer of one that does not read
PATIENCE = 0.25  # seconds without another arrival, after which what is missing is lost
PACED_SECONDS, PACED_SHARE = 0.1, 0.25
LEAST_BYTES, MOST_BYTES, FASTEST = MEBIBYTE // 8, 8 * MEBIBYTE, 200e6


def measure_loss(state: State, peer: Peer, limit: float) -> None:
    """Into the pair's record, as far as the time (of the monotonic clock) allows."""
    if time.monotonic() >= limit:
        return
    try:
        lost = [count_lost(state, peer, 0)]
        while any(lost) and len(lost) < COUNTED_TURNS and time.monotonic() < limit:
            lost.append(count_lost(state, peer, len(lost)))
        peer.pair.update(datagrams=DATAGRAMS, datagrams_lost=int(statistics.median(lost)))
        seen = [count_segments(state, peer)]
        while suspect(seen) and len(seen) < COUNTED_TURNS and time.monotonic() < limit:
            seen.append(count_segments(state, peer))
    except (OSError, ValueError):
        return
    told = sorted((one for one in seen if one), key=lambda one: one[1] / max(1, one[0]))
    if told:
        sent, again = told[(len(told) - 1) // 2]
        peer.pair.update(segments=sent, segments_again=again)


def suspect(seen: list[tuple[int, int] | None]) -> bool:
    return any(one and 100 * one[1] >= SUSPECT_PERCENT * one[0] for one in seen)


def count_lost(state: State, peer: Peer, turn: int) -> int:
    """Of DATAGRAMS in small bursts, each as large as passes, those that the peer has not got."""
    address = (str(peer.address), state.settings.port)
    size = min(int(peer.pair.get("path_mtu") or 400), 1500) - path.IP_UDP_OVERHEAD
    packet = UDP_HEADER.pack(UDP_MAGIC, UDP_COUNTED, state.settings.rank, turn, size).ljust(size, b"\0")
    sent = arrived = 0
    with socket.create_connection(address, timeout=3) as ear, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
        ear.settimeout(3)
        ear.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        rest = bytearray()

        def ask() -> int:
            send_line(ear, {"op": "counted", "rank": state.settings.rank, "turn": turn})
            return int(read_line(ear, rest).get("counted") or 0)

        def settle() -> int:
            """Wait until no more arrive: a peer that is busy reads late."""
            seen, end = ask(), time.monotonic() + PATIENCE
            while seen < sent and time.monotonic() < end:
                time.sleep(PATIENCE / 20)
                now = ask()
                if now > seen:
                    seen, end = now, time.monotonic() + PATIENCE
            return seen

        given_up = 0
        while sent < DATAGRAMS:
            for _ in range(BURST):
                try:
                    mouth.sendto(packet, address)
                except OSError:  # dropped by this host's own firewall: lost as well
                    pass
            sent += BURST
            # The question goes the same way as the burst, so that no queue on it overflows.
            arrived = ask()
            if sent - arrived - given_up > max(BURST, OUTSTANDING // len(state.peers)):
                arrived = settle()
                given_up = sent - arrived
        arrived = settle()
    return max(0, sent - arrived)


def count_segments(state: State, peer: Peer) -> tuple[int, int] | None:
    """Segments sent, and sent again, at a quarter of what the connection can do."""
    rate = min(FASTEST, PACED_SHARE * 1e6 * float(peer.pair.get("bandwidth_mb_s") or 0))
    if not rate:
        return None
    size = int(min(MOST_BYTES, max(LEAST_BYTES, rate * PACED_SECONDS)))
    counts: list[tuple[int, int] | None] = []

    def count(sock: socket.socket) -> None:
        counts.append(tcp_info.segments(sock))

    path.bulk(state, peer, bytes(size), checksum=False, timeout=5, rate=rate, after=count)
    return counts[0]
