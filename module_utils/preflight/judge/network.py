"""The overlay's subnet, and the paths between the hosts below it."""

from __future__ import annotations

import ipaddress

from .. import contract as code
from .case import VXLAN_BYTES, Case

GWBRIDGE = "docker_gwbridge"
# The network's own, its gateway's and that of broadcasts.
RESERVED_ADDRESSES = 3


def judge_image(case: Case) -> None:
    """Layer 4, in part: an image that is missing needs no probe to be seen."""
    for rank, host in case.hosts.items():
        image = case.checks(rank).get("image") or {}
        if image.get("present") is False:
            case.say(4, rank, "image", False, f"{image['name']} is not on the host", "the image is on the host",
                     f"run playbooks/image.yml --limit {host}")  # fmt: skip


def free_subnet(case: Case, prefix: int = 24) -> str:
    """One that no host has, or has a route to."""
    taken = [ipaddress.IPv4Network(n["network"]) for checks in case.everybody() for n in checks.get("networks") or []]
    used = [case.network().get("subnet"), *(checks.get("gateway_bridge") for checks in case.everybody())]
    taken += [ipaddress.IPv4Network(subnet, strict=False) for subnet in used if subnet]
    candidates = ipaddress.IPv4Network("10.64.0.0/10").subnets(new_prefix=prefix)
    return next((str(c) for c in candidates if not any(c.overlaps(n) for n in taken)), "a free one")


def judge_subnet(case: Case) -> None:
    """Layer 6, in part: a task cannot reach a network of the host, or of the site, that has its own networks' addresses."""
    if case.limits["network_mode"] != "overlay":
        return
    name, subnet = case.limits["network"], case.network().get("subnet")
    overlay = ipaddress.IPv4Network(subnet, strict=False) if subnet else None
    for rank in case.hosts:
        bridge = case.checks(rank).get("gateway_bridge")
        for own in case.checks(rank).get("networks") or []:
            network = ipaddress.IPv4Network(own["network"])
            facts = {"network": own["network"], "interface": own["interface"], "way": ""}
            if own.get("gateway"):
                facts["way"] = f" (a route through {own['gateway']})"
            if overlay and overlay.overlaps(network):
                case.fault(code.SUBNET_TAKEN, rank, subnet=overlay, name=name, free=free_subnet(case), manager=case.manager(),
                           **facts)  # fmt: skip
            elif (
                bridge
                and own["interface"] != GWBRIDGE
                and ipaddress.IPv4Network(bridge, strict=False).overlaps(network)
            ):
                case.fault(code.GWBRIDGE_TAKEN, rank, subnet=bridge, free=free_subnet(case), **facts)
    if overlay:
        judge_subnet_size(case, overlay)


def judge_subnet_size(case: Case, subnet: ipaddress.IPv4Network) -> None:
    """Each rank needs an address, its host one for the engine's own endpoint, and what else is in the network its own."""
    # Each manager counts the swarm's services, and each host its own containers.
    others = max((int(checks.get("services_in_network") or 0) for checks in case.everybody()), default=0)
    others += sum(len(checks.get("loners") or []) for checks in case.everybody())
    usable = subnet.num_addresses - RESERVED_ADDRESSES
    ranks = len(case.hosts)
    needed = 2 * ranks
    if not ranks or usable - others >= needed:
        return
    # As much again, so that a rank can start anew before swarm has taken its old address back.
    prefix = next(p for p in range(29, 0, -1) if 2 ** (32 - p) - RESERVED_ADDRESSES >= needed + others + ranks)
    case.fault(code.SUBNET_SMALL, min(case.hosts), subnet=subnet, usable=max(usable, 0), others=others, needed=needed, ranks=ranks,
               prefix=prefix, name=case.limits["network"], manager=case.manager(), free=free_subnet(case, min(prefix, 24)))  # fmt: skip


def lossy_paths(case: Case, rank: int) -> list[tuple[str, int]]:
    """(host, bytes): peers that small packets reach and large ones do not, by echoes. Firewalls may do that to echoes alone."""
    paths = case.checks(rank).get("paths") or {}
    return [(host, int(path["mtu"])) for host, path in paths.items() if path["mtu"] and path["mtu"] < path["tried"]]


def judge_host_paths(case: Case) -> None:
    """Layer 9, in part: a connection between the hosts stalls as well, which no task is needed to see."""
    for rank in case.hosts:
        for peer, largest in lossy_paths(case, rank):
            if ((case.checks(rank).get("host_network") or {}).get(peer) or {}).get("error") == "stalled":
                say_lossy(case, rank, peer, largest)


def say_lossy(case: Case, rank: int, peer: str, largest: int) -> None:
    case.say(
        9, rank, "path mtu of the hosts", False,
        f"small packets pass, those of {largest + 1} B and more are lost outside of {case.limits['network']} too",
        f"packets of {case.checks(rank)['paths'][peer]['tried']} B pass",
        f"a link between {case.hosts[rank]} and {peer} carries {largest} B at most: set the overlay's MTU to {largest} with "
        f"swarm_network_mtu (containers get {VXLAN_BYTES} B less), and the hosts' own to the same (ip link set mtu), since "
        "the swarm's control traffic is lost as well",
        peer,
    )  # fmt: skip
