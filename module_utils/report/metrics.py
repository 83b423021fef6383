"""Metrics: one JSON object on each line, of one rank in each file, as curves."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from .read import Part, Reader, moment, number, parsed, shown, whole

RANKS = 1024
# What says where and when, and is no curve.
PLACES = {"time", "rank", "world_size", "restarts", "epoch", "step", "global_step", "pid", "local_rank"}
KEYS = 24
# Of all ranks of a run.
VALUES = 2_000_000
STEPS = 1 << 53
FILE_OF_RANK = re.compile(r"(?:.*/)?metrics(?:-rank([0-9]{1,4}))?\.jsonl")
Points = list[tuple[float, "float | None"]]


@dataclass
class Record:
    """One line. `values` are the numbers in it by their names, not all of them finite."""

    event: str
    rank: int
    time: float | None
    step: int | None
    epoch: int | None
    host: str
    values: dict[str, float]

    def place(self, index: int) -> tuple[str, float]:
        """Where it is on the x axis, and what that counts."""
        if self.step is not None:
            return "step", self.step
        return ("epoch", self.epoch) if self.epoch is not None else ("line", index)


@dataclass
class Series:
    """One curve. A `y` of None breaks it: there a rank went back to its snapshot."""

    label: str
    points: Points = field(default_factory=list)
    # Values that no curve can show, and where the first of them is.
    lost: int = 0
    first_lost: float = 0.0
    axis: str = "step"

    @property
    def count(self) -> int:
        return sum(y is not None for _x, y in self.points)

    @property
    def last(self) -> float | None:
        return next((y for _x, y in reversed(self.points) if y is not None), None)

    def add(self, axis: str, x: float, y: float) -> None:
        self.axis = axis
        if not math.isfinite(y):
            self.first_lost = self.first_lost if self.lost else x
            self.lost += 1
            return
        if self.points and x < self.points[-1][0]:
            self.points.append((x, None))
        self.points.append((x, y))


def read_metrics(reader: Reader, prefix: str = "") -> dict[int, list[Record]]:
    """By rank the records of a run, whose files lie right below the prefix."""
    found: dict[int, list[Record]] = {}
    torn: list[str] = []
    left = VALUES
    # Rank 0 first, should there be more than a page takes.
    for part in [*reader.parts(f"{prefix}metrics.jsonl"), *reader.parts(f"{prefix}metrics-*.jsonl")]:
        name = FILE_OF_RANK.fullmatch(part.name)
        if not name or int(name[1] or 0) >= RANKS:
            reader.note(f"{part.name} is not the name of a rank's metrics.")
            continue
        rank = int(name[1] or 0)
        records = records_of(part, rank, reader, torn)
        kept = []
        for entry in records:
            left -= len(entry.values)
            if left < 0:
                reader.note(f"The metrics have more than {VALUES:,} values; from {part.name} on they are not read.")
                break
            kept.append(entry)
        if kept:
            found[rank] = kept
        if left < 0:
            break
    if torn:
        others = f" and of {len(torn) - 1} more" if len(torn) > 1 else ""
        reader.note(f"The last line of {torn[0]}{others} is half written.")
    return dict(sorted(found.items()))


def records_of(part: Part, rank: int, reader: Reader, torn: list[str]) -> list[Record]:
    found, bad = [], 0
    for index, line in enumerate(part.lines):
        value = parsed(line) if line.strip() else {}
        if isinstance(value, dict):
            if value:
                found.append(record(value, rank))
        elif index == len(part.lines) - 1 and part.torn:
            torn.append(part.name)
        else:
            bad += 1
    if bad:
        reader.note(f"{part.name} has {bad:,} line{'s' if bad > 1 else ''} that are no JSON objects.")
    return found


def record(value: dict[str, object], rank: int) -> Record:
    numbers: dict[str, float] = {}
    for key, item in value.items():
        if key in PLACES or len(numbers) == KEYS:
            continue
        found = number(item)
        if found is not None:
            numbers[shown(key, 40)] = found
    step = whole(value.get("step", value.get("global_step")), STEPS)
    epoch = whole(value.get("epoch"), STEPS)
    host = value.get("host")
    event = value.get("event")
    return Record(
        shown(event, 40) if isinstance(event, str) else "",
        rank,
        moment(value.get("time")),
        step,
        epoch,
        shown(host, 64) if isinstance(host, str) else "",
        numbers,
    )


def kind(key: str) -> str:
    """The chart that a name belongs to."""
    low = key.lower()
    if "loss" in low or "perplexity" in low:
        return "Loss"
    if re.search(r"(?:^|[^a-z])(?:acc|accuracy|top[-_ ]?[15]|f1)(?:$|[^a-z])", low):
        return "Accuracy"
    if re.fullmatch(r"(?:.*[^a-z])?(?:lr|learning[-_ ]?rate)(?:[^a-z].*)?", low):
        return "Learning rate"
    if re.search(r"(?:per_s(?:ec|econd)?$|/s(?:ec|econd)?$|throughput|_per_second)", low):
        return "Throughput"
    return key


def curves(metrics: dict[int, list[Record]]) -> dict[str, list[Series]]:
    """By chart the curves of a run. Of what all ranks agree on, as the loss of an epoch, those of the lowest rank."""
    found: dict[tuple[str, str, int], Series] = {}
    for rank, records in metrics.items():
        for index, entry in enumerate(records):
            event = "step" if entry.event == "first_step" else entry.event
            axis, x = entry.place(index)
            for key, y in entry.values.items():
                series = found.setdefault((event, key, rank), Series(""))
                series.add(axis, x, y)
    charts: dict[str, list[Series]] = {}
    lowest = min(metrics, default=0)
    order = sorted(
        found.items(), key=lambda item: (item[0][0] != "epoch", item[0][1] != "loss", item[0][1], item[0][2])
    )
    for (event, key, rank), series in order:
        chart = kind(key)
        by_rank = chart == "Throughput" or (chart == "Loss" and event != "epoch")
        if rank != lowest and not by_rank:
            continue
        words = [key, f"each {event}" if event in ("step", "epoch") else event, f"rank {rank}" if by_rank else ""]
        series.label = ", ".join(word for word in words if word)
        charts.setdefault(chart, []).append(series)
    first = ["Loss", "Accuracy", "Learning rate", "Throughput"]
    return {name: charts[name] for name in [*(n for n in first if n in charts), *(n for n in charts if n not in first)]}


def thinned(points: Points, most: int) -> Points:
    """At most about so many points, the lowest and the highest of each stretch, in their order."""
    if len(points) <= most:
        return points
    size = math.ceil(2 * len(points) / max(2, most))
    kept: Points = []
    for begin in range(0, len(points), size):
        stretch = points[begin : begin + size]
        breaks = [place for place, (_x, y) in enumerate(stretch) if y is None][:1]
        values = [(y, place) for place, (_x, y) in enumerate(stretch) if y is not None]
        places = {*breaks, *([min(values)[1], max(values)[1]] if values else [])}
        kept += [stretch[place] for place in sorted(places)]
    return kept


def median(values: Iterable[float]) -> float | None:
    ordered = sorted(values)
    middle = len(ordered) // 2
    if not ordered:
        return None
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def throughput(metrics: dict[int, list[Record]]) -> list[dict[str, float]]:
    """For each rank the median, least and most of what it says it gets through in a second, and its `share` of the best median, in %."""
    rows = []
    for rank, records in metrics.items():
        values = [
            value
            for entry in records
            for key, value in entry.values.items()
            if kind(key) == "Throughput" and math.isfinite(value) and value >= 0
        ]
        middle = median(values)
        if middle is not None:
            rows.append(
                {"rank": rank, "median": middle, "least": min(values), "most": max(values), "count": len(values)}
            )
    best = max((row["median"] for row in rows), default=0.0)
    return [{**row, "share": 100 * row["median"] / best if best else 0.0} for row in rows]
