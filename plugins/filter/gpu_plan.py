"""Filters: how many GPUs each rank reserves and how many processes it starts, from what the swarm's nodes offer."""

from collections.abc import Mapping
from typing import Any

from ..module_utils.names import GPU, RANK
from .gpu_settings import RESOURCES


def gpu_plan(nodes: list[dict[str, Any]], hosts: list[str], gpus: Any, processes: Any, backend: str) -> dict[str, Any]:
    """Decide for all ranks.

    `nodes` are those of swarm_node_info; the one whose label ddp_rank is r is the machine of hosts[r]. `gpus`, `processes` and
    `backend` are training_gpus, training_nproc_per_node and training_backend. Returns `ranks`, with `gpus`, `processes` and
    `spared` (there are GPUs, and the rank takes none) for each, `note`, a sentence where GPUs stay idle, and `refused`, a
    sentence where there are fewer than are asked for.
    """
    counts = {node["labels"].get(RANK): node["resources"].get(GPU, 0) for node in nodes}
    offers = {host: counts.get(str(rank), 0) for rank, host in enumerate(hosts)}
    bare = [host for host, count in offers.items() if not count]
    by_gpu = str(processes) in ("auto", "gpu")
    note = refused = ""
    if str(gpus) == "auto":
        used = not bare and backend != "gloo" and str(processes) != "cpu"
        wanted = {host: (count if by_gpu else int(processes)) if used else 0 for host, count in offers.items()}
        if any(offers.values()) and bare:
            sentence = f"{', '.join(bare)} offers no GPU to swarm (docker node inspect), other hosts do"
            if backend == "nccl" or str(processes) == "gpu":
                refused = f"{sentence}, and nccl takes a GPU for each rank: leave it out of training_hosts"
            elif backend == "auto":
                note = f"{sentence}: all ranks train on the CPU. Leave it out of training_hosts to train on GPUs"
    else:
        wanted = dict.fromkeys(hosts, int(gpus))
    for host, count in wanted.items():
        if count > offers[host] and not refused:
            asked = f"training_gpus is {gpus}" if str(gpus) != "auto" else f"training_nproc_per_node is {processes}"
            refused = (
                f"{asked}, and {host} offers {offers[host]} GPU(s) to swarm (docker node inspect): ask for no more, or say "
                "training_gpus=0 to train on the CPU"
            )
    ranks = [
        {"gpus": count, "spared": offers[host] > 0 and not count, "processes": count if by_gpu and count else processes}
        for host, count in wanted.items()
    ]
    return {"ranks": ranks, "note": note, "refused": refused}


def gpus_to_come(hosts: list[str], hostvars: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The nodes as gpu_plan takes them, with what `hosts` offer once the role docker has run. None if that is not known of each."""
    counts = [gpus_of(hostvars[host]) if host in hostvars else None for host in hosts]
    if None in counts:
        return []
    return [{"labels": {RANK: str(rank)}, "resources": {GPU: count}} for rank, count in enumerate(counts)]


def gpus_of(known: Mapping[str, Any]) -> int | None:
    """What a host is to offer by the role, or else by settings of its own."""
    info, wanted = known.get("docker_host_info") or {}, str(known.get("docker_gpu", "auto")).lower()
    if "settings" not in info:
        return None
    offered = list(known.get("docker_gpu_uuids") or (info.get("gpus") or {}).get("gpus") or [])
    if offered and wanted != "false":
        return len(offered)
    before, value = info["settings"]["before_gpus"], info["settings"]["value"]
    own = before if before is not None else value if isinstance(value, dict) else {}
    entries = {**own, **(known.get("docker_daemon_options") or {})}.get(RESOURCES) or []
    given = [str(entry).partition("=")[2] for entry in entries if str(entry).startswith(f"{GPU}=")]
    return sum(int(text) if text.isdigit() else 1 for text in given)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"gpu_plan": gpu_plan, "gpus_to_come": gpus_to_come}
