"""What the image modules share: how content is named, and streamed. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

MEBIBYTE = 1 << 20
# On every image that this project builds: its name without the tag. What lacks it is never removed.
LABEL = "io.ddp-swarm.image"


def chain_ids(diff_ids: list[str]) -> list[str]:
    """OCI image specification, config.md: ChainID(L0) = L0; ChainID(L0|..|Ln) = SHA256(ChainID(L0|..|Ln-1) + ' ' + Ln)."""
    chains: list[str] = []
    for diff_id in diff_ids:
        if chains:
            diff_id = "sha256:" + hashlib.sha256(f"{chains[-1]} {diff_id}".encode()).hexdigest()
        chains.append(diff_id)
    return chains


def in_containerd(info: dict[str, Any]) -> bool:
    """Whether the engine (`docker info`) keeps images in containerd, whole: a layer that it has cannot be left out for it."""
    return any("io.containerd.snapshotter" in str(pair) for pair in info.get("DriverStatus") or [])


def file_sha256(path: Path) -> str:
    """In hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(MEBIBYTE), b""):
            digest.update(block)
    return digest.hexdigest()


def streamed(command: list[str], **options: Any) -> subprocess.Popen[Any]:
    """A process whose streams are read and written as they come: a module's run_command holds them in memory, gigabytes here."""
    return subprocess.Popen(command, **options)
