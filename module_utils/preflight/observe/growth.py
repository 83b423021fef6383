"""How fast a rank of the job has filled its volume, as its launcher has measured it twice, and what is free there."""

from __future__ import annotations

import math
import os
from typing import Any

from ...results.kept import noted
from ...results.tree import Tree
from ..contract import Json

NAME, BYTES = "growth.json", 4096
# Two measurements that are closer tell of one save, and not of a rate.
APART = 240.0


def growth(docker: Any, volume: str) -> Json:
    """`per_hour` and `free` in bytes, `hours` between the measurements; empty where the job was not measured, or does not grow."""
    done = docker.run("volume", "inspect", "--format", "{{.Mountpoint}}", volume, check=False)
    path = done.stdout.strip()
    if done.rc or not os.path.isdir(path):
        return {}
    with Tree(path) as tree:
        measured = _measured(tree)
        disk = os.statvfs(path)
    if not measured:
        return {}
    seconds, grown = measured
    if seconds < APART or grown <= 0:
        return {}
    return {"per_hour": grown / seconds * 3600, "hours": seconds / 3600, "free": disk.f_bavail * disk.f_frsize}


def _measured(tree: Tree) -> tuple[float, float] | None:
    """Seconds between the two, and bytes. A container wrote them."""
    value = noted(tree, NAME, BYTES)
    try:
        numbers = [float(number) for number in (*value["first"], *value["last"])]
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
    if len(numbers) != 4 or not all(math.isfinite(number) and 0 <= number < 2**63 for number in numbers):
        return None
    return numbers[2] - numbers[0], numbers[3] - numbers[1]
