"""Layer 5, in part: the GPUs as nvidia-smi, the kernel's log and torch tell of them."""

from __future__ import annotations

import re
from typing import Any

from .. import contract as code
from ..contract import Json
from .case import Case
from .fabric import judge_diagnosis, judge_fabric
from .gpu_counts import judge_counts

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
CAPPED = 0.9  # of its default power limit
NEAR = 5  # degrees below what slows it down
DEAD_XID = {63}  # a row was remapped: that is a repair, and the GPU says itself whether it waits for a reset


def judge_gpus(case: Case) -> None:
    if case.limits["backend"] == "gloo":
        return
    for rank in case.hosts:
        checks = case.checks(rank)
        given = (checks.get("container") or {}).get("gpus") or []
        everything = checks.get("gpu_states") or []
        judge_counts(case, rank, everything)
        judge_driver(case, rank)
        judge_fabric(case, rank, everything)
        judge_diagnosis(case, rank)
        states = [state for state in everything if not given or state.get("uuid") in given]
        for state in states:
            judge_gpu(case, rank, state)
            remark_gpu(case, rank, state, (checks.get("gpu_load") or {}).get(str(state.get("uuid"))) or {})
        off = [str(state.get("index", "?")) for state in states if state.get("persistence") == "Disabled"]
        if off:
            case.remark(code.GPU_PERSISTENCE, rank, which=f"GPU {', '.join(off)}")
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
    if slow := slowdowns(state):
        case.fault(code.GPU_THROTTLED, rank, index=index, why=slow, temperature=state.get("temperature", "?"))
    used, total = number(state, "memory_used"), number(state, "memory_total")
    if total and used > TAKEN * total:
        case.fault(code.GPU_TAKEN, rank, index=index, used=int(used), total=int(total))


def remark_gpu(case: Case, rank: int, state: Json, load: Json) -> None:
    """`load`: the same while the probe worked the GPU. An idle one lowers its PCIe generation, and is cool."""
    index = state.get("index", "?")
    width, full = number(state, "pcie_width"), number(state, "pcie_width_max")
    if FEWEST_LANES * full <= width < full:
        case.remark(code.GPU_LANES, rank, index=index, width=int(width), full=int(full))
    generation, highest = number(load, "pcie_generation"), number(state, "pcie_generation_max")
    if 0 < generation < highest:
        case.remark(code.GPU_GENERATION, rank, index=index, generation=int(generation), full=int(highest))
    limit, default = number(state, "power_limit"), number(state, "power_limit_default")
    if 0 < limit < CAPPED * default:
        case.remark(code.GPU_POWER_CAP, rank, index=index, limit=limit, default=default)
    hottest = load if load.get("temperature") else state
    left = degrees_left(hottest, state)
    if slow := "" if slowdowns(state) else slowdowns(load):
        case.remark(code.GPU_THROTTLED, rank, index=index, why=slow, temperature=load.get("temperature", "?"))
    elif left is not None and left <= NEAR:
        shown = hottest.get("temperature", "?")
        case.remark(code.GPU_HOT, rank, index=index, temperature=shown, left=int(left), least=NEAR + 1)


def degrees_left(hottest: Json, state: Json) -> float | None:
    """Until the GPU is slowed down, by itself or by the temperature at which that happens; None where neither is told."""
    if hottest.get("tlimit"):
        return number(hottest, "tlimit")
    if state.get("slowdown") and hottest.get("temperature"):
        return number(state, "slowdown") - number(hottest, "temperature")
    return None


def slowdowns(state: Json) -> str:
    reasons = int(number(state, "throttle"))
    return " and ".join(words for bit, words in SLOWDOWNS.items() if reasons & bit)


def judge_driver(case: Case, rank: int) -> None:
    """An image with NVIDIA's compatibility package can work all the same, and then torch sees the GPUs."""
    facts = case.old_driver(rank)
    if facts and case.checks(rank).get("gpus") and case.probe(rank).get("identity"):
        (case.remark if case.probe(rank).get("gpus") else case.fault)(code.GPU_DRIVER, rank, **facts)


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
