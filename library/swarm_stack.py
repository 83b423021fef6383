#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: a swarm stack as it should be, compared with the stack as it is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: swarm_stack
short_description: Deploy, repair, watch and remove Docker Swarm stacks
description:
  - Compares the stack that you describe with the stack that lives in the swarm, and deploys only what differs.
    Drift made behind its back (a scaled, edited or removed service, a recreated network) is noticed and repaired.
  - Can wait until the stack runs, or until it has finished, and says why when it does not, with the log of what failed.
  - Refuses what C(docker stack deploy) would silently ignore.
    Compose files in YAML on the target also need PyYAML there; inline definitions do not.
author:
  - ddp-swarm contributors (@ddp-swarm)
extends_documentation_fragment: [ddp.swarm.docker_cli]
options:
  name:
    description:
      - Name of the stack.
    type: str
    required: true
  state:
    description:
      - V(present) deploys the stack, unless it is already as described.
      - V(absent) removes it, and returns when its services, tasks, networks, configs and secrets are gone.
        Volumes are kept. Removal always waits, for O(wait_timeout) at most. The other nodes remove the containers of
        tasks that have ended a moment later.
      - V(stopped) ends its tasks with SIGTERM and their grace period, and returns when they have ended, after O(wait_timeout) at most.
        Their containers stay until the stack is removed, so that their logs can be collected. Its services start nothing more.
      - V(resumed) lets the services of a stopped stack start again, and those that were scaled down to none. It does not wait.
    type: str
    choices: [present, stopped, resumed, absent]
    default: present
  compose:
    description:
      - What the stack consists of. One entry or a list. Each is a mapping, or the path of a compose file on the target.
        They are read and merged as C(docker stack deploy) does it with several files, each by itself first. Services are merged field by
        field, mounts by their target, ports by what is published, C(command) and C(entrypoint) as a whole, other lists grow. Of a
        network, volume, config or secret, the last definition is all.
      - Variables in values (C($NAME), C(${NAME:-default})) are replaced from the environment of the module on the
        target, as C(docker stack deploy) does, and become numbers or booleans where docker wants these. Write C($$) for a dollar
        sign, also in inline definitions. A text with two things amiss is refused, also where docker forgets the first.
      - A variable of a service without a value, or with an empty one, is filled in from that environment. One that is not set
        there takes away the image's.
      - C(restart) counts where there is no C(deploy.restart_policy).
      - C(version) is not needed. All keys of docker's newest schema may be used, whichever version 3 it says.
      - Top-level C(configs) and C(secrets) may have C(file) (a path on the target) or C(content) (a text, not
        interpolated), and configs C(content_base64) (any bytes). They are created under a name that ends in a hash of their
        content, so that a new content is a change of each service that uses it. What is no longer used is removed afterwards if O(prune=true).
      - Only networks, volumes, configs and secrets that a service uses are created.
      - No text of a secret is in the result, the messages and the logs that they show, also if the definition is refused and if
        the secret is not where it belongs. One of less than eight characters is hidden where it stands alone, one of a single
        character is not. An entry that is the text of a definition is refused and not shown.
      - Required if O(state=present).
    type: raw
  random_secrets:
    description:
      - Names of external secrets that O(compose) refers to, and that the module makes where there are none, of 32 random bytes in
        hexadecimal digits, for what the services prove to each other. Nobody sees them. They go with the stack.
    type: list
    elements: str
    default: []
  prune:
    description:
      - Remove services, networks, configs and secrets of the stack that are no longer described.
      - With V(false) they are not looked at.
    type: bool
    default: true
  resolve_image:
    description:
      - Whether C(docker stack deploy) asks the registry for the digest behind each image's tag.
      - The default V(never) needs no registry, and keeps the tag as it is written. Choose V(changed) or V(always) for
        images that come from a registry and move under their tags. A registry is asked only when there is another
        reason to deploy.
    type: str
    choices: [always, changed, never]
    default: never
  with_registry_auth:
    description:
      - Send the registry login of the target's user to the nodes.
    type: bool
    default: false
  strict:
    description:
      - Fail on keys that swarm ignores or does not know. With V(false), leave them out and warn.
    type: bool
    default: true
  wait_for:
    description:
      - V(none) returns after the deployment was accepted.
      - V(running) waits until every task runs, has run for O(stability_period), and was made from the current
        definition. A task that finished with exit code 0 under restart condition C(none) or C(on-failure) is as good.
      - V(complete) waits until every task has finished with exit code 0.
      - A task that failed and will not be tried again ends the wait at once, as does a paused or rolled-back update.
    type: str
    choices: [none, running, complete]
    default: none
  wait_timeout:
    description:
      - How many seconds to wait, for O(wait_for) as for O(state=absent) and O(state=stopped).
    type: int
    default: 300
  stability_period:
    description:
      - With O(wait_for=running), for how many seconds the same tasks must have been running.
    type: int
    default: 3
  ready_pattern:
    description:
      - With O(wait_for=running), a regular expression (Python's) that a line of the task's log must contain before the
        task counts as running. Tasks that finished with exit code 0 need none.
      - Reading logs takes one more docker command for each task and look.
    type: str
  ready_within:
    description:
      - With O(ready_pattern), for how many seconds a task without such a line must have been running to count all the
        same. RV(unready) names it then.
      - Without it, the line is waited for until O(wait_timeout).
    type: int
  redeploy:
    description:
      - What to do about services whose definition did not change.
      - V(failed) starts a service again when one of its tasks has failed for good or its update was paused.
        This is the default, because a stack that is C(present) but dead is not what anyone asks for.
      - V(never) leaves them as they are. With O(wait_for=running) or V(complete), such a service is then a failure.
      - V(always) starts all services again, on every call.
    type: str
    choices: [never, failed, always]
    default: failed
  log_lines:
    description:
      - How many of the last log lines of a failed task to show. 0 shows none.
    type: int
    default: 20
  progress:
    description: A file in which each look writes whom it waits for, with the age of that task's last line, for others to read.
    type: path
attributes:
  check_mode:
    description: Can run in check mode and predict changes without making them.
    support: full
  diff_mode:
    description:
      - Shows per service what was and what will be, and the text of changed configs.
        Values whose name is a secret's (C(DB_PASS), C(--requirepass), C(apiKey)) are hidden, as are passwords in URLs and
        private keys. A number stands in their place, so that a change can be seen. Nothing is shown of secrets.
    support: full
notes:
  - Must run on a manager of an active and unlocked swarm that has a quorum, also for O(state=absent).
  - The stack gets one swarm config more than it asks for, C(NAME.swarm-stack). It records the definition and what the
    swarm made of it, which is how drift is recognised. It goes when the stack goes. Without it, as after a deployment by
    hand, the next run deploys once to bring the stack under control; services that are the same are not restarted.
  - The record holds environment values, as the services themselves do. Put secrets into C(secrets).
  - The invocation in the result and the differences go by names to hide values of the environment. What a container itself
    prints of its environment is shown in its log.
  - The module writes nothing to the log of the target (syslog, journal).
  - A changed definition of a network that belongs to the stack means that its services are removed and created again,
    because swarm cannot change a network. While anything else is on that network, a service of another stack or a container
    that no service made, on whichever node, it is refused before anything is taken down, and so is a definition that docker
    refuses (docker 20.10 cannot be asked).
  - A service whose C(deploy.mode) changes is removed and created again, because swarm cannot change that either.
  - Docker runs the jobs of a stack (C(mode) V(replicated-job) and V(global-job)) again each time that it deploys the stack, also
    those that did not change. RV(actions) says so.
  - What only the definition before names stays as long as swarm watches an update that it may roll back. The next call removes it.
  - A global service without any node that is up and fulfils its constraints counts as running, with a warning.
  - With O(redeploy=failed) only the services that failed are started again. For programs whose parts must start
    together, look first with C(check_mode) and choose O(redeploy=always).
seealso:
  - module: ansible.legacy.swarm_stack_info
"""

EXAMPLES = r"""
- name: Keep a stack running
  swarm_stack:
    name: web
    compose:
      - services:
          front:
            image: registry.example/front:1.4
            ports: ["8080:80"]
            configs: [{source: settings, target: /etc/front.conf}]
        configs:
          settings:
            content: "{{ lookup('template', 'front.conf.j2') }}"
    wait_for: running

- name: Run a job on two machines to its end
  swarm_stack:
    name: simple-training
    compose:
      - "{{ lookup('template', 'stack.yml.j2') | from_yaml }}"
    wait_for: complete
    wait_timeout: 3600

- name: Return when each rank has reported its first step
  swarm_stack:
    name: simple-training
    compose: [/srv/stack.json]
    wait_for: running
    ready_pattern: '^\[GPU\d+\] Epoch'

- name: Would the stack change, and is it busy?
  swarm_stack:
    name: simple-training
    compose: [/srv/stack.json]
  check_mode: true
  register: plan

- name: Remove the stack
  swarm_stack:
    name: simple-training
    state: absent
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done, one sentence each.
  returned: always
  type: list
  elements: str
  sample: ["update service node0: image", "repair service node1: Mode.Replicated.Replicas"]
changes:
  description:
    - The same for programs, a record for each of RV(actions). C(parts) are the keys of the definition that differ.
  returned: if O(state) is V(present) or V(absent)
  type: list
  elements: dict
  sample: [{verb: update, kind: service, name: node0, parts: [image]}]
running:
  description: Whether any task of the stack is running or about to. In check mode too, where it tells about now.
  returned: always
  type: bool
state:
  description: The stack as it now is.
  returned: always
  type: dict
  contains:
    exists:
      description: Whether the stack has any service.
      type: bool
    running:
      description: The same as RV(running).
      type: bool
    converged:
      description: Whether each task runs, or has finished with exit code 0 for good.
      type: bool
    complete:
      description: Whether each task has finished with exit code 0 for good.
      type: bool
    failed:
      description: Whether any task has failed for good, or any update was paused or rolled back.
      type: bool
services:
  description: The live services of the stack.
  returned: always
  type: list
  elements: dict
  sample: [{name: node0, full_name: simple-training_node0, image: "my-ddp-trainer:1f3a", mode: replicated, wanted: 1,
            running: 1, complete: 0, failed: 0, starting: 0, update_state: "", converged: true, constraints: []}]
tasks:
  description: The tasks that swarm still knows, newest first.
  returned: always
  type: list
  elements: dict
  sample: [{id: w1k8, service: node0, slot: "1", node: host1, state: running, desired_state: running, error: "",
            exit_code: null, image: "my-ddp-trainer:1f3a", created_at: "2025-01-01T10:00:00.1Z",
            updated_at: "2025-01-01T10:00:02.9Z"}]
timed_out:
  description: Whether it was waited for in vain while nothing had failed for good. The stack goes on.
  returned: failure
  type: bool
failures:
  description: What keeps the stack from being as asked. Empty on success.
  returned: always
  type: list
  elements: dict
  contains:
    service:
      description: Full name of the service.
      type: str
    task_id:
      description: The task.
      type: str
    node:
      description: Host name of its node; empty if it was never scheduled.
      type: str
    slot:
      description: Number of the replica, or ID of the node of a global service.
      type: str
    state:
      description: State of the task or of the update.
      type: str
    exit_code:
      description: Exit code of the container, if it ran and ended.
      type: int
    error:
      description: What swarm says about it.
      type: str
    log:
      description: Last lines of the task's log.
      type: list
      elements: str
    hint:
      description: What to do about it, if that is known.
      type: str
    update_state:
      description: State of the service's update, if that is what failed.
      type: str
definition:
  description:
    - The stack as it is sent to docker, in docker's long form, with variables and files in their places.
      Configs and secrets that the module makes are in it by their names, and never with their contents.
    - What is secret by its name is hidden, as in the differences.
  returned: if O(state=present) and the swarm could be asked
  type: dict
  sample: {services: {front: {image: "registry.example/front:1.4", deploy: {replicas: 1}}}, networks: {default: {}},
           volumes: {}, configs: {}, secrets: {}}
unready:
  description: Services of which a task runs and has not written a line that O(ready_pattern) matches.
  returned: always
  type: list
  elements: str
calls:
  description: How many docker commands were run.
  returned: always
  type: int
"""

from typing import Any

from ..module_utils.docker.cli import DockerError
from ..module_utils.stack.compose.shapes import ComposeError
from ..module_utils.stack.live import Live
from ..module_utils.stack.module import StackModule, absent, check_parameters, describe, present, resumed, stopped
from ..module_utils.stack.unavailable import SwarmUnavailable, explain_unavailable, lost_quorum
from ..module_utils.stack.wait import StackFailure


def main() -> None:
    module = StackModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "stopped", "resumed", "absent"], "default": "present"},
            "compose": {"type": "raw"},
            "prune": {"type": "bool", "default": True},
            "resolve_image": {"type": "str", "choices": ["always", "changed", "never"], "default": "never"},
            "with_registry_auth": {"type": "bool", "default": False},
            "random_secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "strict": {"type": "bool", "default": True},
            "wait_for": {"type": "str", "choices": ["none", "running", "complete"], "default": "none"},
            "wait_timeout": {"type": "int", "default": 300},
            "stability_period": {"type": "int", "default": 3},
            "ready_pattern": {"type": "str"},
            "ready_within": {"type": "int"},
            "redeploy": {"type": "str", "choices": ["never", "failed", "always"], "default": "failed"},
            "log_lines": {"type": "int", "default": 20},
            "progress": {"type": "path"},
        },
        required_if=[("state", "present", ["compose"])],
        supports_check_mode=True,
    )
    check_parameters(module)
    docker = module.docker
    result: dict[str, Any] = {
        "changed": False,
        "actions": [],
        "failures": [],
        "unready": [],
        **describe(Live(module.params["name"])),
    }

    def fail(said: str) -> None:
        module.fail_json(msg=said, calls=docker.calls, **result)

    try:
        steps = {"present": present, "stopped": stopped, "resumed": resumed, "absent": absent}
        steps[module.params["state"]](module, docker, result)
    except StackFailure as error:
        result["failures"] = error.failures
        result["timed_out"] = error.timed_out
        fail(str(error))
    except DockerError as error:
        fail(explain_unavailable(docker, error) if lost_quorum(str(error)) else str(error))
    except (ComposeError, SwarmUnavailable) as error:
        fail(str(error))
    except Exception as error:  # noqa: BLE001
        # Whatever it is, it leaves through the module, which takes the secrets out of it.
        fail(f"{type(error).__name__}: {error}")
    module.exit_json(calls=docker.calls, **result)


if __name__ == "__main__":
    main()
