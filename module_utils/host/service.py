"""The service that runs the engine. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

from typing import Any


def look(module: Any, name: str = "docker.service") -> dict[str, Any]:
    """`known` to systemd, `active` (as systemd calls it: active, inactive, failed, activating) and `enabled` at boot."""
    command = module.get_bin_path("systemctl")
    names = ["LoadState", "ActiveState", "SubState", "UnitFileState"]
    out = module.run_command([command, "show", f"--property={','.join(names)}", name])[1] if command else ""
    said = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
    return {
        "known": said.get("LoadState") == "loaded",
        "active": said.get("ActiveState", ""),
        # One that fails again and again is 'activating' in between.
        "runs": said.get("ActiveState") == "active" and said.get("SubState") == "running",
        "enabled": said.get("UnitFileState", "").startswith("enabled"),
    }
