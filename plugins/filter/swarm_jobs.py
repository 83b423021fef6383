"""Filters: what the playbooks make of the jobs that swarm_jobs_info tells of, and what is done with one before another takes its place."""

from __future__ import annotations

import contextlib
import json
from errno import ENOENT
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.utils.vars import load_extra_vars

from ..module_utils.docker.cli import DockerError, parse_json_lines
from ..module_utils.masking import mask
from ..module_utils.names import job_and_rank, service_of
from ..module_utils.text import printable_all
from .names import problem
from .playbook_command import playbook_command
from .training_without import host_names

ALLOW = "training_replace=true ends it in order first: its ranks get the time to save, and their logs are collected"

DISTURB = (
    "Wait for the end, stop the job in order with playbooks/stop.yml and an inventory that has all of its hosts, or say "
    "swarm_disturb_training=true"
)
OWN = "if it is the job of this run, training_replace=true ends it in order first"
# What a program reads of a node, and how `docker node ls` calls it.
NODE = {
    "name": "Hostname",
    "state": "Status",
    "availability": "Availability",
    "manager": "ManagerStatus",
    "engine": "EngineVersion",
}


def job_hosts(job: dict[str, Any], known: list[str] | None = None) -> list[str]:
    """The host of each rank, in the order of the ranks; empty for one that never had a place.

    With `known` also for one that is not among these: whoever leads the swarm says what a host is called.
    """
    hosts = [str(rank["host"]) for rank in job["ranks"]]
    return hosts if known is None else [host if host in known else "" for host in hosts]


def job_mounts(job: dict[str, Any]) -> list[dict[str, str]]:
    """What rank 0 has of volumes and directories, as training_mounts has them: without the stack's name before a volume's."""
    prefix = f"{job['name']}_"
    return [
        {**mount, "source": mount["source"].removeprefix(prefix) if mount["type"] == "volume" else mount["source"]}
        for mount in job["mounts"]
        if mount["type"] == "bind" or mount["source"].startswith(prefix)
    ]


def job_results(job: dict[str, Any]) -> dict[str, Any]:
    """Where the results are, and which of them are fetched, as the job was started with it: `directory`, `from_rank_0`, `from_each`.

    Empty where its label does not say so, or says what no setting may be.
    """
    try:
        said = json.loads(job["results"])
        lists = {name: list(said[name]) for name in ("from_rank_0", "from_each")}
        named = [("directory", said["directory"]), *(("pattern", one) for found in lists.values() for one in found)]
    except (ValueError, KeyError, TypeError):
        return {}
    return {} if any(problem("", *one) for one in named) else {"directory": said["directory"], **lists}


def job_network(stack: str) -> str:
    """The overlay network of a job where none is named: jobs that run beside each other may not share the names of their ranks."""
    return "ddp-net" if stack == "simple-training" else f"{stack}-net"


def job_words(job: dict[str, Any]) -> str:
    """The job's name, its state and its hosts."""
    hosts = list(dict.fromkeys(host for host in job_hosts(job) if host))
    return f"{job['name']} ({job['state']}{' on ' + ', '.join(hosts) if hosts else ''})"


def job_report(jobs: list[dict[str, Any]], used: dict[str, Any] | None = None) -> list[str]:
    """What a person reads of the jobs: a line for each, one for each of its ranks, and below it what that wrote last.

    `used` is what training_usage_info said, by host.
    """
    lines = [] if jobs else ["No job is in the swarm."]
    for job in jobs:
        lines += _job_lines(job, used)
        for rank in job["ranks"]:
            lines += [_rank_line(rank), *([f"    {rank['last']}"] if rank["last"] else [])]
    return [str(printable_all(line)) for line in lines]


def _job_lines(job: dict[str, Any], used: dict[str, Any] | None) -> list[str]:
    """How the job stands, and below it how far it is and what is slow."""
    restarts = f", {job['restarts']} restarts" if job["restarts"] else ""
    when = f"ended {_minute(job['ended'])}" if job.get("ended") else f"since {_minute(job['since'])}"
    first = f"{job['name']}: {job['state']}, {when}{restarts}"
    failed = failure_words(job)
    progress = f"progress: {job['progress']}" if job["progress"] else ""
    below = (f"failed first: {failed}" if failed else "", progress, job_slow(job, used))
    return [first, *(f"  {text}" for text in below if text)]


def failure_words(job: dict[str, Any]) -> str:
    """Which rank failed first, where and of what; empty where that is not known."""
    first = job.get("failure")
    return f"rank {first['rank']} on {first['host']}: {first['error']}" if first else ""


