"""The jobs of a swarm: stacks with a service for each rank."""

from __future__ import annotations

import re
from typing import Any

from ..docker.cli import ANSWER_TIMEOUT, DockerCli, parse_json_lines
from ..first_failure import FAILURE_LINES, failure_of, first_of, restarts
from ..logs import FIRST_STEP, matching, settled, states, time_key
from ..names import CHECK, HOST, LAUNCHED, NAMESPACE, RANK, RESULTS_LABEL, is_name, rank_of, service_of
from ..swarm.node import inspect_nodes
from .explain import timed_log
from .live import ACTIVE_STATES, FAILED_STATES, NOWHERE, Live, ServiceState, Task, read_live, short_name
from .stop import tasks_on_nodes

# How many lines are read to find the last one that says something.
LOG_LINES = 40
OWN_SCRIPT = "training_code.py"
# Characters of a line of the history.
WIDTH = 2000
# What a program calls the end of its work: --epochs 10, --max_steps=500, --num-train-epochs 3
PLANNED = re.compile(r"--(?:(?:total|num|max|n)[_-])?(?:train(?:ing)?[_-])?(epochs|steps)(?:=(\d{1,12}))?", re.ASCII)

# Nobody has asked what the hosts' clocks differ by: of two hosts it may be a second.
UNMEASURED = {"offset": 0.0, "error": 0.5}

# As the role training writes it for torchrun.
PROCESSES = re.compile(r"--nproc[-_]per[-_]node=(\d{1,4})", re.ASCII)


def job_names(docker: DockerCli) -> list[str]:
    """Names of the stacks that have a service node0, node1 or so on. Only what is a stack's name is taken for one."""
    rows = docker.run("service", "ls", "--format", "{{.ID}}", timeout=ANSWER_TIMEOUT).stdout.split()
    if not rows:
        return []
    said = docker.run("service", "inspect", "--format", "{{json .Spec}}", *rows, check=False, timeout=ANSWER_TIMEOUT)
    found = set()
    for spec in parse_json_lines(said.stdout):
        stack = (spec.get("Labels") or {}).get(NAMESPACE, "")
        rank = rank_of(short_name(stack, str(spec.get("Name"))))
        # The stack of a check is no job.
        if is_name("stack", stack) and rank is not None and not stack.endswith(CHECK):
            found.add(stack)
    return sorted(found)


class Hosts:
    """What the nodes of a swarm are called: as the inventory has it where their label says so."""

    def __init__(self, nodes: list[dict[str, Any]]) -> None:
        labels = [(node["ID"], (node.get("Spec") or {}).get("Labels") or {}, node) for node in nodes]
        self.names = {
            identifier: str(own.get(HOST) or (node.get("Description") or {}).get("Hostname") or identifier)
            for identifier, own, node in labels
        }
        # Of those that are not ready nothing is heard: what swarm says of their tasks is what it knew last.
        self.silent = {
            identifier: state
            for identifier, _own, node in labels
            if (state := str((node.get("Status") or {}).get("State") or "ready")) != "ready"
        }
        self.by_rank = {str(own[RANK]): self.names[identifier] for identifier, own, _node in labels if RANK in own}

    def of(self, task: Task | None, rank: int) -> str:
        """Of a node that is no more, as after its host was installed anew, the host that holds the rank now."""
        if task is not None and task.node_id in self.names:
            return self.names[task.node_id]
        return self.by_rank.get(str(rank), "")


def container_of(service: dict[str, Any] | None) -> dict[str, Any]:
    return (((service or {}).get("Spec") or {}).get("TaskTemplate") or {}).get("ContainerSpec") or {}


def words_of(container: dict[str, Any]) -> list[str]:
    return [str(word) for word in [*(container.get("Command") or []), *(container.get("Args") or [])]]


def describe_job(live: Live, hosts: Hosts) -> dict[str, Any]:
    """One job as its tasks are. Times are swarm's, in UTC."""
    ranks = []
    states = {state.name: state for state in live.states()}
    for name, state in states.items():
        rank = rank_of(name)
        if rank is not None:
            ranks.append(describe_rank(rank, state, live, hosts))
    ranks.sort(key=lambda rank: int(rank["rank"]))
    lead = live.services.get(service_of(live.stack, 0)) or {}
    container = container_of(lead)
    words = words_of(container)
    state_of_job, busy = job_state(list(states.values()), ranks), bool(tasks_on_nodes(live))
    over = state_of_job in ("failed", "complete", "stopped") and not busy
    return {
        "name": live.stack,
        "state": state_of_job,
        "busy": busy,
        "since": str(lead.get("CreatedAt", "")),
        "ended": max((str(rank["since"]) for rank in ranks), key=time_key, default="") if over else "",
        "restarts": restarts(rank["restarts"] + 1 for rank in ranks),
        "planned": planned(words),
        "image": str(container.get("Image") or ""),
        "launched": words[: len(LAUNCHED)] == LAUNCHED,
        "ranks": ranks,
        "results": str((container.get("Labels") or {}).get(RESULTS_LABEL, "")),
        "services": sorted(str(service.get("ID")) for service in live.services.values()),
        "mounts": [
            {"type": str(mount.get("Type", "")), "source": str(mount.get("Source", "")), "target": str(mount["Target"])}
            for mount in container.get("Mounts") or []
            if mount.get("Target") and mount.get("Type") in ("volume", "bind")
        ],
    }


