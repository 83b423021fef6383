"""How containers ended, as far as their collected logs tell, and which rank's end began it.

Of containers that an engine still has, first_failure.py tells it, by the lines of their logs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from ..diagnose.verdict import LOST_ANOTHER
from ..logs import TROUBLE, error_of
from .logs import stamp
from .moments import file_name, note_moments
from .read import Part, Reader, moment, shown

TERMINATED = 128 + 15  # by SIGTERM
LOG = re.compile(r"(?:.*/)?node([0-9]{1,4})\.([0-9]{8})T?([0-9]{0,6})\.([0-9a-f]{12})\.log")
EXIT = re.compile(r"^(?:[EWI](\d\d)(\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?)?.{0,400}failed \(exitcode: (-?\d{1,4})\)")
CAUSE = "Root Cause (first observed failure)"
FIELD = re.compile(r"^\s{1,20}(time|exitcode|traceback)\s{1,20}: (.{1,400})")
TAIL = 128 << 10
NOTES = 1 << 20
CONTAINERS = 400
# Seconds between the end of a rank that left no last word and that of the first that lost it.
NEAR = 120


@dataclass
class Container:
    """One attempt of a rank: when its container was made, and whether and how it failed. Times in seconds since 1970, UTC."""

    rank: int
    id: str
    begun: float
    failed: bool = False
    stopped: bool = False
    time: float | None = None
    # Whether `time` is when torchrun saw the failure, not when the container began.
    exact: bool = False
    exit_code: int | None = None
    says: str = ""
    consequence: bool = False
    last: float | None = None
    # As its engine said: with 0, and when. Both are unknown while it runs.
    finished: bool = False
    ended: float | None = None
    # What its host said of that moment (moments.py): whether it was asked, by how many seconds its clock is ahead, None of `error` if nobody
    # measured it, and why its journal could not be read.
    noted: bool = False
    ahead: float = 0.0
    error: float | None = None
    events: list[dict[str, str]] = field(default_factory=list)
    unread: str = ""

    @property
    def ended_badly(self) -> bool:
        return self.failed or (self.exit_code not in (None, 0, TERMINATED) and not self.stopped)

    @property
    def moment(self) -> float | None:
        """When it ended, by its host's clock."""
        return self.time if self.exact else self.ended or self.last or self.time

    @property
    def at(self) -> float:
        """The same with what that clock is ahead taken off."""
        when = self.time if self.failed else self.moment
        return when - self.ahead if when else 0.0


def containers(reader: Reader, folder: str, rank: int | None = None) -> list[Container]:
    """Each container of a run, or of one rank of it, by its log, in the order in which they were made."""
    found = []
    who = "*" if rank is None else str(rank)
    for part in reader.parts(f"{folder}node{who}.*.log", TAIL, CONTAINERS):
        container = judged(part)
        if container:
            found.append(container)
    for file, note in ((f"ended.node{who}.json", note_ends), (file_name(who), note_moments)):
        for part in reader.parts(f"{folder}{file}", NOTES, CONTAINERS):
            note(found, "".join(part.lines))
    return sorted(found, key=lambda one: (one.begun, one.rank))


