"""Layers 11 to 14: the process group, from its beginning to its end."""

from __future__ import annotations

import threading
import time
from typing import Any

from .. import wire
from ..contract import ALL_GPUS, ASKED_FOR, NO_GPU, NO_RESULT
from ..sizes import HUGE, LARGE, MIDDLE, SMALL
from ..state import Peer, State
from ..wire import describe
from . import master_port
from .group_records import RECORDS
from .nccl_log import nccl_facts

# Of the GPUs of one host, which no network slows.
ALONE_MB_S = 10000.0


def choose_backend(state: State) -> tuple[str, dict[str, Any]]:
    """And why. The same answer on every rank, because every rank knows every rank's GPU count."""
    if state.settings.backend != "auto":
        return state.settings.backend, {"code": ASKED_FOR}
    without = [] if state.gpus() > 0 and state.nccl_version() else [state.settings.rank]
    for rank, peer in state.peers.items():
        if not (peer.hello.get("gpus") and peer.hello.get("nccl")):
            without.append(rank)
    if not without:
        return "nccl", {"code": ALL_GPUS}
    return "gloo", {"code": NO_GPU, "ranks": sorted(without)}


def members(state: State, backend: str) -> list[tuple[int, int]]:
    """Rank and device of each member of the group: every GPU of every rank. The same answer on every rank."""
    found: list[tuple[int, int]] = []
    for rank in range(len(state.settings.peers)):
        said = state.peers[rank].hello if rank in state.peers else state.shown()
        count = said.get("gpus" if backend == "nccl" else "stand_ins")
        found += [(rank, device) for device in range(count if isinstance(count, int) and count > 1 else 1)]
    return found


def member_name(state: State, rank: int, device: int) -> str:
    return f"GPU {device} of rank {rank}" if (rank, 1) in state.places else f"rank {rank}"


def check_group(state: State) -> None:
    settings = state.settings
    backend, reason = choose_backend(state)
    state.report.note(backend=backend, backend_reason=reason)
    rates = [float(peer.pair["bandwidth_mb_s"]) for peer in state.peers.values() if peer.pair.get("bandwidth_mb_s")]
    state.places = members(state, backend)
    # With one that has no GPU all take gloo, and their GPUs are not used.
    own = sum(rank == settings.rank for rank, _ in state.places)
    for child in state.more[own - 1 :]:
        child.kill()
    del state.more[own - 1 :]
    first = state.places.index((settings.rank, 0))
    order = {
        "rank": first,
        "device": 0,
        "world_size": len(state.places),
        "members": [member_name(state, *place) for place in state.places],
        "backend": backend,
        "master": "127.0.0.1" if settings.rank == 0 else str(state.peers[0].address),
        "port": settings.master_port,
        "pair_mb_s": min(rates, default=None if state.peers else ALONE_MB_S),
        "group_timeout": min(settings.group_timeout, max(2.0, state.work_deadline - time.monotonic() - 2)),
    }
    state.stage = "starting the store"
    if settings.rank == 0:
        master_port.close_master_port(state)
        state.child.tell(order)
        if state.child.wait_for("store", time.monotonic() + 15) is None:
            text = state.child.failure() or "the store did not start"
            state.report.add(11, "store", False, text, "a TCPStore on the master port", state.child.last_words())
            state.status = "failed at layer 11 (process group)"
            return
        state.status = "go"
    else:
        if not wait_for_master(state):
            return
        state.child.tell(order)
    for device, child in enumerate(state.more, 1):
        child.tell({**order, "rank": first + device, "device": device})
    follow_child(state, order)
    state.status = "done" if state.report.first_failure() is None else "failed in the process group"
    if backend == "nccl":
        state.report.note(nccl=nccl_facts(state.child.log))


