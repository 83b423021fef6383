"""Removes a stack, and waits until nothing is left of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ..docker.cli import ANSWER_TIMEOUT, DEPLOY_TIMEOUT, DockerCli
from .action import Action
from .live import inspect_all, list_objects, list_services, list_tasks, stack_filter
from .others import TAKE_OFF, attached_containers
from .wait import POLL, StackFailure


@dataclass
class Remains:
    """What is left of a stack."""

    services: dict[str, str] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)
    configs: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    containers: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(self.__dict__.values())

    def removal(self) -> list[Action]:
        return [
            Action("remove", kind, name)
            for kind, names in (
                ("service", self.services),
                ("network", self.networks),
                ("config", self.configs),
                ("secret", self.secrets),
                ("container", self.containers),
            )
            for name in sorted(names)
        ]


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
        left = inspect_all(docker, "task", ids)
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


def remove_stack(docker: DockerCli, stack: str, timeout: int, check_mode: bool) -> tuple[list[Action], list[str]]:
    """Remove a stack until nothing of it is left. Returns actions and warnings."""
    remains = find_remains(docker, stack)
    actions = remains.removal()
    if check_mode or not remains:
        return actions, []
    deadline = time.monotonic() + timeout
    task_ids = [row["ID"] for row in list_tasks(docker, stack)]
    # Its exit code is of no use: it fails for a network that is still in use, and returns 0 before tasks are gone.
    docker.run("stack", "rm", stack, check=False, timeout=DEPLOY_TIMEOUT)
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
            left = ", ".join(action.what for action in remains.removal())
            users = attached_containers(docker, list(remains.networks)) if remains.networks else []
            why = f"{', '.join(users)}, which no service made, uses its network: {TAKE_OFF}" if users else said
            raise StackFailure(f"Stack {stack} is not gone after {timeout} s: left are {left}. {why}".strip())
        for kind in ("service", "network", "config", "secret"):
            for identifier in getattr(remains, f"{kind}s").values():
                done = docker.run(kind, "rm", identifier, check=False, timeout=ANSWER_TIMEOUT)
                said = done.stderr.strip() or said
        # One that ended in a swarm whose state was replaced, as a restore does, is of no task: no swarm removes it.
        for name in remains.containers:
            done = docker.run("container", "rm", name, check=False, timeout=ANSWER_TIMEOUT)
            said = done.stderr.strip() or said
        time.sleep(POLL / 2)


def find_services_left(docker: DockerCli, stack: str) -> bool:
    return bool(list_services(docker, stack))
