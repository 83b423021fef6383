"""Layers 7 and 8: the way to each of the other ranks."""

from __future__ import annotations

import ipaddress
import socket
import time

from ..contract import NO_GREETING, OTHER_RANK, OUTSIDE_SUBNET, REFUSED, SEARCH_DOMAIN
from ..listener import Listener
from ..state import Peer, State
from ..wire import UDP_HEADER, UDP_HELLO, UDP_MAGIC, describe, read_line, send_line
from . import names, path


def start_listener(state: State) -> None:
    try:
        state.listener = Listener(state.settings, state.address or "0.0.0.0", state.shown)
    except OSError as error:
        state.report.add(
            8, "listener", False, f"port {state.settings.port}: {describe(error)}", "a free port for the probe"
        )


def check_peer(state: State, peer: Peer) -> None:
    """Layers 7 to 9 towards one rank, with patience for a container that still starts."""
    began = time.monotonic()
    seen: list[str] = []
    problem = ""
    code = None
    while time.monotonic() < state.appear_deadline or not (seen or problem):
        try:
            seen = names.resolve(peer.name)
            problem, code = judged(state, seen)
            if not problem:
                break
        except OSError as error:
            problem, code = f"does not resolve ({describe(error)})", None
        time.sleep(0.3)
    domain = names.search_domain(peer.name, seen) if problem and seen else ""
    state.report.add(
        7, "peer name", not problem, f"{peer.name}: {', '.join(seen) or problem}",
        "one address of the overlay", problem, peer.rank, time.monotonic() - began, SEARCH_DOMAIN if domain else code,
        domain or None,
    )  # fmt: skip
    if problem:
        return
    peer.address = seen[0]
    reach(state, peer)
    if peer.reached:
        path.check_size(state, peer)


def judged(state: State, seen: list[str]) -> tuple[str, str | None]:
    """What is wrong with the addresses of a name. A task that is not there yet can have somebody else's for a while."""
    if len(seen) != 1:
        return f"{len(seen)} addresses", None
    if state.settings.subnet and ipaddress.IPv4Address(seen[0]) not in state.settings.subnet:
        return f"not in {state.settings.subnet}", OUTSIDE_SUBNET
    return "", None


def reach(state: State, peer: Peer) -> None:
    began = time.monotonic()
    said = ""
    code = None
    connected = False
    address = str(peer.address)
    while True:
        say_hello(state, peer)
        connected = False
        try:
            with socket.create_connection((address, state.settings.port), timeout=2) as sock:
                connected = True
                sock.settimeout(3)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                said, code = greet(state, sock, peer)
        except (OSError, ValueError) as error:
            said, code = describe(error), REFUSED if isinstance(error, ConnectionRefusedError) else None
            if connected:
                said, code = f"connected, no answer ({said})", NO_GREETING
        if peer.reached or time.monotonic() > state.appear_deadline:
            break
        time.sleep(0.2)
        try:
            # A task that is replaced comes back under another address.
            address = names.resolve(peer.name)[0]
            peer.address = address
        except OSError:
            pass
    state.report.add(
        8, "tcp", peer.reached, said, "an answer within 2 s", f"{peer.name} at {address}",
        peer.rank, time.monotonic() - began, code,
    )  # fmt: skip


def say_hello(state: State, peer: Peer) -> None:
    """A datagram needs no way back: what arrives tells which of the two directions is closed."""
    if state.listener is None:
        return
    try:
        packet = UDP_HEADER.pack(UDP_MAGIC, UDP_HELLO, state.settings.rank, 0, UDP_HEADER.size)
        state.listener.udp.sendto(packet, (str(peer.address), state.settings.port))
    except OSError:
        pass


def greet(state: State, sock: socket.socket, peer: Peer) -> tuple[str, str | None]:
    """What came of it: words, and a code if the peer was not reached."""
    rest = bytearray()
    best = None
    for _ in range(12):
        sent, sent_clock = time.monotonic(), time.time()
        send_line(sock, {"op": "hello", "rank": state.settings.rank})
        answer = read_line(sock, rest)
        trip = time.monotonic() - sent
        if answer.get("rank") != peer.rank:
            return f"rank {answer.get('rank')} answers under the name {peer.name}", OTHER_RANK
        stamp = answer.get("time")
        if not isinstance(stamp, (int, float)):
            raise ValueError("an answer without its time")  # noqa: TRY004 - callers know one kind of bad talk
        peer.hello = answer
        if best is None or trip < best:
            best = trip
            # The answer was stamped somewhere within the round trip, so the error is at most half of the trip.
            offset = stamp - (sent_clock + trip / 2)
            peer.clock = {"offset_s": round(offset, 6), "round_trip_s": round(trip, 6)}
    peer.pair["latency_us"] = round((best or 0) * 1e6 / 2, 1)
    peer.reached = True
    return f"round trip {(best or 0) * 1e6:.0f} us", None