def had_failed(jobs: list[dict[str, Any]], stack: str, then: str) -> str:
    """What is said of a job that failed before. `then` is what it does now: "goes on", "over", or nothing."""
    failed = next((failure_words(job) for job in jobs if job["name"] == stack), "")
    what = {
        "goes on": "; it starts again, from its snapshot if it has one",
        "over": "; it starts over (training_fresh)",
    }
    return str(printable_all(f"{stack} had failed{': ' + failed if failed else ''}{what.get(then, '')}."))


def failed_next(jobs: list[dict[str, Any]], project: str, inventories: list[str]) -> list[str]:
    """What to type of each job that failed."""
    lines = []
    for name in [str(job["name"]) for job in jobs if job["state"] == "failed"]:
        collect, again = (
            playbook_command(place, project, inventories, training_stack=name)
            for place in ("playbooks/collect.yml", "site.yml")
        )
        lines += [f"Whole log of {name}: {collect}", f"Start {name} again with the settings (-e) of its run: {again}"]
    return lines


def _rank_line(rank: dict[str, Any]) -> str:
    ended = f" (exit {rank['exit_code']})" if rank["exit_code"] is not None else ""
    error = f": {rank['error']}" if rank["error"] else ""
    where = f" on {rank['host']}" if rank["host"] else ""
    return f"  node{rank['rank']}{where}: {rank['state']}{ended} since {_minute(rank['since'])}{error}"


# Of each rank, where one job is shown in detail.
DETAIL_LINES = 5


def job_detail(jobs: list[dict[str, Any]], name: str, used: dict[str, Any] | None = None) -> list[str]:
    """What a person reads of one job: also its image, what is mounted, the world size, and the last lines of each rank."""
    job = next((job for job in jobs if job["name"] == name), None)
    if job is None:
        names = ", ".join(str(job["name"]) for job in jobs)
        return [f"There is no job {name} in the swarm. {f'Its jobs are: {names}' if names else 'It has none'}."]
    mounts = ", ".join(f"{mount['type']} {mount['source']} on {mount['target']}" for mount in job["mounts"])
    processes = [rank["processes"] for rank in job["ranks"]]
    each = ", ".join(f"node{rank['rank']} {rank['processes']}" for rank in job["ranks"])
    first, *below = _job_lines(job, used)
    told = [first, f"  image: {job['image']}"]
    told += [f"  mounts: {mounts}"] if mounts else []
    told += [f"  world size: {sum(processes)} ({each})"] if processes and all(processes) else []
    told += below
    for rank in job["ranks"]:
        told += [
            _rank_line(rank),
            *(f"    {line['time'][:19]}Z {line['text']}" for line in rank["lines"][-DETAIL_LINES:]),
        ]
    return [str(printable_all(line)) for line in told]


def no_swarm(answer: dict[str, Any], host: str) -> str:
    """Why `docker node ls` told of no node, and what to do. Where there is no such program, its exit code is that of the system's error."""
    said = str(answer.get("stderr") or answer.get("msg") or "")
    if answer.get("rc") == ENOENT and not answer.get("stderr"):
        return f"No Docker is installed on {host}, so there is no swarm and no job: site.yml ('ddp up') installs it and starts one."
    return str(printable_all(f"{host} leads no swarm: run site.yml ('ddp up'). Its engine says: {said}"))


def typed(name: str) -> bool:
    """Whether the command line sets this variable, with -e."""
    return name in load_extra_vars(DataLoader())


def job_status(
    jobs: list[dict[str, Any]], at: str, used: dict[str, Any] | None = None, nodes: list[str] | None = None
) -> dict[str, Any]:
    """What a program reads of the jobs; `schema` changes when a field is renamed or goes.

    `used` is what training_usage_info said, by host. Of a rank only its own host is believed. `nodes` are lines of `docker node ls` in JSON.
    """
    fields = ("rank", "host", "state", "exit_code", "error", "since", "restarts", "last")
    told = [
        {
            **{key: job[key] for key in ("name", "state", "since", "restarts", "progress")},
            "planned": job.get("planned") or {},
            "ended": job.get("ended") or "",
            "failure": job.get("failure"),
            "slow": job_slow(job, used),
            "ranks": [
                {
                    **{key: rank[key] for key in fields},
                    "lines": rank.get("lines") or [],
                    "usage": rank_usage(service_of(job["name"], rank["rank"]), (used or {}).get(rank["host"])),
                }
                for rank in job["ranks"]
            ],
        }
        for job in jobs
    ]
    return {"schema": 1, "at": at, "jobs": printable_all(mask(told)), "nodes": node_records(nodes or [])}


def node_records(lines: list[str]) -> list[dict[str, str]]:
    """The nodes of `docker node ls` in JSON, one a line; a line that is none is left out."""
    rows: list[dict[str, Any]] = []
    for line in lines:
        with contextlib.suppress(DockerError):
            rows += parse_json_lines(line)
    return [{key: str(printable_all(str(row.get(name) or ""))) for key, name in NODE.items()} for row in rows]


