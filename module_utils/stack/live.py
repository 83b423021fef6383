"""What a swarm says about a stack: its services, tasks and networks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..docker.cli import ANSWER_TIMEOUT, DockerCli, DockerError, parse_json_lines
from ..logs import time_key
from ..names import NAMESPACE
from ..swarm.node import inspect_nodes
from .nodes import is_eligible, is_paused
from .unavailable import SwarmUnavailable, explain_unavailable


def list_objects(docker: DockerCli, kind: str, stack: str | None = None) -> dict[str, str]:
    """Name to id of the networks, configs or secrets of a stack, or of all."""
    flags = stack_filter(stack) if stack else ()
    return {row["Name"]: row["ID"] for row in docker.json_lines(kind, "ls", *flags)}


# The image as the definition has it. While it is the same, docker stack keeps the service's own, which may be a digest.
IMAGE_LABEL = "com.docker.stack.image"
# No node has this label: swarm ends the tasks of a service with this constraint, and starts none.
NOWHERE = "node.labels.ddp_stopped==true"


def rests(spec: dict[str, Any]) -> bool:
    """Whether what a task is made of (Spec.TaskTemplate of a service, Spec of a task) fits no node, as that of a stopped service."""
    return NOWHERE in ((spec.get("Placement") or {}).get("Constraints") or [])


# A stack whose tasks come and go all the time is taken as it was seen last.
LOOKS = 5
# Swarm retries a rejected task for ever when no max_attempts is set; after so many in a row nothing new will be learned.
HOPELESS_REJECTIONS = 3
ACTIVE_STATES = frozenset(
    ["new", "allocated", "pending", "assigned", "accepted", "preparing", "ready", "starting", "running"]
)
FAILED_STATES = frozenset(["failed", "rejected", "orphaned"])
BAD_UPDATES = {
    "paused": "its update was paused by a failing task",
    "rollback_started": "its update failed and is being rolled back",
    "rollback_paused": "its update failed, and so did the rollback",
    "rollback_completed": "its update failed and was rolled back",
}


@dataclass(frozen=True)
class Task:
    id: str
    service: str
    slot: str
    node: str
    state: str
    desired: str
    error: str
    exit_code: int | None
    image: str
    created: str
    updated: str
    spec: dict[str, Any] = field(default_factory=dict, compare=False)
    job_iteration: int = 0
    node_id: str = ""

    @property
    def active(self) -> bool:
        if not self.node_id and rests(self.spec):
            return False
        return self.state in ACTIVE_STATES and self.desired in ("running", "ready", "accepted", "complete")

    def as_result(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "service": self.service,
            "slot": self.slot,
            "node": self.node,
            "state": self.state,
            "desired_state": self.desired,
            "error": self.error,
            "exit_code": self.exit_code,
            "image": self.image,
            "created_at": self.created,
            "updated_at": self.updated,
        }


@dataclass(frozen=True)
class Slot:
    """One place that a service fills: a replica, or a node of a global service."""

    name: str
    verdict: str  # running | complete | starting | restarting | outdated | failed
    task: Task


@dataclass(frozen=True)
class ServiceState:
    name: str
    full_name: str
    mode: str
    wanted: int
    slots: list[Slot]
    update_state: str
    update_started: str
    update_message: str
    constraints: list[str]
    generic_resources: list[str]
    image: str

    def count(self, *verdicts: str) -> int:
        return sum(slot.verdict in verdicts for slot in self.slots)

    @property
    def missing(self) -> int:
        return max(0, self.wanted - len(self.slots))

    @property
    def filled(self) -> bool:
        return not self.missing and self.count("running", "complete") == len(self.slots)

    @property
    def update_failed(self) -> bool:
        """Swarm pauses an update also for a task that finished well soon after it started; then nothing is amiss."""
        return self.update_state in BAD_UPDATES and not (self.update_state == "paused" and self.filled)

    @property
    def failed(self) -> bool:
        return self.count("failed") > 0 or self.update_failed

    def reached(self, goal: str) -> bool:
        """Whether every place is filled as `goal` (running or complete) asks."""
        good = self.count("complete") if goal == "complete" else self.count("running", "complete")
        return good == len(self.slots) and not self.missing and not self.failed

    def as_result(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "full_name": self.full_name,
            "image": self.image,
            "mode": self.mode,
            "wanted": self.wanted,
            "running": self.count("running"),
            "complete": self.count("complete"),
            "failed": self.count("failed"),
            "starting": self.count("starting", "restarting", "outdated") + self.missing,
            "update_state": self.update_state,
            "converged": self.reached("running"),
            "constraints": self.constraints,
        }


@dataclass
class Live:
    """A stack as the swarm has it: raw inspections by full name, and tasks, newest first."""

    stack: str
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)
    networks: dict[str, dict[str, Any]] = field(default_factory=dict)
    # Read only where a global service has no task, or an old one: has it no place, or no new task yet?
    nodes: list[dict[str, Any]] | None = None

    def states(self) -> list[ServiceState]:
        return [
            judge_service(self.stack, self.services[name], self.tasks, self.nodes) for name in sorted(self.services)
        ]

    @property
    def running(self) -> bool:
        return any(task.active for task in self.tasks)

    @property
    def own_networks(self) -> dict[str, str]:
        """Name to id of the networks that belong to the stack."""
        return {
            row["Name"]: row["ID"]
            for row in self.networks.values()
            if f"{NAMESPACE}={self.stack}" in str(row.get("Labels", "")).split(",")
        }


def stack_filter(stack: str) -> tuple[str, str]:
    return ("--filter", f"label={NAMESPACE}={stack}")


def list_services(docker: DockerCli, stack: str) -> dict[str, str]:
    """Id to full name. The first question to the swarm, so that it also says why a host cannot answer."""
    try:
        done = docker.run("service", "ls", *stack_filter(stack), "--format", "{{json .}}", timeout=ANSWER_TIMEOUT)
    except DockerError as error:
        raise SwarmUnavailable(explain_unavailable(docker, error)) from error
    return {row["ID"]: row["Name"] for row in parse_json_lines(done.stdout)}


def list_tasks(docker: DockerCli, stack: str) -> list[dict[str, Any]]:
    done = docker.run("stack", "ps", "--no-trunc", "--format", "{{json .}}", stack, check=False, timeout=ANSWER_TIMEOUT)
    if done.rc != 0:
        if "nothing found in stack" in done.stderr.lower():
            return []
        raise DockerError(f"docker stack ps: {done.stderr.strip()}")
    rows: list[dict[str, Any]] = parse_json_lines(done.stdout)
    return rows


def inspect_all(docker: DockerCli, kind: str, ids: Iterable[str]) -> list[dict[str, Any]]:
    """Services, or tasks, by id in one command. What has gone since it was listed is left out.

    Without its kind, docker would ask for each as a container, an image, a network and so on first, and may find one.
    """
    wanted = list(ids)
    if not wanted:
        return []
    done = docker.run("inspect", "--type", kind, *wanted, check=False, timeout=ANSWER_TIMEOUT)
    if done.rc != 0 and not only_gone(done.stderr):
        raise DockerError(f"docker inspect: {done.stderr.strip()}")
    try:
        found: list[Any] = json.loads(done.stdout or "[]")
    except (ValueError, RecursionError) as error:
        raise DockerError(f"docker inspect: printed what is not JSON: {done.stdout[:200]}") from error
    return [item for item in found if isinstance(item, dict)]


# "no such file", "no such host" and "context not found" are about the way to the engine.
GONE = re.compile(
    r"no such (?:object|config|container|network|node|secret|service|task|volume)\b"
    r"|\b(?:config|network|node|secret|service|task) (?:with id )?\S+ not found",
    re.IGNORECASE,
)


def only_gone(said: str) -> bool:
    """Whether docker complains of nothing but what is not there (any more)."""
    lines = said.strip().split("\n")
    return all(GONE.search(line) for line in lines)


def list_networks(docker: DockerCli) -> dict[str, dict[str, Any]]:
    return {row["ID"]: row for row in docker.json_lines("network", "ls", "--no-trunc")}


def read_live(docker: DockerCli, stack: str, networks: bool = True) -> Live:
    names = list_services(docker, stack)
    live = Live(stack, networks=list_networks(docker) if networks else {})
    for _look in range(LOOKS):
        rows = list_tasks(docker, stack) if names else []
        services = inspect_all(docker, "service", names)
        found = inspect_all(docker, "task", [row["ID"] for row in rows])
        if _agree(rows, found):
            break
    live.services = {item["Spec"]["Name"]: item for item in services if "Spec" in item}
    live.tasks = parse_tasks(stack, rows, found, live.services)
    if any(state.mode.startswith("global") and (not state.slots or state.count("outdated")) for state in live.states()):
        live.nodes = inspect_nodes(docker)
    return live


def _agree(rows: list[dict[str, Any]], found: list[dict[str, Any]]) -> bool:
    """Whether no task has ended between the two questions. It would look like the last attempt: its successor is not listed."""
    listed = {row["ID"]: str(row.get("DesiredState", "")).lower() for row in rows}
    return all(str(item.get("DesiredState", "")) == listed[item["ID"]] for item in found if item["ID"] in listed)


def parse_tasks(
    stack: str, rows: list[dict[str, Any]], found: list[dict[str, Any]], services: dict[str, dict[str, Any]]
) -> list[Task]:
    """Join what `stack ps` knows (the node's name) with what `inspect` knows (all the rest). Newest first."""
    nodes = {row["ID"]: row.get("Node", "") for row in rows}
    names = {service["ID"]: name for name, service in services.items()}
    # Their slots begin at 0, which JSON leaves out; a retry may be on another node.
    jobs = {service["ID"] for service in services.values() if "ReplicatedJob" in _modes(service)}
    tasks = []
    for item in found:
        if item.get("ServiceID") not in names:
            continue
        status = item.get("Status", {})
        node = nodes.get(item["ID"]) or item.get("NodeID", "")
        container = status.get("ContainerStatus") or {}
        state = str(status.get("State", "new"))
        slot = (
            str(item.get("Slot") or 0) if item["ServiceID"] in jobs else str(item.get("Slot") or item.get("NodeID", ""))
        )
        # Until a container has ended, the engine reports exit code 0 for it.
        ended = state in ("complete", "failed", "shutdown") and bool(container.get("ContainerID"))
        tasks.append(
            Task(
                id=item["ID"],
                service=short_name(stack, names[item["ServiceID"]]),
                slot=slot,
                node=node,
                state=state,
                desired=str(item.get("DesiredState", "")),
                error=str(status.get("Err", "")),
                exit_code=int(container.get("ExitCode", 0)) if ended else None,
                image=str(item.get("Spec", {}).get("ContainerSpec", {}).get("Image", "")),
                created=str(item.get("CreatedAt", "")),
                updated=str(status.get("Timestamp", "")),
                spec=item.get("Spec", {}),
                job_iteration=int((item.get("JobIteration") or {}).get("Index", 0)),
                node_id=str(item.get("NodeID", "")),
            )
        )
    return sorted(tasks, key=lambda task: time_key(task.created), reverse=True)


def _modes(service: dict[str, Any]) -> dict[str, Any]:
    return (service.get("Spec") or {}).get("Mode") or {}


def is_job(service: dict[str, Any]) -> bool:
    """Whether a live service runs to its end. Swarm runs it again at each update, also at one that changes nothing."""
    return bool(_modes(service).keys() & {"ReplicatedJob", "GlobalJob"})


def short_name(stack: str, full_name: str) -> str:
    return full_name[len(stack) + 1 :] if full_name.startswith(f"{stack}_") else full_name


def judge_service(
    stack: str, service: dict[str, Any], tasks: list[Task], nodes: list[dict[str, Any]] | None = None
) -> ServiceState:
    spec = service["Spec"]
    name = short_name(stack, spec["Name"])
    template = spec.get("TaskTemplate", {})
    mode, wanted = service_mode(spec)
    own = [task for task in tasks if task.service == name]
    if mode.endswith("job"):
        iteration = int(((service.get("JobStatus") or {}).get("JobIteration") or {}).get("Index", 0))
        own = [task for task in own if task.job_iteration == iteration]
    by_slot: dict[str, list[Task]] = {}
    for task in own:
        by_slot.setdefault(task.slot, []).append(task)
    slots = []
    update = service.get("UpdateStatus") or {}
    rolling = str(update.get("State", "")) in ("updating", "rollback_started")
    paused = {node.get("ID") for node in nodes or [] if is_paused(node)} if mode.startswith("global") else set()
    for slot in sorted(by_slot):
        verdict = judge_slot(template, by_slot[slot], job=mode.endswith("job"), rolling=rolling)
        if verdict == "outdated" and by_slot[slot][0].node_id in paused:
            continue
        if verdict and not (mode.startswith("global") and left_behind(by_slot[slot][0])):
            slots.append(Slot(slot, verdict, by_slot[slot][0]))
    constraints = list((template.get("Placement") or {}).get("Constraints") or [])
    if mode.startswith("global"):
        # A stopped one is meant to have places again.
        places = 1 if nodes is None or rests(template) else sum(is_eligible(node, constraints) for node in nodes)
        wanted = len(slots) or places
    return ServiceState(
        name=name,
        full_name=spec["Name"],
        mode=mode,
        wanted=wanted,
        slots=slots,
        update_state=str(update.get("State", "")),
        update_started=str(update.get("StartedAt", "")),
        update_message=str(update.get("Message", "")),
        constraints=constraints,
        generic_resources=generic_resources(template),
        image=str(template.get("ContainerSpec", {}).get("Image", "")),
    )


def left_behind(task: Task) -> bool:
    """Whether a global service has no place any more where this task, its newest there, was: its node is down, drained or gone.

    Nothing ends a task while its node is down. Whatever else ends it brings a newer one with it.
    """
    return task.desired == "shutdown" and (task.state in ACTIVE_STATES or task.state == "orphaned")


def service_mode(spec: dict[str, Any]) -> tuple[str, int]:
    """The mode's name as compose writes it, and how many tasks it asks for (global: unknown here, 0)."""
    mode = spec.get("Mode") or {}
    if "Global" in mode:
        return "global", 0
    if "GlobalJob" in mode:
        return "global-job", 0
    if "ReplicatedJob" in mode:
        job = mode["ReplicatedJob"] or {}
        return "replicated-job", int(job.get("TotalCompletions", job.get("MaxConcurrent", 1)))
    replicas = (mode.get("Replicated") or {}).get("Replicas")
    return "replicated", 1 if replicas is None else int(replicas)


def restart_condition(template: dict[str, Any]) -> str:
    return str((template.get("RestartPolicy") or {}).get("Condition") or "any")


def judge_slot(template: dict[str, Any], history: list[Task], job: bool = False, rolling: bool = False) -> str:
    """The verdict on one slot from its tasks, newest first; empty when the slot is no longer part of the service.

    While an update is `rolling`, a task of another placement may still have to move.
    """
    newest = history[0]
    if newest.desired == "remove" or (newest.state in ("shutdown", "remove") and newest.desired == "shutdown"):
        return ""
    if not same_template(newest.spec, template, placement=rolling):
        return "outdated"
    if newest.state == "complete":
        # Under condition `any`, the default, swarm starts it again at once.
        return "complete" if job or restart_condition(template) != "any" else "restarting"
    if newest.state in FAILED_STATES:
        # Swarm creates the next attempt in the transaction that shuts the failed one down: if this is
        # still the newest and its desired state is shutdown, there will be no other.
        return "failed" if newest.desired == "shutdown" or _hopeless(template, history) else "restarting"
    if newest.state == "running":
        return "running" if newest.desired in ("running", "complete") else "outdated"
    earlier = [task for task in history[1:] if same_template(task.spec, template)]
    if _hopeless(template, earlier):
        return "failed"
    return "restarting" if earlier and earlier[0].state in FAILED_STATES else "starting"


def _hopeless(template: dict[str, Any], history: list[Task]) -> bool:
    """Rejected again and again since this definition came."""
    last = [task.state for task in history[:HOPELESS_REJECTIONS] if same_template(task.spec, template)]
    return last == ["rejected"] * HOPELESS_REJECTIONS


# `docker inspect` fills these in for a service, and leaves them out for a task.
TEMPLATE_DEFAULTS = {
    "Runtime": "container",
    "StopGracePeriod": 10_000_000_000,
    "Isolation": "default",
    "Condition": "any",
    "Delay": 5_000_000_000,
}


def same_template(left: dict[str, Any], right: dict[str, Any], placement: bool = False) -> bool:
    """Whether a task was made from this template. Swarm keeps a task that fits a new `placement` as it is."""
    if not placement:
        left, right = {**left, "Placement": None} if left else {}, {**right, "Placement": None}
    return not left or without_defaults(left) == without_defaults(right)


def without_defaults(value: Any) -> Any:
    """What is left of a specification when all that goes without saying is taken away."""
    if isinstance(value, list):
        return [without_defaults(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: without_defaults(item) for key, item in value.items() if item != TEMPLATE_DEFAULTS.get(key)}
    return {key: item for key, item in kept.items() if item not in (None, "", 0, {}, [])}


def generic_resources(template: dict[str, Any]) -> list[str]:
    reservations = (template.get("Resources") or {}).get("Reservations") or {}
    wanted = []
    for entry in reservations.get("GenericResources") or []:
        spec = entry.get("DiscreteResourceSpec") or entry.get("NamedResourceSpec") or {}
        wanted.append(f"{spec.get('Kind')}={spec.get('Value')}")
    return wanted
