"""Which container this is, and of which deployment of the job: by that a log in the volume is told from others."""

from __future__ import annotations

import hashlib
import re

# The engine mounts a container's /etc/hostname from its own directory, which bears the container's ID.
CONTAINER = re.compile(r"/containers/([0-9a-f]{64})/")


def container() -> str:
    """Its ID; empty where there is none."""
    try:
        with open("/proc/self/mountinfo") as file:
            found = CONTAINER.search(file.read())
    except OSError:
        return ""
    return found[1] if found else ""


def deployment(secret_file: str) -> str:
    """The same for all starts that one deployment of the stack brings, for its secret goes with the stack. Empty without one."""
    try:
        with open(secret_file, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()[:16]
    except OSError:
        return ""
