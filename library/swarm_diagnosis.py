#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: what stands between the hosts as they are and the swarm that the inventory asks for."""

from __future__ import annotations

DOCUMENTATION = r"""
module: swarm_diagnosis
short_description: Compare the hosts' swarm with the inventory's
description:
  - Reads what M(ansible.legacy.swarm_node_info) saw on the hosts, asks nobody, and changes nothing. Runs on the controller.
  - Says for each host in a sentence what is wrong with it, and which steps repair it.
  - A step that could cost somebody something is refused, with the variable that allows it.
  - With O(remove) it plans how hosts leave the swarm instead.
author:
  - ddp-swarm contributors (@ddp-swarm)
options:
  managers:
    description:
      - Hosts that are to be managers, in the inventory's order. The first initialises the swarm.
    type: list
    elements: str
    required: true
  workers:
    description:
      - Hosts that are to be workers.
    type: list
    elements: str
    default: []
  seen:
    description:
      - What M(ansible.legacy.swarm_node_info) returned, by host, each with C(wanted), what the inventory asks of that host. One
        of which nothing is asked is not repaired.
      - C(wanted) holds C(address) (the address to advertise), C(why) (why that one, where people would expect another), C(availability), C(rank) (an integer, or -1 for none).
    type: dict
    required: true
  unreachable:
    description:
      - Why a host could not be asked, by host.
    type: dict
    default: {}
  addresses:
    description:
      - Addresses of the inventory's hosts, by host.
    type: dict
    default: {}
  network:
    description:
      - Name of the overlay network, for messages.
    type: str
    default: ddp-net
  waited:
    description:
      - What is still in the making has been waited for. Otherwise it is only named in RV(wait_for).
    type: bool
    default: false
  engines_come:
    description:
      - Engines that do not answer are installed or started first. What depends on them is not refused yet, as in check mode.
    type: bool
    default: false
  rejoin:
    description:
      - Let a host leave a swarm that is not the inventory's.
    type: bool
    default: false
  rebuild:
    description:
      - Let hosts leave a swarm that the inventory's managers have lost, and form a new one.
    type: bool
    default: false
  force_new_cluster:
    description:
      - Let one manager go on alone with what it knows, where too few managers are left to change the swarm.
    type: bool
    default: false
  disturb_training:
    description:
      - Take steps that end swarm tasks which run on the host.
    type: bool
    default: false
  unlock_key:
    description:
      - A key is at hand for managers that are locked.
    type: bool
    default: false
  data_path_port:
    description:
      - The swarm's UDP port for what containers send each other, 0 for any.
    type: int
    default: 0
  default_addr_pool:
    description:
      - The networks of which the swarm's overlays get their subnets, none for any.
    type: list
    elements: str
    default: []
  subnet_size:
    description:
      - The length of the prefix, in bits, of each subnet that is taken from O(default_addr_pool), 0 for any.
    type: int
    default: 0
  remove:
    description:
      - Hosts that are to leave. A host that the inventory no longer has is known by the name of its node.
    type: list
    elements: str
    default: []
  gone:
    description:
      - The hosts of O(remove) are gone for good. One whose node is Ready is refused, and where there is no swarm there is nothing to do.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Compare the swarm with the inventory
  swarm_diagnosis:
    managers: [host1]
    workers: [host2]
    seen: "{{ {'host1': seen_on_host1, 'host2': seen_on_host2} }}"
  register: plan
  delegate_to: localhost
"""

RETURN = r"""
lead:
  description: The host through which the swarm is changed, which is its first manager that can, or is about to be.
  returned: always
  type: str
lead_address:
  description: The lead's address in the swarm.
  returned: always
  type: str
start:
  description: How the lead gets a swarm, which is C(init), C(force) (anew from what it knows), C(later) (in check mode, if engines
    that would be started bring its quorum back), or empty when it has one.
  returned: always
  type: str
hosts:
  description:
    - By host, C(sentence) (what is wrong and what is done about it), C(refusal) (why nothing may be done), C(node_id),
      C(repairs) (the first of the following steps are to be taken), the steps C(unlock), C(leave), C(forget) (identifiers of its former nodes) and C(join) (manager or worker), then C(settle)
      (options of M(ddp.swarm.swarm_node)) and C(demote).
  returned: without O(remove)
  type: dict
repairs:
  description: Some host has to leave, join or be unlocked, or the lead has to start the swarm. Ask again afterwards.
  returned: without O(remove)
  type: bool
settles:
  description: Some node gets other labels, another availability or role, or one that is a stranger loses its rank.
  returned: without O(remove)
  type: bool
wait_for:
  description: Identifiers of nodes that are not Ready though their engine answers. Ask again with these.
  returned: without O(remove)
  type: list
  elements: str
strangers:
  description: Nodes that no host of the inventory is, and that hold a rank.
  returned: without O(remove)
  type: list
  elements: dict
ends:
  description: Hosts on which these steps end tasks, or whose engine forgets them.
  returned: without O(remove)
  type: list
  elements: str
removals:
  description: The nodes to remove, in order, with C(name), C(id), C(manager), C(up), C(present) and C(sentence).
  returned: with O(remove)
  type: list
  elements: dict
refusals:
  description: Every reason why nothing may be done.
  returned: always
  type: list
  elements: str
"""


from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.swarm.cluster import Cluster, Settings
from ..module_utils.swarm.plan.hosts import diagnose, unwise
from ..module_utils.swarm.plan.removal import plan_removal

SWITCHES = ("waited", "rejoin", "rebuild", "force_new_cluster", "disturb_training", "unlock_key", "gone")
# What a swarm has from its beginning.
SETTLED = ("data_path_port", "default_addr_pool", "subnet_size")
ARGUMENTS: dict[str, dict[str, Any]] = {
    "managers": {"type": "list", "elements": "str", "required": True},
    "workers": {"type": "list", "elements": "str", "default": []},
    "seen": {"type": "dict", "required": True},
    "unreachable": {"type": "dict", "default": {}},
    "addresses": {"type": "dict", "default": {}},
    "network": {"type": "str", "default": "ddp-net"},
    "data_path_port": {"type": "int", "default": 0},
    "default_addr_pool": {"type": "list", "elements": "str", "default": []},
    "subnet_size": {"type": "int", "default": 0},
    "remove": {"type": "list", "elements": "str", "default": []},
    **{name: {"type": "bool", "default": False} for name in ("engines_come", *SWITCHES)},
}


def decide(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """The module's result, with its warnings."""
    settings = Settings(
        check=check or params["engines_come"], **{name: params[name] for name in ("network", *SWITCHES, *SETTLED)}
    )
    cluster = Cluster(params["managers"], params["workers"], params["seen"], params["unreachable"], params["addresses"])
    plan = plan_removal(cluster, params["remove"], settings) if params["remove"] else diagnose(cluster, settings)
    return {"changed": False, "warnings": unwise(params["managers"]), **plan}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    result = decide(module.params, module.check_mode)
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
