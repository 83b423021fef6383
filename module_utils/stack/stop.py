"""Ends the tasks of a stack in order, so that what they wrote can still be read."""

from __future__ import annotations

import time
from typing import Any

from ..docker.cli import ANSWER_TIMEOUT, DockerCli
from .live import ACTIVE_STATES, NOWHERE, Live, inspect_all, read_live, rests, short_name
from .remove import unreachable_nodes
from .wait import POLL, StackFailure

KILLED = 137
# Nanoseconds, swarm's own.
DEFAULT_GRACE = 10_000_000_000


def tasks_on_nodes(live: Live) -> dict[str, str]:
    """Id to name of the tasks that may have a container."""
    return {
        task.id: f"{task.service} on {task.node}" for task in live.tasks if task.node and task.state in ACTIVE_STATES
    }


def stop_stack(docker: DockerCli, stack: str, timeout: int, check_mode: bool) -> tuple[list[str], list[str]]:
    """End every task with SIGTERM, and wait `timeout` seconds at most.

    Returns actions, and warnings about hosts that do not answer and tasks that were killed.

    A task that fits no node gets SIGTERM and its grace period, and its container stays with its log. Those of a service that is scaled
    down are removed (moby/swarmkit manager/orchestrator/taskreaper). The services stay, and start nothing until they are resumed.
    Raises StackFailure where a task does not end.
    """
    live = read_live(docker, stack, networks=False)
    tasks = tasks_on_nodes(live)
    actions = [f"stop {name}" for name in sorted(tasks.values())]
    if check_mode or not tasks:
        return actions, []
    deadline = time.monotonic() + timeout
    for name, service in sorted(live.services.items()):
        if not rests(service["Spec"]["TaskTemplate"]):
            update(docker, name, "--constraint-add", NOWHERE)
    while True:
        found = inspect_all(docker, "task", tasks)
        left = [task for task in found if task.get("Status", {}).get("State") in ACTIVE_STATES]
        lost = unreachable_nodes(docker) if left else {}
        waited = [task["ID"] for task in left if task.get("NodeID") not in lost]
        if not waited:
            silent = [f"{tasks[task['ID']]} cannot be told to stop: its host does not answer" for task in left]
            return actions, silent + [killed(task, tasks[task["ID"]]) for task in found if was_killed(task)]
        if time.monotonic() > deadline:
            names = ", ".join(sorted(tasks[identifier] for identifier in waited))
            raise StackFailure(f"Stack {stack} has not stopped after {timeout} s: {names} still runs")
        time.sleep(POLL / 2)


def was_killed(task: dict[str, Any]) -> bool:
    return bool(((task.get("Status") or {}).get("ContainerStatus") or {}).get("ExitCode") == KILLED)


def killed(task: dict[str, Any], name: str) -> str:
    grace = ((task.get("Spec") or {}).get("ContainerSpec") or {}).get("StopGracePeriod", DEFAULT_GRACE) / 1e9
    return f"{name} was killed: it had not ended {grace:g} s after SIGTERM (stop_grace_period), and what it had not saved by then is lost"


def update(docker: DockerCli, service: str, *options: str) -> None:
    fixed = ("service", "update", "--detach", "--quiet", "--no-resolve-image")
    docker.run(*fixed, *options, service, timeout=ANSWER_TIMEOUT)


def resume_stack(docker: DockerCli, stack: str, check_mode: bool) -> list[str]:
    """Let the services of a stopped stack start their tasks again, also those that were scaled down. Returns actions."""
    actions = []
    for name, service in sorted(read_live(docker, stack, networks=False).services.items()):
        spec = service["Spec"]
        options = []
        if rests(spec["TaskTemplate"]):
            options += ["--constraint-rm", NOWHERE]
        if ((spec.get("Mode") or {}).get("Replicated") or {}).get("Replicas") == 0:
            options += ["--replicas", "1"]
        if options:
            actions.append(f"resume {short_name(stack, name)}")
            if not check_mode:
                update(docker, name, *options)
    return actions
