"""What the error of a swarm's task means: a code for each kind. Whoever shows it has his own words. Standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass

IMAGE = "image"
NO_ADDRESS = "no address"
UNPLACED = "unplaced"
UNHEALTHY = "unhealthy"
MEMORY = "memory"
BIND = "bind"
RUNTIME = "runtime"
PORT = "port"
NETWORK = "network"
COMMAND = "command"
SEGFAULT = "segfault"
ABORTED = "aborted"
TERMINATED = "terminated"
LOST = "lost"
# Why no node was suitable; swarm gives several reasons at once.
CONSTRAINTS = "constraints"
RESOURCES = "resources"
HOST_PORT = "host port"
UNAVAILABLE = "unavailable"
REPLICAS = "replicas"


@dataclass(frozen=True)
class Signs:
    kind: str
    words: str
    exit_codes: tuple[int, ...] = ()
    states: tuple[str, ...] = ()


# The first that fits counts.
TASK = (
    Signs(IMAGE, "no such image|pull access denied|manifest unknown|not found: manifest"),
    # As swarm says that a network has no address left.
    Signs(
        NO_ADDRESS,
        "ip addresses may be exhausted|no available ip|could not find an available ip|no available addresses",
    ),
    Signs(UNPLACED, "no suitable node"),
    Signs(UNHEALTHY, "unhealthy"),
    Signs(MEMORY, r"\boom|out of memory", (137,)),
    Signs(BIND, "bind source path does not exist"),
    Signs(RUNTIME, "unknown runtime|invalid runtime"),
    Signs(PORT, "port is already allocated|address already in use"),
    Signs(NETWORK, "(?s)network.*(?:not found|sandbox join failed)|(?:not found|sandbox join failed).*network"),
    Signs(COMMAND, "executable file not found", (126, 127)),
    Signs(SEGFAULT, "", (139,)),
    Signs(ABORTED, "", (134,)),
    Signs(TERMINATED, "", (143,)),
    Signs(LOST, "heartbeat failure|node is down", (), ("orphaned",)),
)
PLACE = (
    Signs(CONSTRAINTS, "constraints not satisfied"),
    Signs(RESOURCES, "insufficient resources"),
    Signs(HOST_PORT, "host-mode port already in use"),
    Signs(UNAVAILABLE, "nodes are not available|not available for new tasks"),
    Signs(REPLICAS, "max replicas per node"),
)


def kind_of(error: str, exit_code: int | None = None, state: str = "") -> str:
    """The code of a task's error; empty for one that is not known."""
    return next(
        (one.kind for one in TASK if _fits(one, error) or exit_code in one.exit_codes or state in one.states), ""
    )


def why_unplaced(error: str) -> list[str]:
    """Of an error of the kind UNPLACED the codes of the reasons that swarm gives."""
    return [one.kind for one in PLACE if _fits(one, error)]


def _fits(signs: Signs, error: str) -> bool:
    return bool(signs.words) and re.search(signs.words, error, re.IGNORECASE) is not None
