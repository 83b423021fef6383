"""Layers 11 to 14: the process group, from its beginning to its end."""

from __future__ import annotations

import threading
import time
from typing import Any

from .. import wire
from ..contract import ALL_GPUS, ASKED_FOR, NO_GPU, NO_RESULT
from ..sizes import LARGE, MIDDLE, SMALL
from ..state import Peer, State
from ..wire import describe
from . import master_port
from .group_records import RECORDS
from .nccl_log import nccl_facts


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


def check_group(state: State) -> None:
    settings = state.settings
    backend, reason = choose_backend(state)
    state.report.note(backend=backend, backend_reason=reason)
    rates = [float(peer.pair["bandwidth_mb_s"]) for peer in state.peers.values() if peer.pair.get("bandwidth_mb_s")]
    order = {
        "rank": settings.rank,
        "world_size": settings.world_size,
        "backend": backend,
        "master": "127.0.0.1" if settings.rank == 0 else str(state.peers[0].address),
        "port": settings.master_port,
        "pair_mb_s": min(rates, default=None),
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
    steps += [(f"reduce {size}", 12, 25.0) for size in (SMALL, MIDDLE, LARGE)]
    steps += [("bandwidth", 13, 25.0), ("compute", 14, 20.0)]
    for event, layer, limit in steps:
        state.stage = event
        began = time.monotonic()
        facts = state.child.wait_for(event, min(state.work_deadline, began + limit))
        took = time.monotonic() - began
        failed = state.report.first_failure() is not None
        if facts is None:
            if not failed:
                explain_hang(state, event, layer, took)
            return
        # A rank that failed takes part to the end: the others would be blamed for a collective that it left.
        if not failed:
            RECORDS[event.split()[0]](state, facts)
    state.stage = "leaving"
    # Nobody leaves before all have finished: a rank that goes early aborts the others' last collective.
    state.child.wait_for("end", min(state.work_deadline, time.monotonic() + 8))


def explain_hang(state: State, event: str, layer: int, took: float) -> None:
    """Ask every rank over the probe's own connections, which a stuck collective does not block, where it is."""
    error = state.child.failure()
    words = error or f"no result after {took:.0f} s"
    code = None if error else NO_RESULT
    warnings = nccl_facts(state.child.log)["warnings"]
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
    for rank in state.child.facts.get("missing") or []:
        if rank != state.settings.rank:
            culprits.setdefault(rank, "did not join")
    stages = "; ".join(f"rank {rank}: {answers.get(rank, 'silent')}" for rank in sorted(state.peers))
    detail = f"{words}; {stages}"[:900]
    for rank, said in culprits.items():
        state.report.add(layer, event, False, said, "every rank takes part", detail, rank, took, code)
    if not culprits:
        state.report.add(layer, event, False, words, "every rank takes part", stages[:900], None, took, code)
    state.report.note(log_tail=list(state.child.log)[-25:])
