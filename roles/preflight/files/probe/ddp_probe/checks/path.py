"""Layer 9: what size of packet passes, and whether a mebibyte does."""

from __future__ import annotations

import hashlib
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from .. import tcp_info
from ..sizes import MEBIBYTE
from ..state import Peer, State
from ..wire import UDP_ACK, UDP_HEADER, UDP_MAGIC, UDP_SIZED, describe, read_line, send_line

IP_UDP_OVERHEAD = 28


def check_size(state: State, peer: Peer) -> None:
    began = time.monotonic()
    largest = path_mtu(state, peer)
    payload = os.urandom(MEBIBYTE)
    expected = hashlib.sha256(payload).hexdigest()
    problem = ""
    seconds = 0.0
    for _ in range(2):  # one slow moment is not a fault
        try:
            seconds, answer = bulk(state, peer, payload, checksum=True, timeout=6)
            problem = "" if answer.get("sha256") == expected else "the data arrived changed"
        except (OSError, ValueError) as error:
            problem = f"1 MiB did not pass ({describe(error)})"
        if not problem:
            break
    peer.bulk_ok = not problem
    if largest is not None:
        peer.pair["path_mtu"] = largest
    if not problem:
        peer.pair["bandwidth_mb_s"] = round(MEBIBYTE / max(seconds, 1e-6) / 1e6, 1)
    observed = problem or f"1 MiB in {seconds * 1000:.0f} ms"
    detail = "no datagram size could be measured"
    if largest is not None:
        detail = f"largest packet that passes: {largest} B of an interface with {state.mtu} B"
    state.report.add(
        9, "path mtu", not problem, observed, "1 MiB with its checksum", detail,
        peer.rank, time.monotonic() - began,
    )  # fmt: skip


def bulk(
    state: State,
    peer: Peer,
    payload: bytes,
    checksum: bool,
    timeout: float,
    rate: float = 0,
    after: Callable[[socket.socket], None] | None = None,
) -> tuple[float, dict[str, Any]]:
    """Seconds and the peer's answer. `rate`: no faster than so many bytes per second; `after`: a last look at the connection."""
    with socket.create_connection((str(peer.address), state.settings.port), timeout=3) as sock:
        sock.settimeout(timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if rate:
            tcp_info.pace(sock, rate)
        request = {"op": "bulk", "rank": state.settings.rank, "size": len(payload), "checksum": checksum}
        began = time.monotonic()
        send_line(sock, request)
        sock.sendall(payload)
        answer = read_line(sock, bytearray())
        seconds = time.monotonic() - began
        if after:
            after(sock)
        return seconds, answer


def path_mtu(state: State, peer: Peer) -> int | None:
    """The largest IP packet that reaches the peer, by unfragmentable datagrams of many sizes at once."""
    top = min(state.mtu or 1500, 9216)
    floor = min(400, top)
    found = sized_burst(state, peer, 1, sorted({floor, top}))
    if not found:
        return None
    if top in found:
        return top
    step = max(16, (top - floor) // 40)
    found |= sized_burst(state, peer, 2, list(range(floor, top, step)))
    low = max(found)
    found |= sized_burst(state, peer, 3, list(range(low, min(low + step + 1, top))))
    return max(found)


def sized_burst(state: State, peer: Peer, turn: int, sizes: list[int]) -> set[int]:
    """Send a datagram for each IP packet size, three times over; return the sizes that were acknowledged."""
    ip_mtu_discover, ip_pmtudisc_probe = 10, 3
    heard: set[int] = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, ip_mtu_discover, ip_pmtudisc_probe)
        sock.setblocking(False)
        for _ in range(3):
            for size in sizes:
                if size in heard:
                    continue
                body = size - IP_UDP_OVERHEAD
                packet = UDP_HEADER.pack(UDP_MAGIC, UDP_SIZED, state.settings.rank, turn, body).ljust(body, b"\0")
                try:
                    sock.sendto(packet, (str(peer.address), state.settings.port))
                except OSError:
                    continue
            end = time.monotonic() + 0.4
            while len(heard) < len(sizes) and time.monotonic() < end:
                ready, _, _ = select.select([sock], [], [], max(0.0, end - time.monotonic()))
                if not ready:
                    break
                try:
                    magic, kind, _, got, size = UDP_HEADER.unpack_from(sock.recv(64))
                except (OSError, struct.error):
                    continue
                if magic == UDP_MAGIC and kind == UDP_ACK and got == turn:
                    heard.add(size + IP_UDP_OVERHEAD)
            if len(heard) == len(sizes):
                break
    return heard
