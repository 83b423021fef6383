"""What nvidia-smi and the kernel's log say of a host's GPUs. Made-up answers stood in for them: no GPU was at hand."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

from ...host.gpus import complaint
from ...text import lines_of
from ..contract import Json

# By our name, nvidia-smi's (nvidia-smi --help-query-gpu). One that a driver does not know is left out, and the rest asked again.
FIELDS = {
    "uuid": "uuid",
    "index": "index",
    "bus": "pci.bus_id",
    "ecc": "ecc.errors.uncorrected.volatile.total",
    "remapping": "remapped_rows.pending",
    "retiring": "retired_pages.pending",
    "pcie_generation": "pcie.link.gen.current",
    "pcie_generation_max": "pcie.link.gen.max",
    "pcie_width": "pcie.link.width.current",
    "pcie_width_max": "pcie.link.width.max",
    "throttle": "clocks_throttle_reasons.active",
    "temperature": "temperature.gpu",
    "power_limit": "power.limit",
    "power_limit_default": "power.default_limit",
    "persistence": "persistence_mode",
    "memory_used": "memory.used",
    "memory_total": "memory.total",
    "capability": "compute_cap",
    "tlimit": "temperature.gpu.tlimit",
    "mig": "mig.mode.current",
    "fabric_state": "fabric.state",
    "fabric_status": "fabric.status",
}
# What is asked again while the probe works the GPUs.
LOADED = {
    name: FIELDS.get(name, "utilization.gpu")
    for name in ("uuid", "utilization", "pcie_generation", "throttle", "temperature", "tlimit")
}
AT_WORK = 50  # percent
SLOWDOWN = re.compile(r"(?m)^GPU ([0-9A-Fa-f:.]+)|^ *GPU Slowdown Temp *: (\d+) C")
UNKNOWN_FIELD = re.compile(r'Field "([\w.]+)" is not a valid field to query')
# Since driver 535 this field has another name, and the old one may go.
RENAMED = {"clocks_throttle_reasons.active": "clocks_event_reasons.active"}
SECONDS = 20  # a driver in trouble can make nvidia-smi wait for ever
# Of the codes at https://docs.nvidia.com/deploy/xid-errors those after which a GPU wants a reset, or a new machine.
FATAL_XIDS = {48, 62, 63, 64, 74, 79, 92, 94, 95, 110, 119, 120, 136, 140, 143, 155, 156}
XID = re.compile(r"NVRM: Xid \(PCI:([0-9a-fA-F:.]+)\): (\d+)")


def query(fields: dict[str, str]) -> tuple[str, str]:
    """What nvidia-smi prints on stdout, and what it complains of, on whichever of the two."""
    return printed(["nvidia-smi", f"--query-gpu={','.join(fields.values())}", "--format=csv,noheader,nounits"])


def printed(command: list[str], seconds: float = SECONDS) -> tuple[str, str]:
    """What a command prints on stdout, and if it fails what it complains of, on whichever of the two."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return "", f"{command[0]} gave no answer within {seconds:g} s"
    except OSError as error:
        return "", f"{command[0]}: {error.strerror}"
    return (
        (done.stdout, "")
        if done.returncode == 0
        else ("", f"{done.stdout}\n{done.stderr}\n{command[0]} ended with exit code {done.returncode}")
    )


def gpu_states(wanted: dict[str, str] = FIELDS) -> tuple[list[Json], str]:
    """One mapping for each GPU, where a value that nvidia-smi does not know is left out; and what it complains of."""
    fields = dict(wanted)
    while fields and shutil.which("nvidia-smi"):
        out, error = query(fields)
        unknown = UNKNOWN_FIELD.search(error)
        name = next((ours for ours, theirs in fields.items() if unknown and theirs == unknown[1]), None)
        if name is None:
            return with_slowdowns(states(out, list(fields))), complaint(error)
        renamed = RENAMED.get(fields.pop(name))
        if renamed:
            fields[name] = renamed
    return [], ""


def with_slowdowns(found: list[Json]) -> list[Json]:
    """Of GPUs that do not tell how many degrees are left, the temperature that slows them down."""
    if all(state.get("tlimit") or not state.get("bus") for state in found):
        return found
    bus = ""
    told: dict[str, str] = {}
    for named, degrees in SLOWDOWN.findall(printed(["nvidia-smi", "--query", "--display=TEMPERATURE"])[0]):
        bus = named or bus
        if degrees:
            told[bus] = degrees
    return [{**state, "slowdown": told[state["bus"]]} if state.get("bus") in told else state for state in found]


def busiest(seen: Json, states: list[Json]) -> None:
    """Adds to what was seen of GPUs at work, by UUID: the highest temperature and generation, and each reason of a slowdown."""
    for state in states:
        if number(state.get("utilization")) < AT_WORK or not state.get("uuid"):
            continue
        old = seen.setdefault(state["uuid"], {})
        reasons = number(old.get("throttle")) | number(state.get("throttle"))
        hotter = max(old, state, key=lambda one: number(one.get("temperature")))
        most = max(number(one.get("pcie_generation")) for one in (old, state))
        old.update(hotter, throttle=hex(reasons), pcie_generation=str(most))


def number(text: Any) -> int:
    """0 where it is not told."""
    try:
        return int(str(text or 0), 0)
    except ValueError:
        return 0


def states(text: str, names: list[str]) -> list[Json]:
    """A row has as many values as were asked for: what else a driver prints is no row."""
    rows = [[value.strip() for value in line.split(",")] for line in lines_of(text) if line]
    found = [dict(zip(names, values)) for values in rows if len(values) == len(names)]
    return [{name: value for name, value in row.items() if known(value)} for row in found]


def known(value: str) -> bool:
    return bool(value) and value.strip("[]").lower() not in (
        "n/a",
        "not supported",
        "unknown error",
        "gpu requires reset",
    )


def xids(log: str) -> list[Json]:
    """What the kernel reported of GPUs (NVRM: Xid), each bus and code once, in their order."""
    seen = dict.fromkeys((bus.lower(), int(code)) for bus, code in XID.findall(log))
    return [{"bus": bus, "code": code} for bus, code in seen if code in FATAL_XIDS]


def recent_xids() -> list[Json]:
    """Of this boot, and of the last day: an older one was dealt with, or is seen in the GPU's own counters."""
    command = ["journalctl", "--dmesg", "--boot", "--since=-1day", "--quiet", "--no-pager", "--grep=NVRM: Xid"]
    try:
        return xids(subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout)
    except (OSError, subprocess.TimeoutExpired):
        return []
