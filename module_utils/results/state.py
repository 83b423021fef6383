"""What lies among the results of a rank: which run it is of, how new it is, and its second copy."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ..names import LAUNCHER, is_name
from ..text import lines_of
from .kept import NOTHING, age_of, newest_copy, opened, saved_here
from .tree import STAYS, Tree, tail

LAST_LINES = 65536  # bytes


def copy_in(tree: Tree) -> AbstractContextManager[Tree | None]:
    """The files of the newest second copy."""
    return below(tree, LAUNCHER, "copy", newest_copy(tree) or "none", "files")


@contextmanager
def below(tree: Tree, *names: str) -> Iterator[Tree | None]:
    folder = opened(tree, *names)
    if folder is None:
        yield None
        return
    try:
        with Tree(f"/proc/self/fd/{folder}") as files:
            yield files
    finally:
        os.close(folder)


def named(tree: Tree | None) -> dict[str, Any]:
    ages = (saved_here(tree), age_of(newest_copy(tree))) if tree else (NOTHING, NOTHING)
    run = run_name(tree) if tree else ""
    if tree and not run:
        with copy_in(tree) as copy:
            run = run_name(copy) if copy else ""
    saved, copied = ({"lineage": lineage, "counter": counter} for lineage, counter in ages)
    empty = tree is None or not set(os.listdir(tree.root)) - STAYS - {LAUNCHER}
    return {"run": run, "empty": empty, "saved": saved, "copied": copied}


def run_name(tree: Tree) -> str:
    """Of lines that a container wrote: the last that names a run decides."""
    for line in reversed(lines_of(tail(tree, "metrics.jsonl", LAST_LINES).decode(errors="replace"))):
        try:
            run = json.loads(line).get("run")
        except (ValueError, AttributeError, RecursionError):
            continue
        if run is not None:
            return str(run) if is_name("run", run) else ""
    return ""
