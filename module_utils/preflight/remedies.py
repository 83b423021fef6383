"""What to do about a finding."""

from __future__ import annotations

from ..names import DATA_PORT
from .contract import (
    GPU_DRIVER,
    IMPORT_KILLED,
    IMPORT_UNFINISHED,
    NO_GREETING,
    NO_INFINIBAND,
    NO_NCCL,
    NO_RESULT,
    NO_VERBS,
    OTHER_RANK,
    OUTSIDE_SUBNET,
    REFUSED,
    SEARCH_DOMAIN,
    SHARED_SUBNET,
    UNRESOLVED,
    WRONG_SUM,
    Json,
)
from .faults import FAULTS
from .judge.case import VXLAN_BYTES, Case, slowest_pair


def hint_for(case: Case, rank: int, record: Json) -> str:
    layer, check, peer = record["layer"], str(record.get("name")), record.get("peer")
    host, other = case.hosts[rank], case.host(peer)
    code = record.get("code")
    if layer == 4 and code == IMPORT_UNFINISHED:
        return f"torch was not imported in time on {host}: look for what keeps it busy (uptime), or raise preflight_timeout"
    if layer == 4 and code == IMPORT_KILLED:
        return (
            f"the kernel ended the process with torch on {host}, as it does where memory runs out: raise training_memory, or see "
            f"'journalctl --dmesg --grep oom' on {host}"
        )
    if layer == 4 and code == NO_NCCL:
        return (
            "the torch in the image has no NCCL, as builds for CPUs have none: set training_backend to gloo, or build the image with a torch "
            "for CUDA (image_cuda, image_pip_index)"
        )
    if layer == 4 and any(
        other != rank and (case.probe(other).get("identity") or {}).get("torch") for other in case.hosts
    ):
        return f"torch can be imported from the image of others: {rebuilt(case, rank)}"
    if layer == 4:
        return f"run playbooks/image.yml --limit {host}: its image must have a torch that can be imported"
    if layer == 5:
        if check == "gpu":
            return gpu_hint(case, rank)
        if check == "memlock":
            return f"raise memlock for containers on {host}, or set NCCL_IB_DISABLE=1 in training_env"
        return f"the task on {host} has no /dev/shm: set training_shm_size to {case.limits['min_shm']} (bytes)"
    if layer == 6:
        if check == "interface" and code == SHARED_SUBNET:
            return (
                f"the subnet of {case.limits['network']} collides with another network of {host}: choose another one with "
                f"swarm_network_subnet, remove the network (docker network rm {case.limits['network']}) and run playbooks/swarm.yml"
            )
        name = case.probe(rank).get("interface") or record.get("expected")
        if check == "interface":
            return f"the task on {host} is not attached to {case.limits['network']}: run playbooks/swarm.yml"
        if check.endswith("_IFNAME"):
            value = str(record.get("value") or "").lstrip("=")
            if case.limits["training_interface"] not in ("", value):
                return f"{check} is {value} in training_env: take it out there, and set training_interface to {name}"
            return f"set training_interface to {name}: {check} on {host} leads elsewhere"
        return f"set training_interface to the interface of {case.limits['network']} on {host}"
    if layer == 7:
        if code == SEARCH_DOMAIN:
            return (
                f"the DNS of the search domain {record.get('value')} has an answer to every name, and gave the task on {host} one: take the domain out of "
                f"/etc/resolv.conf on {host}, or set docker_daemon_options to {{dns-search: [.]}} and run playbooks/docker.yml --limit {host}"
            )
        if check == "own name" and code == UNRESOLVED:
            return (
                f"the engine on {host} takes no part in the swarm's names: start it again (systemctl restart docker). Its "
                "log says 'Error in agentInit' if it kept port 7946 of a swarm that it had left"
            )
        if check == "own name":
            return (
                f"the name does not lead to the task on {host}: the service needs endpoint_mode dnsrr, and an old task "
                "of the same name must be gone (docker ps --all on each host)"
            )
        if code == OUTSIDE_SUBNET:
            return (
                f"the name of rank {peer} leads {host} to an address outside of {case.limits['network']}: look for another "
                "container of that name (docker ps), and at extra_hosts and the DNS of the task (docker exec ... getent hosts)"
            )
        return (
            f"{host} does not learn the name of rank {peer} on {other}: its task never started (docker stack ps), or "
            f"7946/tcp+udp is blocked between {host} and {other}"
        )
    if layer == 8:
        return tcp_hint(case, rank, check, peer, code)
    if layer == 9:
        return mtu_hint(case, rank, peer)
    if layer == 10:
        port = case.limits["master_port"]
        if check == "master port free":
            # Not the probe's own, which is the next one.
            return f"another program holds port {port} in the task on {host}: set training_master_port to {port + 10}, or stop it"
        return f"{host} does not reach port {port} of rank 0 on {case.host(0)}: free it, or set training_master_port"
    if layer == 11:
        return group_hint(case, rank, record)
    if layer == 12:
        if peer is not None:
            said = record.get("observed") or ""
            return f"rank {peer} on {other} stopped taking part ({said}): look for a stopped or starved process there (ps, uptime, dmesg)"
        if code == WRONG_SUM:
            return f"the sum is wrong on {host}: do not train on it. Suspect memory (journalctl --dmesg for MCE and EDAC) or the network card (ethtool -S) of a host"
    return hang_hint(case, rank)


