"""Why a task or an update failed, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..brief import log_below
from ..docker.cli import DockerCli, DockerError
from ..logs import settled, stamped
from ..swarm import errors
from ..text import first_line
from .live import BAD_UPDATES, FAILED_STATES, Live, ServiceState, Slot, Task

LOG_TIMEOUT = 20.0


def failed_task(
    docker: DockerCli | None, live: Live, state: ServiceState, slot: Slot, log_lines: int
) -> dict[str, Any]:
    """One entry of `failures`. The newest task may be a retry that has said nothing yet: report the last that ended."""
    history = [task for task in live.tasks if task.service == state.name and task.slot == slot.name]
    task = slot.task
    if task.state not in FAILED_STATES:
        task = next((older for older in history if older.state in FAILED_STATES), task)
    return describe_task(docker, state, task, log_lines)


def describe_task(docker: DockerCli | None, state: ServiceState, task: Task, log_lines: int) -> dict[str, Any]:
    return {
        "service": state.full_name,
        "task_id": task.id,
        "node": task.node,
        "slot": task.slot,
        "state": task.state,
        "exit_code": task.exit_code,
        "error": task.error,
        "log": list(settled(task_log(docker, task.id, log_lines))) if docker and log_lines and task.node else [],
        "hint": hint_for(state, task),
    }


def task_log(docker: DockerCli, task_id: str, lines: int | None) -> list[str]:
    """The last lines of one task as it wrote them, or all."""
    return [text for _stamp, text in timed_log(docker, task_id, lines)]


def timed_log(docker: DockerCli, task_id: str, lines: int | None) -> list[tuple[str, str]]:
    """The same with the time of each line. Its two streams arrive apart; the times put them together again."""
    tail = "all" if lines is None else str(lines)
    try:
        done = docker.run(
            "service", "logs", "--raw", "--timestamps", "--tail", tail, task_id, check=False, timeout=LOG_TIMEOUT
        )
    except DockerError as error:
        return [("", f"(no log: {first_line(str(error))})")]
    if done.rc != 0:
        return [("", f"(no log: {first_line(done.stderr)})")]
    said = stamped(done.stdout, done.stderr)
    return said if lines is None else said[-lines:]


def hint_for(state: ServiceState, task: Task) -> str:
    node = task.node or "the node"
    kind = errors.kind_of(task.error, task.exit_code, task.state)
    if kind == errors.UNPLACED:
        return _hint_unscheduled(state, task.error)
    return {
        errors.IMAGE: f"Image {task.image} is not on {node}: build it there, or load it there (that of the training: playbooks/image.yml).",
        errors.NO_ADDRESS: "The network has no free address left: see its subnet with `docker network inspect`, and give it a larger one.",
        errors.UNHEALTHY: f"Its health check failed: see the check's command, and `docker inspect` of the container on {node}; "
        "a program that starts slowly needs a longer healthcheck.start_period.",
        errors.MEMORY: f"Killed, most likely out of memory: see `dmesg` on {node}; raise deploy.resources.limits.memory, "
        "or make the batch smaller.",
        errors.BIND: f"Swarm does not create bind sources: make {task.error.rsplit(':', 1)[-1].strip()} on {node}, or use a named volume.",
        errors.RUNTIME: f"The engine on {node} does not know that runtime: install it and name it in daemon.json.",
        errors.PORT: f"Another process on {node} holds that port: see `ss -ltnp` there.",
        errors.NETWORK: f"{node} could not attach the network: check ports 7946 and 4789 to it, and `docker network inspect` there.",
        errors.COMMAND: f"The command was not found or is not executable in image {task.image}.",
        errors.SEGFAULT: "Segmentation fault in the container.",
        errors.ABORTED: "The process aborted (SIGABRT): its own last log lines say why.",
        errors.TERMINATED: "Stopped by SIGTERM before it was done.",
        errors.LOST: f"{node} was lost: see `docker node ls`, and whether port 7946 to it is open.",
    }.get(kind, "")


def _hint_unscheduled(state: ServiceState, error: str) -> str:
    resources = "No node has the reserved CPU or memory free: lower deploy.resources.reservations."
    if state.generic_resources:
        resources = (
            f"No node has {', '.join(state.generic_resources)} free: see node-generic-resources in its daemon.json, "
            "and what other tasks hold."
        )
    constraints = f"No node fulfils {' and '.join(state.constraints)}: see `docker node inspect`, set the node's label."
    words = {
        errors.CONSTRAINTS: constraints if state.constraints else "",
        errors.RESOURCES: resources,
        errors.HOST_PORT: "A published host port is taken on each node: choose another, or stop what holds it.",
        errors.UNAVAILABLE: "A node is drained, paused or down: see `docker node ls`.",
        errors.REPLICAS: "placement.max_replicas_per_node is reached on every node.",
    }
    hints = [words[why] for why in errors.why_unplaced(error) if words[why]]
    return " ".join(hints) or "See `docker node ls`: which nodes are ready and active?"


def sentence(failure: dict[str, Any], several: bool = False) -> str:
    """One failure for a message that a person reads first."""
    name = f"{failure['service']}.{failure['slot']}" if several else failure["service"]
    where = f" on {failure['node']}" if failure["node"] else ""
    error = str(failure["error"]).rstrip(".")
    if failure["exit_code"]:
        what = f"failed with exit code {failure['exit_code']}"
    elif failure["state"] in ("rejected", "orphaned"):
        what = f"was {failure['state']}"
    elif failure["state"] == "update":
        what = "was not updated"
    else:
        what = "failed"
    text = f"{name}{where} {what}" + (f": {error}." if error else ".")
    if failure["hint"]:
        text += f" {failure['hint']}"
    if failure["log"]:
        text += f" {log_below(failure['log'])}"
    return text


def find_failures(
    docker: DockerCli | None, live: Live, log_lines: int, ignore_updates: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """Every final failure of a stack. `ignore_updates` holds the StartedAt of updates that ended before we came."""
    failures = []
    old = set(ignore_updates)
    for state in live.states():
        broken = [slot for slot in state.slots if slot.verdict == "failed"]
        failures += [failed_task(docker, live, state, slot, log_lines) for slot in broken]
        if state.update_failed and state.update_started not in old and not broken:
            failures.append(describe_update(docker, live, state, log_lines))
    return failures


def describe_update(docker: DockerCli | None, live: Live, state: ServiceState, log_lines: int) -> dict[str, Any]:
    """A paused or rolled-back update, told by the task that broke it, as long as swarm still knows that task."""
    own = [task for task in live.tasks if task.service == state.name]
    broken = [task for task in own if task.id in state.update_message] or [t for t in own if t.state in FAILED_STATES]
    what = BAD_UPDATES[state.update_state]
    if broken:
        entry = describe_task(docker, state, broken[0], log_lines)
        entry["error"] = f"{broken[0].error} ({what})".strip()
    else:
        entry = {
            "service": state.full_name,
            "task_id": "",
            "node": "",
            "slot": "",
            "state": "update",
            "exit_code": None,
        }
        entry.update(error=f"{what} ({state.update_message})", log=[], hint="")
    return {**entry, "update_state": state.update_state}


def summary(live: Live) -> dict[str, bool]:
    """The stack in five words that a playbook can branch on."""
    states = live.states()
    return {
        "exists": bool(states),
        "running": live.running,
        "converged": bool(states) and all(state.reached("running") for state in states),
        "complete": bool(states) and all(state.reached("complete") for state in states),
        "failed": any(state.failed for state in states),
    }
