"""What the hosts of a swarm answer to swarm_node_info, and what swarm_diagnosis makes of it. Shaped as lab hosts gave it."""

from __future__ import annotations

from typing import Any

from ansible_collections.ddp.swarm.plugins.module_utils.swarm.cluster import Cluster, Settings
from ansible_collections.ddp.swarm.plugins.module_utils.swarm.plan.hosts import diagnose
from ansible_collections.ddp.swarm.plugins.module_utils.swarm.plan.removal import plan_removal

Seen = dict[str, dict[str, Any]]


def address(host: str) -> str:
    return f"192.0.2.{host.removeprefix('host')}"


def node(host: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"id-{host}", "hostname": host, "labels": {"ddp_host": host}, "role": "worker", "availability": "active",
        "status": "ready", "address": address(host), "leader": False, "reachability": "", **changes,
    }  # fmt: skip


def swarm(managers: list[str], workers: list[str]) -> Seen:
    """What healthy hosts answer: ranks as in the inventory, and every manager lists all nodes."""
    names = managers + workers
    nodes = [
        node(
            host,
            labels={"ddp_host": host, "ddp_rank": str(rank)},
            role="manager" if host in managers else "worker",
            reachability="reachable" if host in managers else "",
        )
        for rank, host in enumerate(names)
    ]
    return {
        host: {
            "engine": "26.1.5", "error": "", "services": [], "networks": [],
            "wanted": {"address": address(host), "availability": "active", "rank": rank},
            "nodes": nodes if host in managers else [],
            "swarm": {
                "state": "active", "error": "", "node_id": f"id-{host}", "address": address(host), "manager": host in managers,
                "quorum": host in managers, "cluster": "ours", "remotes": [address(manager) for manager in managers],
            },
        }
        for rank, host in enumerate(names)
    }  # fmt: skip


def bare(seen: Seen, host: str) -> None:
    """The host is new: an engine, and no swarm. Its former node is Down."""
    seen[host]["swarm"] = {
        "state": "inactive",
        "node_id": "",
        "manager": False,
        "quorum": False,
        "cluster": "",
        "remotes": [],
    }
    seen[host]["nodes"] = []
    for other in seen.values():
        other["nodes"] = [
            {**n, "status": "down", "reachability": n["reachability"] and "unreachable"} if n["hostname"] == host else n
            for n in other["nodes"]
        ]


def headless(seen: Seen, *hosts: str) -> None:
    for host in hosts:
        seen[host]["nodes"] = []
        seen[host]["swarm"].update(quorum=False, error="rpc error: the swarm does not have a leader")


def judge(
    seen: Seen, managers: list[str], workers: list[str], unreachable: dict[str, str] | None = None, **settings: Any
) -> Any:
    addresses = {host: address(host) for host in managers + workers}
    return diagnose(Cluster(managers, workers, seen, unreachable or {}, addresses), Settings(**settings))


PAIR = (["host1"], ["host2"])
TRIO = (["host1", "host2", "host3"], ["host4"])


def remove(seen: Seen, *hosts: str, **settings: bool) -> Any:
    addresses = {host: address(host) for host in seen}
    return plan_removal(Cluster(*TRIO, seen, {}, addresses), list(hosts), Settings(**settings))


def gone(seen: Seen, host: str) -> None:
    """It answers nobody any more, and the others list it as lost."""
    del seen[host]
    for other in seen.values():
        other["nodes"] = [
            {**n, "status": "down", "reachability": n["reachability"] and "unreachable"} if n["hostname"] == host else n
            for n in other["nodes"]
        ]