def rebuilt(case: Case, rank: int) -> str:
    """An image that is there by its tag is not made again."""
    host, ref = case.hosts[rank], (case.checks(rank).get("image") or {}).get("name") or "IMAGE"
    return (
        f"run 'docker image rm --force {ref}' on {host}, and then run playbooks/image.yml --limit {host}: the tag is the "
        "same, the content is not"
    )


def hang_hint(case: Case, rank: int) -> str:
    """A collective that did not end, whichever it was: what is known of the way between the ranks, and where to look."""
    slowest = slowest_pair(case)
    seen = f" ({slowest})" if slowest else ""
    return (
        f"the collective did not end on {case.hosts[rank]}{seen}: look for a link that is slow or loses packets (ethtool, ip -s "
        "link, tc -s qdisc on each host), for a busy host (uptime), or raise preflight_timeout"
    )


def old_driver(case: Case, rank: int) -> str:
    facts = case.old_driver(rank)
    return FAULTS[GPU_DRIVER].hint.format(host=case.hosts[rank], **facts) if facts else ""


def gpu_hint(case: Case, rank: int) -> str:
    """Why a task sees no GPU, as far as its host can tell."""
    host, checks = case.hosts[rank], case.checks(rank)
    said = str(case.probe(rank).get("gpu_error") or "").lower()
    for words, hint in GROUP_WORDS.items():
        if any(word in said for word in words) and hint != "{gpu}":
            return hint.format(host=host, interface="", port="")
    runtime = str((checks.get("engine") or {}).get("default_runtime") or "")
    identity = case.probe(rank).get("identity")
    if identity and not identity.get("cuda") and checks.get("gpus"):
        return f"the torch in the image on {host} has no CUDA: build it with one that has, or set training_backend=gloo"
    if "gpus" in checks and not checks["gpus"]:
        return (
            f"the NVIDIA driver on {host} shows no GPU (nvidia-smi): install or load it, or set training_backend=gloo"
        )
    if old := old_driver(case, rank):
        return old
    if runtime and runtime != "nvidia":
        return (
            f"no GPU is visible in the task on {host}, whose default runtime is {runtime}: it must be nvidia, and the GPUs "
            "generic resources (run playbooks/docker.yml), or set training_backend=gloo"
        )
    return (
        f"no GPU is visible in the task on {host}: nvidia must be the default runtime and the GPUs generic resources "
        "(playbooks/docker.yml), or set training_backend=gloo"
    )