def node_report(lines: list[str]) -> list[str]:
    """What a person reads of them: a line for each."""
    rows = [
        [node["name"], node["state"], node["availability"], node["manager"] or "Worker", f"engine {node['engine']}"]
        for node in node_records(lines)
    ]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows]


def job_slow(job: dict[str, Any], used: dict[str, Any] | None) -> str:
    """What rank 0's launcher says of ranks that the others wait for; empty where it says nothing, or the job does not run."""
    first = job["ranks"][0] if job["ranks"] and job["state"] == "running" else {}
    said = (used or {}).get(str(first.get("host")))
    slow = said.get("slow") if isinstance(said, dict) else None
    sentence = slow.get(service_of(job["name"], 0)) if isinstance(slow, dict) else None
    return sentence[:400] if isinstance(sentence, str) else ""


def rank_usage(service: str, said: Any) -> dict[str, Any] | None:
    """What a rank uses, and the GPUs of its host; None where that is not known. What is no number is left out."""
    ranks = said.get("ranks") if isinstance(said, dict) else None
    own = ranks.get(service) if isinstance(ranks, dict) else None
    if not isinstance(said, dict) or not isinstance(own, dict):
        return None
    kinds = ("cpu_percent", "memory_bytes", "received_bytes", "sent_bytes")
    cards = [card for card in said.get("gpus") or [] if isinstance(card, dict)]
    gpus = [{key: _number(card.get(key)) for key in ("index", "percent", "used_mib", "total_mib")} for card in cards]
    return {**{kind: _number(own.get(kind)) for kind in kinds}, "gpus": gpus}


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _minute(stamp: str) -> str:
    return f"{stamp[:16].replace('T', ' ')} UTC" if stamp else "an unknown time"


def running_jobs(services: list[str]) -> list[str]:
    """Names of the jobs of which services run, as `docker ps` knows them on hosts that no manager tells of."""
    return sorted({found[0] for found in map(job_and_rank, services) if found})


def busy_jobs(jobs: list[dict[str, Any]], hosts: list[str] | None = None) -> list[dict[str, Any]]:
    """Those of which a container runs, and with `hosts` those of them that have a rank there."""
    return jobs_on(jobs, hosts or [], "busy")


def jobs_on(jobs: list[dict[str, Any]], hosts: list[str], which: str) -> list[dict[str, Any]]:
    """Those that are `busy` or have `ended`, or all, and with `hosts` those of them that have a rank there."""
    wanted = {"busy": [True], "ended": [False]}.get(which, [True, False])
    return [job for job in jobs if job["busy"] in wanted and (not hosts or set(hosts) & set(job_hosts(job)))]


def jobs_at_stake(infos: dict[str, dict[str, Any]], rank_hosts: list[str], hosts: list[str]) -> dict[str, Any]:
    """What an inventory would do to the jobs that run, of what host_info said (`infos`, by host) of those of its `hosts` that were asked.

    `ask` is a manager that has more nodes than the inventory has hosts, so that jobs may run on others; `moves` are ranks that would move:
    the `job`, and a `sentence` that refuses it.
    """
    engines = {host: info.get("engine") or {} for host, info in infos.items()}
    nodes = {host: int(engine.get("swarm_nodes") or 0) for host, engine in engines.items()}
    lead = max(nodes, key=lambda host: nodes[host], default="")
    ours = sum(bool(engine.get("swarm_address")) for engine in engines.values()) + len(set(hosts) - set(infos))
    moves = []
    for host, info in infos.items():
        wanted = rank_hosts.index(host) if host in rank_hosts else None
        for service in (info.get("running") or {}).get("services") or []:
            found = job_and_rank(service)
            if found and found[1] != wanted:
                becomes = "no rank" if wanted is None else f"rank {wanted}"
                why = f"{service} runs on {host}, which would get {becomes} in place of rank {found[1]}: that would end it. {DISTURB}; {OWN}."
                moves.append({"job": found[0], "sentence": why})
    return {"ask": lead if lead and nodes[lead] > ours else "", "moves": moves}


def stranger_refusals(jobs: list[dict[str, Any]], hosts: list[str]) -> list[str]:
    """A sentence for each job that runs on hosts of which the inventory's group swarm has none of that name."""
    said = []
    for job in busy_jobs(jobs):
        unknown = list(dict.fromkeys(host for host in job_hosts(job) if host and host not in hosts))
        if unknown:
            it, has = ("it", "has") if len(unknown) == 1 else ("they", "have")
            said.append(
                f"{job['name']} ({job['state']}) has ranks on {', '.join(unknown)}, which the inventory's groups 'managers' and 'workers' do "
                f"not have: {it} would keep no rank, and the job would end. Write {', '.join(unknown)} into one of them if {it} "
                f"{has} only been forgotten. {DISTURB}."
            )
    return said


