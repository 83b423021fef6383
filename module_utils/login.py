"""Who logged in before becoming root. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import os
import pwd
from pathlib import Path


def login_user() -> int:
    """The user ID that a file transfer runs as."""
    environment = os.environ
    if environment.get("SUDO_UID"):
        return int(environment["SUDO_UID"])
    if environment.get("DOAS_USER"):
        return pwd.getpwnam(environment["DOAS_USER"]).pw_uid
    try:
        uid = int(Path("/proc/self/loginuid").read_text())
    except (OSError, ValueError):
        return os.getuid()
    return os.getuid() if uid == 2**32 - 1 else uid
