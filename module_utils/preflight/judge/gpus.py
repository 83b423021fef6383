"""Layer 5, in part: the GPUs as nvidia-smi, the kernel's log and torch tell of them."""

from __future__ import annotations

import re
from typing import Any

from .. import contract as code
from ..contract import Json
from .case import Case

# https://docs.nvidia.com/deploy/nvml-api/group__nvmlClocksEventReasons.html: of what slows a GPU down, what is no intention.
SLOWDOWNS = {
    0x8: "its hardware",
    0x20: "its temperature (software)",
    0x40: "its temperature (hardware)",
    0x80: "a lack of power",
}
# Boards for two cards give each half of the lanes, and training hardly notices.
FEWEST_LANES = 0.5
TAKEN = 0.5
DEAD_XID = {63}  # a row was remapped: that is a repair, and the GPU says itself whether it waits for a reset


def judge_gpus(case: Case) -> None:
    if case.limits["backend"] == "gloo":
        return
    for rank in case.hosts:
        checks = case.checks(rank)
        given = (checks.get("container") or {}).get("gpus") or []
        states = [state for state in checks.get("gpu_states") or [] if not given or state.get("uuid") in given]
        for state in states:
            judge_gpu(case, rank, state)
        buses = {bus_of(state) for state in states}
        for xid in checks.get("xids") or []:
            if xid["code"] not in DEAD_XID and (not buses - {""} or bus_of(xid) in buses):
                case.fault(code.GPU_XID, rank, xid=xid["code"], bus=xid["bus"])
        judge_architectures(case, rank)


def bus_of(entry: Json) -> str:
    """Domain, bus and device, without the function and the zeros that the kernel leaves out."""
    return str(entry.get("bus") or "").lower().split(".")[0].lstrip("0")


def judge_gpu(case: Case, rank: int, state: Json) -> None:
    index = state.get("index", "?")
    if count := number(state, "ecc"):
        case.fault(code.GPU_ECC, rank, index=index, count=int(count))
    if "yes" in (str(state.get(name, "")).lower() for name in ("remapping", "retiring")):
        case.fault(code.GPU_REPAIR, rank, index=index)
    width, full = number(state, "pcie_width"), number(state, "pcie_width_max")
    if 0 < width < FEWEST_LANES * full:
        case.fault(code.GPU_PCIE, rank, index=index, width=int(width), full=int(full), least=int(FEWEST_LANES * full))
    reasons = int(number(state, "throttle"))
    slow = [words for bit, words in SLOWDOWNS.items() if reasons & bit]
    if slow:
        case.fault(
            code.GPU_THROTTLED, rank, index=index, why=" and ".join(slow), temperature=state.get("temperature", "?")
        )
    used, total = number(state, "memory_used"), number(state, "memory_total")
    if total and used > TAKEN * total:
        case.fault(code.GPU_TAKEN, rank, index=index, used=int(used), total=int(total))


def number(state: Json, name: str) -> float:
    """0 where it is not told."""
    text = str(state.get(name) or "0")
    try:
        return float(int(text, 16)) if text.lower().startswith("0x") else float(text)
    except ValueError:
        return 0.0


def judge_architectures(case: Case, rank: int) -> None:
    """A kernel runs on its own major version from its minor version on; PTX is compiled for anything newer."""
    identity: Json = case.probe(rank).get("identity") or {}
    built = [str(one) for one in listed(identity.get("architectures"))]
    kernels = [version(one) for one in built if one.startswith("sm_")]
    portable = [version(one) for one in built if one.startswith("compute_")]
    for index, text in enumerate(listed(identity.get("capabilities"))):
        has = tuple(int(part) for part in re.findall(r"\d+", str(text))[:2])
        if len(has) < 2 or not kernels + portable:
            continue
        fits = any(own[0] == has[0] and own[1] <= has[1] for own in kernels) or any(own <= has for own in portable)
        if not fits:
            older = has < min(kernels + portable)
            facts: dict[str, Any] = {"index": index, "capability": f"{has[0]}.{has[1]}", "built": ", ".join(built)}
            case.fault(code.GPU_TOO_OLD if older else code.GPU_TOO_NEW, rank, **facts)


def listed(value: Any) -> list[Any]:
    """A container's identity says whatever the container wants."""
    return value if isinstance(value, list) else []


def version(architecture: str) -> tuple[int, int]:
    """Of sm_90a: (9, 0)."""
    digits = "".join(re.findall(r"\d", architecture)) or "0"
    return int(digits[:-1] or 0), int(digits[-1])
