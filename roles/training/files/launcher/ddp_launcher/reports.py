"""What ranks report of themselves to the one that tells: looked at, bounded, and without secrets."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any

from .masking import hide, mask
from .text import printable

LINES, LINE = 15, 400  # most of them, and characters of each


def duration(seconds: float) -> str:
    minutes = int(seconds // 60)
    if minutes < 1:
        return f"{int(seconds)} s"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours else f"{minutes} min"


def known_secrets(folder: str) -> set[str]:
    """What lies beside the receiver's address: all secrets of the job."""
    found = set()
    for name in os.listdir(folder):
        try:
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                text = file.read(2**16)
        except OSError:
            continue
        found |= {text.strip(), *(line.strip() for line in text.splitlines() if len(line.strip()) >= 8)}
    return {text for text in found if text}


class Masked:
    """Lines without the job's secrets, and without what has the name or the form of one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self.secrets = set(secrets)

    def __call__(self, lines: Iterable[Any]) -> list[str]:
        text = "\n".join(printable(str(line))[:LINE] for line in list(lines)[-LINES:])
        return str(mask(hide(text, self.secrets))).split("\n") if text else []


def sound(report: Any, size: int) -> dict[str, Any]:
    """What another rank reports, as far as it is of the right kind. ValueError if it is nobody's."""
    rank = report.get("rank")
    if type(rank) is not int or not 0 <= rank < size:
        raise ValueError("a report of no rank")
    code, lines, at = report.get("code"), report.get("lines"), report.get("at")
    return {
        "kind": str(report.get("kind")),
        "rank": rank,
        "host": printable(str(report.get("host", "")))[:64],
        "code": code if type(code) is int else None,
        "lines": [printable(str(line))[:LINE] for line in lines[-LINES:]] if isinstance(lines, list) else [],
        "at": at if isinstance(at, (int, float)) else time.time(),
    }
