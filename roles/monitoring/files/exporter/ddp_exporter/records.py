"""Of each rank's metrics.jsonl the last number of each kind. One JSON object on each line, as the project's trainer writes them."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from typing import Any

from .folder import folder_in, tail

FILE_OF_RANK = re.compile(r"metrics(?:-rank([0-9]{1,4}))?\.jsonl")
RANKS = 1024
# Of one host.
PROCESSES = 64
# Bytes of a file's end, and lines of that.
READ, LINES = 2**20, 20_000
# For each kind the keys that have it, the first that is there counts.
KEYS = {
    "loss": ("loss", "train_loss", "train/loss"),
    "step": ("step", "global_step"),
    "epoch": ("epoch",),
    "samples_per_second": ("samples_per_s", "samples_per_second", "train_samples_per_second"),
    "restarts": ("restarts",),
    "time": ("time",),
    "world_size": ("world_size",),
}


@dataclass
class Rank:
    """A process' rank, and the last values by their kinds."""

    number: int
    values: dict[str, float] = field(default_factory=dict)


def number(value: Any) -> float | None:
    """A number as a float, which may be infinite or none: a loss that is tells something. None for what is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def record(line: bytes) -> dict[str, Any]:
    """Empty for what is no object, such as a line that is half written."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def last_values(data: bytes) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in data.split(b"\n")[: -LINES - 1 : -1]:
        if not line.strip():
            continue
        value = record(line)
        for kind, keys in KEYS.items():
            if kind in found:
                continue
            held = next((read for key in keys if key in value and (read := number(value[key])) is not None), None)
            if held is not None:
                found[kind] = held
        if len(found) == len(KEYS):
            break
    return found


def owner(rank: int, values: dict[str, float], hosts: int) -> int | None:
    """On which of the job's hosts a process' rank runs; None where they have different numbers of processes."""
    size = values.get("world_size", float(hosts))
    if not size.is_integer() or not hosts <= size < 2**31 or size % hosts:
        return None
    return rank // int(size // hosts)


def read(results: str, node_rank: int, hosts: int) -> list[Rank]:
    """Of the ranks on this host: a launcher brings files of rank 0's host to the others."""
    found = []
    try:
        with folder_in(results) as folder:
            for name in sorted(os.listdir(folder)):
                named = FILE_OF_RANK.fullmatch(name)
                if not named or int(named[1] or 0) >= RANKS:
                    continue
                try:
                    rank = Rank(int(named[1] or 0), last_values(tail(folder, name, READ)))
                except OSError:
                    continue
                place = owner(rank.number, rank.values, hosts)
                if place is None:
                    place = node_rank if rank.number else 0
                if rank.values and place == node_rank:
                    found.append(rank)
                if len(found) == PROCESSES:
                    break
    except OSError:
        return []
    return sorted(found, key=lambda rank: rank.number)
