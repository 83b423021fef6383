"""What the child with torch says of its group, as records."""

from __future__ import annotations

import ipaddress
import os
from typing import Any

from ..contract import WRONG_SUM
from ..state import State
from .nccl_log import nccl_compared, nccl_facts


def record_group(state: State, facts: dict[str, Any], device: int = 0) -> None:
    if device:
        return
    state.report.add(11, "process group", True, f"{facts['backend']}, {facts['seconds']:.2f} s",
                    f"within {state.settings.group_timeout:g} s", seconds=facts["seconds"])  # fmt: skip
    check_connections(state, facts.get("connections") or [])
    if facts["backend"] == "nccl":
        holder = str(state.report.facts.get("interface") or "")
        compared = nccl_compared(nccl_facts(state.child.log), state.settings.env, holder, state.rails)
        for check, ok, observed, expected, code in compared:
            state.report.add(11, check, ok, observed, expected, code=code)


def check_connections(state: State, addresses: list[str]) -> None:
    """The kernel's own word on which addresses the process group talks over, whatever the backend."""
    if not addresses and state.settings.world_size > 1:
        state.report.add(11, "connections", None, detail="no connection of the process group was found")
        return
    names = {entry["address"]: entry["name"] for entry in state.report.facts.get("interfaces") or []}
    inside = state.settings.subnet or ipaddress.IPv4Network(state.address or "0.0.0.0/0")
    rails = {entry["address"] for entry in state.report.facts.get("interfaces") or [] if entry["name"] in state.rails}
    used = [address for address in addresses if not ipaddress.ip_address(address).is_loopback]
    outside = [one for one in used if ipaddress.ip_address(one) not in inside and one not in rails]
    shown = ", ".join(f"{names.get(address, '?')} {address}" for address in outside or used)
    state.report.note(connections=used)
    state.report.add(11, "connections", not outside, shown or "none but its own", f"addresses in {inside}")


def record_reduce(state: State, facts: dict[str, Any], device: int = 0) -> None:
    if device and facts["right"]:
        return
    state.report.add(
        12, f"all-reduce {facts['bytes']} B", facts["right"], facts["observed"], facts["expected"],
        facts.get("detail", ""), seconds=facts["seconds"], code=None if facts["right"] else WRONG_SUM,
        device=device if state.more and not facts["right"] else None,
    )  # fmt: skip


def record_bandwidth(state: State, facts: dict[str, Any], device: int = 0) -> None:
    if device:
        return
    state.report.note(allreduce=facts)
    if state.settings.world_size == 1:
        state.report.add(13, "bus bandwidth", True, "one rank", detail="a single rank uses no bus")
    else:
        state.report.add(13, "bus bandwidth", True, facts["bus_bandwidth_mb_s"],
                        detail="MB/s; the floor is the judge's", seconds=facts["seconds"])  # fmt: skip


def record_compute(state: State, facts: dict[str, Any], device: int = 0) -> None:
    if state.more:
        state.report.note(devices=[*(state.report.facts.get("devices") or []), {**facts, "gpu": device}])
    if device:
        return
    try:
        load = round(os.getloadavg()[0], 1)
    except OSError:
        load = None
    state.report.note(compute={**facts, "load": load, "cores": os.cpu_count()})
    state.report.add(14, "compute", True, facts["seconds"], detail="seconds of a matrix product; others decide")


# By the first word of the child's event.
RECORDS = {"group": record_group, "reduce": record_reduce, "bandwidth": record_bandwidth, "compute": record_compute}
