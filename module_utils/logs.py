"""What containers write, read line by line: as Docker cuts it, as torchrun marks it, and as progress bars fill it.

Standard library only, Python 3.9 or newer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from heapq import merge

from .text import lines_of, printable

# As the engine writes it. The last one becomes an argument of a command.
STAMP = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z", re.ASCII)
# What torchrun's --tee puts before a line: the role and the number of the process that wrote it.
PROCESS = re.compile(r"\A\[([A-Za-z]\w*\d)\]:[ ]?", re.ASCII)
# A state of tqdm's: what it counts, and how far that is, in percent or, without a known end, in pieces.
BAR = re.compile(r"(.*?)(?:(\d{1,3})%\|[^|]*\| *[^ /]+/[^ /]+ \[\d|(\d+)it \[\d)")
# What Python and torchrun write when a process ends badly.
TROUBLE = re.compile(r"Traceback \(most recent call last\)|failed \(exitcode: |terminate called|Fatal Python error")
# The line of an error, as Python ends a traceback with it and PyTorch marks it with the rank; torchrun's own error tells of a rank's.
ERROR = re.compile(
    r"^(?:\[rank\d{1,5}\]:\s?)?((?!\S{0,100}ChildFailedError)[A-Za-z_][\w.]{0,100}(?:Error|Exception|Interrupt|Expired)\b.{0,400})"
)

# What a rank's launcher and torchrun say themselves, as "[launcher] ..." and "W1129 10:00:00.123 7 torch/distributed/run.py:792] ...",
# but for what the launcher has seen of the script.
FIRST_STEP = r"\[launcher\] rank \d{1,6} has made its first step \("
STARTER = re.compile(
    rf"(?!{FIRST_STEP})\[launcher\] "
    r"|[DIWEF]\d{4} [\d:.]+ \d+ (?:\S*/)?torch/distributed/(?:run|launcher|elastic)\b|\S*WARNING:torch\.distributed\.run:"
)


def time_key(stamp: str) -> str:
    """RFC 3339 with Go's variable number of decimals, made to sort as text."""
    seconds, _dot, rest = stamp.rstrip("Z").partition(".")
    return f"{seconds}.{rest:0<9}" if seconds else ""


def moment_of(stamp: str) -> float:
    """Seconds since 1970 of an engine's time; 0 for what is none."""
    whole, fraction = stamp[:19], stamp[19:].rstrip("Z") or ".0"
    try:
        return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0{fraction}")
    except ValueError:
        return 0.0


def rows(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Time and text of each line of one stream, as `docker logs --timestamps` shows it.

    A line without a time has that of the line before it, or an empty one. Docker cuts a line after each 16 KiB, gives every piece the time of
    the first (moby, daemon/logger/copier.go), and ends the last alone: they are put together, and have the time of the line after them.
    """
    stamp = ""
    cut: str | None = None
    for line in lines:
        first, _space, rest = line.partition(" ")
        timed = STAMP.fullmatch(first) is not None
        stamp = first if timed else stamp
        if cut is not None:
            yield stamp, cut
        whole = rest.replace(f"{first} ", "") if timed else line
        cut = whole if timed and whole != rest else None
        if cut is None:
            yield stamp, whole
    if cut is not None:
        yield stamp, cut


def merged(*streams: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The rows of several streams in the order of time. The streams come apart, for a piece of a line that Docker cut has no end."""
    return merge(*map(rows, streams), key=lambda row: time_key(row[0]))


def stamped(*streams: str) -> list[tuple[str, str]]:
    """The same of texts."""
    return list(merged(*map(lines_of, streams)))


def states(line: str) -> list[str]:
    """What a line showed on a terminal, one state after the other, as printable text; at least one, which may be empty."""
    return [state.rstrip() for state in printable(line).split("\n") if state.strip()] or [""]


def process_of(line: str) -> str:
    """The process of a host that a line is from, as torchrun names it; empty where it names none."""
    found = PROCESS.match(line)
    return found[1] if found else ""


def error_of(line: str) -> str:
    """The error that a line tells, without torchrun's prefix; empty where it tells none."""
    found = ERROR.match(PROCESS.sub("", line[:600], count=1))
    return found[1].rstrip() if found else ""


def is_of_the_starter(line: str) -> bool:
    """Whether a line is of what starts a script, and not of the script."""
    return STARTER.match(PROCESS.sub("", printable(line), count=1)) is not None


def matching(pattern: re.Pattern[str], line: str) -> list[str]:
    """The states of a line that match, as they are or without torchrun's prefix."""
    return [state for state in states(line) if pattern.search(state) or pattern.search(PROCESS.sub("", state, count=1))]


def settled(lines: Iterable[str]) -> Iterator[str]:
    """The lines as a terminal shows them in the end: of each progress bar its last state.

    A bar is one line with carriage returns. Behind torchrun's prefix, or below another bar, it is a line for each state; those of a process
    are then one as long as they count the same thing onwards.
    """
    held: dict[str, tuple[str, int, str]] = {}
    for line in lines:
        text = states(line)[-1]
        process, found = process_of(text), BAR.match(text)
        what, done = (found[1].rstrip(), int(found[2] or found[3])) if found else ("", 0)
        before = held.pop(process, None)
        if before and not (found and before[0] == what and before[1] <= done):
            yield before[2]
        if found:
            held[process] = (what, done, text)
        else:
            yield text
    yield from (text for _what, _done, text in held.values())
