"""Text of containers, hosts and mirrors, made safe to show on a terminal. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import re
from typing import Any

from . import python  # noqa: F401 - it speaks where Python is too old

# ECMA-48, 5.4 (control sequences) and 5.6 (control strings), in their 7-bit and their 8-bit form. A string that nobody ends, ends with
# its line. A terminal that obeys OSC 52 writes the clipboard; OSC 0 sets the title.
SEQUENCE = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
# C0 but tab and line feed, DEL, C1, and what changes the direction of text (https://trojansource.codes).
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


COLOURS = re.compile(r"(\x1b\[[0-9;]*m)")


def printable(text: str, colours: bool = False) -> str:
    """Without escape sequences and control characters. What a carriage return would overwrite stays, on lines of its own."""
    if colours:
        return "".join(part if COLOURS.fullmatch(part) else printable(part) for part in COLOURS.split(text))
    return CONTROL.sub("", SEQUENCE.sub("", text.replace("\r\n", "\n")).replace("\r", "\n"))


def lines_of(text: str) -> list[str]:
    """The lines as the engine ends them: str.splitlines() lets a container end its line within, and begin one that is another's."""
    lines = text.split("\n")
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def printable_all(value: Any) -> Any:
    """The same for every text in a structure, keys included."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable_all(key): printable_all(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [printable_all(item) for item in value]
    return value


def short(text: str, width: int) -> str:
    """One line, cut at a word."""
    text = " ".join(text.split())
    if len(text) <= width:
        return text
    kept = text[: width - 3]
    return f"{kept[: kept.rfind(' ')] if ' ' in kept else text[: width - 4]} ..."


def first_line(text: str) -> str:
    """The first line with anything in it, without blanks around it; empty if there is none."""
    return text.strip().splitlines()[0] if text.strip() else ""
