"""Hosts and nodes of a swarm beside each other, as the hosts tell them, and the steps for a host."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..names import HOST, is_address


@dataclass
class Settings:
    network: str = "ddp-net"
    waited: bool = False
    rejoin: bool = False
    rebuild: bool = False
    force_new_cluster: bool = False
    disturb_training: bool = False
    unlock_key: bool = False
    gone: bool = False
    check: bool = False
    data_path_port: int = 0
    default_addr_pool: list[str] = field(default_factory=list)
    subnet_size: int = 0


@dataclass
class Steps:
    """What is to be done about one host."""

    sentence: str = ""
    refusal: str = ""
    node_id: str = ""
    unlock: bool = False
    leave: bool = False
    forget: list[str] = field(default_factory=list)
    join: str = ""
    settle: dict[str, Any] = field(default_factory=dict)
    demote: bool = False
    wait: bool = False

    @property
    def repairs(self) -> bool:
        return not self.refusal and bool(self.unlock or self.leave or self.forget or self.join)


class Cluster:
    """The inventory, and what was seen of it."""

    def __init__(
        self,
        managers: list[str],
        workers: list[str],
        seen: dict[str, dict[str, Any]],
        unreachable: dict[str, str],
        addresses: dict[str, str],
    ) -> None:
        self.managers = managers
        self.names = managers + workers
        self.seen = seen
        self.unreachable = unreachable
        self.addresses = addresses
        self.lead = self._choose_lead()
        self.nodes: list[dict[str, Any]] = seen[self.lead]["nodes"] if self.lead else []
        self.id = self.swarm(self.lead)["cluster"] if self.lead else ""

    def swarm(self, host: str) -> dict[str, Any]:
        empty = {"state": "", "error": "", "node_id": "", "address": "", "manager": False, "quorum": False}
        return {**empty, "cluster": "", "remotes": [], **(self.seen.get(host, {}).get("swarm") or {})}

    def wanted(self, host: str) -> dict[str, Any]:
        wanted: dict[str, Any] = self.seen.get(host, {}).get("wanted") or {}
        return wanted

    def address(self, host: str) -> str:
        return str(self.wanted(host).get("address") or self.addresses.get(host, ""))

    def answers(self, host: str) -> bool:
        return bool(self.seen.get(host, {}).get("engine"))

    def headless(self) -> list[str]:
        """Managers that cannot change their swarm."""
        return [host for host in self.managers if self.swarm(host)["manager"] and not self.swarm(host)["quorum"]]

    def node(self, node_id: str) -> dict[str, Any] | None:
        return next((node for node in self.nodes if node_id and node["id"] == node_id), None)

    def live_ids(self) -> set[str]:
        return {self.swarm(host)["node_id"] for host in self.names if self.swarm(host)["node_id"]}

    def former_nodes(self, host: str) -> list[dict[str, Any]]:
        """Nodes that this host, which was seen, was before it was installed anew or left.

        One that bears its name is its own, also while the swarm has not noticed yet that it is gone.
        """
        return [
            node
            for node in self.nodes
            if node["id"] not in self.live_ids()
            and (
                node["labels"].get(HOST) == host
                or (HOST not in node["labels"] and node["status"] == "down" and node["address"] == self.address(host))
            )
        ]

    def manager_addresses(self) -> set[str]:
        known = {self.addresses.get(host, "") for host in self.managers}
        known |= {self.address(host) for host in self.managers}
        known |= {self.swarm(host)["address"] for host in self.managers}
        return known - {""}

    def quorum_without(self, gone: list[str]) -> bool:
        """Whether managers stay able to change the swarm while these nodes are demoted, one after the other."""
        managers = {node["id"]: node["reachability"] == "reachable" for node in self.nodes if node["reachability"]}
        for node_id in sorted(gone, key=lambda node_id: managers.get(node_id, False)):
            if node_id in managers:
                del managers[node_id]
                if sum(managers.values()) * 2 <= len(managers):
                    return False
        return True

    def _choose_lead(self) -> str:
        """The first manager that can change the swarm in which most of the inventory's hosts are.

        A host that is to be a worker is believed only if it is the manager that the inventory's managers, which are workers so far, know.
        """
        able = [host for host in self.managers if self.swarm(host)["quorum"]]
        if not any(self.swarm(host)["manager"] for host in self.managers):
            able = [host for host in self.names if self.swarm(host)["quorum"] and self._is_known_to_managers(host)]
        ids = {self.swarm(host)["node_id"] for host in self.names}

        def members(host: str) -> int:
            return sum(
                node["status"] == "ready" and (node["id"] in ids or node["labels"].get(HOST) in self.names)
                for node in self.seen[host]["nodes"]
            )

        return max(able, key=members, default="")

    def _is_known_to_managers(self, host: str) -> bool:
        """Whether a manager of the inventory is in this host's swarm, and names its address among those that lead it."""
        said, address = self.swarm(host), self.addresses.get(host, "")
        # The inventory may have a name, of which only the host tells the address.
        known = address if is_address(address) else said["address"]
        own = next((node for node in self.seen[host]["nodes"] if node["id"] == said["node_id"]), None)
        members = [self.swarm(manager) for manager in self.managers if self.swarm(manager)["state"] == "active"]
        return (
            own is not None
            and own["labels"].get(HOST) == host
            and any(member["cluster"] == said["cluster"] and known in member["remotes"] for member in members)
        )


def nodes_of(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    """The nodes that a host is or was: by its own account, by their label, else by a host name that only one node has."""
    own = cluster.swarm(name)["node_id"]
    found = [node for node in cluster.nodes if node["id"] == own or node["labels"].get(HOST) == name]
    hostnames = [node for node in cluster.nodes if node["hostname"] == name and HOST not in node["labels"]]
    return found or (hostnames if len(hostnames) == 1 else [])


def join_names(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
