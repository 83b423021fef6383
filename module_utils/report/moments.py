"""What the hosts of ranks that failed said of that moment: asked when results are collected, kept beside the logs, read by the report."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from .read import finite, parsed, shown

if TYPE_CHECKING:
    from .ends import Container

CONTAINER = re.compile(r"[0-9a-f]{12}")
AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
# Failures of one rank that are asked about: the first, and the newest.
MOST = 4
EVENTS = 12
WHY = 200
LINE = 300


def file_name(rank: int | str) -> str:
    return f"moment.node{rank}.json"


def wanted(found: list[Container]) -> list[dict[str, str]]:
    """Of one rank's containers, in the order in which they were made: which failed, and when by their host's clock, unless it is noted."""
    failed = [(one, when) for one in found if one.ended_badly and (when := one.moment) is not None]
    chosen = failed[:1] + failed[1:][-(MOST - 1) :]
    return [
        {"container": one.id, "at": datetime.fromtimestamp(when, timezone.utc).isoformat()[:19]}
        for one, when in chosen
        if not one.noted
    ]


def fields(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def events_of(value: Any) -> list[dict[str, str]]:
    """As host_events_info has them, each text short and printable."""
    return [
        {name: shown(one[name], LINE) for name in ("time", "what", "line")}
        for one in (value if isinstance(value, list) else [])[:EVENTS]
        if isinstance(one, dict) and all(isinstance(one.get(name), str) for name in ("time", "what", "line"))
    ]


def added(text: str, clock: Any, answers: Any) -> str:
    """The file with what a host answered, of `text`, which it was. `clock` is what host_clock returned, `answers` what a loop of host_events_info did.

    A host that did not answer is asked again by the next collection.
    """
    known = {name: note for name, note in fields(parsed(text)).items() if CONTAINER.fullmatch(name)}
    for answer in map(fields, answers if isinstance(answers, list) else []):
        name, at = (fields(answer.get("item")).get(key) for key in ("container", "at"))
        if (
            not CONTAINER.fullmatch(str(name))
            or not AT.fullmatch(str(at))
            or not isinstance(answer.get("events"), list)
        ):
            continue
        offset, error = finite(fields(clock).get("offset")), finite(fields(clock).get("error"))
        known[str(name)] = {
            "at": at,
            "offset": offset if error is not None else None,
            "error": error if offset is not None else None,
            "events": events_of(answer["events"]),
            "why": shown(answer.get("why") or "", WHY),
        }
    return json.dumps(known, sort_keys=True)


def note_moments(found: list[Container], text: str) -> None:
    """What the file says of each container."""
    notes = fields(parsed(text))
    for one in found:
        note = notes.get(one.id)
        if not isinstance(note, dict):
            continue
        offset, error = finite(note.get("offset")), finite(note.get("error"))
        one.noted, one.events, one.unread = True, events_of(note.get("events")), shown(note.get("why") or "", WHY)
        if offset is not None and error is not None:
            one.ahead, one.error = offset, abs(error)
