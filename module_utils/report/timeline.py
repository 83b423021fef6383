"""When each rank did what: attempts, their phases, and how they ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import first_failure
from .ends import Container
from .metrics import Record

RANKS = 64
ATTEMPTS = 100
TICKS = 4


@dataclass
class Attempt:
    """One process's life in a rank, in seconds since 1970. None is what the artifacts do not tell."""

    rank: int
    begun: float | None = None
    start: float | None = None
    first_step: float | None = None
    last: float | None = None
    # finished, stopped, failed, interrupted (another attempt followed), or empty: it trains, or nothing tells.
    end: str = ""
    container: Container | None = None
    step: int | None = None


def attempts_of(rank: int, records: list[Record], found: list[Container]) -> list[Attempt]:
    """By the metrics' events, and by the containers' logs, whose names say when each was made."""
    attempts: list[Attempt] = []
    for entry in records:
        if entry.time is None:
            continue
        if entry.event == "start" or not attempts:
            attempts.append(Attempt(rank, start=entry.time))
        attempt = attempts[-1]
        attempt.last = max(attempt.last or entry.time, entry.time)
        attempt.step = entry.step if entry.step is not None else attempt.step
        if entry.values and attempt.first_step is None:
            attempt.first_step = entry.time
        if entry.event in ("end", "stopped"):
            attempt.end = "finished" if entry.event == "end" else "stopped"
    own = sorted((one for one in found if one.rank == rank), key=lambda one: one.begun)
    free = list(attempts)
    for place, one in enumerate(own):
        following = own[place + 1].begun if place + 1 < len(own) else None
        # A container's time has whole seconds.
        mine = [
            a for a in free if (a.start or 0) >= one.begun - 1 and (following is None or (a.start or 0) < following)
        ]
        if mine:
            mine[0].begun, mine[0].container = min(one.begun, mine[0].start or one.begun), one
            free = [a for a in free if a is not mine[0]]
        else:
            attempts.append(Attempt(rank, begun=one.begun, last=one.last, container=one))
    for attempt in attempts:
        if attempt.container and attempt.container.ended is not None:
            attempt.last = max(attempt.last or 0.0, attempt.container.ended)
    attempts.sort(key=lambda a: a.begun or a.start or 0.0)
    for place, attempt in enumerate(attempts):
        if attempt.container and attempt.container.failed:
            attempt.end = "failed"
            if attempt.container.exact:
                attempt.last = max(attempt.last or 0.0, attempt.container.time or 0.0)
        elif attempt.container and attempt.container.stopped:
            attempt.end = attempt.end or "stopped"
        elif attempt.container and attempt.container.finished:
            attempt.end = attempt.end or "finished"
        elif not attempt.end and place + 1 < len(attempts):
            attempt.end = "interrupted"
    return attempts[:ATTEMPTS]


def attempts(metrics: dict[int, list[Record]], found: list[Container]) -> dict[int, list[Attempt]]:
    ranks = sorted({*metrics, *(one.rank for one in found)})[:RANKS]
    return {rank: attempts_of(rank, metrics.get(rank, []), found) for rank in ranks}


def span(lives: dict[int, list[Attempt]]) -> tuple[float, float] | None:
    times = [
        when
        for life in lives.values()
        for a in life
        for when in (a.begun, a.start, a.first_step, a.last)
        if when is not None
    ]
    return (min(times), max(times)) if times else None


def outcome(lives: dict[int, list[Attempt]]) -> str:
    """How the run ended, in a word or three: by the last attempt of each rank."""
    last = [life[-1].end for life in lives.values() if life]
    if not last:
        return "unknown"
    if all(end == "finished" for end in last):
        return "finished"
    for word in ("failed", "stopped"):
        if word in last:
            return word
    return "no end recorded"


def restarts(lives: dict[int, list[Attempt]]) -> int:
    """How often the ranks were started again, of the rank that was most often."""
    return first_failure.restarts(map(len, lives.values()))


def bars(lives: dict[int, list[Attempt]]) -> dict[str, Any]:
    """For each rank its bars and marks, placed in % of the whole; `ticks` are times in seconds since the begin."""
    whole = span(lives)
    if not whole:
        return {}
    begin, length = whole[0], max(whole[1] - whole[0], 1.0)

    def place(when: float) -> float:
        return round(100 * (when - begin) / length, 3)

    rows = []
    for rank, life in lives.items():
        segments: list[dict[str, Any]] = []
        marks: list[dict[str, Any]] = []

        def bar(phase: str, since: float | None, until: float | None, into: list[dict[str, Any]] = segments) -> None:
            if since is not None and until is not None and until >= since:
                into.append(
                    {
                        "phase": phase,
                        "left": place(since),
                        "width": round(place(until) - place(since), 3),
                        "seconds": until - since,
                    }
                )

        before: float | None = None
        well = False
        for number, attempt in enumerate(life):
            opened = attempt.begun if attempt.begun is not None else attempt.start
            # After a good end nothing is down: whoever went on with the job did so later.
            if before is not None and opened is not None and opened > before and not well:
                bar("down", before, opened)
            well = attempt.end in ("finished", "stopped")
            bar("container", attempt.begun, attempt.start if attempt.start is not None else attempt.last)
            bar("starting", attempt.start, attempt.first_step if attempt.first_step is not None else attempt.last)
            bar("training", attempt.first_step, attempt.last)
            if number and opened is not None:
                marks.append({"kind": "restart", "left": place(opened), "what": f"start {number + 1}", "at": opened})
            until = attempt.last if attempt.last is not None else attempt.start or attempt.begun
            if until is not None:
                before = until
                if attempt.end:
                    marks.append(
                        {
                            "kind": attempt.end,
                            "left": place(until),
                            "what": attempt.end,
                            "at": until,
                            "step": attempt.step,
                        }
                    )
        rows.append({"rank": rank, "segments": segments, "marks": marks})
    ticks = [{"left": 100 * n / TICKS, "seconds": length * n / TICKS} for n in range(TICKS + 1)]
    return {"rows": rows, "ticks": ticks, "begin": begin, "seconds": whole[1] - whole[0]}
