"""SELinux labels of what is mounted into containers.

Docker relabels nothing for a service: z and Z mean something to docker run alone (https://github.com/moby/moby/issues/36282). Written by
container-selinux's documentation (container_selinux(8)) and tried on invented labels: no host with SELinux was at hand.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..contract import Json

ATTRIBUTE = "security.selinux"
# What a container may read and write, or only read. Of other machines' files, booleans such as virt_use_nfs decide.
FIT = ("container_", "svirt_sandbox_file_t", "nfs_t", "cifs_t", "fusefs_t")
READABLE = ("usr_t", "etc_t", "lib_t", "bin_t", "locale_t", "cert_t")


def is_enforcing(root: str = "/") -> bool:
    try:
        return (Path(root) / "sys/fs/selinux/enforce").read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False


def type_of(path: str) -> str:
    """Such as user_home_t, empty where the file is not there or has no label."""
    try:
        label = os.getxattr(path, ATTRIBUTE).decode("utf-8", "replace").rstrip("\0")
    except OSError:
        return ""
    parts = label.split(":")
    return parts[2] if len(parts) > 2 else ""


def denied(mounts: list[Json]) -> list[Json]:
    """Of bind mounts, each with its `source` and whether it is `read_only`, those that SELinux keeps from containers, each with its `type`."""
    found = [(mount, type_of(mount["source"])) for mount in mounts]
    return [
        {"path": mount["source"], "type": kind}
        for mount, kind in found
        if kind and not kind.startswith(FIT) and not (mount["read_only"] and kind in READABLE)
    ]
