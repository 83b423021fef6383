"""The service that runs the engine. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

STATE = ("LoadState", "ActiveState", "SubState", "UnitFileState")
OPTIONS = ("ExecStart", "Environment", "EnvironmentFiles")


def look(module: Any, name: str = "docker.service") -> dict[str, Any]:
    """`known` to systemd, `active` (as systemd calls it: active, inactive, failed, activating), `enabled` at boot, and `logs`: it gives the
    engine options for containers' logs, which daemon.json must not give as well."""
    command = module.get_bin_path("systemctl")
    out = module.run_command([command, "show", f"--property={','.join(STATE + OPTIONS)}", name])[1] if command else ""
    pairs = [line.split("=", 1) for line in out.splitlines() if "=" in line]
    said = dict(pairs)
    return {
        "known": said.get("LoadState") == "loaded",
        "active": said.get("ActiveState", ""),
        # One that fails again and again is 'activating' in between.
        "runs": said.get("ActiveState") == "active" and said.get("SubState") == "running",
        "enabled": said.get("UnitFileState", "").startswith("enabled"),
        "logs": any(re.search(r"--log-(driver|opt)\b", text) for name, value in pairs for text in options(name, value)),
    }


def options(name: str, value: str) -> list[str]:
    """The texts in which one of the service's properties has options for the engine."""
    if name != "EnvironmentFiles":
        return [value] if name in OPTIONS else []
    try:
        lines = Path(value.partition(" (")[0]).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if not line.lstrip().startswith(("#", ";"))]
