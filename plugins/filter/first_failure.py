"""Filter: which rank failed first, from what `docker logs` shows of the containers of all ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..module_utils.first_failure import AFTER, BEFORE, failure_of, first_of
from ..module_utils.logs import merged
from ..module_utils.text import lines_of


def first_failure(
    seen: list[dict[str, Any]], before: int = BEFORE, after: int = AFTER, clocks: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The failure that began the last incident, as first_of tells it.

    `seen` holds one entry per rank, in their order, with `item` (its host), `stdout` and `stderr`: lines of "CONTAINER TIME TEXT", as
    `docker logs --timestamps` of each ended container gives them on these.
    """
    failures = []
    for rank, entry in enumerate(seen):
        logs: dict[str, list[list[str]]] = {}
        for number, stream in enumerate(("stdout", "stderr")):
            for line in lines_of(entry.get(stream) or ""):
                container, _space, text = line.partition(" ")
                logs.setdefault(container, [[], []])[number].append(text)
        found = (failure_of(rank, entry["item"], list(merged(*streams)), before, after) for streams in logs.values())
        failures += [failure for failure in found if failure]
    return first_of(failures, clocks or {})


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"first_failure": first_failure}
