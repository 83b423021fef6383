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
  - Needs the docker command line (20.10 or newer) and Python 3.9 on the target, nothing else.
    Compose files in YAML on the target also need PyYAML there; inline definitions do not.
author:
  - ddp-swarm contributors (@ddp-swarm)
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
    type: str
    choices: [present, absent]
    default: present
  compose:
    description:
      - What the stack consists of. One entry or a list. Each is a mapping, or the path of a compose file on the target.
        Entries are merged in order, mappings by key; C(command), C(entrypoint) and health checks are replaced as a
        whole, mounts by their target, and to other lists new items are added.
      - Variables in values (C($NAME), C(${NAME:-default})) are replaced from the environment of the module on the
        target, as C(docker stack deploy) does. Write C($$) for a dollar sign, also in inline definitions.
      - Top-level C(configs) and C(secrets) may have C(file) (a path on the target) or C(content) (a text, not
        interpolated). They are created under a name that ends in a hash of their content, so that a new content is a
        change of each service that uses it. What is no longer used is removed afterwards if O(prune=true).
      - Only networks, volumes, configs and secrets that a service uses are created.
      - No text of a secret is in the result, the messages and the logs that they show, also if the definition is refused and if
        the secret is not where it belongs. One of less than eight characters is hidden where it stands alone, one of a single
        character is not. An entry that is the text of a definition is refused and not shown.
      - Required if O(state=present).
    type: raw
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
      - How many seconds to wait, for O(wait_for) as for O(state=absent).
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
  docker_cli:
    description:
      - Path of the docker command line. Searched in PATH by default.
    type: path
  docker_host:
    description:
      - The engine to talk to, such as V(unix:///var/run/docker.sock) or V(tcp://192.0.2.1:2376).
      - The default is what the command line uses by itself.
    type: str
    aliases: [docker_url]
  cli_context:
    description:
      - The context of the docker command line to use. Excludes O(docker_host).
    type: str
  api_version:
    description:
      - The version of the Docker API to use. Negotiated by default.
    type: str
    aliases: [docker_api_version]
  tls:
    description:
      - Use TLS without verifying the engine's certificate.
    type: bool
    default: false
  validate_certs:
    description:
      - Use TLS and verify the engine's certificate.
    type: bool
    default: false
    aliases: [tls_verify]
  ca_path:
    description:
      - The CA certificate to verify the engine with.
    type: path
    aliases: [tls_ca_cert, cacert_path]
  client_cert:
    description:
      - The client's TLS certificate.
    type: path
    aliases: [tls_client_cert, cert_path]
  client_key:
    description:
      - The client's TLS key.
    type: path
    aliases: [tls_client_key, key_path]
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
    because swarm cannot change a network.
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
calls:
  description: How many docker commands were run.
  returned: always
  type: int
"""

import base64
import calendar
import json
import os
import re
import time
from dataclasses import dataclass, field
from typing import Any

from ..module_utils.docker_cli import (
    ANSWER_TIMEOUT,
    CONNECTION_ARGUMENTS,
    CONNECTION_MUTUALLY_EXCLUSIVE,
    DockerCli,
    DockerError,
)
from ..module_utils.masking import hide, mask, secrets_of
from ..module_utils.reporting import ReportingModule
from ..module_utils.stack_compose import (
    NAME_LIMIT,
    ComposeError,
    Content,
    Prepared,
    escape,
    is_path,
    network_name,
    prepare,
    service_view,
)
from ..module_utils.swarm_state import (
    IMAGE_LABEL,
    NAMESPACE,
    Live,
    ServiceState,
    Slot,
    SwarmUnavailable,
    Task,
    describe_task,
    explain_unavailable,
    find_failures,
    hint_for,
    inspect_all,
    list_services,
    list_tasks,
    lost_quorum,
    only_gone,
    read_live,
    same_template,
    sentence,
    short_name,
    stack_filter,
    summary,
    task_log,
)

RECORD_FORMAT = 1
RECORD_SUFFIX = ".swarm-stack"
POLL = 1.0
READY_LOG_LINES = 2000
# One numbering for all that is hidden in a result, so that what was and what will be can be compared.
_HIDDEN: dict[str, int] = {}


class StackFailure(Exception):
    """The stack is not as asked; `failures` is the structured why."""

    def __init__(self, message: str, failures: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.failures = failures or []


# Comparing


@dataclass
class Record:
    """What was asked for at the last deployment, and what the swarm made of it."""

    definition: dict[str, Any] = field(default_factory=dict)
    live: dict[str, dict[str, Any]] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps({"format": RECORD_FORMAT, **self.__dict__}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Record | None:
        try:
            data = json.loads(text)
            if data.pop("format") != RECORD_FORMAT:
                return None
            return cls(**data)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


@dataclass
class Plan:
    """What has to be done. `actions` is for people; the rest is for `execute`."""

    actions: list[str] = field(default_factory=list)
    deploy: bool = False
    removed_services: list[str] = field(default_factory=list)
    recreated_networks: list[str] = field(default_factory=list)
    recreated_contents: list[str] = field(default_factory=list)
    known_contents: dict[str, str] = field(default_factory=dict)
    detached_services: list[str] = field(default_factory=list)
    foreign_images: list[str] = field(default_factory=list)
    obsolete_networks: list[str] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)
    failed_before: list[str] = field(default_factory=list)
    diffs: list[dict[str, str]] = field(default_factory=list)


def normal_spec(service: dict[str, Any], networks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A live Spec without what says nothing about it: ids become names, restarts do not count."""
    spec: dict[str, Any] = json.loads(json.dumps(service["Spec"]))
    template = spec.get("TaskTemplate", {})
    template.pop("ForceUpdate", None)
    for holder in (spec, template):
        for attachment in holder.get("Networks") or []:
            target = attachment.get("Target")
            attachment["Target"] = networks[target]["Name"] if target in networks else f"missing network {target}"
    container = template.get("ContainerSpec", {})
    for kind in ("Config", "Secret"):
        for reference in container.get(f"{kind}s") or []:
            reference.pop(f"{kind}ID", None)
    cleaned: dict[str, Any] = without_empty(spec)
    return cleaned


def content_ids(live: Live) -> dict[str, str]:
    """Kind and name to id of the configs and secrets that the live services use."""
    found = {}
    for service in live.services.values():
        container = service["Spec"].get("TaskTemplate", {}).get("ContainerSpec", {})
        for kind in ("Config", "Secret"):
            for reference in container.get(f"{kind}s") or []:
                found[f"{kind.lower()} {reference.get(f'{kind}Name')}"] = str(reference.get(f"{kind}ID"))
    return found


def without_empty(value: Any) -> Any:
    """Engines differ in whether they write an empty field or leave it out."""
    if isinstance(value, dict):
        cleaned = {key: without_empty(item) for key, item in value.items()}
        return {key: item for key, item in cleaned.items() if item not in (None, {}, [])}
    if isinstance(value, list):
        return [without_empty(item) for item in value]
    return value


def _by_key(value: Any, path: str) -> dict[Any, Any] | None:
    """A mapping as it is, a list by position, the engine's list of environment variables by name."""
    if isinstance(value, list):
        if path.rpartition(".")[2] == "Env":
            return dict(item.partition("=")[::2] for item in value)
        return dict(enumerate(value))
    return value if isinstance(value, dict) else None


def pick(value: Any, paths: list[str], path: str = "") -> dict[str, Any]:
    """What is at those paths that `differences` found."""
    if path in paths:
        return {path: value}
    found: dict[str, Any] = {}
    for key, item in (_by_key(value, path) or {}).items():
        found.update(pick(item, paths, f"{path}.{key}" if path else str(key)))
    return found


def differences(before: Any, after: Any, path: str = "") -> list[str]:
    """The paths at which two structures differ; what only one of them has counts once, however much is in it."""
    old, new = _by_key(before, path), _by_key(after, path)
    if path and (not old or not new or isinstance(before, list) != isinstance(after, list)):
        return [path] if before != after else []
    old, new = old or {}, new or {}
    found: list[str] = []
    for key in sorted({*old, *new}, key=str):
        below = f"{path}.{key}" if path else str(key)
        found += differences(old[key], new[key], below) if key in old and key in new else [below]
    return found


def shorten(paths: list[str], limit: int = 6) -> str:
    shown = ", ".join(paths[:limit])
    return shown if len(paths) <= limit else f"{shown} and {len(paths) - limit} more"


def readable(value: Any, indent: str = "") -> str:
    """YAML for people, without PyYAML."""
    if isinstance(value, dict) and value:
        lines = []
        for key in sorted(value, key=str):
            item = value[key]
            if isinstance(item, (dict, list)) and item:
                lines.append(f"{indent}{key}:\n{readable(item, indent + '  ')}")
            else:
                lines.append(f"{indent}{key}: {_readable_scalar(item)}\n")
        return "".join(lines)
    if isinstance(value, list) and value:
        lines = []
        for item in value:
            if isinstance(item, (dict, list)) and item:
                lines.append(f"{indent}- {readable(item, indent + '  ')[len(indent) + 2 :]}")
            else:
                lines.append(f"{indent}- {_readable_scalar(item)}\n")
        return "".join(lines)
    return f"{indent}{_readable_scalar(value)}\n"


def _readable_scalar(value: Any) -> str:
    plain = isinstance(value, str) and re.fullmatch(r"[\w./@+(-][\w./@+ =:,()-]*", value) and ": " not in value
    return str(value) if plain else json.dumps(value)


def make_diff(title: str, before: Any, after: Any) -> dict[str, str]:
    return {
        "before_header": title,
        "after_header": title,
        "before": readable(mask(before, _HIDDEN)) if before else "",
        "after": readable(mask(after, _HIDDEN)) if after else "",
    }


def own_networks(stack: str, definition: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Real name to definition of the networks that the stack creates."""
    return {
        network_name(stack, key, network): network
        for key, network in definition.get("networks", {}).items()
        if not network.get("external")
    }


def make_plan(
    stack: str,
    definition: dict[str, Any],
    live: Live,
    record: Record | None,
    prune: bool,
    redeploy: str,
) -> Plan:
    """Desired against live. Everything that the module will do is decided here."""
    plan = Plan()
    _plan_networks(stack, definition, live, record, prune, plan)
    _plan_contents(definition, live, record, plan)
    _plan_services(stack, definition, live, record, plan)
    if prune:
        for full_name in sorted(live.services):
            name = short_name(stack, full_name)
            if name not in definition["services"]:
                plan.actions.append(f"remove service {name}")
                plan.removed_services.append(full_name)
                before = normal_spec(live.services[full_name], live.networks)
                plan.diffs.append(make_diff(f"service {name}", before, None))
    kept = set(plan.detached_services) - set(plan.removed_services)
    strangers = sorted(
        short_name(stack, name) for name in kept if short_name(stack, name) not in definition["services"]
    )
    if strangers:
        raise StackFailure(
            f"Stack {stack} cannot be deployed: {', '.join(plan.recreated_networks + plan.recreated_contents)} must be created "
            f"again, and service {', '.join(strangers)} uses it, which is not described: describe it, or set prune to true"
        )
    known = record.definition if record else {}
    if live.services and known.get("volumes", {}) != definition["volumes"]:
        plan.diffs.append(make_diff("volumes", known.get("volumes"), definition["volumes"]))
        if record:
            plan.actions.append(f"update volumes: {shorten(differences(known.get('volumes'), definition['volumes']))}")
            plan.deploy = True
    _plan_restarts(definition, live, redeploy, plan)
    return plan


def _plan_networks(
    stack: str, definition: dict[str, Any], live: Live, record: Record | None, prune: bool, plan: Plan
) -> None:
    wanted = own_networks(stack, definition)
    known = own_networks(stack, record.definition) if record else {}
    present = {row["Name"]: row["ID"] for row in live.networks.values() if row.get("Scope") == "swarm"}
    for name, network in sorted(wanted.items()):
        if name not in present:
            plan.actions.append(f"create network {name}")
            plan.deploy = True
            plan.diffs.append(make_diff(f"network {name}", None, network or {"driver": "overlay"}))
        elif record and name in known and (known[name] != network or record.networks.get(name) != present[name]):
            behind_our_back = "" if known[name] != network else " (it is not the one that was deployed)"
            plan.actions.append(f"recreate network {name}{behind_our_back}")
            plan.deploy = True
            plan.recreated_networks.append(name)
            plan.diffs.append(make_diff(f"network {name}", known[name] or {"id": "another"}, network or {"id": "new"}))
    plan.detached_services += attached(live.services, live, plan.recreated_networks)
    if prune:
        for name in sorted(live.own_networks):
            if name not in wanted:
                plan.actions.append(f"remove network {name}")
                plan.obsolete_networks.append(name)
                plan.diffs.append(make_diff(f"network {name}", known.get(name) or {"driver": "overlay"}, None))


def attached(services: dict[str, dict[str, Any]], live: Live, networks: list[str]) -> list[str]:
    """Which of the services are attached to one of the networks."""
    ids = {identifier for identifier, row in live.networks.items() if row["Name"] in networks}
    found = []
    for full_name, service in sorted(services.items()):
        holders = (service["Spec"].get("TaskTemplate", {}), service["Spec"])
        if ids & {entry.get("Target") for holder in holders for entry in holder.get("Networks") or []}:
            found.append(full_name)
    return found


def spare_others(docker: DockerCli, stack: str, plan: Plan, live: Live) -> None:
    """Refuse to begin what cannot end: swarm removes no network that another stack is attached to."""
    networks = plan.recreated_networks + plan.obsolete_networks
    if not networks:
        return
    found = inspect_all(docker, docker.run("service", "ls", "--quiet", timeout=ANSWER_TIMEOUT).stdout.split())
    others = {item["Spec"]["Name"]: item for item in found if item["Spec"]["Name"] not in live.services}
    users = attached(others, live, networks)
    if users:
        raise StackFailure(
            f"Stack {stack} cannot be deployed: {', '.join(networks)} must be removed, and {', '.join(users)} of another "
            "stack uses it: remove that first, or make it a network of its own that both name as external"
        )


def content_diffs(docker: DockerCli, prepared: Prepared, record: Record | None) -> list[dict[str, str]]:
    """Changed configs, line by line. Of secrets nobody should see more than that they have changed."""
    diffs = []
    known = (record.definition.get("configs") or {}) if record else {}
    for content in prepared.contents:
        old = (known.get(content.key) or {}).get("name")
        if content.kind != "config" or old in (None, content.name):
            continue
        before = read_config(docker, old)
        after = content.text if content.path is None else _read_text(content.path)
        if before is not None and after is not None:
            header = f"config {content.key}"
            texts = {"before": mask(before, _HIDDEN), "after": mask(after, _HIDDEN)}
            diffs.append({"before_header": header, "after_header": header, **texts})
    return diffs


def _read_text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError):
        return None


def _plan_contents(definition: dict[str, Any], live: Live, record: Record | None, plan: Plan) -> None:
    """Someone may have put another config or secret in the place of ours, by the same name."""
    used = content_ids(live)
    wanted = {
        f"{kind} {entry.get('name')}" for kind in ("config", "secret") for entry in definition[f"{kind}s"].values()
    }
    plan.known_contents = record.contents if record else {}
    for content, identifier in sorted(plan.known_contents.items()):
        if content in wanted and used.get(content, identifier) != identifier:
            plan.actions.append(f"recreate {content} (it is not the one that was deployed)")
            plan.deploy = True
            plan.recreated_contents.append(content)
            plan.diffs.append(make_diff(content, {"id": used[content]}, {"id": "new"}))
    for full_name, service in sorted(live.services.items()):
        uses = content_ids(Live(live.stack, services={full_name: service}))
        if uses.keys() & set(plan.recreated_contents) and full_name not in plan.detached_services:
            plan.detached_services.append(full_name)


def _plan_services(stack: str, definition: dict[str, Any], live: Live, record: Record | None, plan: Plan) -> None:
    for name in sorted(definition["services"]):
        full_name = f"{stack}_{name}"
        after = service_view(definition, name)
        if full_name not in live.services:
            plan.actions.append(f"create service {name}")
            plan.deploy = True
            plan.diffs.append(make_diff(f"service {name}", None, after))
            continue
        spec = normal_spec(live.services[full_name], live.networks)
        if record is None or name not in record.definition.get("services", {}) or full_name not in record.live:
            plan.actions.append(f"adopt service {name}")
            plan.deploy = True
            if spec["TaskTemplate"]["ContainerSpec"]["Image"].partition("@")[0] != after["image"].partition("@")[0]:
                plan.foreign_images.append(full_name)
            plan.diffs.append(make_diff(f"service {name} (not deployed by this module)", spec, after))
            continue
        before = service_view(record.definition, name)
        changed = differences(before, after)
        drift = differences(record.live[full_name], spec)
        if "TaskTemplate.ContainerSpec.Image" in drift:
            plan.foreign_images.append(full_name)
        if changed:
            plan.actions.append(f"update service {name}: {shorten(changed)}")
        if drift:
            plan.actions.append(f"repair service {name}: {shorten(drift)}")
            # Masked while the items of a list are still beside each other.
            before = {**before, "live": pick(mask(spec, _HIDDEN), drift)}
            after = {**after, "live": pick(mask(record.live[full_name], _HIDDEN), drift)}
        if changed or drift:
            plan.deploy = True
            plan.diffs.append(make_diff(f"service {name}", before, after))
        elif full_name in plan.detached_services:
            plan.actions.append(f"recreate service {name}: what it uses is recreated")


def _plan_restarts(definition: dict[str, Any], live: Live, redeploy: str, plan: Plan) -> None:
    if redeploy == "never":
        return
    touched = {action.split()[2].rstrip(":") for action in plan.actions if action.split()[1] == "service"}
    for state in live.states():
        if state.name not in definition["services"] or state.full_name in plan.detached_services:
            continue
        if state.failed:
            plan.failed_before.append(state.full_name)
        if state.name in touched:
            continue
        if redeploy == "always":
            plan.actions.append(f"restart service {state.name}")
        elif state.failed:
            plan.actions.append(f"restart service {state.name}: {why_failed(state)}")
        else:
            continue
        plan.restarted.append(state.full_name)
        plan.diffs.append(
            make_diff(f"service {state.name}", {"tasks": _task_lines(state)}, {"tasks": ["started again"]})
        )


def why_failed(state: ServiceState) -> str:
    slot = next((slot for slot in state.slots if slot.verdict == "failed"), None)
    if slot is None:
        return f"update {state.update_state}"
    where = f" on {slot.task.node}" if slot.task.node else ""
    if slot.task.exit_code:
        return f"failed{where} with exit code {slot.task.exit_code}"
    return f"{slot.task.state}{where}" + (f" ({slot.task.error})" if slot.task.error else "")


def _task_lines(state: ServiceState) -> list[str]:
    return [f"{slot.name} {slot.verdict}" for slot in state.slots]


def endless_services(definition: dict[str, Any]) -> list[str]:
    """Services that `wait_for: complete` would wait for in vain: what always restarts never ends."""
    endless = []
    for name, service in definition["services"].items():
        deploy = service["deploy"]
        condition = (deploy.get("restart_policy") or {}).get("condition", "any")
        if condition == "any" and not str(deploy.get("mode", "")).endswith("job"):
            endless.append(name)
    return sorted(endless)


# Doing


def record_name(stack: str) -> str:
    return f"{stack}{RECORD_SUFFIX}"


def read_config(docker: DockerCli, name: str) -> str | None:
    """The text of a config, if there is such a config and it is a text."""
    done = docker.run("config", "inspect", name, check=False, timeout=ANSWER_TIMEOUT)
    if done.rc != 0 and not only_gone(done.stderr):
        raise DockerError(f"docker config inspect: {done.stderr.strip()}")
    try:
        return base64.b64decode(json.loads(done.stdout)[0]["Spec"]["Data"]).decode("utf-8")
    except (ValueError, KeyError, IndexError, TypeError):
        return None


def read_record(docker: DockerCli, stack: str) -> Record | None:
    text = read_config(docker, record_name(stack))
    return None if text is None else Record.from_json(text)


def write_record(
    docker: DockerCli, stack: str, definition: dict[str, Any], contents: list[Content], live: Live
) -> None:
    record = Record(
        definition=definition,
        # What swarm is taking back already is not what was asked for: the next run will find it unknown.
        live={
            name: normal_spec(service, live.networks)
            for name, service in live.services.items()
            if not str((service.get("UpdateStatus") or {}).get("State", "")).startswith("rollback")
        },
        networks=live.own_networks,
        contents={
            name: identifier
            for name, identifier in content_ids(live).items()
            if name.partition(" ")[2] in {content.name for content in contents}
        },
    )
    name = record_name(stack)
    docker.run("config", "rm", name, check=False)
    docker.run("config", "create", "--label", f"{NAMESPACE}={stack}", name, "-", input=record.to_json())


def list_objects(docker: DockerCli, kind: str, stack: str | None = None) -> dict[str, str]:
    """Name to id of the networks, configs or secrets of a stack, or of all."""
    flags = stack_filter(stack) if stack else ()
    return {row["Name"]: row["ID"] for row in docker.json_lines(kind, "ls", *flags)}


def missing_externals(docker: DockerCli, stack: str, prepared: Prepared, live: Live) -> list[str]:
    """What the definition expects to exist and does not."""
    missing = []
    scopes = {row["Name"]: row.get("Scope", "") for row in live.networks.values()}
    for key, network in prepared.definition["networks"].items():
        name = network_name(stack, key, network)
        if not network.get("external") or name in ("host", "bridge", "none"):
            continue
        if name not in scopes:
            missing.append(f"network {name} is external, and there is no such network: create it first")
        elif scopes[name] != "swarm":
            missing.append(
                f"network {name} is external, and of scope {scopes[name]}: tasks need an overlay (scope swarm)"
            )
    ours = {content.name for content in prepared.contents}
    for kind in ("config", "secret"):
        names = {entry["name"] for entry in prepared.definition[f"{kind}s"].values() if entry.get("external")} - ours
        if names:
            for name in sorted(names - set(list_objects(docker, kind))):
                missing.append(f"{kind} {name} is external, and there is no such {kind}: create it first")
    return missing


def create_contents(docker: DockerCli, stack: str, contents: list[Content], known: dict[str, str]) -> None:
    """`known` holds the ids of those that this module created: whatever else has such a name goes."""
    for kind in ("config", "secret"):
        wanted = [content for content in contents if content.kind == kind]
        present = list_objects(docker, kind, stack) if wanted else {}
        for content in wanted:
            found = present.get(content.name)
            if found and found != known.get(f"{kind} {content.name}", found):
                docker.run(kind, "rm", content.name)
                found = None
            if not found:
                options = ("--label", f"{NAMESPACE}={stack}", *content.options)
                source = "-" if content.path is None else content.path
                docker.run(kind, "create", *options, content.name, source, input=content.text)


def prune_contents(docker: DockerCli, stack: str, definition: dict[str, Any]) -> None:
    """Remove configs and secrets of the stack that nothing refers to any more."""
    for kind in ("config", "secret"):
        keep = {entry.get("name") or f"{stack}_{key}" for key, entry in definition[f"{kind}s"].items()}
        for name, identifier in list_objects(docker, kind, stack).items():
            if name not in keep and name != record_name(stack):
                # Still in use by a service that was not pruned: it stays, and goes with that service.
                docker.run(kind, "rm", identifier, check=False)


def stack_deploy(docker: DockerCli, stack: str, prepared: Prepared, params: dict[str, Any]) -> str:
    """Hand the definition to the CLI on stdin, as JSON, which is YAML. Returns what the CLI warned about."""
    text = json.dumps({"version": prepared.version, **escape(prepared.definition)})
    flags = ["--compose-file", "-", "--resolve-image", params["resolve_image"]]
    if params["prune"]:
        flags.append("--prune")
    if params["with_registry_auth"]:
        flags.append("--with-registry-auth")
    # CLIs that know --detach announce that waiting will become the default, and waiting never ends
    # for tasks that finish (docker/cli#5299). Older ones do not know the option.
    done = docker.run(
        "stack", "deploy", "--detach=true", *flags, stack, input=text, check=False, cwd=prepared.directory
    )
    if done.rc != 0 and "unknown flag: --detach" in done.stderr:
        done = docker.run("stack", "deploy", *flags, stack, input=text, check=False, cwd=prepared.directory)
    # Docker may quote values of the definition.
    values: dict[str, int] = {}
    mask(prepared.definition, values)
    said = hide(done.stderr.strip(), values)
    if done.rc != 0:
        raise DockerError(f"docker stack deploy: {said or hide(done.stdout.strip(), values)}")
    return str(said)


def force_restart(docker: DockerCli, full_name: str, with_registry_auth: bool) -> None:
    flags = ["--with-registry-auth"] if with_registry_auth else []
    docker.run("service", "update", "--detach", "--quiet", "--force", *flags, full_name)


def remove_networks(docker: DockerCli, stack: str, names: list[str], deadline: float) -> None:
    """A network goes when the last task on it is gone, which is after its service (moby#32552)."""
    while names:
        said = ""
        for name in list(names):
            done = docker.run("network", "rm", name, check=False)
            if done.rc == 0 or "not found" in done.stderr.lower() or "no such network" in done.stderr.lower():
                names.remove(name)
            else:
                said = done.stderr.strip()
        if names:
            if time.monotonic() > deadline:
                raise StackFailure(f"Cannot remove network {names[0]} of stack {stack}: {said}")
            time.sleep(POLL)


def execute(docker: DockerCli, stack: str, prepared: Prepared, plan: Plan, live: Live, params: dict[str, Any]) -> str:
    """Carry out a plan. Returns what docker warned about."""
    deadline = time.monotonic() + params["wait_timeout"]
    if plan.detached_services:
        docker.run("service", "rm", *plan.detached_services)
        leaving = [task.id for task in live.tasks if f"{stack}_{task.service}" in plan.detached_services]
        wait_tasks_gone(docker, leaving, deadline)
    remove_networks(docker, stack, list(plan.recreated_networks), deadline)
    for content in plan.recreated_contents:
        kind, _space, name = content.partition(" ")
        docker.run(kind, "rm", name)
    warned = ""
    if plan.deploy:
        create_contents(docker, stack, prepared.contents, plan.known_contents)
        for full_name in plan.foreign_images:
            labels = live.services[full_name]["Spec"].get("Labels") or {}
            if IMAGE_LABEL in labels and full_name not in plan.detached_services:
                # Docker would keep the image that somebody else gave the service.
                docker.run("service", "update", "--detach", "--quiet", "--label-rm", IMAGE_LABEL, full_name)
        warned = stack_deploy(docker, stack, prepared, params)
    elif plan.removed_services:
        docker.run("service", "rm", *plan.removed_services)
    restarted = list(plan.restarted)
    if plan.deploy or plan.removed_services or plan.obsolete_networks:
        now = read_live(docker, stack)
        # A deployment that changes only labels or replicas does not revive a dead task.
        still = {state.full_name for state in now.states() if state.failed}
        restarted += [name for name in plan.failed_before if name in still and name not in restarted]
        remove_networks(docker, stack, list(plan.obsolete_networks), deadline)
        if plan.obsolete_networks:
            now.networks = {key: row for key, row in now.networks.items() if row["Name"] not in plan.obsolete_networks}
        write_record(docker, stack, prepared.definition, prepared.contents, now)
    for full_name in restarted:
        force_restart(docker, full_name, params["with_registry_auth"])
    return warned


# Waiting


class Waiter:
    """Looks at the stack again and again until it is as asked, has failed, or time is up."""

    def __init__(self, docker: DockerCli, stack: str, services: list[str], params: dict[str, Any]) -> None:
        self.docker = docker
        self.stack = stack
        self.wanted = sorted(f"{stack}_{name}" for name in services)
        self.params = params
        self.goal: str = params["wait_for"]
        self.pattern = re.compile(params["ready_pattern"]) if params.get("ready_pattern") else None
        self.ready: set[str] = set()
        self.stable_tasks: frozenset[str] = frozenset()
        self.stable_since = time.monotonic()

    def until_reached(self, live: Live, old_updates: set[str], settled: bool) -> Live:
        """`settled`: nothing was done, so that what has been running for long enough need not be watched again."""
        deadline = time.monotonic() + self.params["wait_timeout"]
        while True:
            live = self._only_wanted(live)
            if find_failures(None, live, 0, old_updates):
                raise self._failed(live, old_updates)
            if self._reached(live) and (self._stable(live) or (settled and self._old_enough(live))):
                return live
            if time.monotonic() >= deadline:
                raise self._timed_out(live)
            time.sleep(POLL)
            live = read_live(self.docker, self.stack, networks=False)

    def _only_wanted(self, live: Live) -> Live:
        live.services = {name: service for name, service in live.services.items() if name in self.wanted}
        return live

    def _reached(self, live: Live) -> bool:
        states = live.states()
        good = len(states) == len(self.wanted) and all(state.reached(self.goal) for state in states)
        return good and not self._unready(states)

    def _unready(self, states: list[ServiceState]) -> list[Slot]:
        """The running tasks whose log has not said yet that they are ready."""
        if self.pattern is None or self.goal != "running":
            return []
        unready = []
        for state in states:
            for slot in state.slots:
                if slot.verdict == "running" and slot.task.id not in self.ready:
                    lines = task_log(self.docker, slot.task.id, READY_LOG_LINES)
                    if any(self.pattern.search(line) for line in lines):
                        self.ready.add(slot.task.id)
                    else:
                        unready.append(slot)
        return unready

    def _stable(self, live: Live) -> bool:
        if self.goal == "complete":
            return True
        running = frozenset(
            slot.task.id for state in live.states() for slot in state.slots if slot.verdict == "running"
        )
        now = time.monotonic()
        # A task that went from running to complete has not become unstable.
        if not running <= self.stable_tasks:
            self.stable_since = now
        self.stable_tasks = running
        return not running or now - self.stable_since >= self.params["stability_period"]

    def _old_enough(self, live: Live) -> bool:
        """Stable by the clock: saves watching a stack that has been up for long. Hosts' clocks may differ a little."""
        now = time.time()
        return all(
            now - epoch(slot.task.updated) >= self.params["stability_period"]
            for state in live.states()
            for slot in state.slots
            if slot.verdict == "running"
        )

    def _failed(self, live: Live, old_updates: set[str]) -> StackFailure:
        # A moment later swarm knows more: the task that broke an update, the peers that failed with it.
        time.sleep(POLL)
        now = self._only_wanted(read_live(self.docker, self.stack, networks=False))
        lines: int = self.params["log_lines"]
        failures = find_failures(self.docker, now, lines, old_updates) or find_failures(
            self.docker, live, lines, old_updates
        )
        several = any(state.wanted > 1 for state in live.states())
        return StackFailure("\n".join(sentence(failure, several) for failure in failures), failures)

    def _timed_out(self, live: Live) -> StackFailure:
        states = live.states()
        failures: list[dict[str, Any]] = []
        waits: list[str] = [f"{name} does not exist" for name in self.wanted if name not in live.services]
        for state in states:
            waits += [f"{state.full_name} lacks {state.missing} of {state.wanted} tasks"] if state.missing else []
            for slot in state.slots:
                good = slot.verdict == "complete" or (
                    self.goal == "running" and slot.verdict == "running" and self._is_ready(slot)
                )
                if good:
                    continue
                text = waiting_for(slot, live.tasks, self.goal, self.pattern.pattern if self.pattern else "")
                hint = hint_for(state, slot.task) or hint_for(state, last_failed(slot, live.tasks) or slot.task)
                name = f"{state.full_name}.{slot.name}" if state.wanted > 1 else state.full_name
                waits.append(f"{name} {text}" + (f" - {hint}" if hint else ""))
                entry = describe_task(self.docker, state, slot.task, self.params["log_lines"])
                entry["error"] = entry["error"] or text
                entry["hint"] = hint
                failures.append(entry)
        if not waits:
            waits.append("its tasks have not been running for stability_period yet")
        goal = "complete" if self.goal == "complete" else "running"
        message = f"Stack {self.stack} is not {goal} after {self.params['wait_timeout']} s: {'; '.join(waits)}"
        for failure in failures:
            if failure["log"]:
                message += f"\nLast {len(failure['log'])} log lines of {failure['service']} on {failure['node']}:\n"
                message += "\n".join(f"  {line}" for line in failure["log"])
        return StackFailure(message, failures)

    def _is_ready(self, slot: Slot) -> bool:
        return self.pattern is None or slot.task.id in self.ready


def waiting_for(slot: Slot, tasks: list[Task], goal: str, pattern: str) -> str:
    """What one task is waiting for, as the end of a sentence."""
    task = slot.task
    where = f" on {task.node}" if task.node else ""
    since = f" since {task.updated[:19]}Z" if task.updated else ""
    if slot.verdict == "outdated":
        return f"still runs the previous definition{where}"
    if task.state in ("new", "allocated", "pending"):
        return f"is not scheduled: {task.error or 'swarm gives no reason'}"
    if task.state == "preparing":
        return f"is preparing{where}{since} (fetching or checking the image)"
    if task.state == "running":
        if goal == "running" and pattern:
            return f"is running{where}, but its log has no line that matches {pattern!r}"
        return f"is still running{where}{since}"
    earlier = last_failed(slot, tasks)
    text = f"is {'about to be restarted' if slot.verdict == 'restarting' else task.state}{where}{since}"
    if earlier:
        code = f" with exit code {earlier.exit_code}" if earlier.exit_code else ""
        text += f"; its last attempt {earlier.state}{code}" + (f": {earlier.error}" if earlier.error else "")
    return text


def last_failed(slot: Slot, tasks: list[Task]) -> Task | None:
    bad = ("failed", "rejected", "orphaned")
    own = (t for t in tasks if t.service == slot.task.service and t.slot == slot.name)
    return next((t for t in own if t.state in bad and same_template(t.spec, slot.task.spec)), None)


def epoch(stamp: str) -> float:
    """Seconds since 1970 of an RFC 3339 time in UTC, as the engine writes it; now, if there is none."""
    try:
        return calendar.timegm(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return time.time()


# Removing


@dataclass
class Remains:
    """What is left of a stack."""

    services: dict[str, str] = field(default_factory=dict)
    tasks: list[str] = field(default_factory=list)
    networks: dict[str, str] = field(default_factory=dict)
    configs: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    containers: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(self.__dict__.values())

    def sentences(self) -> list[str]:
        named = [
            f"{kind} {name}"
            for kind, names in (
                ("service", self.services),
                ("network", self.networks),
                ("config", self.configs),
                ("secret", self.secrets),
            )
            for name in sorted(names)
        ]
        return named + self.tasks + [f"container {name}" for name in self.containers]


def find_remains(docker: DockerCli, stack: str) -> Remains:
    return Remains(
        services={name: identifier for identifier, name in list_services(docker, stack).items()},
        networks=list_objects(docker, "network", stack),
        configs=list_objects(docker, "config", stack),
        secrets=list_objects(docker, "secret", stack),
    )


def unreachable_nodes(docker: DockerCli) -> dict[str, str]:
    """Id to host name of nodes that cannot report that a task has ended."""
    rows = docker.json_lines("node", "ls")
    return {row["ID"]: row["Hostname"] for row in rows if row.get("Status") not in ("Ready", None)}


def wait_tasks_gone(docker: DockerCli, ids: list[str], deadline: float) -> list[str]:
    """Swarm forgets a removed service's task when its container has ended. Returns warnings about what it cannot know."""
    while True:
        left = inspect_all(docker, ids)
        if not left:
            return []
        lost = unreachable_nodes(docker)
        if all(task.get("NodeID") in lost for task in left):
            hosts = ", ".join(sorted({lost[task["NodeID"]] for task in left}))
            return [f"{len(left)} tasks are left to {hosts}: not reachable now, they end when it comes back"]
        if time.monotonic() > deadline:
            names = ", ".join(f"task {task['ID']} ({task.get('Status', {}).get('State')})" for task in left)
            raise StackFailure(f"Not all tasks have ended in time: {names}")
        ids = [task["ID"] for task in left]
        time.sleep(POLL / 2)


def remove_stack(docker: DockerCli, stack: str, timeout: int, check_mode: bool) -> tuple[list[str], list[str]]:
    """Remove a stack until nothing of it is left. Returns actions and warnings."""
    remains = find_remains(docker, stack)
    actions = [f"remove {what}" for what in remains.sentences()]
    if check_mode or not remains:
        return actions, []
    deadline = time.monotonic() + timeout
    task_ids = [row["ID"] for row in list_tasks(docker, stack)]
    # Its exit code is of no use: it fails for a network that is still in use, and returns 0 before tasks are gone.
    docker.run("stack", "rm", stack, check=False)
    while find_services_left(docker, stack):
        if time.monotonic() > deadline:
            break
        time.sleep(POLL / 2)
    try:
        warnings = wait_tasks_gone(docker, task_ids, deadline)
    except StackFailure as error:
        raise StackFailure(f"Stack {stack} is not gone after {timeout} s. {error}") from error
    said = ""
    while True:
        remains = find_remains(docker, stack)
        containers = docker.run("ps", "--all", *stack_filter(stack), "--format", "{{.Names}}", timeout=ANSWER_TIMEOUT)
        remains.containers = containers.stdout.split()
        if not remains:
            return actions, warnings
        if time.monotonic() > deadline:
            left = ", ".join(remains.sentences())
            raise StackFailure(f"Stack {stack} is not gone after {timeout} s: left are {left}. {said}".strip())
        for kind in ("service", "network", "config", "secret"):
            for identifier in getattr(remains, f"{kind}s").values():
                said = docker.run(kind, "rm", identifier, check=False).stderr.strip() or said
        time.sleep(POLL / 2)


def find_services_left(docker: DockerCli, stack: str) -> bool:
    return bool(list_services(docker, stack))


# The module


class StackModule(ReportingModule):  # type: ignore[misc,unused-ignore]
    # The option compose may hold secrets that are in a file, and not known yet.
    logs = False

    def secrets_in(self, params: dict[str, Any]) -> set[str]:
        # Of all options: the definition may have been given to one that does not exist.
        found: set[str] = secrets_of([*params.values(), {"secrets": params.get("secrets")}])
        return found

    def shown_params(self) -> Any:
        shown = super().shown_params()
        if "compose" in shown:
            sources = self.params["compose"] if isinstance(self.params["compose"], list) else [self.params["compose"]]
            masked = shown["compose"] if isinstance(self.params["compose"], list) else [shown["compose"]]
            shown["compose"] = [
                "(a text, not shown)" if isinstance(source, str) and not is_path(source) else item
                for source, item in zip(sources, masked)
            ]
        return shown


def present(module: Any, docker: DockerCli, result: dict[str, Any]) -> None:
    params = module.params
    stack: str = params["name"]
    compose = params["compose"] if isinstance(params["compose"], list) else [params["compose"]]
    prepared = prepare(compose, stack, os.environ, params["strict"], module.check_mode, module.keep_secret)
    for warning in prepared.warnings:
        module.warn(warning)
    definition = prepared.definition
    if params["wait_for"] == "complete" and endless_services(definition):
        raise ComposeError(
            f"wait_for complete would never end: {', '.join(endless_services(definition))} would be restarted after "
            "finishing; set deploy.restart_policy.condition to none or on-failure"
        )
    live = read_live(docker, stack)
    record = read_record(docker, stack)
    plan = make_plan(stack, definition, live, record, params["prune"], params["redeploy"])
    result.update(**describe(live))
    spare_others(docker, stack, plan, live)
    result.update(actions=plan.actions, changed=bool(plan.actions))
    if module._diff:
        result["diff"] = plan.diffs + content_diffs(docker, prepared, record)
    if plan.deploy:
        missing = missing_externals(docker, stack, prepared, live)
        if missing and not module.check_mode:
            result["changed"] = False
            raise StackFailure(f"Stack {stack} cannot be deployed: {'; '.join(missing)}")
        for text in missing:
            module.warn(text)
    if module.check_mode:
        return
    # An update that ended before we came is not news, unless nothing is done about it.
    old_updates = {str((service.get("UpdateStatus") or {}).get("StartedAt", "")) for service in live.services.values()}
    if plan.actions:
        warned = execute(docker, stack, prepared, plan, live, params)
        if warned:
            module.warn(warned)
        live = read_live(docker, stack, networks=False)
        result.update(describe(live))
    else:
        old_updates = set()
    if params["wait_for"] != "none":
        waiter = Waiter(docker, stack, list(definition["services"]), params)
        try:
            live = waiter.until_reached(live, old_updates - {""}, settled=not plan.actions)
        except StackFailure:
            result.update(describe(read_live(docker, stack, networks=False)))
            raise
        result.update(describe(live))
    if plan.deploy and params["prune"] and not (params["wait_for"] == "none" and rolls_back(definition)):
        prune_contents(docker, stack, definition)


def rolls_back(definition: dict[str, Any]) -> bool:
    """Whether swarm may go back to the previous definition by itself, and need its configs for that."""
    return any(
        (service["deploy"].get("update_config") or {}).get("failure_action") == "rollback"
        for service in definition["services"].values()
    )


def describe(live: Live) -> dict[str, Any]:
    state = summary(live)
    return {
        "state": state,
        "running": state["running"],
        "services": [service.as_result() for service in live.states()],
        "tasks": [task.as_result() for task in live.tasks],
    }


def absent(module: Any, docker: DockerCli, result: dict[str, Any]) -> None:
    params = module.params
    actions, warnings = remove_stack(docker, params["name"], params["wait_timeout"], module.check_mode)
    result.update(actions=actions, changed=bool(actions))
    for warning in warnings:
        module.warn(warning)
    if module.check_mode and actions:
        result.update(describe(read_live(docker, params["name"])))
    if module._diff and actions:
        before = {"parts": [action[len("remove ") :] for action in actions]}
        result["diff"] = [make_diff(f"stack {params['name']}", before, None)]


def check_parameters(module: Any) -> None:
    params = module.params
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_-]*", params["name"]):
        module.fail_json(msg=f"name: {params['name']!r} is not a name for a stack: letters, digits, _ and - only")
    limit = NAME_LIMIT - len(RECORD_SUFFIX)
    if len(params["name"]) > limit:
        module.fail_json(msg=f"name: {params['name']} is longer than {limit} characters")
    for option in ("wait_timeout", "stability_period", "log_lines"):
        if params[option] < 0:
            module.fail_json(msg=f"{option} must not be negative")
    if params["ready_pattern"]:
        try:
            re.compile(params["ready_pattern"])
        except re.error as error:
            module.fail_json(msg=f"ready_pattern is not a regular expression: {error}")


def main() -> None:
    module = StackModule(
        argument_spec=dict(
            name={"type": "str", "required": True},
            state={"type": "str", "choices": ["present", "absent"], "default": "present"},
            compose={"type": "raw"},
            prune={"type": "bool", "default": True},
            resolve_image={"type": "str", "choices": ["always", "changed", "never"], "default": "never"},
            with_registry_auth={"type": "bool", "default": False},
            strict={"type": "bool", "default": True},
            wait_for={"type": "str", "choices": ["none", "running", "complete"], "default": "none"},
            wait_timeout={"type": "int", "default": 300},
            stability_period={"type": "int", "default": 3},
            ready_pattern={"type": "str"},
            redeploy={"type": "str", "choices": ["never", "failed", "always"], "default": "failed"},
            log_lines={"type": "int", "default": 20},
            **CONNECTION_ARGUMENTS,
        ),
        required_if=[("state", "present", ["compose"])],
        mutually_exclusive=CONNECTION_MUTUALLY_EXCLUSIVE,
        supports_check_mode=True,
    )
    check_parameters(module)
    docker = DockerCli(module)
    result: dict[str, Any] = {"changed": False, "actions": [], "failures": [], **describe(Live(module.params["name"]))}

    def fail(said: str) -> None:
        module.fail_json(msg=said, calls=docker.calls, **result)

    try:
        if module.params["state"] == "present":
            present(module, docker, result)
        else:
            absent(module, docker, result)
    except StackFailure as error:
        result["failures"] = error.failures
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
