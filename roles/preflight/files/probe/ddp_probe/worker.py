"""The worker thread: every check in its order."""

from __future__ import annotations

import threading
import time
import traceback
from typing import Any

from . import waiting
from .checks import compiler, group, identity, interface, master_port, memory, names, pairs, reach
from .contract import PROBED_LAYERS
from .state import State


def run(state: State) -> None:
    """Whatever happens, it ends, and the report says why."""
    try:
        all_checks(state)
    except Exception:  # noqa: BLE001 - whatever it was, the report must say it
        lines = traceback.format_exc().strip().splitlines()
        state.report.note(error=" | ".join(lines[-3:])[:600])
        state.blocked_by = state.blocked_by or f"the probe itself failed: {lines[-1][:200]}"
    finally:
        state.finished.set()


def all_checks(state: State) -> None:
    if state.settings.problems:
        state.report.note(error="; ".join(state.settings.problems))
        state.blocked_by = "; ".join(state.settings.problems)
        return
    state.child.start()
    files: dict[str, Any] = {}
    hashing = threading.Thread(target=lambda: files.update(identity.file_identity(state.settings.files)), daemon=True)
    hashing.start()

    memory.check_memory(state)
    interface.check_interface(state)
    names.check_own_name(state)
    reach.start_listener(state)
    threads = [threading.Thread(target=reach.check_peer, args=(state, p), daemon=True) for p in state.peers.values()]
    for thread in threads:
        thread.start()
    if not state.peers:
        for layer, check in ((7, "peers"), (8, "peers"), (9, "peers")):
            state.report.add(layer, check, True, "one rank", detail="a single rank has no peer to reach")
    if state.settings.rank == 0:
        master_port.open_master_port(state)

    state.stage = "importing torch"
    torch_facts = state.child.wait_for("versions", state.until(0.6 * state.settings.timeout))
    hashing.join(max(0.0, state.until(0.6 * state.settings.timeout) - time.monotonic()))
    identity.check_identity(state, torch_facts, files)
    state.start_more()
    compiler.check_compiler(state, files)
    state.stage = "talking to the other ranks"
    for thread in threads:
        thread.join(max(0.0, state.work_deadline - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        state.blocked_by = "checks between the ranks did not end in time"
    if state.report.first_failure() is None and not state.blocked_by:
        master_port.check_master_port(state)
    failed = state.report.first_failure()
    if failed is not None:
        state.status = f"failed at layer {failed} ({PROBED_LAYERS[failed]})"
        state.blocked_by = f"layer {failed} ({PROBED_LAYERS[failed]}) failed on this rank"
        return
    if state.blocked_by:
        state.status = state.blocked_by
        return
    state.status = "ready"
    state.stage = "waiting for the other ranks"
    if not waiting.wait_for_peers(state, "ready"):
        return
    pairs.measure_pairs(state)
    group.check_group(state)
