"""The link that a host is in the swarm by: its speed, its members, and what it lost."""

from __future__ import annotations

import glob
import os

from ...host.iproute import ask
from ..contract import Json

COUNTERS = ("rx_packets", "tx_packets", "rx_errors", "tx_errors", "rx_missed_errors", "tx_dropped", "collisions")


def interface_of(address: str) -> str:
    """The interface that holds an address; empty if none does, or iproute2 cannot tell."""
    for link in ask("address", "show"):
        if address in [entry.get("local") for entry in link.get("addr_info") or []]:
            return str(link.get("ifname") or "")
    return ""


def link_facts(name: str, root: str = "/sys/class/net") -> Json:
    """Speed in Mbit/s and duplex, None where the link does not tell (as most virtual ones); a bond's members beside it."""
    folder = os.path.join(root, name)
    if not name or not os.path.isdir(folder):
        return {}
    return {**one_link(folder), "counters": counters(folder), "members": members(folder)}


def one_link(folder: str) -> Json:
    speed = number(folder, "speed")
    return {
        "name": os.path.basename(folder),
        "speed": speed if speed and speed > 0 else None,
        "duplex": word(folder, "duplex"),
        "state": word(folder, "operstate"),
        "mtu": number(folder, "mtu"),
    }


def members(folder: str) -> list[Json]:
    """Of a bond, or of the one that a VLAN is on."""
    for bond in (folder, *sorted(glob.glob(os.path.join(glob.escape(folder), "lower_*")))):
        slaves = (word(bond, "bonding/slaves") or "").split()
        if slaves:
            root = os.path.dirname(folder)
            return [one_link(os.path.join(root, slave)) for slave in slaves]
    return []


def counters(folder: str) -> Json:
    return {name: number(folder, f"statistics/{name}") or 0 for name in COUNTERS}


def counters_of(name: str, root: str = "/sys/class/net") -> Json:
    return counters(os.path.join(root, name)) if name else {}


def word(folder: str, name: str) -> str | None:
    """A link that is down refuses to tell its speed."""
    try:
        with open(os.path.join(folder, name), encoding="ascii") as stream:
            return stream.read().strip()
    except (OSError, ValueError):
        return None


def number(folder: str, name: str) -> int | None:
    try:
        return int(word(folder, name) or "")
    except ValueError:
        return None
