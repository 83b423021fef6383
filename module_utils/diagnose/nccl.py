"""What NCCL says of its job by itself: the report of its RAS, which ncclras shows (NCCL 2.24 or newer), read as text.

Its form is NVIDIA's, by the documentation: blocks whose title ends with a word in capitals, such as DEAD or MISMATCH, and indented lines.
Standard library only, Python 3.9 or newer. Also read by the launchers.
"""

from __future__ import annotations

import re
from typing import Any

BYTES = 2**16
TITLE = re.compile(r"(?:#\d{1,6}-\d{1,6} \([0-9a-f]{1,32}\) )?([A-Z]{3,20})")
RANK = re.compile(r"Rank (\d{1,7}) -- .*")
# First what says most: these are no consequence of a job that goes on while it is asked.
WORST = ("DEAD", "INCOMPLETE", "ERROR", "MISMATCH", "TIMEOUT")
NAMED, MOST, LENGTH = 8, 3, 200


def is_report(text: str) -> bool:
    return "Job summary" in text or "Communicators" in text


def blocks(text: str) -> list[tuple[str, list[str]]]:
    """The word of each title with the lines below it."""
    found: list[tuple[str, list[str]]] = []
    inside = False
    for line in text[:BYTES].splitlines():
        title = TITLE.fullmatch(line.rstrip())
        if title:
            found.append((title[1], []))
            inside = True
        elif inside and line.startswith("  ") and line.strip():
            found[-1][1].append(line.strip())
        else:
            inside = False
    return [(title, lines) for title, lines in found if lines]


def shortened(lines: list[str]) -> str:
    """Ranks that are listed one by one in a line."""
    words: list[str] = []
    ranks: list[str] = []

    def ends() -> None:
        if ranks:
            more = f" and {len(ranks) - NAMED} more" if len(ranks) > NAMED else ""
            words[-1:] = [f"{words[-1] if words else 'ranks'} (rank {', '.join(ranks[:NAMED])}{more})"]
            ranks.clear()

    for line in lines:
        rank = RANK.fullmatch(line)
        if rank:
            ranks.append(rank[1])
        else:
            ends()
            words.append(line)
    ends()
    return "; ".join(words)[:LENGTH]


def told(records: list[Any]) -> str:
    """One sentence of what NCCL finds wrong, out of the first record that has its report; empty where there is none, or nothing is wrong."""
    for record in records:
        text = record.get("nccl") if isinstance(record, dict) else None
        if not isinstance(text, str) or not is_report(text):
            continue
        wrong = [one for one in blocks(text) if one[0] in WORST]
        wrong.sort(key=lambda one: WORST.index(one[0]))
        if wrong:
            said = ". ".join(f"{title}: {shortened(lines)}" for title, lines in wrong[:MOST])
            return "NCCL's own report says " + "".join(c if c.isprintable() else "?" for c in said) + "."
    return ""
