"""What a host knows of its swarm, and a manager of all nodes and networks. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..docker.cli import DockerCli, DockerError
from ..docker.info import TIMEOUT
from ..names import service_of
from ..text import first_line
from .network import described

NOTHING: dict[str, Any] = {"swarm": {}, "nodes": [], "networks": [], "jobs": [], "idle": []}


def look(module: Any, docker: DockerCli, info: dict[str, Any]) -> dict[str, Any]:
    """`info` is what `docker info` says, empty where no engine answers. The answer has the parts of NOTHING."""
    if not info:
        return dict(NOTHING)
    seen = {**NOTHING, "swarm": own_view(module, info)}
    try:
        if seen["swarm"]["quorum"]:
            seen["nodes"] = list_nodes(docker)
            networks = list_networks(docker)
            seen["networks"] = [{"name": network["Name"], **described(network)} for network in networks]
            seen["jobs"], seen["idle"] = list_jobs(docker, {network["Id"]: network["Name"] for network in networks})
    except DockerError as error:
        # The quorum was lost between two questions.
        seen["swarm"].update(quorum=False, error=first_line(str(error)))
    return seen


def own_view(module: Any, info: dict[str, Any]) -> dict[str, Any]:
    swarm = info.get("Swarm") or {}
    state = str(swarm.get("LocalNodeState") or "inactive")
    manager = bool(swarm.get("ControlAvailable"))
    cluster_info = swarm.get("Cluster") or {}
    cluster = str(cluster_info.get("ID") or "")
    if not cluster and state != "inactive":
        cluster = cluster_of_certificate(module, Path(info.get("DockerRootDir") or "/var/lib/docker"))
    return {
        "state": state,
        "error": first_line(str(swarm.get("Error") or "")),
        "node_id": str(swarm.get("NodeID") or ""),
        "address": str(swarm.get("NodeAddr") or ""),
        "manager": manager,
        "quorum": manager and not swarm.get("Error") and bool(swarm.get("Nodes")),
        "cluster": cluster,
        "autolock": bool(((cluster_info.get("Spec") or {}).get("EncryptionConfig") or {}).get("AutoLockManagers")),
        **beginning(cluster_info),
        "remotes": [host_of(remote.get("Addr", "")) for remote in swarm.get("RemoteManagers") or []],
    }


def beginning(cluster: dict[str, Any]) -> dict[str, Any]:
    """What a swarm has since its beginning, on a manager. Where nothing was asked for, the engine says nothing of its pool."""
    pool, size = (["10.0.0.0/8"], 24) if cluster else ([], 0)
    return {
        "data_path_port": int(cluster.get("DataPathPort") or 0),
        "default_addr_pool": [str(network) for network in cluster.get("DefaultAddrPool") or pool],
        "subnet_size": int(cluster.get("SubnetSize") or size),
    }


def cluster_of_certificate(module: Any, root: Path) -> str:
    """The swarm's identifier is the organization in a node's certificate: a worker has no other word for it."""
    certificate = root / "swarm" / "certificates" / "swarm-node.crt"
    openssl = module.get_bin_path("openssl")
    if not openssl or not certificate.exists():
        return ""
    done = module.run_command([openssl, "x509", "-noout", "-subject", "-nameopt", "RFC2253", "-in", str(certificate)])
    found = re.search(r"\bO=(\w+)", str(done[1]))
    return found.group(1) if found else ""


def inspect_nodes(docker: DockerCli, timeout: float = TIMEOUT) -> list[dict[str, Any]]:
    """The nodes as `docker node inspect` shows them."""
    ids = docker.run("node", "ls", "--quiet", timeout=timeout).stdout.split()
    if not ids:
        return []
    said = docker.run("node", "inspect", *ids, timeout=timeout).stdout
    try:
        nodes = json.loads(said)
    except (ValueError, RecursionError) as error:
        raise DockerError(f"docker node inspect: printed what is not JSON: {said[:200]}") from error
    if not isinstance(nodes, list):
        raise DockerError(f"docker node inspect: printed what is not a list: {said[:200]}")
    return nodes


def list_nodes(docker: DockerCli, timeout: float = TIMEOUT) -> list[dict[str, Any]]:
    return [describe_node(node) for node in inspect_nodes(docker, timeout)]


def describe_node(node: dict[str, Any]) -> dict[str, Any]:
    spec, status, leading = node.get("Spec") or {}, node.get("Status") or {}, node.get("ManagerStatus") or {}
    description = node.get("Description") or {}
    offers = (description.get("Resources") or {}).get("GenericResources") or []
    return {
        "id": node["ID"],
        "hostname": str(description.get("Hostname") or ""),
        "resources": count_resources(offers),
        "named": name_resources(offers),
        "labels": spec.get("Labels") or {},
        "role": str(spec.get("Role") or ""),
        "availability": str(spec.get("Availability") or ""),
        "status": str(status.get("State") or ""),
        "message": str(status.get("Message") or ""),
        "address": host_of(str(leading.get("Addr") or "")) or str(status.get("Addr") or ""),
        "leader": bool(leading.get("Leader")),
        "reachability": str(leading.get("Reachability") or ""),
    }


def count_resources(entries: list[dict[str, Any]]) -> dict[str, int]:
    """A resource is either a number of equal things, or an entry for each thing that has a name."""
    counts: dict[str, int] = {}
    for entry in entries:
        number, named = entry.get("DiscreteResourceSpec"), entry.get("NamedResourceSpec") or {}
        kind, value = (number["Kind"], int(number["Value"])) if number else (named["Kind"], 1)
        counts[kind] = counts.get(kind, 0) + value
    return counts


def name_resources(entries: list[dict[str, Any]]) -> dict[str, list[str]]:
    """What each kind's things are called, of those that have names."""
    names: dict[str, list[str]] = {}
    for entry in entries:
        named = entry.get("NamedResourceSpec")
        if named:
            names.setdefault(named["Kind"], []).append(str(named["Value"]))
    return names