def tcp_hint(case: Case, rank: int, check: str, peer: int | None, code: str | None) -> str:
    host, other = case.hosts[rank], case.host(peer)
    if check == "listener":
        return f"the probe's own port is taken on {host}: set PROBE_PORT to a free one"
    if code == OTHER_RANK:
        return f"the name of rank {peer} leads to another rank's task: run playbooks/swarm.yml (rank labels)"
    if code == NO_GREETING:
        return f"the task on {other} accepts connections but does not answer: look for a stopped process there (ps, uptime, dmesg)"
    if code == REFUSED:
        return f"{other} answers, but the probe there does not listen: look at its log (docker logs) and at what it printed last"
    if case.limits["network_mode"] == "host":
        return f"a firewall between {host} and {other} drops the training's TCP ports: open them in both directions"
    data = next((c["engine"]["data_path_port"] for c in case.everybody()
                 if (c.get("engine") or {}).get("data_path_port")), DATA_PORT)  # fmt: skip
    blocked = f"UDP {data} is blocked, or the VXLAN source address does not match, between {host} and {other}"
    # Datagrams need no way back. Who has heard whom tells the direction that is closed.
    heard_here = bool((case.probe(rank).get("heard") or {}).get(str(peer)))
    there = case.probe(peer) if peer is not None else {}
    if there:
        heard_there = bool((there.get("heard") or {}).get(str(rank)))
        if heard_here and not heard_there:
            blocked += f" (only {host} to {other} is lost)"
        elif heard_there and not heard_here:
            blocked += f" (only {other} to {host} is lost)"
        elif not heard_here:
            blocked += " (both directions are lost)"
    encrypted = ", and IP protocol 50 (ESP), since the overlay is encrypted" if case.network().get("encrypted") else ""
    return f"{blocked}: open {data}/udp both ways{encrypted}"


def mtu_hint(case: Case, rank: int, peer: int | None) -> str:
    host, other = case.hosts[rank], case.host(peer)
    paths = [
        int(pair["path_mtu"])
        for one in case.hosts
        for pair in (case.probe(one).get("pairs") or {}).values()
        if pair.get("path_mtu")
    ]
    mtu = case.probe(rank).get("mtu")
    links = {
        case.host(one): int((case.checks(one).get("link") or {}).get("mtu") or 0)
        for one in (rank, peer)
        if one is not None
    }
    if len(links) == 2 and all(links.values()) and len(set(links.values())) == 2:
        shown = " and ".join(f"{size} B on {name}" for name, size in links.items())
        return (
            f"the hosts' links carry packets of unequal size ({shown}): give both the same (ip link set dev ... mtu, and the switch ports "
            f"between them), or set the overlay's MTU to {min(links.values())} with swarm_network_mtu"
        )
    if not paths or (mtu and min(paths) >= min(int(mtu), 9216)):
        return (
            f"small messages pass between {host} and {other}, 1 MiB does not: check their links for loss, and "
            "swarm_network_mtu against the hosts' own MTU"
        )
    largest = min(paths)
    if case.limits["network_mode"] == "host":
        return (
            f"small messages pass, packets of {largest + 1} B and more are lost between {host} and {other}: set the "
            f"hosts' MTU to {largest}"
        )
    # The option counts the underlay's packet, the interface has VXLAN's header less.
    option = int(case.network().get("mtu") or case.limits["network_mtu"] or 1500)
    overhead = option - int(mtu) if mtu and 0 < option - int(mtu) <= 200 else VXLAN_BYTES
    return (
        f"small messages pass, packets of {largest + 1} B and more are lost between {host} and {other}: set the "
        f"overlay's MTU to {largest + overhead} with swarm_network_mtu (containers get {overhead} B less)"
    )


