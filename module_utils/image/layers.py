"""What the image modules share: how content is named, and streamed. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import IO, Any

from ..names import refusal, shown

MEBIBYTE = 1 << 20


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


def saved_problem(saved: Any) -> str:
    """Why this cannot be what image_save returns, which comes from a host and is used on others; empty if it can."""
    try:
        for diff_id in (saved["id"], *saved["diff_ids"]):
            if not is_digest(diff_id):
                return f"it speaks of {shown(diff_id)}, which is no SHA-256 digest"
        base64.b64decode(saved["config"], validate=True)
        for layer in saved["layers"]:
            wrong: str = refusal("layer", "a layer's file", layer["file"])
            if wrong:
                return wrong
            digests = [f"sha256:{layer['sha256']}", *(layer[key] for key in ("diff_id", "chain") if layer[key] != "")]
            for digest in digests:
                if not is_digest(digest):
                    return f"it speaks of {shown(digest)}, which is no SHA-256 digest"
            for size in (layer["bytes"], layer["size"]):
                if not isinstance(size, int) or isinstance(size, bool) or size < 0:
                    return f"it speaks of {shown(size)} bytes"
            base64.b64decode(layer.get("content", ""), validate=True)
    except (KeyError, TypeError, ValueError) as error:
        return f"it is not shaped as what image_save returns ({type(error).__name__}: {shown(str(error))})"
    return ""


def is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("sha256:[0-9a-f]{64}", value) is not None


def folder_problem(path: Path) -> str:
    """Why root must not work by name in this directory: somebody else could put a link in the place of a file. Empty if nothing is."""
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        return f"{path} is not a directory"
    return f"others may write to {path}" if found.st_uid != os.geteuid() or found.st_mode & 0o022 else ""


def new_file(path: Path) -> IO[bytes]:
    """For the owner alone, in the place of whatever has this name. No link that somebody puts there meanwhile is followed (O_EXCL)."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def regular_file(path: Path) -> IO[bytes]:
    """To read. An OSError says that it is none, such as a link or a pipe."""
    stream = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError(f"{path} is no regular file")
    return stream


def file_sha256(path: Path) -> str:
    """In hexadecimal."""
    digest = hashlib.sha256()
    with regular_file(path) as stream:
        for block in iter(lambda: stream.read(MEBIBYTE), b""):
            digest.update(block)
    return digest.hexdigest()


def streamed(command: list[str], **options: Any) -> subprocess.Popen[Any]:
    """A process whose streams are read and written as they come: a module's run_command holds them in memory, gigabytes here."""
    return subprocess.Popen(command, **options)
