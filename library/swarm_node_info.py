#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: what one host knows about the swarm, asked once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: swarm_node_info
short_description: Tell what a host knows about its swarm
description:
  - Asks the engine for its place in a swarm, and on a manager for all nodes and for one network.
  - An engine that is missing or does not answer is an answer too, not a failure.
  - Changes nothing, and returns neither join tokens nor the unlock key.
  - Needs the docker command line (20.10 or newer) and Python 3.9 on the target.
author:
  - ddp-swarm contributors (@ddp-swarm)
options:
  wait:
    description:
      - Seconds to wait at most while the answer is still in the making, which is while the node is joining,
        while a manager finds no leader, and while one of O(wait_for) is not Ready.
    type: float
    default: 0
  wait_for:
    description:
      - Identifiers of nodes. Only a manager waits for them.
    type: list
    elements: str
    default: []
  network:
    description:
      - Name of a network that a manager looks up.
    type: str
    default: ""
  jobs:
    description:
      - Whether a manager tells which jobs are in O(network).
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Ask every host for its swarm
  swarm_node_info:
    network: ddp-net
  register: seen
"""

RETURN = r"""
engine:
  description: Version of the engine, empty when none answers.
  returned: always
  type: str
error:
  description: Why no engine answers.
  returned: always
  type: str
root:
  description: Directory in which the engine keeps its state.
  returned: always
  type: str
swarm:
  description:
    - The node's own view, with C(state) (inactive, pending, active, error or locked), C(error), C(node_id), C(address),
      C(manager), C(quorum) (it is a manager and can change the swarm), C(cluster) (identifier of the swarm, empty when unknown),
      C(autolock) (managers are locked when their engine starts), C(data_path_port), C(default_addr_pool) and C(subnet_size)
      (what a manager's swarm has of them from its beginning) and C(remotes) (addresses of the managers that it knows).
  returned: always
  type: dict
nodes:
  description:
    - All nodes of the swarm, on a manager with a quorum. Among what is said of each, C(resources) counts its generic resources
      by their kind, such as C(NVIDIA-GPU).
  returned: always
  type: list
  elements: dict
networks:
  description: C(driver), C(scope), C(attachable), C(subnet) and C(mtu) of every network called O(network), on a manager with a quorum.
  returned: always
  type: list
  elements: dict
jobs:
  description: Names of the services called C(..._node0) that have a replica and are in O(network), on a manager with a quorum, if O(jobs).
  returned: always
  type: list
  elements: str
addresses:
  description: As the module host_info tells them.
  returned: always
  type: dict
  sample: {interfaces: {eth0: [192.168.1.10/24]}, default: 192.168.1.10}
services:
  description: Names of the swarm services of which a container runs on this host.
  returned: always
  type: list
  elements: str
containers:
  description: Names of the containers that run on this host and are not the swarm's.
  returned: always
  type: list
  elements: str
"""

import json
import re
import time
from pathlib import Path
from typing import Any

from ..module_utils.docker.cli import DockerCli, DockerError
from ..module_utils.docker.info import TIMEOUT, ask
from ..module_utils.docker.running import running
from ..module_utils.host import addresses
from ..module_utils.reporting import ReportingModule
from ..module_utils.swarm.network import described, find
from ..module_utils.text import first_line


def observe(module: Any, docker: DockerCli) -> dict[str, Any]:
    seen: dict[str, Any] = {
        "engine": "",
        "error": "",
        "addresses": addresses.look(module),
        "root": "",
        "swarm": {},
        "nodes": [],
        "networks": [],
        "jobs": [],
        "services": [],
        "containers": [],
    }
    info, problem = ask(docker)
    if problem:
        return {**seen, "error": problem}
    seen["engine"] = info["ServerVersion"]
    seen["root"] = str(info.get("DockerRootDir") or "/var/lib/docker")
    seen["swarm"] = own_view(module, info)
    try:
        if seen["swarm"]["quorum"]:
            seen["nodes"] = list_nodes(docker)
            networks = find(docker, module.params["network"]) if module.params["network"] else []
            seen["networks"] = [described(network) for network in networks]
            seen["jobs"] = jobs_in(docker, networks) if module.params["jobs"] and networks else []
        seen.update(running(docker))
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


def list_nodes(docker: DockerCli) -> list[dict[str, Any]]:
    ids = docker.run("node", "ls", "--quiet", timeout=TIMEOUT).stdout.split()
    nodes = json.loads(docker.run("node", "inspect", *ids, timeout=TIMEOUT).stdout) if ids else []
    return [describe_node(node) for node in nodes]


def describe_node(node: dict[str, Any]) -> dict[str, Any]:
    spec, status, leading = node.get("Spec") or {}, node.get("Status") or {}, node.get("ManagerStatus") or {}
    description = node.get("Description") or {}
    return {
        "id": node["ID"],
        "hostname": str(description.get("Hostname") or ""),
        "resources": count_resources((description.get("Resources") or {}).get("GenericResources") or []),
        "labels": spec.get("Labels") or {},
        "role": str(spec.get("Role") or ""),
        "availability": str(spec.get("Availability") or ""),
        "status": str(status.get("State") or ""),
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


def jobs_in(docker: DockerCli, networks: list[dict[str, Any]]) -> list[str]:
    """Services called ..._node0 that have a replica and are in one of these networks."""
    rows = docker.json_lines("service", "ls")
    names = [row["Name"] for row in rows if row["Name"].endswith("_node0") and not row["Replicas"].startswith("0")]
    if not names:
        return []
    ids = {network["Id"] for network in networks}
    found = json.loads(docker.run("service", "inspect", *names, timeout=TIMEOUT).stdout)
    attached = {
        service["Spec"]["Name"]: {
            network["Target"] for network in service["Spec"]["TaskTemplate"].get("Networks") or []
        }
        for service in found
    }
    return sorted(name for name, targets in attached.items() if targets & ids)


def host_of(address: str) -> str:
    """The host in HOST:PORT, where HOST may be an IPv6 address in brackets."""
    return address.rpartition(":")[0].strip("[]")


def settled(seen: dict[str, Any], wait_for: list[str]) -> bool:
    swarm = seen["swarm"]
    if swarm.get("state") == "pending" or (swarm.get("state") == "active" and swarm["manager"] and not swarm["quorum"]):
        return False
    ready = {node["id"] for node in seen["nodes"] if node["status"] == "ready"}
    return not swarm.get("quorum") or not set(wait_for) - ready


def main() -> None:
    module = ReportingModule(
        argument_spec={
            "wait": {"type": "float", "default": 0},
            "wait_for": {"type": "list", "elements": "str", "default": []},
            "network": {"type": "str", "default": ""},
            "jobs": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    docker = DockerCli(module)
    deadline = time.monotonic() + module.params["wait"]
    seen = observe(module, docker)
    while not settled(seen, module.params["wait_for"]) and time.monotonic() < deadline:
        time.sleep(1)
        seen = observe(module, docker)
    module.exit_json(changed=False, **seen)


if __name__ == "__main__":
    main()
