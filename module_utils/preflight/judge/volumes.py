"""Layer 2: volumes whose driver puts them somewhere else."""

from __future__ import annotations

from typing import Any

from .. import contract as code
from ..contract import Json
from .case import Case

# What the engine, or the kernel through it, says of a mount that failed, and what to do then. The first that fits.
CURES = (
    (
        ("plugin", "driver"),
        "run 'docker plugin install PLUGIN' on {host} for a plugin that this host lacks, or correct driver in training_mounts",
    ),
    (
        ("no such device", "unknown filesystem", "protocol not supported"),
        ("the kernel of {host} cannot mount this type: install its client (for NFS nfs-common on Debian and Ubuntu, nfs-utils on Rocky Linux and "
        "Fedora) or load its module, until 'mount -t nfs SERVER:/PATH /mnt' works there"),
    ),
    (
        ("refused", "no route", "unreachable", "timed out", "no answer", "no such host", "resolving", "host is down"),
        "look whether the server of driver_opts (addr in o) is right, runs, and lets {host} in: for NFS 2049/tcp is to be open",
    ),
    (
        ("chown", "chmod", "operation not permitted"),
        ("the engine gives an empty volume the owner that the image's directory has, which this server refuses (root_squash): set "
        "volume: {{nocopy: true}} at the mount in training_mounts, and give the directory on the server to user 1000"),
    ),
    (
        ("denied",),
        "let {host} mount it: for NFS /etc/exports of the server names who may (then 'exportfs -ra' there)",
    ),
    (
        ("no such file", "not a directory"),
        "create what device in driver_opts names, on the server or, with o: bind, on {host}, or correct device",
    ),
)  # fmt: skip
OTHERWISE = "correct driver_opts in training_mounts until 'docker run' with this volume works on {host}"


def cure(said: str, host: str) -> str:
    lower = said.lower()
    found = next((words for marks, words in CURES if any(mark in lower for mark in marks)), OTHERWISE)
    return found.format(host=host)


def judge_volume(case: Case, rank: int, volume: Json) -> None:
    lack, facts = volume["lack"], dict[str, Any](volume)
    if lack == "other":
        case.fault(code.VOLUME_OTHER, rank, **facts)
    elif lack == "mount":
        case.fault(code.VOLUME_MOUNT, rank, cure=cure(str(volume["said"]), case.hosts[rank]), **facts)
    else:
        case.fault(code.VOLUME_DENIED, rank, **facts)
