"""Layers 1 to 3 and the nodes: is each host reached, its clock right, its engine in the swarm?"""

from __future__ import annotations

import json
import shlex

from ...names import RANK
from .. import contract as code
from ..contract import Json
from .case import TRANSIT_SECONDS, Case
from .disk import judge_disk
from .volumes import judge_volume

# A table as full as this is one burst of connections from dropping some.
CONNTRACK_PERCENT = 95


def judge_reach(case: Case, unreachable: Json) -> None:
    """Layer 2, in part: a host on which nothing could be run cannot be judged any further."""
    ranks = {host: rank for rank, host in case.hosts.items()}
    for host, why in unreachable.items():
        if host in ranks and case.probe(ranks[host]):
            continue  # one of two looks has succeeded
        case.say(
            2, ranks.get(host, -1), "host", False, " ".join(str(why).split())[:300] or "no answer",
            "an answer over SSH",
            f"check that {host} is switched on, that ansible_host and ansible_user are right, and that SSH and sudo work "
            f"from here ('ansible {host} --become -m ping')",
            host=host,
        )  # fmt: skip
    missing = [rank for rank, host in case.hosts.items() if rank not in case.reports and host not in unreachable]
    for rank in missing:
        case.say(2, rank, "host", False, "no report from this host", "a report",
                 f"{case.hosts[rank]} was not asked, or did not answer over SSH: run playbooks/preflight.yml")  # fmt: skip


def judge_clock(case: Case) -> None:
    """Layer 1. The probes' own round trips are exact; without them only a bound from the controller's stamp is left."""
    limit = case.limits["max_clock_skew"]
    bounds: dict[int, tuple[float, float]] = {}
    for rank in case.hosts:
        clock = case.checks(rank).get("clock") or {}
        if clock.get("epoch") is not None and clock.get("sent_at") is not None:
            ahead = float(clock["epoch"]) - float(clock["sent_at"])
            bounds[rank] = (ahead - TRANSIT_SECONDS, ahead)
    for rank in case.hosts:
        if rank not in case.reports:
            continue
        if len(case.hosts) == 1:
            case.say(1, rank, "clock skew", True, "one host")
            continue
        measured = {int(peer): entry for peer, entry in (case.probe(rank).get("clock") or {}).items()}
        off: list[tuple[int, str]] = []
        for peer, entry in sorted(measured.items()):
            offset = float(entry["offset_s"])
            if abs(offset) - float(entry["round_trip_s"]) / 2 > limit and peer in case.hosts:
                off.append((peer, f"{case.host(peer)} is {offset:+.1f} s off"))
        for peer, (low, high) in bounds.items():
            if rank not in bounds or peer in measured:
                continue
            own_low, own_high = bounds[rank]
            skew = max(low - own_high, own_low - high)
            if skew > limit:
                off.append((peer, f"at least {skew:.0f} s from {case.host(peer)}"))
        for peer, seen in off:
            case.say(
                1, rank, "clock skew", False, seen, f"within {limit:g} s",
                f"synchronise the clocks of {case.hosts[rank]} and {case.host(peer)} "
                "(enable chrony or systemd-timesyncd on both)", peer,
            )  # fmt: skip
        if not off:
            known = measured or (rank in bounds and len(bounds) > 1)
            case.say(1, rank, "clock skew", True if known else None, "" if known else "not measured")


def judge_hosts(case: Case) -> None:
    """Layers 2 and 3: what each host says about its engine, kernel, disk and its way to the other hosts."""
    for name, report in case.bystanders.items():
        judge_engine(case, -1, name, report.get("host_checks") or {})
    for rank, host in case.hosts.items():
        if rank not in case.reports:
            continue
        checks = case.checks(rank)
        engine = checks.get("engine") or {}
        if not judge_engine(case, rank, host, checks):
            continue
        works = checks.get("vxlan")
        if works is not True and (case.probe(rank).get("clock") or case.limits["network_mode"] == "host"):
            works = True  # frames have crossed, or none need to
        if works is not True and len(case.hosts) == 1 and case.probe(rank):
            works = True
        case.say(
            2, rank, "vxlan", works, f"kernel {checks.get('kernel')}", "a kernel with vxlan",
            f"load the vxlan module on {host} (modprobe vxlan), or boot a kernel that has it",
        )  # fmt: skip
        judge_disk(case, rank, host, checks)
        # None where that cannot be told; on the hosts' own network no task needs it.
        if checks.get("nat_rules") is False and case.limits["network_mode"] == "overlay":
            case.fault(code.NAT_RULES_GONE, rank, subnet=checks.get("gateway_bridge"))
        tracked = checks.get("conntrack") or {}
        if tracked and tracked["count"] * 100 > CONNTRACK_PERCENT * tracked["max"]:
            case.fault(code.CONNTRACK_FULL, rank, percent=CONNTRACK_PERCENT, **tracked)
        for mount in checks.get("bind_mounts") or []:
            judge_mount(case, rank, mount)
        for volume in checks.get("volumes") or []:
            judge_volume(case, rank, volume)
        for data in checks.get("datasets") or []:
            judge_data(case, rank, data)
        for mount in checks.get("bind_labels") or []:
            case.fault(code.BIND_LABEL, rank, pattern=shlex.quote(f"{mount['path']}(/.*)?"), **mount)
        for mac in checks.get("twins") or []:
            case.fault(
                code.ADDRESS_TWICE,
                rank,
                mac=mac,
                address=engine.get("address"),
                link=(checks.get("link") or {}).get("name"),
            )
        for port in checks.get("ports") or []:
            case.say(
                3, rank, f"port {port['port']}", not port["error"], port["error"],
                f"{port['host']} answers on {port['port']}/tcp",
                f"{port['port']}/tcp is closed from {host} to {port['host']}: open 2377/tcp towards managers and "
                "7946/tcp+udp between all hosts", str(port["host"]),
            )  # fmt: skip
        for peer in checks.get("silent_gossip") or []:
            case.say(
                3, rank, "port 7946/udp", False, "the engine's gossip is answered by tcp alone", f"{peer} answers on 7946/udp",
                f"7946/udp is closed between {host} and {peer}, in one direction or both: open 7946/tcp+udp between all hosts, "
                "else each name of a new task is known many seconds late", str(peer),
            )  # fmt: skip
        state = engine.get("swarm_state")
        case.say(
            3, rank, "swarm membership", state == "active" and not engine.get("swarm_error"),
            " ".join(filter(None, [state, engine.get("swarm_error")])), "active",
            f"run playbooks/swarm.yml: {host} is not an active member of the swarm",
        )  # fmt: skip


