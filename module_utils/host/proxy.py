"""The HTTP proxy that the role docker has told a host of. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import hashlib
from pathlib import Path

FOLDER = "/etc/ddp-swarm"
# For the engine, by its service; for apt, dnf (what is added to its own settings) and curl.
ENVIRONMENT, APT, DNF, CURL = (f"{FOLDER}/{name}" for name in ("proxy.env", "apt.conf", "dnf.proxy", "curlrc"))


def look(root: Path) -> dict[str, str]:
    """The SHA-256 of each file that tells of it, by its path."""
    files = {path: root / path.lstrip("/") for path in (ENVIRONMENT, APT, DNF, CURL)}
    return {path: hashlib.sha256(file.read_bytes()).hexdigest() for path, file in files.items() if file.is_file()}
