"""Layer 5, in part: what joins the GPUs of a host, and what DCGM says of them."""

from __future__ import annotations

from .. import contract as code
from ..contract import Json
from .case import Case


def judge_fabric(case: Case, rank: int, states: list[Json]) -> None:
    """Without Fabric Manager CUDA does not start on a machine with NVSwitch (error 802, system not yet initialized)."""
    fabric = case.checks(rank).get("fabric") or {}
    told = [(str(state.get("fabric_state")), str(state.get("fabric_status", "Success"))) for state in states]
    done = [one == ("Completed", "Success") for one in told]
    if fabric and fabric["service"] not in ("active", "") and not (done and all(done)):
        # Where CUDA works all the same, another way (a container, a host of virtual machines) runs it.
        say = case.remark if case.probe(rank).get("gpus") else case.fault
        driver = case.checks(rank).get("nvidia_driver") or "the driver"
        say(code.FABRIC_MANAGER, rank, driver=driver, **fabric)
        return
    for state, (words, status), well in zip(states, told, done):
        if state.get("fabric_state") and not well:
            case.fault(code.FABRIC_STATE, rank, index=state.get("index", "?"), state=words, status=status)


def judge_diagnosis(case: Case, rank: int) -> None:
    diagnosis = case.checks(rank).get("dcgm") or {}
    if diagnosis.get("error"):
        case.remark(code.GPU_DIAG_SILENT, rank, said=diagnosis["error"])
    for one in diagnosis.get("results") or []:
        facts = {"test": one["test"], "gpus": ", ".join(one["gpus"]), "said": one["said"] or "no reason given"}
        (case.fault if one["failed"] else case.remark)(code.GPU_DIAG, rank, **facts)
