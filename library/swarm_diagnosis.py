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
      - What M(ansible.legacy.swarm_node_info) returned, by host. Only a host whose C(wanted) is not empty is repaired.
      - C(wanted) holds C(address) (the address to advertise), C(availability), C(rank) (an integer, or -1 for none).
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
  remove:
    description:
      - Hosts that are to leave. A host that the inventory no longer has is known by the name of its node.
    type: list
    elements: str
    default: []
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
      (options of community.docker.docker_node) and C(demote).
  returned: without O(remove)
  type: dict
repairs:
  description: Some host has to leave, join or be unlocked, or the lead has to start the swarm. Ask again afterwards.
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


from ansible.module_utils.basic import AnsibleModule

from ..module_utils.swarm.cluster import Cluster, Settings
from ..module_utils.swarm.plan.hosts import diagnose, unwise
from ..module_utils.swarm.plan.removal import plan_removal


def main() -> None:
    switches = ("waited", "rejoin", "rebuild", "force_new_cluster", "disturb_training", "unlock_key")
    module = AnsibleModule(
        argument_spec=dict(
            managers={"type": "list", "elements": "str", "required": True},
            workers={"type": "list", "elements": "str", "default": []},
            seen={"type": "dict", "required": True},
            unreachable={"type": "dict", "default": {}},
            addresses={"type": "dict", "default": {}},
            network={"type": "str", "default": "ddp-net"},
            remove={"type": "list", "elements": "str", "default": []},
            **{name: {"type": "bool", "default": False} for name in switches},
        ),
        supports_check_mode=True,
    )
    params = module.params
    settings = Settings(network=params["network"], check=module.check_mode, **{name: params[name] for name in switches})
    cluster = Cluster(params["managers"], params["workers"], params["seen"], params["unreachable"], params["addresses"])
    for warning in unwise(params["managers"]):
        module.warn(warning)
    if params["remove"]:
        module.exit_json(changed=False, **plan_removal(cluster, params["remove"], settings))
    module.exit_json(changed=False, **diagnose(cluster, settings))


if __name__ == "__main__":
    main()