def note_ends(found: list[Container], text: str) -> None:
    """What collect.yml has noted of the containers' ends (training_artifacts)."""
    try:
        told = json.loads(text)
        ends = {str(key): (int(value["exit_code"]), stamp(str(value["finished"]))) for key, value in told.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return
    for one in found:
        code, when = ends.get(one.id, (None, None))
        if code is None:
            continue
        one.finished, one.ended = code == 0 and not one.failed, when
        one.stopped = one.stopped or (code == TERMINATED and not one.failed)
        if one.exit_code is None:
            one.exit_code = code


def judged(part: Part) -> Container | None:
    name = LOG.fullmatch(part.name)
    if not name:
        return None
    try:
        day = datetime.strptime(name[2] + name[3].ljust(6, "0"), "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    found = Container(int(name[1]), name[4], day.timestamp())
    errors: list[str] = []
    cause: dict[str, str] = {}
    left = 0
    for line in part.lines:
        found.last = stamp(line) or found.last
        found.failed = found.failed or TROUBLE.search(line[:4096]) is not None
        if CAUSE in line[:4096]:
            left = 9
        entry = FIELD.match(line[:600]) if left else None
        left = max(0, left - 1)
        if entry:
            cause.setdefault(entry[1], entry[2])
        error = error_of(line)
        if error:
            errors.append(error)
        ended = EXIT.match(line[:600]) if found.exit_code is None else None
        if ended:
            found.exit_code = int(ended[5])
            if ended[1]:
                found.time = glog(day, ended)
    if cause.get("exitcode") and found.exit_code is None:
        digits = re.match(r"-?\d{1,4}\b", cause["exitcode"])
        found.exit_code = int(digits[0]) if digits else None
    if found.time is None:
        found.time = stamp(cause.get("time", ""))
    found.exact = found.time is not None
    found.time = found.time or found.begun
    trace = cause.get("traceback", "")
    found.says = shown(errors[0] if errors else trace if trace.startswith("Signal") else "", 240)
    # Torchrun's own, when swarm asks it to end.
    found.stopped = any("SignalException" in error for error in errors)
    found.failed = found.failed and not found.stopped
    found.consequence = found.exit_code == -15 or LOST_ANOTHER.search(found.says) is not None
    return found


def glog(day: datetime, match: re.Match[str]) -> float | None:
    """The time before a line of torchrun's, which has no year."""
    for year in (day.year, day.year + 1):
        try:
            when = datetime.fromisoformat(f"{year}-{match[1]}-{match[2]}T{match[3]}").replace(tzinfo=timezone.utc)
        except ValueError:
            continue
        if when.timestamp() >= day.timestamp() - 86400:
            return moment(when.timestamp() + float(f"0.{match[4] or 0}"))
    return None


@dataclass
class Incident:
    """Failures that belong together, the one that began it first. Ranks that are `silent` left no last word."""

    failures: list[Container]
    # None where all of them only lost another rank.
    first: Container | None
    silent: list[int]
    # Those whose hosts were asked about the moment: the first, or the silent ones.
    witnesses: list[Container]
    # How often it happened, one after the other.
    times: int = 1

    @property
    def likeness(self) -> list[tuple[int, int | None, str]]:
        """What is the same when it happens again."""
        return [(one.rank, one.exit_code, one.says) for one in self.failures]

    @property
    def compared(self) -> bool:
        """Whether what the hosts' clocks differ by is known."""
        return all(one.error is not None for one in self.failures)

    @property
    def beside(self) -> list[Container]:
        """Whose failure may have been the first as well, as far as the clocks can tell."""
        first = self.first
        others = [one for one in self.failures if one is not first and one.consequence == (first and first.consequence)]
        return [one for one in others if first and abs(one.at - first.at) < (one.error or 0.0) + (first.error or 0.0)]


def incidents(found: list[Container], ranks: Iterable[int]) -> list[Incident]:
    """A rank fails once in each. `ranks` are those of the job."""
    groups: list[list[Container]] = []
    for one in sorted((one for one in found if one.failed), key=lambda one: (one.at, one.rank)):
        if not groups or any(one.rank == other.rank for other in groups[-1]):
            groups.append([])
        groups[-1].append(one)
    result = []
    for group in groups:
        group.sort(key=lambda one: (one.consequence, one.at, one.rank))
        silent = sorted(set(ranks) - {one.rank for one in group})
        first = group[0] if not group[0].consequence or not silent else None
        lost = [] if first else silent
        near = [one for one in found if one.rank in lost and one.ended_badly and abs(one.at - group[0].at) < NEAR]
        witnesses = [one for one in ([first] if first else near) if one.noted]
        result.append(Incident(group, first, lost, witnesses))
    return result


def folded(found: list[Incident]) -> list[Incident]:
    """Of those that are alike, one after the other, the newest, and how many they are."""
    kept: list[Incident] = []
    for one in found:
        if kept and kept[-1].likeness == one.likeness:
            one.times = kept.pop().times + 1
        kept.append(one)
    return kept
