"""Which rank slows the others down: by when each entered the same collectives. Also read by the launchers.

The clocks of hosts differ, so the launchers measure by how much (`clock` in a record). Of NCCL, whose collectives are entered ahead of the
device, the time that the device spends in them says more, where torch measures it (TORCH_NCCL_ENABLE_TIMING=1): the one that is waited for
spends the least. Standard library only, Python 3.9 or newer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import median_low
from typing import Any

from .verdict import Group, Node, Verdict, Worker, fields, node_of, sentence_of, several

FEWEST, SHORTEST = 8, 1.0  # collectives, and seconds of them, that say anything
SLOW = 0.2  # of the time, which the others wait for a rank
BESIDE = 2.0  # times as long as for any that is not slow
PARTS, OF_THEM = 4, 3  # of the time, in which it has to be slow: one long evaluation or save is not what this is about
STANDS = 3.0, 10.0  # times a step, and seconds beside: without a collective for longer, a job stands still


@dataclass
class Pace:
    """How long the others waited for each rank (`waits`, a fraction of `seconds`)."""

    seconds: float = 0.0
    collectives: int = 0
    epoch: int | None = None  # of the trainer's metrics, where these were compared
    waits: dict[int, float] = field(default_factory=dict)
    slow: list[Worker] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        return {
            "seconds": round(self.seconds, 2),
            "collectives": self.collectives,
            "epoch": self.epoch,
            "waited_for": {str(rank): round(share, 3) for rank, share in sorted(self.waits.items())},
            "slow": [worker.rank for worker in self.slow],
        }


def finite(value: Any) -> float | None:
    return (
        float(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        else None
    )


def offset_of(node: Node, given: dict[str, Any]) -> tuple[float, float] | None:
    """By how many seconds its clock is ahead of that of rank 0's host, and how far that may be wrong."""
    clock = fields(fields(given.get("record")).get("clock"))
    offset, error = finite(clock.get("offset")), finite(clock.get("error"))
    if offset is not None and error is not None:
        return offset, abs(error)
    return (0.0, 0.0) if node.number == 0 else None


@dataclass
class Timed:
    worker: Worker
    offset: float
    error: float

    def entered(self, group: Group, seq: int) -> float:
        return group.times[seq][0] / 1e9 - self.offset


Span = tuple[float, float]


def shared(spans: list[Span], begin: float, end: float) -> float:
    """How much of the time between is in any of them: the ranks enter some before the last one has ended."""
    total, last = 0.0, begin
    for first, then in sorted(spans):
        first, then = max(first, last), min(then, end)
        if then > first:
            total, last = total + then - first, then
    return total / (end - begin)


def summed(spans: list[Span], begin: float, end: float) -> float:
    """The same of a device, which does one after the other, and later than they were entered."""
    return min(1.0, sum(then - first for first, then in spans if begin <= then < end) / (end - begin))


def compared(name: str, ranks: list[Timed]) -> Pace | None:
    """The ranks of one process group."""
    groups = [(one, one.worker.groups[name]) for one in ranks if name in one.worker.groups]
    if len(groups) < 2:
        return None
    seqs = sorted(set.intersection(*(set(group.times) for _one, group in groups)))
    if len(seqs) < FEWEST:
        return None
    begin = min(one.entered(group, seqs[0]) for one, group in groups)
    end = max(one.entered(group, seqs[-1]) for one, group in groups)
    if end - begin < SHORTEST:
        return None
    late: list[list[Span]] = [[] for _one in groups]
    device = all(group.times[seq][1] for seq in seqs for _one, group in groups)
    error = 0.0 if device else 2 * max(one.error for one, _group in groups)
    for seq in seqs:
        entered = [one.entered(group, seq) for one, group in groups]
        if device:
            # As if all had come out of it at the same time.
            last = max(entered)
            entered = [last - group.times[seq][1] for _one, group in groups]
        least = median_low(entered)
        for number, moment in enumerate(entered):
            if moment > least + error:
                late[number].append((least, moment))
    cuts = [begin + (end - begin) * part / PARTS for part in range(PARTS + 1)]
    measure = summed if device else shared
    shares = [[measure(spans, *part) for part in zip(cuts, cuts[1:])] for spans in late]
    means = [sum(share) / PARTS for share in shares]
    steady = [sum(part >= SLOW / 2 for part in share) >= OF_THEM for share in shares]
    workers = [one.worker for one, _group in groups]
    found = Pace(end - begin, len(seqs), waits={worker.rank: mean for worker, mean in zip(workers, means)})
    found.slow = [worker for worker in outliers(workers, means) if steady[workers.index(worker)]]
    return found


