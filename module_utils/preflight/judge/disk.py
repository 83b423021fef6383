"""Layer 2: whether there is room on a host, and for how long."""

from __future__ import annotations

from ..contract import Json
from .case import Case


def judge_disk(case: Case, rank: int, host: str, checks: Json) -> None:
    free, root = checks.get("disk_free_bytes"), (checks.get("engine") or {}).get("root")
    if free is not None:
        case.say(
            2, rank, "disk", free >= case.limits["min_disk"],
            f"{free / 1e6:.0f} MB free under {root}", f"{case.limits['min_disk'] / 1e6:.0f} MB",
            f"free space on {host} (docker system df, docker image prune), or lower preflight_min_disk",
        )  # fmt: skip
    grows, least = checks.get("growth") or {}, case.limits["min_disk_hours"]
    if grows and least:
        hours = grows["free"] / grows["per_hour"]
        case.say(
            2, rank, "disk growth", hours >= least,
            f"rank {rank} has written {grows['per_hour'] / 1e6:.0f} MB an hour (measured over {grows['hours']:.1f} h), and {grows['free'] / 1e6:.0f} MB "
            f"are free: the disk is full in {hours:.1f} h", f"room for {least:g} h",
            f"free space on {host} (old runs in the volume, docker system df), let the script remove old snapshots, or lower preflight_min_disk_hours",
        )  # fmt: skip
