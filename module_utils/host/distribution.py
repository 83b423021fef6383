"""The distribution of a host, as os-release(5) has it. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

FAMILIES = {"debian": "debian", "ubuntu": "debian", "rhel": "redhat", "fedora": "redhat", "centos": "redhat"}


def look(root: Path) -> dict[str, Any]:
    """`family` is debian, redhat or empty; `version` and `codename` are empty where the distribution has none."""
    said = read(root / "etc/os-release") or read(root / "usr/lib/os-release")
    kin = [said.get("ID", ""), *said.get("ID_LIKE", "").split()]
    return {
        "id": said.get("ID", ""),
        "version": said.get("VERSION_ID", ""),
        "codename": said.get("VERSION_CODENAME", ""),
        "name": said.get("PRETTY_NAME") or said.get("ID") or "an unknown system",
        "family": next((FAMILIES[name] for name in kin if name in FAMILIES), ""),
    }


def read(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): unquoted(value) for name, value in pairs}


def unquoted(value: str) -> str:
    try:
        return " ".join(shlex.split(value))
    except ValueError:
        return value
