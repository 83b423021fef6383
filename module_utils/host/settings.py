"""The engine's settings on a host, and whether the engine has read them. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def look(etc: Path, environment: Path, *read_at: Path) -> dict[str, Any]:
    """`value` is what daemon.json says, an empty mapping if there is none, and null if it is no JSON, as `error` then tells.

    `directory` says whether its directory is there. `mode` is the file's, or that of a new one. `before_gpus` is what was put aside before
    GPUs were offered, null if nothing was.
    `unread` says that the file, or the one with the engine's `environment`, is newer than the engine's last reading, which the youngest of
    the files `read_at` shows by its time.
    """
    file = etc / "daemon.json"
    value, error = read(file)
    readings = times(*read_at)
    before, _ = read(etc / "before-gpus.json")
    return {
        "value": value,
        "error": error,
        "directory": etc.is_dir(),
        "mode": f"{file.stat().st_mode & 0o777:04o}" if file.exists() else "0644",
        "before_gpus": (before or {}).get("settings") if isinstance(before, dict) else None,
        "unread": bool(readings) and any(written > max(readings) for written in times(file, environment)),
    }


def times(*files: Path) -> list[float]:
    return [file.stat().st_mtime for file in files if file.exists()]


def read(file: Path) -> tuple[Any, str]:
    """The file's content, of which an empty one or none says nothing, and what is wrong with it."""
    try:
        return json.loads((file.read_text(encoding="utf-8") if file.exists() else "").strip() or "{}"), ""
    except (OSError, ValueError) as error:
        return None, str(error)
