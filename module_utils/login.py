"""Who logged in before becoming root. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

NOBODY = 2**32 - 1


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
        uid = NOBODY
    return uid if uid != NOBODY else user_above()


def user_above() -> int:
    """su tells nobody who called it, and neither does the audit of a container: it is the first of the processes above that is not root's."""
    above = os.getppid()
    while above > 1:
        try:
            lines = Path(f"/proc/{above}/status").read_text().splitlines()
        except OSError:
            break
        said = dict(line.split(":", 1) for line in lines if ":" in line)
        real = int(said["Uid"].split()[0])
        if real != 0:
            return real
        above = int(said["PPid"])
    return os.getuid()