def lost_snapshot(jobs: list[dict[str, Any]], stack: str, gone: str) -> str:
    """A sentence where a job has lost rank 0's host, and with it the only copy of what it saved; empty where it has not."""
    for job in jobs:
        if (
            job["name"] == stack
            and job["ranks"]
            and job["ranks"][0]["rank"] == 0
            and job["ranks"][0]["host"] in host_names(gone)
        ):
            return (
                f"Rank 0 of {stack} was on {job['ranks'][0]['host']}, and what it saved has no second copy, as training_snapshots is none: {stack} "
                "would begin anew. If it may, say training_fresh=true; where there is a backup, playbooks/restore.yml brings it back first. For "
                "another time: training_snapshots=rank0 keeps a second copy on the next rank's host."
            )
    return ""


def missing_jobs(jobs: list[dict[str, Any]], names: list[str]) -> str:
    """A sentence about the names that no job has; empty where each has one."""
    known = [job["name"] for job in jobs]
    unknown = [name for name in names if name not in known]
    if not unknown:
        return ""
    return f"There is no job {', '.join(unknown)} in the swarm, so there is nothing to stop."


COMMAND = " (the command comes of training_script, training_args and training_command)"


def _left_behind(compared: dict[str, Any]) -> str:
    """Which ranks of a failed run still run, and which have failed."""
    services = compared.get("services") or []
    failed = [str(service["name"]) for service in services if service["failed"]]
    still = [str(service["name"]) for service in services if service["running"] or service["starting"]]
    return f"{', '.join(failed) or 'a rank'} has failed, and {', '.join(still) or 'another'} still runs"


def _in_words(change: dict[str, Any], action: str) -> str:
    """An update as people say it, who have asked for none. What it is of in detail, a diff shows."""
    *most, last = change["parts"] or [""]
    if change["verb"] != "update" or not last:
        return action
    parts = f"{', '.join(most)} and {last}" if most else last
    return f"the {parts} of {change['kind']} {change['name']} {'differ' if most else 'differs'}"


def training_way(stack: str, compared: dict[str, Any], replace: bool, fresh: bool, checks: bool) -> dict[str, str]:
    """What stands in the way of a start, or of a check: `refusal`, or `ends`, a sentence about the old tasks that are ended first.

    `compared` is what swarm_stack said in check mode. `checks`: a check is asked for by itself, so that a job is in its way
    that is just as it was asked for, and one that has ended well is not.
    """
    said = {"refusal": "", "ends": ""}
    services, actions = compared.get("services") or [], list(compared.get("actions") or [])
    changes: list[dict[str, Any]] = compared.get("changes") or []
    runs = bool(compared.get("running"))
    failed = bool((compared.get("state") or {}).get("failed"))
    if runs and failed and (actions or fresh or checks):
        return {**said, "ends": f"What an earlier run of {stack} left is removed first: {_left_behind(compared)}."}
    if runs:
        words = [_in_words(*one) for one in zip(changes, actions)] if len(changes) == len(actions) else actions
        differs = ["start over (training_fresh)"] if fresh else words
        if not differs and not checks:
            return said
        if replace:
            return {**said, "ends": f"{stack} is training, and is ended in order (training_replace)."}
        command = any("command" in change["parts"] for change in changes)
        what = (
            f"what you ask for differs from what runs: {'; '.join(differs)}{COMMAND if command and not fresh else ''}"
            if differs
            else "the check would share its names and its wire"
        )
        return {**said, "refusal": f"{stack} is training, and {what}. Let it finish, or replace it: {ALLOW}."}
    if fresh:
        return {**said, "ends": f"{stack} starts over: the old run is collected and moved aside (training_fresh)."}
    # What has ended well leaves a check alone in peace: nothing of it runs.
    if services and (failed or not checks) and any(change["verb"] != "restart" for change in changes):
        return {
            **said,
            "ends": f"Another run of {stack} begins: the one that has ended is collected and removed first.",
        }
    return said


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "busy_jobs": busy_jobs,
            "failed_next": failed_next,
            "had_failed": had_failed,
            "job_detail": job_detail,
            "job_hosts": job_hosts,
            "job_mounts": job_mounts,
            "job_network": job_network,
            "job_report": job_report,
            "job_results": job_results,
            "job_status": job_status,
            "job_words": job_words,
            "jobs_at_stake": jobs_at_stake,
            "jobs_on": jobs_on,
            "lost_snapshot": lost_snapshot,
            "missing_jobs": missing_jobs,
            "no_swarm": no_swarm,
            "node_report": node_report,
            "running_jobs": running_jobs,
            "stranger_refusals": stranger_refusals,
            "training_way": training_way,
            "typed": typed,
        }
