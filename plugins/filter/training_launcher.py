"""Filter: the launcher of a rank, in front of the command that it starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..module_utils.names import LAUNCHED, NOTIFY, STACKS
from .training_caches import results_volume
from .training_notify import notify_address

SECRET = "ddp-launcher"


def training_launcher(settings: Mapping[str, Any], size: int) -> dict[str, Any]:
    """What the stack needs for launchers: `used`, and the name of their `secret`, empty where a rank has no other to talk to.

    `settings` are variables by their names, `size` the number of ranks. None are used where no volume could hold what they keep.
    """
    used = settings["training_snapshots"] != "none" and results_volume(
        settings["training_mounts"], str(settings["training_results_dir"])
    )
    told = notify_address(settings["training_notify"])
    return {"used": used, "secret": f"{settings['training_stack']}.launcher" if used and (size > 1 or told) else ""}


def launched(command: list[str], settings: Mapping[str, Any], size: int, rank: int) -> list[str]:
    """The command, started by the rank's launcher where launchers are used. Each $ is doubled, as in any compose definition."""
    if not training_launcher(settings, size)["used"]:
        return command
    options = {
        "rank": rank,
        "hosts": ",".join(f"node{number}" for number in range(size)),
        "port": settings["training_launcher_port"],
        "results": str(settings["training_results_dir"]).replace("$", "$$"),
        "snapshots": settings["training_snapshots"],
        "secret_file": f"/run/secrets/{SECRET}",
        "patience": settings["training_rendezvous_timeout"],
        "log_max_mb": settings["training_log_max_mb"],
        "stacks": STACKS,
        "stall_minutes": settings["training_stall_minutes"],
    }
    if notify_address(settings["training_notify"]):
        options |= {
            "job": settings["training_stack"],
            "notify_file": f"/run/secrets/{NOTIFY}",
            "notify_stall": settings["training_notify_stall_minutes"],
            "restarts": settings["training_max_restarts"],
        }
    return [*LAUNCHED, *(f"--{name}={value}" for name, value in options.items()), "--", *command]


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"training_launcher": training_launcher, "launched": launched}