def describe_rank(rank: int, state: ServiceState, live: Live, hosts: Hosts) -> dict[str, Any]:
    own = [task for task in live.tasks if task.service == state.name]
    placed = [task for task in own if task.node_id]
    task = placed[0] if placed else next(iter(own), None)
    error = task.error if task else ""
    if task and not error and task.state in ACTIVE_STATES and task.node_id in hosts.silent:
        error = f"the node is {hosts.silent[task.node_id]}: nothing is heard of it, and this is what was known last"
    return {
        "rank": rank,
        "host": hosts.of(task, rank),
        "task": task.id if task and task.node_id else "",
        "state": task.state if task else "absent",
        "exit_code": task.exit_code if task else None,
        "error": error,
        "since": task.updated if task else "",
        "restarts": max(0, len(placed) - 1),
        "failed": state.failed,
        "processes": processes(words_of(container_of(live.services.get(state.full_name)))),
        "last": "",
        "lines": [],
    }


def planned(words: list[str]) -> dict[str, int]:
    """How many epochs or steps a command asks for, where it says so; of the project's own script, its first argument."""
    found: dict[str, int] = {}
    for word, after in zip(words, [*words[1:], ""]):
        option = PLANNED.fullmatch(word)
        number = (option[2] or after) if option else after if word.rpartition("/")[2] == OWN_SCRIPT else ""
        if re.fullmatch(r"\d{1,12}", number, re.ASCII):
            found.setdefault(option[1] if option else "epochs", int(number))
    return found


def processes(words: list[str]) -> int:
    """How many a rank's torchrun starts; 0 where the command does not say."""
    return next((int(found[1]) for found in map(PROCESSES.fullmatch, words) if found), 0)


def job_state(states: list[ServiceState], ranks: list[dict[str, Any]]) -> str:
    """One word: failed, complete, stopped, running or starting."""
    if any(rank["failed"] for rank in ranks):
        return "failed"
    if ranks and all(rank["state"] == "complete" for rank in ranks):
        return "complete"
    resting = all(state.wanted == 0 or NOWHERE in state.constraints for state in states)
    if resting and not any(rank["state"] in ACTIVE_STATES for rank in ranks):
        return "stopped"
    return "running" if ranks and all(rank["state"] in ("running", "complete") for rank in ranks) else "starting"


def last_line(lines: list[str]) -> str:
    return next((line for line in reversed(lines) if line.strip()), "")


def history(rows: list[tuple[str, str]], most: int) -> list[dict[str, str]]:
    """The last states of what a rank wrote, each with the time of its line: of a progress bar every state, for they hold its numbers."""
    found = [(stamp, state) for stamp, line in rows for state in states(line) if stamp and state.strip()]
    return [{"time": stamp, "text": state[:WIDTH]} for stamp, state in found[-most:]] if most > 0 else []


def read_jobs(
    docker: DockerCli, names: list[str], lines: bool, pattern: str = "", most: int = 0
) -> list[dict[str, Any]]:
    """The jobs of these names, or all of the swarm.

    With `lines` what each rank wrote last, in its newest task alone, and of a job that failed its first `failure`; with `most` so many of its
    lines with their times.
    """
    known = job_names(docker)
    hosts = Hosts(inspect_nodes(docker) if known else [])
    jobs = []
    for name in known:
        if names and name not in names:
            continue
        live = read_live(docker, name, networks=False)
        job = describe_job(live, hosts)
        progress = ""
        for rank in job["ranks"] if lines or most else []:
            rows = timed_log(docker, rank["task"], max(LOG_LINES, most)) if rank["task"] else []
            said = [text for _stamp, text in rows[-LOG_LINES:]]
            # Where a script says nothing more, the launcher's word on its first step would stand there for ever.
            rank["last"] = last_line([line for line in settled(said) if not re.search(FIRST_STEP, line)])
            rank["lines"] = history(rows, most)
            if pattern and rank["rank"] == 0:
                progress = last_line([state for line in said for state in matching(re.compile(pattern), line)])
        failure = read_failure(docker, live, job["ranks"]) if lines and job["state"] == "failed" else None
        jobs.append({**job, "progress": progress, "failure": failure})
    return jobs


def read_failure(docker: DockerCli, live: Live, ranks: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Who began the last incident. Of a rank whose newest task failed, what that says is put in the place of its last line, which is torchrun's."""
    failures = []
    for rank in ranks:
        failed = [task for task in live.tasks if rank_of(task.service) == rank["rank"] and task.state in FAILED_STATES]
        # The last incident ends where a rank fails for the second time.
        for task in [task for task in failed if task.node_id][:2]:
            found = failure_of(rank["rank"], rank["host"], timed_log(docker, task.id, FAILURE_LINES))
            if found:
                failures.append(found)
                rank["last"] = found["says"] if task.id == rank["task"] else rank["last"]
    first = first_of(failures, {str(rank["host"]): UNMEASURED for rank in ranks})
    return (
        {**{name: first[name] for name in ("rank", "host")}, "time": f"{first['at']}Z", "error": first["says"]}
        if first
        else None
    )
