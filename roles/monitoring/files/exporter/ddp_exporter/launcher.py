"""Which container the rank was last started in: by that what cAdvisor measures is known as the rank's."""

from __future__ import annotations

import json
import os
import re

from .folder import folder_in, tail

LOGS = (".ddp-launcher", "logs")
START = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}")
CONTAINER = re.compile(r"[0-9a-f]{64}")
READ = 4096


def container(results: str) -> str:
    """Its ID; empty where no launcher has noted one."""
    try:
        with folder_in(results, *LOGS) as folder:
            starts = sorted(name for name in os.listdir(folder) if START.fullmatch(name))
        if not starts:
            return ""
        with folder_in(results, *LOGS, starts[-1]) as folder:
            about = json.loads(tail(folder, "about.json", READ))
    except (OSError, ValueError, RecursionError):
        return ""
    said = about.get("container") if isinstance(about, dict) else ""
    return said if isinstance(said, str) and CONTAINER.fullmatch(said) else ""
