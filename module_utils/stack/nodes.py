"""Which nodes a global service has a place on."""

from __future__ import annotations

import re
from typing import Any

# docker/cli and swarmkit's manager/constraint: names in small letters, but those of labels; values whatever their case.
CONSTRAINT = re.compile(r"\s*([\w.-]+)\s*(==|!=)\s*(.*?)\s*", re.DOTALL)


def is_eligible(node: dict[str, Any], constraints: list[str]) -> bool:
    """Whether a global service with these constraints gets a task on the node. Swarm makes none where it is down, drained or paused."""
    spec, status = node.get("Spec") or {}, node.get("Status") or {}
    if status.get("State") == "down" or spec.get("Availability") == "drain" or is_paused(node):
        return False
    known = _known(node)
    for constraint in constraints:
        found = CONSTRAINT.fullmatch(constraint)
        # One that is not known here may be fulfilled.
        if found and _name(found[1]).startswith(("node.", "engine.")):
            same = known.get(_name(found[1]), "").casefold() == found[3].casefold()
            if same != (found[2] == "=="):
                return False
    return True


def is_paused(node: dict[str, Any]) -> bool:
    """Whether swarm leaves what a global service has there as it is: no new task, and no update of an old one."""
    return (node.get("Spec") or {}).get("Availability") == "pause"


def _name(written: str) -> str:
    start, dot, label = written.partition(".labels.")
    return f"{start.lower()}{dot}{label}" if dot else written.lower()


def _known(node: dict[str, Any]) -> dict[str, str]:
    spec, description = node.get("Spec") or {}, node.get("Description") or {}
    platform = description.get("Platform") or {}
    return {
        "node.id": str(node.get("ID", "")),
        "node.hostname": str(description.get("Hostname", "")),
        "node.ip": str((node.get("Status") or {}).get("Addr", "")),
        "node.role": str(spec.get("Role", "")),
        "node.platform.os": str(platform.get("OS", "")),
        "node.platform.arch": str(platform.get("Architecture", "")),
        **{f"node.labels.{name}": str(value) for name, value in (spec.get("Labels") or {}).items()},
        **{
            f"engine.labels.{name}": str(value)
            for name, value in ((description.get("Engine") or {}).get("Labels") or {}).items()
        },
    }