def list_networks(docker: DockerCli) -> list[dict[str, Any]]:
    ids = docker.run("network", "ls", "--quiet", "--no-trunc", timeout=TIMEOUT).stdout.split()
    # One may go away between the two calls, and then only it is missing from the answer.
    found = docker.run("network", "inspect", *ids, check=False, timeout=TIMEOUT).stdout if ids else ""
    networks: list[dict[str, Any]] = json.loads(found or "[]")
    return networks


def list_jobs(docker: DockerCli, names: dict[str, str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Services of a rank 0 that have a replica, each with the names of its networks, and the names of those that have none.

    `names` has the networks' by their IDs.
    """
    rows = [row for row in docker.json_lines("service", "ls") if row["Name"].endswith(service_of("", 0))]
    idle = sorted(row["Name"] for row in rows if row["Replicas"].startswith("0"))
    jobs = [row["Name"] for row in rows if row["Name"] not in idle]
    if not jobs:
        return [], idle
    found = json.loads(docker.run("service", "inspect", *jobs, timeout=TIMEOUT).stdout)
    return [
        {"name": service["Spec"]["Name"], "networks": sorted(names[at] for at in targets_of(service) if at in names)}
        for service in sorted(found, key=lambda service: str(service["Spec"]["Name"]))
    ], idle


def targets_of(service: dict[str, Any]) -> list[str]:
    return [network["Target"] for network in service["Spec"]["TaskTemplate"].get("Networks") or []]


def host_of(address: str) -> str:
    """The host in HOST:PORT, where HOST may be an IPv6 address in brackets."""
    return address.rpartition(":")[0].strip("[]")


def settled(seen: dict[str, Any], wait_for: Iterable[str] = ()) -> bool:
    """Whether nothing of an answer is in the making: the node joins, a manager looks for a leader, or a node of `wait_for` is not Ready."""
    swarm = seen["swarm"]
    if swarm.get("state") == "pending" or (swarm.get("state") == "active" and swarm["manager"] and not swarm["quorum"]):
        return False
    ready = {node["id"] for node in seen["nodes"] if node["status"] == "ready"}
    return not swarm.get("quorum") or not set(wait_for) - ready
