"""Layer 7: what the names of the ranks lead to."""

from __future__ import annotations

import socket
import time

from ..contract import SEARCH_DOMAIN, UNRESOLVED
from ..state import State
from ..wire import describe


def resolve(name: str) -> list[str]:
    answers = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    return sorted({str(answer[4][0]) for answer in answers})


def search_domain(name: str, addresses: list[str], path: str = "/etc/resolv.conf") -> str:
    """The search domain by which the resolver came to an address, empty where it needed none.

    One whose DNS answers to every name gives an address for a task that is not there yet and, where `ndots` is not 0,
    for one that is.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            rows = [line.split() for line in stream]
    except OSError:
        return ""
    # The last such line counts.
    domains = next((row[1:] for row in reversed(rows) if row and row[0] in ("search", "domain")), [])
    for domain in domains:
        try:
            if domain != "." and set(resolve(f"{name}.{domain.rstrip('.')}.")) & set(addresses):
                return domain
        except (OSError, UnicodeError):
            continue
    return ""


def is_local(address: str) -> bool:
    """An address that can be bound is this container's own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            return False
    return True


def check_own_name(state: State) -> None:
    """The own name must lead here, and only here: with a virtual IP, or a dead task's address, it does not."""
    began = time.monotonic()
    state.stage = "resolving names"
    name = state.settings.peers[state.settings.rank]
    addresses: list[str] = []
    problem = ""
    unresolved = False
    # A task that was replaced a moment ago leaves its address in the DNS for a few seconds.
    limit = min(state.appear_deadline, began + 10)
    while True:
        try:
            addresses = resolve(name)
            unresolved = False
            problem = "" if len(addresses) == 1 and is_local(addresses[0]) else "not only this task's address"
        except OSError as error:
            problem = f"does not resolve ({describe(error)})"
            unresolved = not addresses
        if not problem or time.monotonic() > limit:
            break
        time.sleep(0.3)
    observed = ", ".join(addresses) or problem
    domain = search_domain(name, addresses) if problem and addresses else ""
    state.report.add(
        7, "own name", not problem, f"{name}: {observed}", state.address or "this task's address", problem,
        seconds=time.monotonic() - began, code=UNRESOLVED if unresolved else SEARCH_DOMAIN if domain else None, value=domain or None,
    )  # fmt: skip
    if not problem:
        state.address = addresses[0]
        state.report.note(address=state.address)
