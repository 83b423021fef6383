"""What a rank's launcher keeps in the volume of what the rank wrote. Root reads it, and trusts nothing in it: no link is followed.

Standard library only, Python 3.9 or newer.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from ..names import LAUNCHER
from .kept import opened
from .tree import Tree

# A time and a few letters by chance.
START = re.compile(r"([0-9]{8}T[0-9]{6})Z-[0-9a-f]{6}")
PART = re.compile(r"[0-9]{6}a?\.log")
ID = re.compile(r"[0-9a-f]{64}")
ABOUT_BYTES = 4096
PARTS = 64


class Start(NamedTuple):
    """`at` is when it was, `container` the whole ID."""

    name: str
    at: str
    container: str
    deployed: str


def starts(tree: Tree) -> list[Start]:
    """Those of the newest deployment whose container is known, the newest first."""
    found = []
    for name in sorted(_names(tree), reverse=True):
        about = _about(tree, name)
        container, deployed = about.get("container"), about.get("deployed")
        if isinstance(container, str) and isinstance(deployed, str) and ID.fullmatch(container):
            found.append(Start(name, name[:15], container, deployed))
    return [start for start in found if start.deployed == found[0].deployed]


def _names(tree: Tree) -> list[str]:
    folder = opened(tree, LAUNCHER, "logs")
    if folder is None:
        return []
    try:
        return [name for name in os.listdir(folder) if START.fullmatch(name)]
    finally:
        os.close(folder)


def _about(tree: Tree, name: str) -> dict[str, Any]:
    for stream in _files(tree, name, ["about.json"]):
        try:
            value = json.loads(stream.read(ABOUT_BYTES))
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}
    return {}


def _files(tree: Tree, start: str, wanted: list[str] | None = None) -> Iterator[IO[bytes]]:
    """Regular files that have no other name, in the order of their names."""
    folder = opened(tree, LAUNCHER, "logs", start)
    if folder is None:
        return
    try:
        names = wanted or sorted(name for name in os.listdir(folder) if PART.fullmatch(name))[:PARTS]
        for name in names:
            try:
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            except OSError:
                continue
            with open(descriptor, "rb") as stream:
                status = os.fstat(descriptor)
                if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                    yield stream
    finally:
        os.close(folder)


def size_of(tree: Tree, start: Start) -> int:
    return sum(os.fstat(stream.fileno()).st_size for stream in _files(tree, start.name))


def first_line(tree: Tree, start: Start) -> str:
    for stream in _files(tree, start.name):
        return stream.readline(2**16).decode("utf-8", "surrogateescape").rstrip("\r\n")
    return ""


def copy(tree: Tree, start: Start, target: IO[bytes]) -> None:
    for stream in _files(tree, start.name):
        shutil.copyfileobj(stream, target, 2**20)
