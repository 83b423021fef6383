"""Artifacts, read within bounds. What containers wrote is data: no link is followed, and no file is read whole because it is large."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

from ..results.tree import Found, Tree, reading
from ..text import printable

# Bytes: of one file, of all files of a page, and of one line.
FILE = 8 << 20
ALL = 96 << 20
LINE = 64 << 10
LINES = 200_000
NOTES = 60
# What a curve can show; beyond it a number is as good as infinite.
LARGEST = 1e30
# Seconds since 1970 that can be a training's: 2001 to 2200.
TIMES = (1e9, 7.26e9)


@dataclass
class Part:
    """Of one file its lines, at most those of its beginning and of its end. `skipped` counts the bytes between them."""

    name: str
    size: int
    lines: list[str] = field(default_factory=list)
    skipped: int = 0
    torn: bool = False  # the last line has no end
    # How many of the lines come before the gap.
    before: int = 0


class Reader:
    """The artifacts of a job below a directory. `notes` says what the page lacks and why, at most NOTES sentences."""

    def __init__(self, tree: Tree, budget: int = ALL) -> None:
        self.tree = tree
        self.left = budget
        self.notes: list[str] = []
        self.newest = 0.0

    def note(self, text: str) -> None:
        text = shown(text, 300)
        if text in self.notes or len(self.notes) > NOTES:
            return
        self.notes.append(text if len(self.notes) < NOTES else "More of this kind is not listed.")

    def parts(self, pattern: str, limit: int = FILE, most: int = 256) -> list[Part]:
        """The files that match, in the order of their names."""
        found: list[Part] = []
        for file in self.tree.files([pattern]):
            if len(found) == most:
                self.note(f"There are more than {most} files {pattern}; the others are not read.")
                break
            part = Part(file.name, file.status.st_size)
            taken = self.taken(file, limit)
            if taken is None:
                continue
            fill(part, *taken)
            if part.skipped:
                self.note(f"{file.name} has {part.size:,} bytes: the {part.skipped:,} in its middle are not read.")
            found.append(part)
        return found

    def taken(self, file: Found, limit: int) -> tuple[bytes, bytes] | None:
        """The beginning and the end of a file, the latter empty where the former is all; None where it cannot be read."""
        take = min(limit, self.left)
        size = file.status.st_size
        try:
            with reading(file.descriptor) as stream:
                if size <= take:
                    head, tail = stream.read(take), b""
                else:
                    head = stream.read(take // 2)
                    stream.seek(size - take // 2)
                    tail = stream.read(take // 2)
        except OSError as error:
            self.note(f"{file.name} cannot be read: {error.strerror}.")
            return None
        self.left -= len(head) + len(tail)
        self.newest = max(self.newest, file.status.st_mtime)
        return head, tail

    def text(self, name: str, limit: int) -> str:
        """All of one file; empty where it is missing or larger than the limit, in bytes."""
        for file in self.tree.files([name]):
            if file.status.st_size > min(limit, self.left):
                self.note(f"{name} has {file.status.st_size:,} bytes and is left out.")
                return ""
            taken = self.taken(file, limit)
            return taken[0].decode(errors="replace") if taken else ""
        return ""

    def done(self) -> list[str]:
        """All notes, with those about names that were not opened."""
        for entry in self.tree.left_out:
            self.note(f"{entry['name']} is not read: {entry['why']}.")
        return self.notes


def fill(part: Part, head: bytes, tail: bytes) -> None:
    if tail:
        head = head[: head.rfind(b"\n") + 1]
        tail = tail[tail.find(b"\n") + 1 :]
        part.skipped = part.size - len(head) - len(tail)
    part.torn = bool(head or tail) and not (tail or head).endswith(b"\n")
    first = text_lines(head)
    last = text_lines(tail)
    if len(first) + len(last) > LINES:
        whole = first + last
        first, last = whole[: LINES // 2], whole[-LINES // 2 :]
        part.skipped = part.skipped or sum(len(line) + 1 for line in whole[LINES // 2 : -LINES // 2]) or 1
    part.lines, part.before = first + last, len(first)


def text_lines(content: bytes) -> list[str]:
    lines = content.decode(errors="replace").split("\n")
    return [line[:LINE] for line in (lines if lines[-1] else lines[:-1])]


def shown(value: Any, limit: int = 200) -> str:
    """Any value as one line of printable text."""
    text = re.sub(r"\s+", " ", printable(str(value)[: limit * 4])).strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def parsed(text: str) -> Any:
    """What a JSON text says; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def number(value: Any) -> float | None:
    """A number as a float, which may be infinite or none; None for what is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return math.inf
    return found if abs(found) <= LARGEST or math.isnan(found) else math.copysign(math.inf, found)


def finite(value: Any) -> float | None:
    found = number(value)
    return found if found is not None and math.isfinite(found) else None


def whole(value: Any, most: int) -> int | None:
    """A whole number from 0 to `most`; None for all else."""
    found = finite(value)
    return int(found) if found is not None and 0 <= found <= most and found == int(found) else None


def moment(value: Any) -> float | None:
    """Seconds since 1970; None for what cannot be."""
    found = finite(value)
    return found if found is not None and TIMES[0] <= found <= TIMES[1] else None
