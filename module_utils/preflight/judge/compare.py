"""What only a comparison of the ranks shows: image, resources, MTU, bandwidth, stragglers."""

from __future__ import annotations

import statistics
from typing import Any

from ..contract import FAST_ENOUGH_MB_S, STEADY_CONNECTION, Json
from ..remedies import gpu_hint, rebuilt
from .case import Case, pair_list, slowest_pair

# Programs that want a core, for each core: with more of them a host measures itself, not the network.
BUSY = 4
# 1 Gbit/s carries less than this: the slow link among fast ones that is worth a finding.
GIGABIT_MB_S = 130.0
COMPUTE_NOISE_SECONDS = 0.0005


def judge_identity(case: Case) -> None:
    """Layer 4: the same content everywhere. The odd one out is the one that differs from most, or from rank 0."""
    identities = {rank: case.probe(rank).get("identity") or {} for rank in case.hosts if case.probe(rank)}
    if len(identities) < 2:
        return
    for key, label in (
        ("python", "Python"), ("torch", "torch"), ("cuda", "CUDA"), ("nccl", "NCCL"), ("files_hash", "files"),
    ):  # fmt: skip
        values = {rank: identity.get(key) for rank, identity in identities.items()}
        if key in ("torch", "files_hash"):
            values = {rank: value for rank, value in values.items() if value}
        if len(set(values.values())) < 2:
            continue
        shown = list(values.values())
        most = max(shown.count(value) for value in shown)
        # Dictionaries keep the ranks' order, so that a tie goes to the lowest rank.
        right = next(value for value in shown if shown.count(value) == most)
        model = next(rank for rank, value in values.items() if value == right)
        for rank, value in values.items():
            if value == right:
                continue
            observed, expected = str(value), f"{right} as on {case.hosts[model]}"
            if key == "files_hash":
                mine, theirs = identities[rank].get("files") or {}, identities[model].get("files") or {}
                names = sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name))
                observed = "different: " + (", ".join(names[:5]) or "files beyond those listed")
                expected = f"the files of {case.hosts[model]}"
            case.say(4, rank, label, False, observed, expected, rebuilt(case, rank))


def judge_resources(case: Case) -> None:
    for rank, host in case.hosts.items():
        probe = case.probe(rank)
        size = probe.get("shm_bytes")
        if size is not None:
            floor = case.limits["min_shm"]
            hint = f"give the task on {host} a larger /dev/shm: set training_shm_size to {floor} (bytes), or lower preflight_min_shm"
            case.say(5, rank, "/dev/shm", size >= floor, f"{size} B", f"at least {floor} B", hint)
        unseen = case.checks(rank).get("gpus") and probe and not probe.get("gpus")
        if unseen and case.limits["backend"] != "gloo" and not case.old_driver(rank):
            seen = f"the host has {case.checks(rank)['gpus']}, torch in the task sees none"
            if reason := probe.get("gpu_error"):
                seen = f"{seen} ({reason})"
            case.say(5, rank, "GPUs", False, seen, "the GPUs of the host", gpu_hint(case, rank))
        for gpu, other in (case.checks(rank).get("gpus_of_others") or {}).items():
            hint = (
                f"swarm gave {gpu} to two tasks on {host}, as it can after its leader restarted: let {other} end, or stop its "
                "job with playbooks/stop.yml, and run this again"
            )
            case.say(5, rank, "GPUs", False, f"{gpu} is {other}'s too", "GPUs of its own", hint)
        if probe and case.limits["min_gpus"]:
            gpus = int(probe.get("gpus") or 0)
            hint = (
                f"make the GPUs of {host} visible to swarm tasks: playbooks/docker.yml (generic resources, default "
                "runtime)"
            )
            case.say(
                5, rank, "GPUs", gpus >= case.limits["min_gpus"], gpus, f"at least {case.limits['min_gpus']}", hint
            )


def judge_mtu(case: Case) -> None:
    mtus = {rank: int(case.probe(rank)["mtu"]) for rank in case.hosts if case.probe(rank).get("mtu")}
    if not mtus:
        return
    wanted = case.limits["expected_mtu"] or min(mtus.values())
    for rank, mtu in mtus.items():
        if mtu != wanted:
            hint = f"the interface on {case.hosts[rank]} has another MTU: re-create the network with swarm_network_mtu"
            case.say(9, rank, "interface MTU", False, f"{mtu} B", f"{wanted} B", hint)


def judge_bandwidth(case: Case) -> None:
    floor = case.limits["min_bus_bandwidth"]
    if not floor or len(case.hosts) < 2:
        return
    for rank in case.hosts:
        got = (case.probe(rank).get("allreduce") or {}).get("bus_bandwidth_mb_s")
        if got is not None:
            slow = slowest_pair(case)
            hint = "the network is slower than preflight_min_bus_bandwidth asks" + (f"; {slow}" if slow else "")
            case.say(13, rank, "bus bandwidth", got >= floor, f"{got:g} MB/s", f"at least {floor:g} MB/s", hint)


