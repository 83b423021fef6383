"""Does each rank have a container with a report, and what does the probe in it say?"""

from __future__ import annotations

from ...names import service_of
from ...swarm import errors
from .. import contract as code
from ..contract import PROBED_LAYERS, Json
from ..remedies import hint_for
from .case import Case
from .network import free_subnet, lossy_paths, say_lossy


def judge_presence(case: Case) -> None:
    """A rank without a report: was there no task, no image, no exit, no answer, or not even a host that spoke?"""
    tasks: dict[str, Json] = {}
    for rank in case.hosts:
        for task in case.checks(rank).get("tasks") or []:
            known = tasks.get(task["name"])
            if known is None or (task["error"] and not known["error"]):
                tasks[task["name"]] = task
    any_service = next(
        (str(case.checks(r)["service"]) for r in case.hosts if case.checks(r).get("service")), service_of("", 0)
    )
    prefix = any_service.rsplit("_", 1)[0]
    for rank, host in case.hosts.items():
        if case.probe(rank):
            continue
        checks = case.checks(rank)
        container = checks.get("container")
        if container and case.limits["run_id"] and container.get("run_id") not in (None, case.limits["run_id"]):
            case.say(3, rank, "probe", False, "the container belongs to another check", "this check's container",
                     "two checks of one stack ran at the same time: run playbooks/preflight.yml again")  # fmt: skip
            continue
        if container is None:
            judge_no_container(case, rank, tasks.get(checks.get("service") or service_of(prefix, rank)))
            continue
        state = str(container.get("state"))
        words = " | ".join(checks.get("log_tail") or [])[-300:]
        if state in ("exited", "dead", "created", "removing"):
            exit_code = container.get("exit_code")
            observed = f"the container is {state} with code {exit_code} {container.get('error') or ''} {words}".strip()
            hint = f"the image on {host} cannot run the probe, which needs python3 and torch: run playbooks/image.yml there"
            if container.get("oom_killed"):
                hint = out_of_memory(host)
            case.say(4, rank, "probe", False, observed, "a report", hint)
            continue
        if state == "paused":
            hint = f"the container on {host} is paused: docker unpause {str(container.get('id'))[:12]}"
        else:
            hint = (
                f"the probe on {host} hangs: its container is {state} and printed no report. Look for a stopped or "
                "starved process there (ps, uptime, dmesg)"
            )
        observed = f"no report, the container is {state}, waited {checks.get('waited_s')} s"
        case.say(blamed_layer(case, rank), rank, "probe", False, observed, "a report", hint)


def out_of_memory(host: str) -> str:
    return f"the container ran out of memory on {host}: raise its memory limit, or free memory there"


def judge_no_container(case: Case, rank: int, task: Json | None) -> None:
    host = case.hosts[rank]
    error = str((task or {}).get("error") or "")
    kind = errors.kind_of(error)
    for other, peer, largest in [(o, *lost) for o in case.hosts for lost in lossy_paths(case, o)]:
        if host in (case.hosts[other], peer) and not error:
            say_lossy(case, other, peer, largest)
            return
    seen = error or (f"task {task['state']} on {task['node'] or 'no node'}" if task else "no task on this host")
    # A task without an address stays new, without a node and without a word (seen on engine 26.1).
    starved = str((task or {}).get("state") or "").lower().startswith("new") and not (task or {}).get("node")
    if starved or kind == errors.NO_ADDRESS:
        case.fault(
            code.SUBNET_FULL, rank, seen=seen, name=case.limits["network"], subnet=case.network().get("subnet"),
            manager=case.manager(), free=free_subnet(case),
        )  # fmt: skip
    elif kind == errors.UNPLACED and errors.RESOURCES in errors.why_unplaced(error):
        case.say(
            5, rank, "task", False, error, "free resources on the node",
            f"{host} has not the free GPUs (generic resources) or memory that a rank asks for: see what runs there "
            f"(docker ps), and run playbooks/docker.yml to declare its GPUs",
        )  # fmt: skip
    elif kind == errors.UNPLACED:
        hint = (
            f"no node takes rank {rank}: {host} is drained, down or without its label. Run playbooks/swarm.yml "
            f"(docker node ls; docker node inspect {host})"
        )
        case.say(3, rank, "task", False, error, "a running task", hint)
    elif kind == errors.IMAGE:
        case.say(4, rank, "image", False, error, "the image is on the host", f"run playbooks/image.yml --limit {host}")
    elif kind == errors.MEMORY:
        case.say(4, rank, "task", False, error, "a running task", out_of_memory(host))
    elif kind == errors.PORT:
        case.say(10, rank, "task", False, error, "a free port", f"free that port on {host}")
    elif error:
        case.say(3, rank, "task", False, error, "a running task",
                 f"the task of rank {rank} cannot start on {host}: docker stack ps --no-trunc tells more")  # fmt: skip
    else:
        hint = (
            f"the swarm gave {host} no task for rank {rank}: see docker node ls (drained, down, or another machine "
            "carries its label), and run playbooks/swarm.yml"
        )
        case.say(3, rank, "task", False, seen, "a running task", hint)


def blamed_layer(case: Case, rank: int) -> int:
    """The first layer at which another rank met trouble with this one."""
    layers = [
        int(record["layer"])
        for other in case.hosts
        for record in case.probe(other).get("records") or []
        if record.get("ok") is False and record.get("peer") == rank
    ]
    return min(layers, default=8)


def judge_records(case: Case, rank: int) -> None:
    """Take over what the probe has judged itself, with a hint for what failed."""
    records = case.probe(rank).get("records") or []
    for layer in PROBED_LAYERS if case.probe(rank) else ():
        # Comparisons between the ranks, made below, do not stand in for what the probe should have said itself.
        if not any(record.get("layer") == layer for record in records):
            case.say(layer, rank, "probe", None, "the probe says nothing about it")
    for record in records:
        layer = record["layer"]
        peer = record.get("peer")
        ok = record.get("ok")
        observed = record.get("observed")
        if ok is None:
            observed = record.get("detail") or "not reached"
        elif ok is False and record.get("detail") and layer != 8:
            observed = f"{observed} ({str(record['detail'])[:300]})"
        # The image is the same on every host.
        if (
            ok
            and record.get("code") == code.NO_COMPILER
            and not any(one["check"] == "compiler" for one in case.remarks)
        ):
            case.remark(
                code.NO_COMPILER, rank, script=str(record.get("value"))[:200], wanted=str(record.get("expected"))[:200]
            )
        hint = hint_for(case, rank, record) if ok is False else ""
        check, device = str(record.get("name")), record.get("device")
        if device is not None:
            check = f"{check}, {case.gpu_name(rank, device)}"
        case.say(layer, rank, check, ok, observed, record.get("expected"), hint, peer)
