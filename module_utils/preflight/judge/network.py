"""The overlay's subnet, and the paths between the hosts below it."""

from __future__ import annotations

import ipaddress

from .case import VXLAN_BYTES, Case


def judge_image(case: Case) -> None:
    """Layer 4, in part: an image that is missing needs no probe to be seen."""
    for rank, host in case.hosts.items():
        image = case.checks(rank).get("image") or {}
        if image.get("present") is False:
            case.say(4, rank, "image", False, f"{image['name']} is not on the host", "the image is on the host",
                     f"run playbooks/image.yml --limit {host}")  # fmt: skip


def judge_subnet(case: Case) -> None:
    """Layer 6, in part: a task cannot reach a network of the host that has the overlay's addresses."""
    if case.limits["network_mode"] != "overlay" or not case.network().get("subnet"):
        return
    subnet = ipaddress.IPv4Network(case.network()["subnet"], strict=False)
    taken = [ipaddress.IPv4Network(n["network"]) for checks in case.everybody() for n in checks.get("networks") or []]
    free = next(
        (str(c) for c in ipaddress.IPv4Network("10.64.0.0/10").subnets(new_prefix=24)
         if not any(c.overlaps(n) for n in (*taken, subnet))), "a free one",
    )  # fmt: skip
    for rank, host in case.hosts.items():
        for own in case.checks(rank).get("networks") or []:
            if subnet.overlaps(ipaddress.IPv4Network(own["network"])):
                case.say(
                    6, rank, "subnet", False, f"{subnet} overlaps {own['network']} of {own['interface']}",
                    "a subnet that no host uses",
                    f"the subnet of {case.limits['network']} collides with a network of {host}: set swarm_network_subnet "
                    f"to {free}, remove the network (docker network rm {case.limits['network']}) and run "
                    "playbooks/swarm.yml",
                )  # fmt: skip


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
