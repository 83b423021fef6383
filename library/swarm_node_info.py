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
  wanted:
    description:
      - What the inventory asks of this host. Handed through, for the module swarm_diagnosis.
    type: dict
    default: {}
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
      C(autolock) (managers are locked when their engine starts) and C(remotes) (addresses of the managers that it knows).
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
  description: Driver and scope of every network called O(network), on a manager with a quorum.
  returned: always
  type: list
  elements: dict
services:
  description: Names of the swarm services of which a container runs on this host.
  returned: always
  type: list
  elements: str
wanted:
  description: What O(wanted) said.
  returned: always
  type: dict
"""

import json
import re
import time
from pathlib import Path
from typing import Any

from ..module_utils.docker.cli import DockerCli, DockerError
from ..module_utils.reporting import ReportingModule

# A manager without a leader answers after 20 s at the latest (swarmRequestTimeout in moby's daemon/cluster).
TIMEOUT = 40


def observe(module: Any, docker: DockerCli) -> dict[str, Any]:
    seen: dict[str, Any] = {
        "engine": "",
        "error": "",
        "root": "",
        "swarm": {},
        "nodes": [],
        "networks": [],
        "services": [],
        "wanted": module.params["wanted"],
    }
    try:
        info = json.loads(docker.run("info", "--format", "{{json .}}", timeout=TIMEOUT).stdout or "{}")
    except (DockerError, ValueError) as error:
        return {**seen, "error": first_line(str(error))}
    if info.get("ServerErrors") or not info.get("ServerVersion"):
        return {**seen, "error": first_line("; ".join(info.get("ServerErrors") or ["the engine does not answer"]))}
    seen["engine"] = info["ServerVersion"]
    seen["root"] = str(info.get("DockerRootDir") or "/var/lib/docker")
    seen["swarm"] = own_view(module, info)
    try:
        if seen["swarm"]["quorum"]:
            seen["nodes"] = list_nodes(docker)
            seen["networks"] = find_networks(docker, module.params["network"])
        seen["services"] = running_services(docker)
    except DockerError as error:
        # The quorum was lost between two questions.
        seen["swarm"].update(quorum=False, error=first_line(str(error)))
    return seen


def own_view(module: Any, info: dict[str, Any]) -> dict[str, Any]:
    swarm = info.get("Swarm") or {}
    state = str(swarm.get("LocalNodeState") or "inactive")
    manager = bool(swarm.get("ControlAvailable"))
    cluster = str((swarm.get("Cluster") or {}).get("ID") or "")
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
        "autolock": bool(
            (((swarm.get("Cluster") or {}).get("Spec") or {}).get("EncryptionConfig") or {}).get("AutoLockManagers")
        ),
        "remotes": [host_of(remote.get("Addr", "")) for remote in swarm.get("RemoteManagers") or []],
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


def find_networks(docker: DockerCli, name: str) -> list[dict[str, Any]]:
    if not name:
        return []
    rows = docker.json_lines("network", "ls", "--filter", f"name={name}")
    return [{"driver": row["Driver"], "scope": row["Scope"]} for row in rows if row["Name"] == name]


def running_services(docker: DockerCli) -> list[str]:
    label = "com.docker.swarm.service.name"
    listing = docker.run("ps", "--filter", f"label={label}", "--format", f'{{{{.Label "{label}"}}}}', timeout=TIMEOUT)
    return sorted(set(listing.stdout.split()))


def host_of(address: str) -> str:
    """The host in HOST:PORT, where HOST may be an IPv6 address in brackets."""
    return address.rpartition(":")[0].strip("[]")


def first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""


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
            "wanted": {"type": "dict", "default": {}},
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
