#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: what a swarm stack is doing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: swarm_stack_info
short_description: Tell what a Docker Swarm stack is doing
description:
  - Lists the services and tasks of a stack, says whether it has converged or finished, and what failed.
author:
  - ddp-swarm contributors (@ddp-swarm)
extends_documentation_fragment: [ddp.swarm.docker_cli]
options:
  name:
    description:
      - Name of the stack. A stack that does not exist is not an error.
    type: str
    required: true
  log_lines:
    description:
      - How many of the last log lines to add to each entry of RV(failures).
    type: int
    default: 0
attributes:
  check_mode:
    description: Changes nothing, in check mode or out of it.
    support: full
notes:
  - Must run on a manager of an active and unlocked swarm that has a quorum.
seealso:
  - module: ansible.legacy.swarm_stack
"""

EXAMPLES = r"""
- name: Look at the training
  swarm_stack_info:
    name: simple-training
    log_lines: 20
  register: training

- name: Say where each rank runs
  ansible.builtin.debug:
    msg: "{{ item.service }} {{ item.state }} on {{ item.node }} since {{ item.updated_at }}"
  loop: "{{ training.tasks | rejectattr('desired_state', 'eq', 'shutdown') }}"
"""

RETURN = r"""
exists:
  description: Whether the stack has any service.
  returned: success
  type: bool
created_at:
  description: When its oldest service was made. Empty if it has none.
  returned: success
  type: str
  sample: "2025-01-01T10:00:00.123456789Z"
running:
  description: Whether any task is running or about to.
  returned: success
  type: bool
converged:
  description: Whether each task runs, or has finished with exit code 0 for good.
  returned: success
  type: bool
complete:
  description: Whether each task has finished with exit code 0 for good.
  returned: success
  type: bool
failed_for_good:
  description: Whether any task has failed for good, or any update was paused or rolled back.
  returned: success
  type: bool
services:
  description: The services of the stack.
  returned: success
  type: list
  elements: dict
  sample: [{name: node0, full_name: simple-training_node0, image: "my-ddp-trainer:1f3a", mode: replicated, wanted: 1,
            running: 1, complete: 0, failed: 0, starting: 0, update_state: "", converged: true, constraints: []}]
tasks:
  description: The tasks that swarm still knows, newest first, with their past attempts.
  returned: success
  type: list
  elements: dict
  sample: [{id: w1k8, service: node0, slot: "1", node: host1, state: running, desired_state: running, error: "",
            exit_code: null, image: "my-ddp-trainer:1f3a", created_at: "2025-01-01T10:00:00.1Z",
            updated_at: "2025-01-01T10:00:02.9Z"}]
failures:
  description: What failed for good, as in M(ansible.legacy.swarm_stack).
  returned: success
  type: list
  elements: dict
  sample: [{service: simple-training_node1, task_id: x9, node: host2, slot: "1", state: failed, exit_code: 1,
            error: "task: non-zero exit (1)", log: [], hint: ""}]
definition:
  description:
    - The definition that M(ansible.legacy.swarm_stack) deployed last, as in its return values.
      Empty if the stack was not deployed by it.
  returned: success
  type: dict
  sample: {services: {front: {image: "registry.example/front:1.4", deploy: {replicas: 1}}}, networks: {default: {}},
           volumes: {}, configs: {}, secrets: {}}
calls:
  description: How many docker commands were run.
  returned: success
  type: int
"""

from ..module_utils.docker.cli import DockerError
from ..module_utils.docker.module import DockerModule
from ..module_utils.stack.diff import shown_definition
from ..module_utils.stack.explain import find_failures, summary
from ..module_utils.stack.live import read_live
from ..module_utils.stack.record import read_record
from ..module_utils.stack.unavailable import SwarmUnavailable


def main() -> None:
    module = DockerModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "log_lines": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    docker = module.docker
    try:
        live = read_live(docker, module.params["name"], networks=False)
        failures = find_failures(docker, live, module.params["log_lines"])
        record = read_record(docker, live.stack) if live.services else None
    except (SwarmUnavailable, DockerError) as error:
        module.fail_json(msg=str(error))
    state = summary(live)
    # A top-level key called "failed" would mark the Ansible task itself as failed.
    state["failed_for_good"] = state.pop("failed")
    module.exit_json(
        changed=False,
        created_at=min((str(service["CreatedAt"]) for service in live.services.values()), default=""),
        services=[service.as_result() for service in live.states()],
        tasks=[task.as_result() for task in live.tasks],
        failures=failures,
        definition=shown_definition(record.definition) if record else {},
        calls=docker.calls,
        **state,
    )


if __name__ == "__main__":
    main()
