"""The result of a task in few lines: its sentence, the log that matters, what to do. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .text import lines_of, printable

LOG_LINES = 20
SENTENCES = 8  # of a message, those before its log, and as many after it
TRACEBACK = "Traceback (most recent call last)"
# As log_below writes it.
ANNOUNCED = re.compile(r"\s*Last \d+ log lines(?: of .*)?:$")
# torchrun and PyTorch write which rank speaks in front of each line.
PREFIX = re.compile(r"^\s*(?:\[[\w:. -]+\]:?)?")
# The end of a traceback: torch warns of a missing numpy in the same words, and does without it.
MISSING = re.compile(r"\b(?:ModuleNotFoundError|ImportError): No module named ['\"]([\w.]+)['\"]")


def log_below(lines: list[str], of: str = "") -> str:
    """A log as messages have it: announced, and indented below that."""
    where = f" of {of}" if of else ""
    return "\n".join([f"Last {len(lines)} log lines{where}:", *(f"  {line}" for line in lines)])


def brief(result: Mapping[str, Any]) -> list[str]:
    """What a person needs of a failed task; of a loop, what its failed items say, each once."""
    items = [item for item in result.get("results") or [] if isinstance(item, Mapping)]
    failed = [item for item in items if item.get("failed") or item.get("unreachable")]
    if failed:
        said = list(dict.fromkeys(tuple(brief(item)) for item in failed))
        lines = [line for part in said for line in part]
        left = len(lines) - LOG_LINES - SENTENCES
        return lines if left <= 0 else [*lines[: LOG_LINES + SENTENCES], f"(and {left} more lines: see them with -v)"]
    if "censored" in result:
        return ["It failed. What it said may hold a secret, so it is not shown."]
    lines = _brief_message(printable(str(result.get("msg") or "It failed, and gave no reason.")))
    output = next((str(result[key]) for key in ("stderr", "module_stderr", "stdout") if result.get(key)), "")
    # A command, or a module that died: its message says only that it did.
    if output and ("rc" in result or "module_stderr" in result) and not set(output.split("\n")) <= set(lines):
        lines += [f"  {line}" for line in window(lines_of(printable(output)))]
    missing = MISSING.search("\n".join(lines))
    if missing:
        lines.append(f"Add what has {missing[1].partition('.')[0]} to requirements.txt, and run this again.")
    return lines


def _brief_message(message: str) -> list[str]:
    lines = [line.rstrip() for line in lines_of(message.strip()) if line.strip()]
    if len(lines) <= SENTENCES:
        return lines
    # A log is indented below the sentence that it belongs to. The first is that of who failed first; what follows repeats it.
    begin = next((number for number, line in enumerate(lines) if number and _in_log(line)), len(lines))
    end = next((number for number, line in enumerate(lines) if number > begin and not _in_log(line)), len(lines))
    # Without its lines, what announces a log says nothing.
    rest = [said for line in lines[end:] if not _in_log(line) and (said := ANNOUNCED.sub("", line))]
    if begin == len(lines):
        begin = SENTENCES
        rest = []
    log = lines[begin:end]
    left = len(rest) - SENTENCES // 2
    rest = [*rest[: SENTENCES // 2], f"(and {left} more lines: see them with -v)"] if left > 0 else rest
    return [*lines[: min(begin, SENTENCES)], *window(log), *rest]


def _in_log(line: str) -> bool:
    return line.startswith((" ", "\t"))


def window(lines: list[str], size: int = LOG_LINES) -> list[str]:
    """The lines up to the end of the first traceback that is whole, else the last ones."""
    lines = [line for line in lines if line.strip()]
    start = next((number for number, line in enumerate(lines) if TRACEBACK in line), None)
    if start is None:
        return lines[-size:]

    # The indentation of the traceback's own first line is that of the line that ends it.
    def depth(line: str) -> int:
        bare = PREFIX.sub("", line) if "[" in line[:12] else line
        return len(bare) - len(bare.lstrip())

    own = depth(lines[start])
    end = next((n for n in range(start + 1, len(lines)) if depth(lines[n]) <= own), len(lines) - 1)
    return lines[max(0, end + 1 - size) : end + 1]
