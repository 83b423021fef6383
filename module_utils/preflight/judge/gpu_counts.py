"""Layer 5, in part: how many GPUs the driver, nvidia-smi, the swarm, the task and torch know."""

from __future__ import annotations

from ...names import GPU
from .. import contract as code
from ..contract import Json
from .case import Case


def judge_counts(case: Case, rank: int, states: list[Json]) -> None:
    """`states` are all GPUs of the host, as nvidia-smi tells of them."""
    checks = case.checks(rank)
    has, said = int(checks.get("gpus") or 0), str(checks.get("gpu_error") or "")
    if said or 0 < len(states) < has:
        case.fault(code.GPU_LOST, rank, has=has, lists=len(states), said=f" ({said})" if said else "")
    judge_offered(case, rank, states)
    given = (checks.get("container") or {}).get("gpus") or []
    sees = int(case.probe(rank).get("gpus") or 0)
    # CUDA lets a process see one part of a divided GPU, whatever it was given.
    if given and sees and sees != len(given) and not any(one.startswith("MIG-") for one in given):
        case.fault(code.GPU_HIDDEN, rank, given=len(given), sees=sees)


def judge_offered(case: Case, rank: int, states: list[Json]) -> None:
    """What the swarm can give out: nothing that is not there, and all that was not held back."""
    offered = (case.node(rank).get("named") or {}).get(GPU) or []
    if not offered or not states or case.checks(rank).get("gpu_error"):
        return
    whole = [str(state.get("uuid")) for state in states if state.get("mig") != "Enabled" and state.get("uuid")]
    # The parts of a divided GPU are for nvidia-smi -L to list.
    wanted = case.checks(rank).get("gpu_uuids") or whole
    ours = [one for one in wanted if not one.startswith("MIG-")]
    theirs = [one for one in offered if not one.startswith("MIG-")]
    lacking = [one for one in ours if not any(one.startswith(other) for other in theirs)]
    strange = [one for one in theirs if not any(other.startswith(one) for other in whole)]
    differ = [f"not {one}" for one in lacking] + [f"{one}, which is not there" for one in strange]
    if differ:
        case.fault(code.GPU_OFFERED, rank, has=len(ours), offers=len(theirs), differ=", ".join(differ))