def busy(case: Case, rank: int, programs: int = BUSY) -> bool:
    """Whether more programs than these want each of the host's cores."""
    compute = case.probe(rank).get("compute") or {}
    return float(compute.get("load") or 0) > programs * int(compute.get("cores") or 1)


def judge_host_network(case: Case) -> None:
    """Layer 13: the training's network against what the same two hosts reach without it."""
    fraction = case.limits["min_network_fraction"]
    for pair in pair_list(case):
        if busy(case, pair["rank"]) or busy(case, pair["peer_rank"]):
            continue
        got, bare = pair["bandwidth"], pair["host_bandwidth"]
        if not fraction or not got or not bare or not pair["steady"] or got >= min(fraction * bare, FAST_ENOUGH_MB_S):
            continue
        case.say(
            13, pair["rank"], "network", False, f"{got:g} MB/s over {case.limits['network']}",
            f"at least {fraction:g} of the {bare:g} MB/s without it",
            f"{case.limits['network']} slows {pair['host']} down towards {pair['peer']}: compare swarm_network_mtu with the "
            "hosts' MTU, look at the network card's VXLAN offload (ethtool -k), or lower preflight_min_network_fraction",
            pair["peer_rank"],
        )  # fmt: skip


def judge_computing(case: Case) -> set[int]:
    """The ranks that are slow. Each is held against the median of the others, because with two the median of all lies between.

    A GPU that was heated differs little from its like: another factor.
    """
    known = {(rank, one.get("gpu")): one for rank in case.hosts for one in computed(case, rank)}
    slow: set[int] = set()
    for (rank, gpu), one in known.items():
        others = [other for key, other in known.items() if key != (rank, gpu)]
        alike = [other for other in others if one.get("device") == "cuda" and other.get("name") == one.get("name")]
        for group, factor, noise in (
            (others, case.limits["straggler_factor"], COMPUTE_NOISE_SECONDS),
            (alike, case.limits["gpu_straggler_factor"], 0),
        ):
            own = float(one["seconds"])
            median = statistics.median(float(other["seconds"]) for other in group) if group else 0
            if not median or not factor or own <= factor * median + noise:
                continue
            slow.add(rank)
            load = (case.probe(rank).get("compute") or {}).get("load")
            card = case.gpu_name(rank, gpu or 0) if one.get("device") == "cuda" else ""
            case.say(
                14, rank, f"compute, {card}" if card else "compute", False, f"{own * 1000:.2f} ms for a matrix product on average",
                f"within {factor:g} times the others' median of {median * 1000:.2f} ms",
                f"{card and card + ' of '}{case.hosts[rank]} computes slower than the others (its load is {load}): stop what runs beside the "
                f"training, or look at its power and thermal limits{card and ' (nvidia-smi -q -d PERFORMANCE,POWER,TEMPERATURE)'}",
            )  # fmt: skip
            break
    return slow


def computed(case: Case, rank: int) -> list[Json]:
    """What each GPU of a rank measured, or the rank itself where it has one."""
    several = case.probe(rank).get("devices")
    found = several if isinstance(several, list) and several else [case.probe(rank).get("compute")]
    return [
        one
        for one in found
        if isinstance(one, dict) and one.get("seconds") and is_number(one["seconds"], one.get("gpu", 0))
    ]


def is_number(*values: Any) -> bool:
    return all(isinstance(value, (int, float)) for value in values)


def judge_stragglers(case: Case) -> None:
    """Layer 14: who computes or sends slower than the others."""
    slow = judge_computing(case)
    factor = case.limits["straggler_factor"]
    if not factor or len(case.hosts) < 2:
        return
    sending: dict[int, float] = {}
    for rank in case.hosts:
        # What reaches a host that has no time to read says nothing about the sender.
        rates = [float(p["bandwidth_mb_s"]) for peer, p in (case.probe(rank).get("pairs") or {}).items()
                 if p.get("bandwidth_mb_s") and not slow & {rank, int(peer)}]  # fmt: skip
        if rates:
            sending[rank] = statistics.median(rates)
    for rank, own in sending.items():
        tries = [p.get("bandwidth_steady", 1) for p in (case.probe(rank).get("pairs") or {}).values()]
        if statistics.median(tries) < STEADY_CONNECTION or any(busy(case, other) for other in sending):
            continue
        others = [value for other, value in sending.items() if other != rank]
        if others and own * factor < statistics.median(others) and own < GIGABIT_MB_S:
            case.say(
                14, rank, "sending", False, f"{own:g} MB/s to its peers",
                f"at least 1/{factor:g} of the others' median of {statistics.median(others):g} MB/s",
                f"{case.hosts[rank]} sends slower than the others: check its link speed, cable and traffic shaping",
            )  # fmt: skip
