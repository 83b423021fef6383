"""The second copy, which a rank's launcher keeps beside its results. Root reads it, and trusts nothing in it: no link is followed.

Standard library only, Python 3.9 or newer.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

from ..names import LAUNCHER
from .tree import FOLDER, Tree

# A lineage, which a later beginning has a greater one of, and how often something was saved in it.
COPY = re.compile(r"([0-9a-f-]{1,64}):([0-9]{1,16})")
BOOK_BYTES = 2**25
NOTHING: tuple[str, int] = ("", 0)


def opened(tree: Tree, *names: str) -> int | None:
    """A descriptor of a directory below the root; None where there is none, or a link in its place."""
    folder = os.dup(tree.root)
    for name in names:
        try:
            inner = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=folder)
        except OSError:
            return None
        finally:
            os.close(folder)
        folder = inner
    return folder


def newest_copy(tree: Tree) -> str:
    """The name of its directory; empty where there is none."""
    folder = opened(tree, LAUNCHER, "copy")
    if folder is None:
        return ""
    try:
        names = [name for name in os.listdir(folder) if COPY.fullmatch(name)]
    finally:
        os.close(folder)
    return max(names, key=age_of, default="")


def age_of(name: str) -> tuple[str, int]:
    found = COPY.fullmatch(name)
    return (found[1], int(found[2])) if found else NOTHING


def noted(tree: Tree, name: str, size: int) -> Any:
    """What is in a file of JSON, of at most `size` bytes, that the launcher keeps; None where none can be read."""
    folder = opened(tree, LAUNCHER)
    if folder is None:
        return None
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return None
    finally:
        os.close(folder)
    with open(descriptor, "rb") as file:
        try:
            return json.loads(file.read(size))
        except (OSError, ValueError, TypeError, RecursionError):  # of a pipe there is nothing to read
            return None


def saved_here(tree: Tree) -> tuple[str, int]:
    """What rank 0's launcher has counted; nothing where it has not."""
    book = noted(tree, "book.json", BOOK_BYTES)
    try:
        manifest = book["manifest"] if book["source"] is True else {}
        name = f"{manifest['lineage']}:{manifest['counter']}"
    except (KeyError, TypeError):
        return NOTHING
    return age_of(name)
