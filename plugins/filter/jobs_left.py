"""Filters: the jobs that no manager tells of, as the containers on the hosts have them."""

from __future__ import annotations

import re
from typing import Any

from ..module_utils.stack.compose.values import UNITS, nanoseconds

RUNS = ("running", "paused", "restarting")


def jobs_left(answers: dict[str, Any], jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Jobs in the form of swarm_jobs_info, of what job_containers_info said (`answers`, by host) beside the swarm's own `jobs`."""
    known = {service for job in jobs for service in job["services"]}
    found: dict[str, dict[int, tuple[str, dict[str, Any]]]] = {}
    for host, answer in answers.items():
        for container in answer.get("containers") or []:
            if container["service"] not in known:
                # The newest comes first, and one that runs is the rank before one that has ended elsewhere.
                ranks = found.setdefault(container["job"], {})
                if container["rank"] not in ranks or (runs(container) and not runs(ranks[container["rank"]][1])):
                    ranks[container["rank"]] = (host, container)
    return [left(name, ranks) for name, ranks in sorted(found.items())]


def left(name: str, ranks: dict[int, tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    places = [ranks.get(rank) for rank in range(max(ranks) + 1)]
    one = ranks[min(ranks)][1]
    busy = any(runs(container) for _host, container in ranks.values())
    return {
        "name": name,
        "state": "running" if busy else "ended",
        "busy": busy,
        "ranks": [{"rank": rank, "host": place[0] if place else ""} for rank, place in enumerate(places)],
        "mounts": one["mounts"],
        "results": one["results"],
        "containers": [container["id"] for _host, container in ranks.values() if runs(container)],
    }


def runs(container: dict[str, Any]) -> bool:
    return container["state"] in RUNS


def whole_seconds(text: str) -> int:
    """Of a duration such as 1m30s, rounded up."""
    if re.fullmatch(r"\d{1,6}", str(text), re.ASCII):
        return int(text)
    return -(-nanoseconds(str(text)) // UNITS["s"])


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"jobs_left": jobs_left, "whole_seconds": whole_seconds}
