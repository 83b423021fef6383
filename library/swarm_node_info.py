#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: what one host knows about the swarm, asked once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: swarm_node_info
short_description: Tell what a host knows about its swarm
description:
  - Asks the engine for its place in a swarm, and on a manager for all nodes, networks and jobs.
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
"""

EXAMPLES = r"""
- name: Ask every host for its swarm
  swarm_node_info: {}
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
      by their kind, such as C(NVIDIA-GPU); C(named) lists what those of a kind are called.
  returned: always
  type: list
  elements: dict
networks:
  description: C(name), C(driver), C(scope), C(attachable), C(subnet) and C(mtu) of every network, on a manager with a quorum.
  returned: always
  type: list
  elements: dict
jobs:
  description: C(name) and C(networks), by their names, of the services called C(..._node0) that have a replica, on a manager with a quorum.
  returned: always
  type: list
  elements: dict
idle:
  description: The names of the other services called C(..._node0), on a manager with a quorum.
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

import time
from typing import Any

from ..module_utils.docker.cli import DockerCli, DockerError
from ..module_utils.docker.info import ask
from ..module_utils.docker.running import running
from ..module_utils.host import addresses
from ..module_utils.reporting import ReportingModule
from ..module_utils.swarm import node
from ..module_utils.text import first_line


def observe(module: Any, docker: DockerCli) -> dict[str, Any]:
    info, problem = ask(docker)
    seen: dict[str, Any] = {
        "engine": info.get("ServerVersion") or "",
        "error": problem,
        "addresses": addresses.look(),
        "root": str(info.get("DockerRootDir") or "/var/lib/docker") if info else "",
        "services": [],
        "containers": [],
        **node.look(module, docker, info),
    }
    try:
        seen.update(running(docker) if info else {})
    except DockerError as error:
        seen["swarm"].update(quorum=False, error=first_line(str(error)))
    return seen


def main() -> None:
    module = ReportingModule(
        argument_spec={
            "wait": {"type": "float", "default": 0},
            "wait_for": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    docker = DockerCli(module)
    deadline = time.monotonic() + module.params["wait"]
    seen = observe(module, docker)
    while not node.settled(seen, module.params["wait_for"]) and time.monotonic() < deadline:
        time.sleep(1)
        seen = observe(module, docker)
    module.exit_json(changed=False, **seen)


if __name__ == "__main__":
    main()
