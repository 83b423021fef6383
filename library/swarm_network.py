#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: an attachable overlay network of a swarm."""

from __future__ import annotations

DOCUMENTATION = r"""
module: swarm_network
short_description: Create an attachable overlay network
description:
  - Runs on a manager. A network of that name which differs from what is asked is removed and created again if nothing uses it.
    In use, it is left as it is, and the module fails and says in what it differs.
author:
  - ddp-swarm contributors (@ddp-swarm)
extends_documentation_fragment:
  - ddp.swarm.docker_cli
options:
  name:
    description: Name of the network.
    type: str
    required: true
  subnet:
    description: The network's addresses, such as C(10.10.0.0/24). By default the swarm chooses them.
    type: str
  mtu:
    description: The network's MTU in bytes. By default the engine chooses it, and an existing network may have any.
    type: int
"""

EXAMPLES = r"""
- name: Create the overlay network
  swarm_network:
    name: ddp-net
    subnet: 10.10.0.0/24
"""

RETURN = r"""
id:
  description: The network's identifier, empty in check mode if there is no such network yet.
  returned: success
  type: str
"""

from typing import Any

from ..module_utils.docker.cli import ANSWER_TIMEOUT, DockerCli, DockerError
from ..module_utils.docker.module import DockerModule
from ..module_utils.swarm.network import MTU, asked, described, differences, find


def create(docker: DockerCli, params: dict[str, Any]) -> str:
    options = ["--subnet", params["subnet"]] if params["subnet"] else []
    options += ["--opt", f"{MTU}={params['mtu']}"] if params["mtu"] else []
    command = ["network", "create", "--driver", "overlay", "--attachable", *options, params["name"]]
    return docker.run(*command, timeout=ANSWER_TIMEOUT).stdout.strip()


def remove(docker: DockerCli, network: dict[str, Any], differs: list[str]) -> None:
    try:
        docker.run("network", "rm", network["Id"], timeout=ANSWER_TIMEOUT)
    except DockerError as error:
        raise DockerError(
            f"The network {network['Name']} has {', '.join(differs)}, and cannot be made anew while it is in use. Remove the stacks "
            f"and containers that use it, or ask for what it has. ({error})"
        ) from error


def main() -> None:
    module = DockerModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "subnet": {"type": "str"},
            "mtu": {"type": "int"},
        },
        supports_check_mode=True,
    )
    docker, wanted = module.docker, asked(module.params["subnet"], module.params["mtu"])
    try:
        network = next(iter(find(docker, module.params["name"])), None)
        has = {name: value for name, value in described(network).items() if name in wanted} if network else {}
        differs = differences(has, wanted) if network else []
        identifier = network["Id"] if network else ""
        if (network is None or differs) and not module.check_mode:
            if network:
                remove(docker, network, differs)
            identifier = create(docker, module.params)
    except DockerError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=network is None or bool(differs),
        id=identifier,
        diff={"before": has, "after": wanted if differs or not network else has},
    )


if __name__ == "__main__":
    main()
