"""Which rank failed first, from what the containers of all ranks wrote."""

from __future__ import annotations

from itertools import compress
from typing import Any

from ..module_utils.logs import TROUBLE, matching, merged, process_of, settled, time_key
from ..module_utils.text import lines_of


def failure_of(rank: int, host: str, streams: list[list[str]], before: int, after: int) -> dict[str, Any] | None:
    """The first failure in the log of one container, told by the lines of the process that wrote it, and those of no process."""
    rows = list(merged(*streams))
    for number, (stamp, line) in enumerate(rows):
        trouble = matching(TROUBLE, line)
        if trouble:
            process = process_of(trouble[0])
            texts = [text for _stamp, text in rows]
            texts[number] = trouble[0]
            own = [process in ("", process_of(text)) or not process_of(text) for text in texts]
            earlier = list(settled(compress(texts[:number], own)))
            later = list(settled(compress(texts[number:], own[number:])))
            log = [*earlier[max(0, len(earlier) - before) :], *later[:after]]
            return {"rank": rank, "host": host, "process": process, "time": time_key(stamp), "log": log}
    return None


def first_failure(seen: list[dict[str, Any]], before: int = 10, after: int = 70) -> dict[str, Any]:
    """The failure that began the last incident, or an empty mapping.

    `seen` holds one entry per rank, in their order, with `item` (its host), `stdout` and `stderr`: lines of "CONTAINER TIME TEXT", as
    `docker logs --timestamps` of each ended container gives them on these. A dead rank takes all others with it, and each of
    them once: so the last incident reaches back to the first failure after any rank had failed twice. Times are those
    of the hosts' clocks.
    """
    failures = []
    for rank, entry in enumerate(seen):
        logs: dict[str, list[list[str]]] = {}
        for number, stream in enumerate(("stdout", "stderr")):
            for line in lines_of(entry.get(stream) or ""):
                container, _space, text = line.partition(" ")
                logs.setdefault(container, [[], []])[number].append(text)
        found = (failure_of(rank, entry["item"], streams, before, after) for streams in logs.values())
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
