"""What a log gives where a script writes no metrics: its lines over time, and the numbers in lines that look like key: value."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone

from ..text import printable
from .metrics import Series, kind
from .read import Part, Reader, moment

# A number after a colon or an equals sign, which is no part of a time of day, a version or a path.
VALUE = re.compile(
    r"[:=][ \t]{0,4}([-+]?(?:\d{1,18}(?:\.\d{0,24})?|\.\d{1,24})(?:[eE][-+]?\d{1,3})?|[nN]a[nN]|-?[iI]nf(?:inity)?)(?![.:/-]?[\w:/])"
)
# "Loss 6.59e+00 (6.95e+00)", "step 80 of 600: loss 1.0485": what has no colon.
LOSS = re.compile(r"\bloss[ \t]{1,4}\(?([-+]?\d{1,18}(?:\.\d{1,24})?(?:[eE][-+]?\d{1,3})?)(?![\w.])", re.IGNORECASE)
# "torch/api.py:1002": the place of a line in a file is no measure of anything.
SOURCE = re.compile(r"\.(?:py|pyx|c|cc|cpp|cu|h|hpp|go|rs)$")
# What names a process or its end, and measures nothing.
NAMES = frozenset(["pid", "local_rank", "world_size", "exitcode"])
SEPARATORS = re.compile(r"[|,;(){}\[\]<>\t]")
KEY = re.compile(r"[A-Za-z_][\w./%+-]*(?: [A-Za-z_][\w./%+-]*){0,2}$")
STAMP = re.compile(r"[\[(]?(\d{4}-\d\d-\d\d)[T _](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(?:Z|[+-]00:?00)?")
WIDTH = 2000
PER_LINE = 24
MOST = 40
BINS = 60
# Numbers that are kept of one log.
POINTS = 200_000


@dataclass
class Log:
    """Of one rank's log: how many lines there are, their numbers as curves, and when lines came, where they begin with a time (UTC)."""

    rank: int
    size: int
    lines: int = 0
    skipped: int = 0
    series: dict[str, Series] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)


def stamp(line: str) -> float | None:
    """The time that a line begins with, in seconds since 1970; a time without a zone is taken for UTC."""
    found = STAMP.match(line)
    if not found:
        return None
    try:
        day = datetime.fromisoformat(f"{found[1]}T{found[2]}").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return moment(day.timestamp() + float(f"0.{found[3] or 0}"))


def numbers(line: str) -> list[tuple[str, float]]:
    """What a line says in the form key: value or key=value, as in `epoch 3 | loss: 0.5 | samples/s: 200` or `{'loss': 0.5}`, and `loss 0.5`."""
    found: list[tuple[str, float]] = []
    end = 0
    line = line[:WIDTH].replace('"', "").replace("'", "")
    for match in VALUE.finditer(line):
        before = SEPARATORS.split(line[end : match.start()])[-1][-60:].strip()
        key = KEY.search(before)
        end = match.end()
        if key and len(found) < PER_LINE and not SOURCE.search(before) and key[0].split()[-1].lower() not in NAMES:
            found.append((key[0].strip()[:40], float(match[1])))
    loss = LOSS.search(line)
    if loss and not any("loss" in name.lower() for name, _value in found):
        found.append(("loss", float(loss[1])))
    return found


def read_log(part: Part, rank: int, reader: Reader, tail: int = 60, curves: bool = True) -> Log:
    """Without `curves` the numbers in it are passed over."""
    log = Log(rank, part.size, len(part.lines), part.skipped)
    left = POINTS if curves else 0
    for index, line in enumerate(part.lines):
        when = stamp(line)
        if when is not None:
            log.times.append(when)
        for key, value in numbers(line) if left else ():
            if key not in log.series and len(log.series) == MOST:
                continue
            if not left:
                reader.note(f"{part.name} has more than {POINTS:,} numbers; those that follow are not drawn.")
                break
            left -= 1
            log.series.setdefault(key, Series(f"{key}, rank {rank}")).add("line", index + 1, value)
    log.tail = [printable(line[:WIDTH]).replace("\n", " ")[:400] for line in (part.lines[-tail:] if tail else [])]
    return log


def charts(logs: list[Log], most: int = 6) -> dict[str, list[Series]]:
    """By chart the curves of the numbers in logs. One that never changes, or has one point, says nothing."""
    found: dict[str, list[Series]] = {}
    for log in logs:
        for key, series in log.series.items():
            values = {y for _x, y in series.points if y is not None}
            if (len(values) > 1 and series.count > 1) or series.lost:
                found.setdefault(kind(key), []).append(series)
    first = ["Loss", "Accuracy", "Learning rate", "Throughput"]
    names = [n for n in first if n in found]
    names += sorted((n for n in found if n not in first), key=lambda n: (-sum(s.count for s in found[n]), n))
    return {name: found[name] for name in names[:most]}


def rates(logs: list[Log], ranks: int = 8) -> list[Series]:
    """Lines in each stretch of time, for each rank whose lines begin with a time; x in seconds since the first of all."""
    every = [when for log in logs for when in log.times]
    if len(every) < 2 or max(every) <= min(every):
        return []
    begin, width = min(every), (max(every) - min(every)) / BINS
    found = []
    for log in [log for log in logs if log.times][:ranks]:
        bins = [0] * BINS
        for when in log.times:
            bins[min(BINS - 1, math.floor((when - begin) / width))] += 1
        points = [((place + 0.5) * width, float(count)) for place, count in enumerate(bins)]
        found.append(Series(f"rank {log.rank}", list(points), axis="seconds"))
    return found