def wait_for_master(state: State) -> bool:
    master = state.peers[0]
    last = ""
    limit = min(state.work_deadline, time.monotonic() + 20)
    while time.monotonic() < limit:
        try:
            master.hello = wire.ask(state.settings, str(master.address), {"op": "status"}, timeout=2)
            last = str(master.hello.get("status"))
            if last in ("go", "done"):
                return True
            if last not in ("busy", "ready"):
                state.blocked_by = f"rank 0 ({master.name}) {last}"
                return False
        except (OSError, ValueError) as error:
            last = describe(error)
        time.sleep(0.05)
    state.report.add(11, "store", False, f"rank 0: {last}", "rank 0 opens the store", peer=0)
    state.blocked_by = "rank 0 did not open the store"
    return False


def follow_child(state: State, order: dict[str, Any]) -> None:
    """Turn what the child says, or the stage in which it fell silent, into records."""
    steps = [("group", 11, float(order["group_timeout"]) + 3)]
    sizes = (SMALL, MIDDLE, LARGE, *([HUGE] if order["backend"] == "nccl" else []))
    steps += [(f"reduce {size}", 12, 25.0) for size in sizes]
    steps += [("bandwidth", 13, 25.0), ("compute", 14, 20.0)]
    children = state.children()
    for event, layer, limit in steps:
        state.stage = event
        began = time.monotonic()
        until = min(state.work_deadline, began + limit)
        heard = [child.wait_for(event, until) for child in children]
        took = time.monotonic() - began
        failed = state.report.first_failure() is not None
        late = [device for device, facts in enumerate(heard) if facts is None]
        if late:
            if not failed:
                explain_hang(state, event, layer, took, blamed(state, late))
            return
        # A rank that failed takes part to the end: the others would be blamed for a collective that it left.
        for device, facts in enumerate(heard):
            if not failed and facts is not None:
                RECORDS[event.split()[0]](state, facts, device)
    state.stage = "leaving"
    # Nobody leaves before all have finished: a rank that goes early aborts the others' last collective.
    until = min(state.work_deadline, time.monotonic() + 8)
    for child in children:
        child.wait_for("end", until)


def blamed(state: State, late: list[int]) -> int | None:
    """The device that keeps the others waiting, where one can be told: its process ended, failed, or not all are late."""
    if not state.more:
        return None
    children = state.children()
    broken = [device for device in late if children[device].failure()]
    ended = [device for device in broken if "failed" not in children[device].events]
    # Where all fail or are late it is because of one that is not here.
    some = [one for found in (broken, late) if len(found) < len(children) for one in found]
    return next(iter([*ended, *some]), None)


def explain_hang(state: State, event: str, layer: int, took: float, device: int | None = None) -> None:
    """Ask every rank over the probe's own connections, which a stuck collective does not block, where it is."""
    child = state.children()[device or 0]
    error = child.failure()
    words = error or f"no result after {took:.0f} s"
    code = None if error else NO_RESULT
    warnings = nccl_facts(child.log)["warnings"]
    if warnings:
        words = f"{words} | {' | '.join(warnings)}"
    answers: dict[int, str] = {}
    answered: set[int] = set()

    def question(peer: Peer) -> None:
        try:
            answer = wire.ask(state.settings, str(peer.address), {"op": "status"}, timeout=2)
            answers[peer.rank] = f"{answer.get('status')}, {answer.get('stage')}"
            answered.add(peer.rank)
        except (OSError, ValueError) as failure:
            answers[peer.rank] = f"silent ({describe(failure)})"

    threads = [threading.Thread(target=question, args=(peer,), daemon=True) for peer in state.peers.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    culprits = {rank: answers.get(rank, "silent (timed out)") for rank in sorted(state.peers) if rank not in answered}
    for number in child.facts.get("missing") or []:
        rank, other = state.places[number]
        if rank != state.settings.rank:
            culprits.setdefault(rank, f"GPU {other} did not join" if (rank, 1) in state.places else "did not join")
    stages = "; ".join(f"rank {rank}: {answers.get(rank, 'silent')}" for rank in sorted(state.peers))
    detail = f"{words}; {stages}"[:900]
    for rank, said in culprits.items():
        state.report.add(layer, event, False, said, "every rank takes part", detail, rank, took, code)
    if not culprits:
        state.report.add(
            layer, event, False, words, "every rank takes part", stages[:900], None, took, code, device=device
        )
    state.report.note(log_tail=list(child.log)[-25:])
