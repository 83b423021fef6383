"""Which rank failed first, from what the containers of all ranks wrote."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import compress
from typing import Any

from ..module_utils.diagnose.verdict import CONSEQUENCE
from ..module_utils.logs import TROUBLE, matching, merged, moment_of, process_of, settled, time_key
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


def clock_of(clocks: Mapping[str, Any], host: str) -> tuple[float, float]:
    """By how many seconds a host's clock is ahead, and how far that may be wrong; nothing where nobody measured it."""
    said = clocks.get(host)
    offset, error = (said.get("offset"), said.get("error")) if isinstance(said, Mapping) else (None, None)
    if not isinstance(offset, (int, float)) or not isinstance(error, (int, float)):
        return 0.0, 0.0
    return float(offset), float(error)


def first_failure(
    seen: list[dict[str, Any]], before: int = 10, after: int = 70, clocks: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The failure that began the last incident, or an empty mapping.

    `seen` holds one entry per rank, in their order, with `item` (its host), `stdout` and `stderr`: lines of "CONTAINER TIME TEXT", as
    `docker logs --timestamps` of each ended container gives them on these. A dead rank takes all others with it, and each of
    them once: so the last incident reaches back to the first failure after any rank had failed twice.

    `clocks` has by host what host_clock measured, which is taken off. Of the result, `time` is by the host's own clock and `at` by the
    controller's; `ahead` is the difference in seconds; `beside` are ranks that failed within `within` seconds of it, which is what the clocks
    may be wrong by. Among these the first is one that does not tell that it has lost another.
    """
    failures = []
    for rank, entry in enumerate(seen):
        logs: dict[str, list[list[str]]] = {}
        for number, stream in enumerate(("stdout", "stderr")):
            for line in lines_of(entry.get(stream) or ""):
                container, _space, text = line.partition(" ")
                logs.setdefault(container, [[], []])[number].append(text)
        found = (failure_of(rank, entry["item"], streams, before, after) for streams in logs.values())
        ahead, error = clock_of(clocks or {}, entry["item"])
        failures += [
            {**failure, "ahead": ahead, "error": error, "moment": moment_of(failure["time"]) - ahead}
            for failure in found
            if failure
        ]
    incident: list[dict[str, Any]] = []
    for failure in sorted(failures, key=lambda failure: (failure["moment"], failure["time"]), reverse=True):
        if failure["rank"] in [one["rank"] for one in incident]:
            break
        incident.insert(0, failure)
    return told(incident) if incident else {}


def told(incident: list[dict[str, Any]]) -> dict[str, Any]:
    """The first of an incident's failures, which are in the order of time."""
    earliest = incident[0]
    close = [one for one in incident if one is earliest or one["moment"] - earliest["moment"] < wrong(one, earliest)]
    first = next((one for one in close if not is_consequence(one)), earliest)
    at = datetime.fromtimestamp(first["moment"], UTC).isoformat(timespec="milliseconds")[:23]
    beside = [one["rank"] for one in close if one is not first]
    within = max((wrong(one, first) for one in close if one is not first), default=0.0)
    shown = {name: first[name] for name in ("rank", "host", "process", "time", "log", "ahead")}
    return {**shown, "at": at, "beside": beside, "within": round(within, 3)}


def wrong(one: dict[str, Any], other: dict[str, Any]) -> float:
    """How far the time between them may be wrong: of one host it is not."""
    return 0.0 if one["host"] == other["host"] else float(one["error"] + other["error"])


def is_consequence(failure: dict[str, Any]) -> bool:
    return any(CONSEQUENCE.search(line) for line in failure["log"])


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"first_failure": first_failure}