# What backends say when they do not start, from their sources and their users' reports (the address family: NVIDIA/nccl#1837).
# The first that fits is taken.
GROUP_WORDS: dict[tuple[str, ...], str] = {
    ("no socket interface found", "unable to find address for", "is neither af_inet", "no interface found"): (
        "the backend finds no such interface on {host}: set training_interface to {interface}"
    ),
    ("mismatched nccl version", "version mismatch detected"): (
        "the ranks have different NCCL versions: run playbooks/image.yml on every host"
    ),
    ("duplicate gpu",): (
        "two ranks were given the same GPU: check the generic resources of the hosts (playbooks/docker.yml)"
    ),
    ("driver version is insufficient", "driver/library version mismatch", "nvml"): (
        "the NVIDIA driver on {host} does not fit the image's CUDA: update the driver (and reboot), or build the image "
        "with a torch for an older CUDA"
    ),
    ("no kernel image is available",): (
        "the torch in the image is not built for the GPU on {host}: see its compute_cap in nvidia-smi, and build the image with "
        "an older torch for an older GPU, with a newer one for a newer (image_cuda)"
    ),
    ("no cuda", "no gpus", "cuda driver", "no nvidia driver", "not compiled with cuda"): "{gpu}",
    ("cuda error: out of memory", "cuda out of memory", "cuda failure 2 "): (
        "another program holds the memory of the GPU on {host}: see nvidia-smi there"
    ),
    ("/dev/shm", "no space left on device", "shared memory segment"): (
        "/dev/shm in the task on {host} is too small for NCCL: raise training_shm_size"
    ),
    ("ibv_",): (
        "InfiniBand does not work in the task on {host} (locked memory, devices): set NCCL_IB_DISABLE=1 in training_env"
    ),
    ("address already in use",): (
        "another program holds the master port {port} in the task on {host}: stop it, or set training_master_port"
    ),
}
# These can also mean a firewall between the hosts.
SILENCE = (
    "timed out", "timeout", "connect to", "connection refused", "no route to host", "closed by remote peer",
)  # fmt: skip


def group_hint(case: Case, rank: int, record: Json) -> str:
    peer, other = record.get("peer"), case.host(record.get("peer"))
    host, check = case.hosts[rank], str(record.get("name"))
    interface = str(case.probe(rank).get("interface") or f"the interface of {case.limits['network']}")
    observed, code = str(record.get("observed")), record.get("code")
    if check in ("connections", "nccl interface"):
        return f"the process group on {host} talks over {observed}: set training_interface to {interface}"
    if check == "nccl network" and code == NO_VERBS:
        return (
            f"the image on {host} lacks the library of InfiniBand (libibverbs1, of rdma-core): install it in the image, or set "
            "NCCL_IB_DISABLE=1 in training_env"
        )
    if check == "nccl network" and code == NO_INFINIBAND:
        return (
            f"NCCL on {host} took {observed}, though InfiniBand was asked for: swarm gives a task no device, so set "
            "NCCL_IB_DISABLE=1 in training_env"
        )
    if check in ("nccl network", "nccl transport"):
        return f"NCCL on {host} took {observed}, asked for was {record.get('expected')}: look at training_env and at /etc/nccl.conf"
    text = f"{observed} {record.get('detail')}".lower()
    for words, hint in GROUP_WORDS.items():
        if any(word in text for word in words):
            port = case.limits["master_port"]
            return hint.format(host=host, interface=interface, port=port, gpu=gpu_hint(case, rank))
    if peer is not None:
        return f"rank {peer} on {other} is missing from the group: look for a stopped or starved process there (ps, uptime, dmesg)"
    if code == NO_RESULT or any(word in text for word in SILENCE):
        return (
            f"the probe's own ports pass, those that {case.probe(rank).get('backend')} picks by itself do not: look for "
            "a firewall that lets only known ports pass between the hosts, and at training_interface"
        )
    return (
        "the group did not form: what was seen has the backend's own words, and more of them with TORCH_DISTRIBUTED_DEBUG=DETAIL (and "
        "NCCL_DEBUG=TRACE) in training_env. Look for a busy or stopped host as well (uptime, dmesg)"
    )
