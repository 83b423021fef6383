"""A host's addresses in its networks. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import re
from typing import Any

from .iproute import ask

# The engine's own, and those of virtual machines and pods: the same networks are on every host, and no other host is in them.
OWN = re.compile(r"docker\d+|docker_gwbridge|br-[0-9a-f]{12}|veth.*|virbr\d+|lxcbr\d+|lxdbr\d+|cni.*|flannel.*|cali.*")


def look() -> dict[str, Any]:
    """`interfaces` has the addresses of each with their prefixes, IPv4 first, such as {"eth0": ["192.168.1.10/24"]}.

    `default` is the one by which the host reaches what is in none of its networks, empty without such a route.
    """
    found = {
        link["ifname"]: addresses_of(link)
        for link in ask("address", "show", "scope", "global")
        if link.get("ifname") and not OWN.fullmatch(link["ifname"])
    }
    interfaces = {name: addresses for name, addresses in found.items() if addresses}
    return {"interfaces": interfaces, "default": default("-4", interfaces) or default("-6", interfaces)}


def addresses_of(link: dict[str, Any]) -> list[str]:
    """Without those that come and go (temporary ones of RFC 8981) and those that are given up."""
    usable = [
        entry
        for entry in link.get("addr_info") or []
        if entry.get("local")
        and not entry.get("temporary")
        and not entry.get("deprecated")
        and not entry.get("tentative")
    ]
    usable.sort(key=lambda entry: entry.get("family") != "inet")
    return [f"{entry['local']}/{entry['prefixlen']}" for entry in usable]


def default(family: str, interfaces: dict[str, list[str]]) -> str:
    """Of several routes, the kernel takes the one with the lowest metric."""
    routes = [route for route in ask(family, "route", "show", "default") if route.get("dev") in interfaces]
    if not routes:
        return ""
    route = min(routes, key=lambda entry: int(entry.get("metric") or 0))
    own = [address.partition("/")[0] for address in interfaces[route["dev"]]]
    own = [address for address in own if (":" in address) == (family == "-6")]
    source = str(route.get("prefsrc") or "")
    return source if source in own else next(iter(own), "")
