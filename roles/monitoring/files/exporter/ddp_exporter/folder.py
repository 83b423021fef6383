"""Files below a directory to which somebody else writes at the same moment. No link is followed, and a pipe holds nothing up."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


@contextmanager
def folder_in(root: str, *parts: str) -> Iterator[int]:
    """A descriptor of the directory. OSError, if there is none."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts:
            inner = os.open(part, FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def opened(folder: int, name: str) -> IO[bytes]:
    """A regular file in a directory, to read. OSError, if there is none."""
    stream = open(os.open(name, FILE, dir_fd=folder), "rb")  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise FileNotFoundError(name)
    return stream


def tail(folder: int, name: str, size: int) -> bytes:
    """The last bytes of a file."""
    with opened(folder, name) as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - size))
        return stream.read(size)