def outliers(workers: list[Worker], waits: list[float]) -> list[Worker]:
    """Those that the others wait for much longer than for the rest; none where they are the most."""
    slow = [number for number, wait in enumerate(waits) if wait >= max(SLOW, max(waits) / 2)]
    rest = [wait for number, wait in enumerate(waits) if number not in slow]
    if not slow or len(slow) > len(workers) / 2 or min(waits[number] for number in slow) < BESIDE * max(rest):
        return []
    return [workers[number] for number in slow]


def by_epochs(given: list[dict[str, Any]]) -> Pace | None:
    """Of the last epoch that the trainer's metrics have of all ranks: who spent the least of it in transfers, in which the others waited."""
    told: list[tuple[Worker, dict[str, Any]]] = []
    for index, one in enumerate(given):
        node = node_of(fields(one), index)
        epochs = fields(fields(fields(one).get("record")).get("epochs"))
        told += [(worker, fields(epochs.get(str(worker.rank)))) for worker in node.workers]
    values = [[finite(epoch.get(name)) for name in ("epoch", "seconds", "comm_seconds")] for _worker, epoch in told]
    rows = [(row[0], row[1], row[2]) for row in values if None not in row and row[1] and 0 <= (row[2] or 0) <= row[1]]
    if len(told) < 2 or len(rows) < len(told) or len({epoch for epoch, _seconds, _transfers in rows}) > 1:
        return None
    longest = max(seconds or 0 for _epoch, seconds, _transfers in rows)
    if longest < SHORTEST:
        return None
    own = [(seconds or 0) - (transfers or 0) for _epoch, seconds, transfers in rows]
    waits = [max(0.0, value - median_low(own)) / longest for value in own]
    workers = [worker for worker, _epoch in told]
    found = Pace(longest, 0, int(rows[0][0] or 0), {worker.rank: wait for worker, wait in zip(workers, waits)})
    found.slow = outliers(workers, waits)
    return found


def pace_of(given: list[dict[str, Any]]) -> Pace | None:
    """Of a job that moves: by the collectives, which any script has and which are of now, else by the trainer's metrics."""
    ranks = timed(given)
    return None if stands(given, ranks) else by_collectives(ranks) or by_epochs(given)


def timed(given: list[dict[str, Any]]) -> list[Timed]:
    """All ranks; none where a host's clock is not known."""
    ranks = []
    for index, one in enumerate(given):
        node = node_of(fields(one), index)
        offset = offset_of(node, fields(one))
        if offset is None:
            return []
        ranks += [Timed(worker, *offset) for worker in node.workers]
    return ranks


def by_collectives(ranks: list[Timed]) -> Pace | None:
    names = sorted({name for one in ranks for name in one.worker.groups})
    found = [pace for name in names if (pace := compared(name, ranks))]
    return max(found, key=lambda pace: (bool(pace.slow), max(pace.waits.values())), default=None)


def stands(given: list[dict[str, Any]], ranks: list[Timed]) -> bool:
    """Whether the last collective was entered longer ago than a step takes. One of ten may take as long as it likes: an evaluation, the start."""
    now = finite(fields(fields(given[0]).get("record")).get("time")) if given else None
    entered = [
        sorted(one.entered(group, seq) for seq in group.times) for one in ranks for group in one.worker.groups.values()
    ]
    entered = [times for times in entered if times]
    if now is None or not entered:
        return False
    steps = sorted(then - one for times in entered for one, then in zip(times, times[1:]))
    step = steps[len(steps) * 9 // 10] if steps else 0.0
    return now - max(times[-1] for times in entered) >= STANDS[0] * step + STANDS[1]


def words(pace: Pace) -> str:
    them = several([worker.name for worker in pace.slow])
    share = sum(pace.waits[worker.rank] for worker in pace.slow) / len(pace.slow)
    is_are, whom = ("is", "it") if len(pace.slow) == 1 else ("are", "them")
    when, where = f"in the last {pace.seconds:.0f} s", f", at {pace.collectives} collectives"
    if pace.epoch is not None:
        when, where = f"in epoch {pace.epoch}, of {pace.seconds:.0f} s,", ""
    return f"{them} {is_are} slow: {when} the others waited for {whom} {share:.0%} of the time{where}."


def moves(pace: Pace | None, name: str) -> str:
    """What is said first of a job that moves; empty where only its metrics tell of it, which may be of long ago."""
    if not pace or pace.epoch is not None:
        return ""
    if pace.slow:
        return f"{name} moves, but"
    return f"{name} moves: {pace.collectives} collectives in the last {pace.seconds:.0f} s, and no rank is slow. At this moment:"


def slowest(given: list[dict[str, Any]]) -> tuple[Verdict | None, Pace | None]:
    """The sentence about the rank that the others wait for, again and again."""
    pace = pace_of(given)
    if not pace or not pace.slow:
        return None, pace
    return Verdict("slow", " ".join([words(pace), *map(sentence_of, pace.slow[:4])]), pace.slow), pace
