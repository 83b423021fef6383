"""Whether a directory is the same on several hosts: names and sizes of all files, and the bytes of a sample.

Each host puts its files into buckets by their names, and sends a digest of each bucket. Where two differ, both are asked for what lies in
that bucket. Standard library only, Python 3.9 or newer.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from typing import Any

BUCKETS = 256
# Of a large file these many bytes of its beginning, its middle and its end count.
PIECE = 65536
WHOLE = 4 * PIECE
# What is sent of a bucket at most.
LISTED = 200
# Beyond this many files nothing is compared, which is said.
MOST = 2_000_000

Entry = tuple[str, int, str]


class TooMany(Exception):
    """More files than are compared."""


def entries(root: str) -> Iterator[Entry]:
    """Path below `root`, size in bytes and kind (file, or where a link leads to) of all files. Links are not followed; pipes and the like are none."""
    if os.path.isfile(root):
        yield "", os.stat(root).st_size, "file"
        return
    waiting = [root]
    while waiting:
        place = waiting.pop()
        with os.scandir(place) as found:
            for entry in found:
                path = entry.path[len(root.rstrip("/")) + 1 :]
                if entry.is_symlink():
                    yield path, 0, f"link to {os.readlink(entry.path)}"
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield path, entry.stat(follow_symlinks=False).st_size, "file"


def number_of(path: str) -> int:
    """The same on each host, and without any order: by it files get into buckets, and into the sample."""
    return int.from_bytes(hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


def read_size(size: int) -> int:
    """How much is read of a file that is in the sample."""
    return size if size <= WHOLE else 3 * PIECE


def sample(files: list[Entry], budget: int) -> set[str]:
    """Which files are read, of all hosts with these names and sizes the same: all, or in the order of their numbers until the budget is used."""
    chosen, left = set(), budget
    for path, size, kind in sorted(files, key=lambda entry: number_of(entry[0])):
        if kind == "file" and read_size(size) <= left:
            chosen.add(path)
            left -= read_size(size)
    return chosen


def content(root: str, path: str, size: int) -> str:
    """Digest of a file, or of three pieces of a large one; empty for what cannot be read."""
    digest = hashlib.blake2b(digest_size=8)
    try:
        opened = os.open(os.path.join(root, path) if path else root, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(opened, "rb") as stream:
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                return ""
            if size <= WHOLE:
                digest.update(stream.read(size))
            else:
                for start in (0, (size - PIECE) // 2, size - PIECE):
                    stream.seek(start)
                    digest.update(stream.read(PIECE))
    except OSError:
        return ""
    return digest.hexdigest()


def digest_of(lines: list[str]) -> str:
    text = "\n".join(sorted(lines))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest() if lines else ""


def looked_at(path: str, budget: int, buckets: list[int] | None = None) -> dict[str, Any]:
    """What is to be said of a dataset. With `buckets`, also the files in these: each with its size, kind and content."""
    root = os.path.realpath(path)
    if not os.path.exists(root):
        return {"path": path, "missing": True}
    files: list[Entry] = []
    for entry in entries(root):
        files.append(entry)
        if len(files) > MOST:
            raise TooMany(f"{path} has more than {MOST} files")
    chosen = sample(files, budget)
    names: list[list[str]] = [[] for _ in range(BUCKETS)]
    contents: list[list[str]] = [[] for _ in range(BUCKETS)]
    listed: dict[str, list[Any]] = {}
    read = 0
    for name, size, kind in files:
        bucket = number_of(name) % BUCKETS
        names[bucket].append(f"{name}\0{size}\0{kind}")
        told = content(root, name, size) if name in chosen else ""
        read += read_size(size) if name in chosen else 0
        contents[bucket].append(f"{name}\0{told}")
        if buckets and bucket in buckets and len(listed) < LISTED:
            listed[name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")] = [size, kind, told]
    return {
        "path": path,
        "missing": False,
        "files": len(files),
        "bytes": sum(size for _name, size, _kind in files),
        "read": read,
        "names": [digest_of(lines) for lines in names],
        "contents": [digest_of(lines) for lines in contents],
        "listed": listed,
    }
