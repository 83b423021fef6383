"""By which address each host takes part in the swarm: a filter for what host_info says, and what swarm_answers makes of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from typing import Any

from ..module_utils.host.engine import numbers
from ..module_utils.names import is_address

Interface = IPv4Interface | IPv6Interface
# Earlier overlays send nothing over IPv6 (https://github.com/moby/moby/issues/41691, merged into 25.0 by moby#46790).
IPV6_SINCE = 25
CHOOSE = "say by swarm_advertise_addr, for each host where it differs, by which address or interface the other hosts reach it"


@dataclass
class Host:
    """What the inventory asks (`asked`), what the host has, and by what address the swarm knows it (`known`)."""

    name: str
    asked: str = ""
    default: str = ""
    known: str = ""
    engine: str = ""
    interfaces: dict[str, list[Interface]] = field(default_factory=dict)

    @property
    def own(self) -> list[Interface]:
        """Of one family: IPv4 where there is any."""
        found = [address for addresses in self.interfaces.values() for address in addresses]
        return [address for address in found if address.version == 4] or found

    def interface_of(self, address: str) -> str:
        return next((name for name, own in self.interfaces.items() if address in [str(entry.ip) for entry in own]), "")

    def shown(self) -> str:
        return ", ".join(f"{entry.ip} ({self.interface_of(str(entry.ip))})" for entry in self.own) or "none"


def swarm_addresses(hosts: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """By host its `address`, `why` that is another than the one of its default route, and `problem`, why it has none.

    `hosts` has for each what the inventory asks (`asked`: an address, an interface, or nothing), what host_info or swarm_node_info calls its
    `addresses`, the version of its `engine` if one answers, and `known`, the address by which the swarm knows it. One without `addresses`
    is a host that was not asked: it counts with the address that is known.
    """
    all_hosts = [read(name, said) for name, said in hosts.items()]
    found = {host.name: fixed(host) for host in all_hosts}
    open_ones = [host for host in all_hosts if not any(found[host.name].values())]
    shared = shared_network(all_hosts, found) if len(all_hosts) > 1 else None
    for host in open_ones:
        found[host.name] = chosen(host, shared)
    for host in all_hosts:
        address = found[host.name]["address"]
        if twins := [
            name for name, other in found.items() if address and name != host.name and other["address"] == address
        ]:
            found[host.name]["problem"] = (
                f"{host.name} and {', '.join(twins)} have the same address {address}: set ansible_host or swarm_advertise_addr of one of them."
            )
        elif ":" in address and host.engine and numbers(host.engine) < (IPV6_SINCE,):
            found[host.name]["problem"] = (
                f"{host.name} would take part by the IPv6 address {address}, over which the overlays of its Docker {host.engine} send nothing "
                f"(moby/moby#41691): upgrade it to {IPV6_SINCE} or newer, or set swarm_advertise_addr to an IPv4 address."
            )
    return found


def choice(address: str = "", why: str = "", problem: str = "") -> dict[str, str]:
    return {"address": address, "why": why, "problem": problem}


def read(name: str, said: dict[str, Any]) -> Host:
    """What a host says of itself is held against its kind: it becomes part of commands on other hosts."""
    addresses = mapping(said.get("addresses"))
    listed = mapping(addresses.get("interfaces"))
    interfaces = {str(key): list(usable(values)) for key, values in listed.items() if isinstance(values, list)}
    default = str(addresses.get("default") or "")
    return Host(
        name,
        str(said.get("asked") or "").strip(),
        default if is_address(default) else "",
        str(said.get("known") or "") if is_address(str(said.get("known") or "")) else "",
        str(said.get("engine") or ""),
        {key: values for key, values in interfaces.items() if values},
    )


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def usable(values: list[Any]) -> Iterator[Interface]:
    for value in values:
        try:
            yield ip_interface(str(value))
        except ValueError:
            continue


def fixed(host: Host) -> dict[str, str]:
    """What is asked for; else what the swarm knows, as long as the host still has it. Nothing if neither is there."""
    if is_address(host.asked):
        return choice(host.asked)
    if host.asked and host.interfaces:
        own = host.interfaces.get(host.asked)
        problem = f"{host.name} has no interface '{host.asked}', which swarm_advertise_addr names, and that is no address: it has {host.shown()}."
        return choice(str(own[0].ip)) if own else choice(problem=problem)
    if host.asked:
        # The engine may know it.
        return choice(host.asked)
    if host.known and (not host.interfaces or host.interface_of(host.known)):
        return choice(host.known)
    return choice()


def shared_network(hosts: list[Host], found: dict[str, dict[str, str]]) -> dict[str, str] | None:
    """In the network that all hosts share, the address of each; None if there is none, or several and no default route in any.

    All take the same: a packet that leaves by another network's address is dropped by its receiver (https://github.com/moby/moby/issues/53004).
    """
    networks = {own.network for host in hosts for own in host.own}
    candidates = []
    for network in sorted(networks, key=str):
        inside = {host.name: address_in(network, host, found[host.name]["address"]) for host in hosts}
        if all(inside.values()) and len(set(inside.values())) == len(hosts):
            defaults = sum(host.default == inside[host.name] for host in hosts)
            candidates.append((defaults, inside))
    if not candidates:
        return None
    most = max(defaults for defaults, _ in candidates)
    best = [inside for defaults, inside in candidates if defaults == most]
    return best[0] if most or len(best) == 1 else None


def address_in(network: Any, host: Host, address: str) -> str:
    """That of a host which has one already, if it is in the network; else the first that the host has there."""
    if address:
        return address if is_address(address) and ip_address(address) in network else ""
    inside = [str(own.ip) for own in host.own if own.ip in network]
    return host.default if host.default in inside else next(iter(inside), "")


def chosen(host: Host, shared: dict[str, str] | None) -> dict[str, str]:
    if shared and shared[host.name] != host.default:
        address = shared[host.name]
        why = f"by {address} on {host.interface_of(address)}, in the network that all hosts share"
        route = f", though its default route goes by {host.default}" if host.default else ""
        return choice(address, why + route)
    if host.default:
        return choice(host.default)
    if len(host.own) == 1:
        return choice(str(host.own[0].ip))
    problem = (
        f"{host.name} has no default route that would tell by which of its addresses the other hosts reach it (it has {host.shown()}): {CHOOSE}."
        if host.own
        else f"{host.name} tells no address in any network ('ip -json address' there): {CHOOSE}."
    )
    return choice(problem=problem)


def addresses_by_host_info(seen: dict[str, dict[str, Any]], asked: dict[str, str]) -> dict[str, dict[str, str]]:
    """The same before anything is changed: `seen` is what host_info says of each host, and `asked` its swarm_advertise_addr."""
    return swarm_addresses(
        {
            host: {
                "asked": asked.get(host),
                "addresses": said["addresses"],
                "engine": said["engine"]["version"],
                "known": said["engine"]["swarm_address"],
            }
            for host, said in seen.items()
        }
    )


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"addresses_by_host_info": addresses_by_host_info}
