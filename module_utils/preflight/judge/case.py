"""A case: what is known of each rank and host, and the findings so far."""

from __future__ import annotations

from typing import Any

from ...cuda import driver_needed
from ..contract import LAYERS, STEADY_CONNECTION, Json
from ..faults import FAULTS

# SSH and Ansible's own start-up lie between the controller's stamp and the host's: no more than this, one hopes.
TRANSIT_SECONDS = 60.0
# An overlay's interfaces have this much less than its MTU option says: measured on engines 20.10 and 26.1.
VXLAN_BYTES = 50
# Of a probe's report, what is a mapping where it is there.
PARTS = ("identity", "clock", "heard", "pairs", "allreduce", "compute", "backend_reason")


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
            report = {
                **report,
                "probe": readable(report.get("probe")),
                "host_checks": mapping(report.get("host_checks")),
            }
            rank = report.get("rank")
            if isinstance(rank, int) and rank in self.hosts:
                self.reports[rank] = merge(self.reports.get(rank) or {}, report)
            elif report.get("host") not in self.hosts.values():
                self.bystanders[str(report.get("host"))] = report
        self.verdicts: list[Json] = []
        # What is worth a look and keeps nobody from training.
        self.remarks: list[Json] = []

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

    def node(self, rank: int) -> Json:
        """The host's node, as a manager of the swarm sees it."""
        own = (self.checks(rank).get("engine") or {}).get("node")
        return next((node for node in self.nodes() if own and node["id"] == own), {})

    def old_driver(self, rank: int) -> Json:
        """The driver, the image's CUDA and the driver that this needs, where the host's is older."""
        driver = str(self.checks(rank).get("nvidia_driver") or "")
        cuda = str((self.probe(rank).get("identity") or {}).get("cuda") or "")
        needed = driver_needed(driver, cuda)
        return {"driver": driver, "cuda": cuda, "needed": needed} if needed else {}

    def host(self, rank: int | None) -> str | None:
        return None if rank is None else self.hosts.get(rank, f"rank {rank}")

    def gpu_name(self, rank: int, device: int) -> str:
        """By its number in nvidia-smi on the host, where the task's GPUs can be told by UUID."""
        uuids = (self.probe(rank).get("identity") or {}).get("gpu_uuids")
        uuid = uuids[device] if isinstance(uuids, list) and 0 <= device < len(uuids) else None
        states = self.checks(rank).get("gpu_states") or []
        index = next((state.get("index") for state in states if uuid and state.get("uuid") == uuid), None)
        return f"GPU {index}" if index is not None else f"GPU {device} of the task"

    def manager(self) -> str:
        """A host whose engine manages the swarm."""
        for rank, host in self.hosts.items():
            if (self.checks(rank).get("engine") or {}).get("manager"):
                return host
        return next(iter(self.bystanders), "a manager")

    def fault(self, code: str, rank: int, peer: int | str | None = None, **facts: Any) -> None:
        """A fault by its code (contract.py), with the facts that its sentences name."""
        self._by_code(code, rank, peer, False, facts)

    def remark(self, code: str, rank: int, **facts: Any) -> None:
        """The same of what fails no check."""
        self._by_code(code, rank, None, True, facts)
        self.remarks.append(self.verdicts.pop())

    def _by_code(self, code: str, rank: int, peer: int | str | None, ok: bool, facts: Json) -> None:
        fault = FAULTS[code]
        facts = {
            "host": self.hosts[rank],
            "peer": peer if isinstance(peer, str) else self.host(peer),
            "rank": rank,
            **facts,
        }
        observed, expected, hint = (text.format(**facts) for text in fault[2:])
        self.say(fault.layer, rank, fault.check, ok, observed, expected, hint, peer)

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


def pair_list(case: Case) -> list[Json]:
    pairs = []
    for rank in case.hosts:
        for peer, pair in sorted((case.probe(rank).get("pairs") or {}).items(), key=lambda item: int(item[0])):
            if int(peer) in case.hosts:
                pairs.append(
                    {
                        "rank": rank,
                        "host": case.hosts[rank],
                        "peer_rank": int(peer),
                        "peer": case.hosts[int(peer)],
                        "latency": pair.get("latency_us"),
                        "bandwidth": pair.get("bandwidth_mb_s"),
                        "host_bandwidth": (
                            (case.checks(rank).get("host_network") or {}).get(case.hosts[int(peer)]) or {}
                        ).get("bandwidth_mb_s"),
                        "steady": pair.get("bandwidth_steady", 1) >= STEADY_CONNECTION,
                        "path_mtu": pair.get("path_mtu"),
                    }
                )
    return pairs


def slowest_pair(case: Case) -> str:
    slowest = min((pair for pair in pair_list(case) if pair["bandwidth"]), key=lambda p: p["bandwidth"], default=None)
    if slowest is None:
        return ""
    return f"slowest pair: {slowest['host']} to {slowest['peer']}, {slowest['bandwidth']:g} MB/s"


def mapping(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def readable(probe: Any) -> Json | None:
    """The probe's report, or none if it is not shaped as one: a container's output says whatever the container wants."""
    if not isinstance(probe, dict) or any(not isinstance(probe.get(part) or {}, dict) for part in PARTS):
        return None
    records = probe.get("records") or []
    return probe if isinstance(records, list) and all(map(is_record, records)) else None


def is_record(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and type(record.get("layer")) is int
        and record["layer"] in LAYERS
        and isinstance(record.get("peer"), (int, type(None)))
        and isinstance(record.get("code"), (str, type(None)))
        and isinstance(record.get("device"), (int, type(None)))
    )


def merge(old: Json, new: Json) -> Json:
    """What a later report does not know, the earlier one still does."""
    checks = {k: v for k, v in (new.get("host_checks") or {}).items() if v not in (None, "", [], {})}
    return {**old, **new, "probe": new.get("probe") or old.get("probe"),
            "host_checks": {**(old.get("host_checks") or {}), **checks}}  # fmt: skip
