#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: labels, availability and role of one node of a swarm."""

from __future__ import annotations

DOCUMENTATION = r"""
module: swarm_node
short_description: Set a node's labels, availability and role
description:
  - Runs on a manager. Compares the node with what is asked, and calls C(docker node update) only for what differs.
author:
  - ddp-swarm contributors (@ddp-swarm)
extends_documentation_fragment:
  - ddp.swarm.docker_cli
options:
  id:
    description: The node's identifier.
    type: str
    required: true
  labels:
    description: Labels that the node is to have. It keeps its other ones.
    type: dict
    default: {}
  labels_to_remove:
    description: Names of labels that it is not to have.
    type: list
    elements: str
    default: []
  availability:
    description: Whether the node takes tasks (V(active)), takes no further ones (V(pause)), or ends those that it has (V(drain)).
    type: str
    choices: [active, pause, drain]
  role:
    description: The node's role.
    type: str
    choices: [manager, worker]
"""

EXAMPLES = r"""
- name: Give the node its rank
  swarm_node:
    id: "{{ seen.swarm.node_id }}"
    labels: {ddp_rank: "0"}
    availability: active
"""

RETURN = r"""
changes:
  description: The options of C(docker node update) that were needed, such as C(--label-add=ddp_rank=0).
  returned: always
  type: list
  elements: str
"""

import json
from typing import Any

from ..module_utils.docker.cli import ANSWER_TIMEOUT, DockerError
from ..module_utils.docker.module import DockerModule


def differences(params: dict[str, Any], spec: dict[str, Any]) -> list[str]:
    """What `docker node update` must be told, so that a node with this spec becomes what the parameters ask."""
    labels = spec.get("Labels") or {}
    wanted = {name: str(value) for name, value in params["labels"].items()}
    changes = [f"--label-add={name}={value}" for name, value in wanted.items() if labels.get(name) != value]
    changes += [f"--label-rm={name}" for name in params["labels_to_remove"] if name in labels and name not in wanted]
    for option in ("availability", "role"):
        if params[option] and params[option] != spec.get(option.capitalize()):
            changes.append(f"--{option}={params[option]}")
    return changes


def main() -> None:
    module = DockerModule(
        argument_spec={
            "id": {"type": "str", "required": True},
            "labels": {"type": "dict", "default": {}},
            "labels_to_remove": {"type": "list", "elements": "str", "default": []},
            "availability": {"type": "str", "choices": ["active", "pause", "drain"]},
            "role": {"type": "str", "choices": ["manager", "worker"]},
        },
        supports_check_mode=True,
    )
    docker, node = module.docker, module.params["id"]
    try:
        spec = json.loads(docker.run("node", "inspect", node, timeout=ANSWER_TIMEOUT).stdout)[0]["Spec"]
        changes = differences(module.params, spec)
        if changes and not module.check_mode:
            docker.run("node", "update", *changes, node, timeout=ANSWER_TIMEOUT)
    except DockerError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(changes), changes=changes)


if __name__ == "__main__":
    main()
