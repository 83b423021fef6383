"""Which rank failed first, from what the containers of all ranks wrote."""

from __future__ import annotations

import re
from typing import Any

from ..module_utils.report.failures import TROUBLE
from ..module_utils.text import lines_of

DECIMALS = re.compile(r"(?:\.(\d+))?Z$")


def time_key(stamp: str) -> str:
    """RFC 3339 with a varying number of decimals, or none, made to sort as text."""
    return DECIMALS.sub(lambda match: f".{match[1] or '':0<9}Z", stamp)


def failure_of(rank: int, host: str, lines: list[tuple[str, str]], before: int, after: int) -> dict[str, Any] | None:
    for number, (stamp, text) in enumerate(lines):
        if TROUBLE.search(text):
            own = [line for _stamp, line in lines[max(0, number - before) : number + after]]
            return {"rank": rank, "host": host, "time": time_key(stamp), "log": own}
    return None


def first_failure(seen: list[dict[str, Any]], before: int = 10, after: int = 70) -> dict[str, Any]:
    """The failure that began the last incident, or an empty mapping.

    `seen` holds one entry per rank, in their order, with `item` (its host) and `stdout`: lines of "CONTAINER TIME TEXT",
    as `docker logs --timestamps` of each ended container gives them. A dead rank takes all others with it, and each of
    them once: so the last incident reaches back to the first failure after any rank had failed twice. Times are those
    of the hosts' clocks.
    """
    failures = []
    for rank, entry in enumerate(seen):
        containers: dict[str, list[tuple[str, str]]] = {}
        for line in lines_of(entry.get("stdout", "")):
            container, stamp, text = ([*line.split(" ", 2), "", ""])[:3]
            containers.setdefault(container, []).append((stamp, text))
        found = (failure_of(rank, entry["item"], lines, before, after) for lines in containers.values())
        failures += [failure for failure in found if failure]
    first: dict[str, Any] = {}
    ranks: set[int] = set()
    for failure in sorted(failures, key=lambda failure: failure["time"], reverse=True):
        if failure["rank"] in ranks:
            break
        ranks.add(failure["rank"])
        first = failure
    return first


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"first_failure": first_failure}
