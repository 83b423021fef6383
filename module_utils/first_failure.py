"""Which rank failed first, and of what, told from the lines that `docker logs` has of all ranks. Of collected logs, report/ends.py tells it.

Standard library only, Python 3.9 or newer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from itertools import compress
from typing import Any

from .diagnose.verdict import CONSEQUENCE
from .logs import TROUBLE, error_of, matching, moment_of, process_of, settled, time_key

# How much of a container's log is read for its failure.
FAILURE_LINES = 400
BEFORE, AFTER = 10, 70


def failure_of(
    rank: int, host: str, rows: list[tuple[str, str]], before: int = BEFORE, after: int = AFTER
) -> dict[str, Any] | None:
    """The first failure in the log of one container, told by the lines of the process that wrote it, and those of no process.

    `says` is the line of its error, or the one by which it is known.
    """
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
            says = next(filter(None, map(error_of, later)), later[0].strip())
            return {"rank": rank, "host": host, "process": process, "time": time_key(stamp), "log": log, "says": says}
    return None


def restarts(attempts: Iterable[int]) -> int:
    """How often a job was started again, of the number of attempts of each rank: one dead rank takes all others with it."""
    return max((number - 1 for number in attempts if number), default=0)


def clock_of(clocks: Mapping[str, Any], host: str) -> tuple[float, float]:
    """By how many seconds a host's clock is ahead, and how far that may be wrong; nothing where nobody measured it."""
    said = clocks.get(host)
    offset, error = (said.get("offset"), said.get("error")) if isinstance(said, Mapping) else (None, None)
    if not isinstance(offset, (int, float)) or not isinstance(error, (int, float)):
        return 0.0, 0.0
    return float(offset), float(error)


def first_of(failures: list[dict[str, Any]], clocks: Mapping[str, Any]) -> dict[str, Any]:
    """The one of them that began the last incident, or an empty mapping.

    A dead rank takes all others with it, and each of them once: so the last incident reaches back to the first failure after any rank had
    failed twice.

    `clocks` has by host what host_clock measured, which is taken off. Of the result, `time` is by the host's own clock and `at` by the
    controller's; `ahead` is the difference in seconds; `beside` are ranks that failed within `within` seconds of it, which is what the clocks
    may be wrong by. Among these the first is one that does not tell that it has lost another.
    """
    timed = []
    for failure in failures:
        ahead, error = clock_of(clocks, failure["host"])
        timed.append({**failure, "ahead": ahead, "error": error, "moment": moment_of(failure["time"]) - ahead})
    incident: list[dict[str, Any]] = []
    for failure in sorted(timed, key=lambda failure: (failure["moment"], failure["time"]), reverse=True):
        if failure["rank"] in [one["rank"] for one in incident]:
            break
        incident.insert(0, failure)
    return told(incident) if incident else {}


def told(incident: list[dict[str, Any]]) -> dict[str, Any]:
    """The first of an incident's failures, which are in the order of time."""
    earliest = incident[0]
    close = [one for one in incident if one is earliest or one["moment"] - earliest["moment"] < wrong(one, earliest)]
    first = next((one for one in close if not is_consequence(one)), earliest)
    at = datetime.fromtimestamp(first["moment"], timezone.utc).isoformat(timespec="milliseconds")[:23]
    beside = [one["rank"] for one in close if one is not first]
    within = max((wrong(one, first) for one in close if one is not first), default=0.0)
    shown = {name: first[name] for name in ("rank", "host", "process", "time", "log", "says", "ahead")}
    return {**shown, "at": at, "beside": beside, "within": round(within, 3)}


def wrong(one: dict[str, Any], other: dict[str, Any]) -> float:
    """How far the time between them may be wrong: of one host it is not."""
    return 0.0 if one["host"] == other["host"] else float(one["error"] + other["error"])


def is_consequence(failure: dict[str, Any]) -> bool:
    return any(CONSEQUENCE.search(line) for line in failure["log"])