def judge_mount(case: Case, rank: int, mount: Json) -> None:
    if mount["lack"] == "missing":
        case.fault(code.MOUNT_MISSING, rank, path=mount["path"])
        return
    # As it stands within the quotes of a command, for a program that follows hints and for a person alike.
    quoted = mount["path"] if shlex.quote(mount["path"]) == mount["path"] else json.dumps(mount["path"])
    rights = "rwX" if mount["lack"] == "write" else "rX"
    case.fault(code.MOUNT_DENIED, rank, quoted=quoted, rights=rights, **mount)


def judge_data(case: Case, rank: int, data: Json) -> None:
    if data["lack"] == "other":
        named = ", ".join(data["files"]) or "more files differ than were looked at"
        case.fault(code.DATA_OTHER, rank, named=named, **data)
    # What is mounted from there has said so.
    elif data["path"] not in [mount["path"] for mount in case.checks(rank).get("bind_mounts") or []]:
        case.fault(code.DATA_MISSING, rank, source=case.hosts[min(case.hosts)] if rank else "controller", **data)


def judge_engine(case: Case, rank: int, host: str, checks: Json) -> bool:
    engine = checks.get("engine") or {}
    if engine.get("ok"):
        if rank in case.hosts:
            case.say(2, rank, "engine", True, engine.get("version"))
        return True
    case.say(
        2, rank, "engine", False, checks.get("error") or engine.get("error") or "no answer", "a running engine",
        f"start Docker on {host} (run 'systemctl start docker' on {host}, or see systemctl status docker), or run "
        f"playbooks/docker.yml --limit {host}", host=host,
    )  # fmt: skip
    return False


def judge_nodes(case: Case) -> None:
    """Layer 3: the swarm would give each rank to the right host, and to no other."""
    nodes = case.nodes()
    if not nodes:
        return
    name = case.limits["network"]
    if case.limits["network_mode"] == "overlay" and not case.network() and case.hosts:
        case.say(3, min(case.hosts), "network", False, f"the swarm has no network {name}", f"the network {name}",
                 f"run playbooks/swarm.yml, which makes {name} (swarm_network, training_network)")  # fmt: skip
    for rank, host in case.hosts.items():
        own = (case.checks(rank).get("engine") or {}).get("node")
        node = next((n for n in nodes if n["id"] == own), None)
        if rank not in case.reports or not own:
            continue
        if node is None:
            case.say(3, rank, "node", False, "the first manager's swarm does not know this node", "a node of it",
                     f"run playbooks/swarm.yml: {host} is in another swarm, or was removed from this one")  # fmt: skip
            continue
        if node["status"] != "ready":
            case.say(
                3, rank, "node", False, f"{node['status']} {node['message']}".strip(), "ready",
                f"the managers do not hear from {host}: 2377/tcp to the managers must be open, and its engine running "
                "(systemctl status docker)",
            )  # fmt: skip
        elif node["availability"] != "active":
            word = {"drain": "drained", "pause": "paused"}.get(node["availability"], node["availability"])
            case.say(
                3, rank, "node", False, f"availability {node['availability']}", "availability active",
                f"{host} is {word}: run 'docker node update --availability active {node['hostname']}' on {case.manager()}",
            )  # fmt: skip
        else:
            case.say(3, rank, "node", True, "ready, active", "ready, active")
        # A machine that left and joined again is two nodes to the swarm, of which the old one is down.
        carriers = [
            n for n in nodes if n["labels"].get(RANK) == str(rank) and (n["status"] == "ready" or n["id"] == own)
        ]
        if [n["id"] for n in carriers] != [own]:
            seen = " and ".join(str(n["hostname"]) for n in carriers) or "no node"
            case.say(
                3, rank, "rank label", False, f"{seen} carries the label {RANK}={rank}", f"{host} carries it",
                f"run playbooks/swarm.yml: rank {rank} needs the node label {RANK}={rank} on {host}, and only there",
            )  # fmt: skip
