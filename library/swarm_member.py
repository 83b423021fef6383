#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: a host initialises a swarm, joins one, or leaves its own."""

from __future__ import annotations

DOCUMENTATION = r"""
module: swarm_member
short_description: Initialise, join or leave a Docker Swarm
description:
  - Does what C(docker swarm init), C(docker swarm join) and C(docker swarm leave --force) do, and does nothing where it is done already.
  - The join token goes to the engine through its socket, since every user of a host can read the arguments of commands.
  - Returns neither join tokens nor the unlock key.
author:
  - ddp-swarm contributors (@ddp-swarm)
extends_documentation_fragment:
  - ddp.swarm.docker_cli
options:
  state:
    description:
      - V(present) initialises a swarm with this host as its first manager, unless the host is in a swarm.
      - V(joined) joins the swarm of O(remote_addr), unless the host is in a swarm. Whether it is in that one, the module does not know.
      - V(absent) leaves the swarm without asking whether it can spare this host.
    type: str
    choices: [present, joined, absent]
    default: present
  advertise_addr:
    description:
      - The address, or the network interface, by which the other nodes reach this host. Without it the engine chooses one, and
        fails where it has several.
    type: str
  data_path_addr:
    description:
      - The address, or the network interface, for what containers send each other, where that is to go by another network than
        O(advertise_addr).
    type: str
  data_path_port:
    description:
      - The UDP port for what containers send each other, which the whole swarm has from its beginning. Docker's is 4789.
        Only with O(state=present).
    type: int
  default_addr_pool:
    description:
      - Networks, such as C(10.20.0.0/16), of which overlays get their subnets. The swarm has them from its beginning. Only with O(state=present).
    type: list
    elements: str
    default: []
  subnet_size:
    description:
      - Length in bits of the prefix of each subnet that is taken from O(default_addr_pool). Docker's is 24.
    type: int
  force_new_cluster:
    description:
      - Makes a swarm of one manager out of what this host knows of its swarm, as C(docker swarm init --force-new-cluster) does,
        also where the host is in a swarm. Only with O(state=present).
    type: bool
    default: false
  join_token:
    description: The token of the role that the host is to have. Required with O(state=joined).
    type: str
  remote_addr:
    description: Address of a manager, with C(:PORT) where that is not 2377. Required with O(state=joined).
    type: str
"""

EXAMPLES = r"""
- name: Initialise the swarm
  swarm_member:
    advertise_addr: 192.168.1.10

- name: Join the swarm
  swarm_member:
    state: joined
    remote_addr: 192.168.1.10
    join_token: "{{ token.stdout }}"
    advertise_addr: eth0
"""

RETURN = r"""
was:
  description: The host's place in a swarm before, as C(docker info) calls it (inactive, pending, active, error or locked).
  returned: always
  type: str
"""

from typing import Any

from ..module_utils.docker.api import post
from ..module_utils.docker.cli import DockerCli, DockerError
from ..module_utils.docker.info import ask
from ..module_utils.docker.module import DockerModule
from ..module_utils.names import MANAGER_PORT, is_address

# The engine gives up joining after 20 s, and forming a swarm sooner (swarmConnectTimeout in moby's daemon/cluster).
TIMEOUT = 120


def needed(params: dict[str, Any], was: str) -> str:
    """The step that is to be taken, empty if none is."""
    if params["state"] == "absent":
        return "leave" if was != "inactive" else ""
    if was != "inactive" and not params["force_new_cluster"]:
        return ""
    return "join" if params["state"] == "joined" else "init"


def leave(docker: DockerCli, params: dict[str, Any]) -> None:
    docker.run("swarm", "leave", "--force", timeout=TIMEOUT)


def init(docker: DockerCli, params: dict[str, Any]) -> None:
    flags = {
        "--advertise-addr": [params["advertise_addr"]],
        "--data-path-addr": [params["data_path_addr"]],
        "--data-path-port": [params["data_path_port"]],
        "--default-addr-pool": params["default_addr_pool"],
        "--default-addr-pool-mask-length": [params["subnet_size"]],
    }
    given = [part for flag, values in flags.items() for value in values if value for part in (flag, str(value))]
    force = ["--force-new-cluster"] if params["force_new_cluster"] else []
    docker.run("swarm", "init", *given, *force, timeout=TIMEOUT)


def join(docker: DockerCli, params: dict[str, Any]) -> None:
    """As `docker swarm join` does it, but with the token in no command line."""
    asked = {
        "ListenAddr": f"0.0.0.0:{MANAGER_PORT}",
        "AdvertiseAddr": params["advertise_addr"] or "",
        "DataPathAddr": params["data_path_addr"] or "",
        "JoinToken": params["join_token"],
        "RemoteAddrs": [with_port(params["remote_addr"])],
    }
    post("/swarm/join", asked, params["docker_host"], TIMEOUT)


def with_port(address: str) -> str:
    """IPv6 addresses have it behind brackets."""
    return f"{f'[{address}]' if ':' in address else address}:{MANAGER_PORT}" if is_address(address) else address


STEPS = {"leave": leave, "init": init, "join": join}


def main() -> None:
    module = DockerModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "joined", "absent"], "default": "present"},
            "advertise_addr": {"type": "str"},
            "data_path_addr": {"type": "str"},
            "data_path_port": {"type": "int"},
            "default_addr_pool": {"type": "list", "elements": "str", "default": []},
            "subnet_size": {"type": "int"},
            "force_new_cluster": {"type": "bool", "default": False},
            "join_token": {"type": "str", "no_log": True},
            "remote_addr": {"type": "str"},
        },
        required_if=[("state", "joined", ["join_token", "remote_addr"])],
        supports_check_mode=True,
    )
    try:
        info, silent = ask(module.docker)
        if silent:
            raise DockerError(silent)
        was = str((info.get("Swarm") or {}).get("LocalNodeState") or "inactive")
        step = needed(module.params, was)
        if step and not module.check_mode:
            STEPS[step](module.docker, module.params)
    except DockerError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(step), was=was)


if __name__ == "__main__":
    main()
