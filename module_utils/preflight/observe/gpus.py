"""What nvidia-smi and the kernel's log say of a host's GPUs. Made-up answers stood in for them: no GPU was at hand."""

from __future__ import annotations

import re
import shutil
import subprocess

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
}
UNKNOWN_FIELD = re.compile(r'Field "([\w.]+)" is not a valid field to query')
# Since driver 535 this field has another name, and the old one may go.
RENAMED = {"clocks_throttle_reasons.active": "clocks_event_reasons.active"}
SECONDS = 20  # a driver in trouble can make nvidia-smi wait for ever
# Of the codes at https://docs.nvidia.com/deploy/xid-errors those after which a GPU wants a reset, or a new machine.
FATAL_XIDS = {48, 62, 63, 64, 74, 79, 92, 94, 95, 110, 119, 120, 136, 140, 143, 155, 156}
XID = re.compile(r"NVRM: Xid \(PCI:([0-9a-fA-F:.]+)\): (\d+)")


def query(fields: dict[str, str]) -> tuple[str, str]:
    """What nvidia-smi prints on stdout, and what it complains of, on whichever of the two."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields.values())}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", type(error).__name__
    return (done.stdout, "") if done.returncode == 0 else ("", f"{done.stdout}\n{done.stderr}")


def gpu_states() -> list[Json]:
    """One mapping for each GPU; a value that nvidia-smi does not know is left out."""
    fields = dict(FIELDS)
    while fields and shutil.which("nvidia-smi"):
        out, error = query(fields)
        unknown = UNKNOWN_FIELD.search(error)
        name = next((ours for ours, theirs in fields.items() if unknown and theirs == unknown[1]), None)
        if name is None:
            return states(out, list(fields))
        renamed = RENAMED.get(fields.pop(name))
        if renamed:
            fields[name] = renamed
    return []


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
