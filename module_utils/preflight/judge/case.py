"""A case: what is known of each rank and host, and the findings so far."""

from __future__ import annotations

from typing import Any

from ..contract import LAYERS, Json

# SSH and Ansible's own start-up lie between the controller's stamp and the host's: no more than this, one hopes.
TRANSIT_SECONDS = 60.0
# An overlay's interfaces have this much less than its MTU option says: measured on engines 20.10 and 26.1.
VXLAN_BYTES = 50


class Case:
    """Everything that is known, indexed by rank, and the verdicts that are drawn from it."""

    def __init__(self, reports: list[Json], ranks: list[Json], limits: Json) -> None:
        self.limits = limits
        self.hosts = {int(entry["rank"]): str(entry["host"]) for entry in sorted(ranks, key=lambda e: int(e["rank"]))}
        self.reports: dict[int, Json] = {}
        # Managers without a rank: what they say about the swarm counts, and a fault of theirs is one.
        self.bystanders: dict[str, Json] = {}
        for report in reports:
            if not isinstance(report, dict):
                continue
            if report.get("rank") in self.hosts:
                rank = int(report["rank"])
                self.reports[rank] = merge(self.reports.get(rank) or {}, report)
            elif report.get("host") not in self.hosts.values():
                self.bystanders[str(report.get("host"))] = report
        self.verdicts: list[Json] = []

    def everybody(self) -> list[Json]:
        """What each host says about itself, managers without a rank included."""
        return [report.get("host_checks") or {} for report in (*self.reports.values(), *self.bystanders.values())]

    def nodes(self) -> list[Json]:
        return next((checks["nodes"] for checks in self.everybody() if checks.get("nodes")), [])

    def network(self) -> Json:
        return next((checks["network"] for checks in self.everybody() if checks.get("network")), {})

    def probe(self, rank: int) -> Json:
        return (self.reports.get(rank) or {}).get("probe") or {}

    def checks(self, rank: int) -> Json:
        return (self.reports.get(rank) or {}).get("host_checks") or {}

    def host(self, rank: int | None) -> str | None:
        return None if rank is None else self.hosts.get(rank, f"rank {rank}")

    def say(
        self,
        layer: int,
        rank: int,
        check: str,
        ok: bool | None,
        observed: Any = "",
        expected: Any = "",
        hint: str = "",
        peer: int | str | None = None,
        host: str | None = None,
    ) -> None:
        self.verdicts.append(
            {
                "layer": layer,
                "layer_name": LAYERS[layer],
                "rank": rank,
                "host": host or self.hosts[rank],
                "peer": peer if isinstance(peer, str) else self.host(peer),
                "check": check,
                "ok": ok,
                "observed": "" if observed is None else str(observed),
                "expected": "" if expected is None else str(expected),
                "hint": hint,
            }
        )


def merge(old: Json, new: Json) -> Json:
    """What a later report does not know, the earlier one still does."""
    checks = {k: v for k, v in (new.get("host_checks") or {}).items() if v not in (None, "", [], {})}
    return {**old, **new, "probe": new.get("probe") or old.get("probe"),
            "host_checks": {**(old.get("host_checks") or {}), **checks}}  # fmt: skip
