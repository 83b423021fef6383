"""By which address each host takes part in the swarm."""

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.swarm_addresses import (
    FilterModule,
    addresses_by_host_info,
    swarm_addresses,
)


def host(*addresses: str, default: str = "", **said: Any) -> dict[str, Any]:
    """Its addresses as "eth0 10.0.0.1/24"."""
    interfaces: dict[str, list[str]] = {}
    for entry in addresses:
        name, _, address = entry.partition(" ")
        interfaces.setdefault(name, []).append(address)
    return {"addresses": {"interfaces": interfaces, "default": default}, "engine": "26.1.5", **said}


def addresses(**hosts: Any) -> dict[str, str]:
    found = swarm_addresses(hosts)
    assert {name: said["problem"] for name, said in found.items() if said["problem"]} == {}
    return {name: said["address"] for name, said in found.items()}


def problems(**hosts: Any) -> dict[str, str]:
    return {name: said["problem"] for name, said in swarm_addresses(hosts).items() if said["problem"]}


def test_the_default_routes_where_all_hosts_share_their_network() -> None:
    a = host("eth0 10.0.0.1/24", "eth1 10.9.0.1/24", default="10.0.0.1")
    b = host("eth0 10.9.0.2/24", "eth1 10.0.0.2/24", default="10.0.0.2")
    assert addresses(a=a, b=b) == {"a": "10.0.0.1", "b": "10.0.0.2"}
    assert [said["why"] for said in swarm_addresses({"a": a, "b": b}).values()] == ["", ""]


def test_the_default_routes_of_hosts_that_share_no_network() -> None:
    assert addresses(
        a=host("eth0 10.0.0.1/24", default="10.0.0.1"), b=host("eth0 10.1.0.1/24", default="10.1.0.1")
    ) == {
        "a": "10.0.0.1",
        "b": "10.1.0.1",
    }


def test_the_shared_network_where_each_default_route_has_the_same_address() -> None:
    """As Vagrant's machines have it: the network with the way out is each machine's own."""
    found = swarm_addresses(
        {
            "a": host("eth0 10.0.2.15/24", "eth1 192.168.56.2/24", default="10.0.2.15"),
            "b": host("eth0 10.0.2.15/24", "eth1 192.168.56.3/24", default="10.0.2.15"),
        }
    )
    assert found["b"] == {
        "address": "192.168.56.3",
        "why": "by 192.168.56.3 on eth1, in the network that all hosts share, though its default route goes by 10.0.2.15",
        "problem": "",
    }
    assert found["a"]["address"] == "192.168.56.2"


def test_all_take_the_same_network() -> None:
    """A packet that leaves by another network's address is dropped (moby#53004)."""
    a = host("eth0 10.0.0.1/24", "eth1 10.9.0.1/24", default="10.0.0.1")
    b = host("eth0 10.0.0.2/24", "eth1 10.9.0.2/24", default="10.9.0.2")
    c = host("eth0 10.0.0.3/24", "eth1 10.9.0.3/24", default="10.9.0.3")
    assert addresses(a=a, b=b, c=c) == {"a": "10.9.0.1", "b": "10.9.0.2", "c": "10.9.0.3"}


def test_a_host_with_two_addresses_in_the_network_takes_that_of_its_default_route() -> None:
    a = host("eth0 10.0.0.9/24", "eth0 10.0.0.1/24", default="10.0.0.1")
    assert addresses(a=a, b=host("eth0 10.0.0.2/24", default="10.0.0.2"))["a"] == "10.0.0.1"


def test_the_shared_network_without_a_default_route() -> None:
    a, b = host("eth0 10.0.0.1/24", default="10.0.0.1"), host("eth0 10.0.0.2/24", "eth1 10.9.0.2/24")
    assert addresses(a=a, b=b) == {"a": "10.0.0.1", "b": "10.0.0.2"}
    assert swarm_addresses({"a": a, "b": b})["b"]["why"] == "by 10.0.0.2 on eth0, in the network that all hosts share"


def test_the_only_address_without_a_default_route() -> None:
    assert addresses(a=host("eth0 10.0.0.1/24")) == {"a": "10.0.0.1"}
    assert addresses(a=host("eth0 10.0.0.1/24"), b=host("eth0 10.1.0.1/24", default="10.1.0.1"))["a"] == "10.0.0.1"


def test_several_addresses_without_a_default_route_are_not_guessed_at() -> None:
    said = problems(a=host("eth0 10.0.0.1/24", "eth1 10.1.0.1/24"))["a"]
    assert said == (
        "a has no default route that would tell by which of its addresses the other hosts reach it (it has 10.0.0.1 (eth0), 10.1.0.1 (eth1)): "
        "say by swarm_advertise_addr, for each host where it differs, by which address or interface the other hosts reach it."
    )
    two = {name: host(f"eth0 10.0.0.{n}/24", f"eth1 10.1.0.{n}/24") for name, n in (("a", 1), ("b", 2))}
    assert set(problems(**two)) == {"a", "b"}


def test_a_host_without_an_address() -> None:
    assert problems(a=host())["a"].startswith(
        "a tells no address in any network ('ip -json address' there): say by swarm_advertise_addr"
    )


def test_two_hosts_with_one_address() -> None:
    a = host("eth0 10.0.0.1/24", default="10.0.0.1")
    assert problems(a=a, b=a, c=host("eth0 10.0.0.2/24", default="10.0.0.2")) == {
        "a": "a and b have the same address 10.0.0.1: set ansible_host or swarm_advertise_addr of one of them.",
        "b": "b and a have the same address 10.0.0.1: set ansible_host or swarm_advertise_addr of one of them.",
    }


def test_what_is_asked_for() -> None:
    has = ("eth0 10.0.0.1/24", "ib-0 10.8.0.1/24", "ib-0 10.8.0.9/24", "ib-0 fd00::1/64")
    assert addresses(a=host(*has, default="10.0.0.1", asked="ib-0")) == {"a": "10.8.0.1"}
    assert addresses(a=host(*has, default="10.0.0.1", asked="10.8.0.9")) == {"a": "10.8.0.9"}
    # Such as an address that a router maps to the host.
    assert addresses(a=host(*has, default="10.0.0.1", asked=" 203.0.113.7 ")) == {"a": "203.0.113.7"}
    # No iproute2 there: the engine may know it.
    assert addresses(a=host(asked="eth7")) == {"a": "eth7"}
    assert problems(a=host("eth0 10.0.0.1/24", asked="eth7")) == {
        "a": "a has no interface 'eth7', which swarm_advertise_addr names, and that is no address: it has 10.0.0.1 (eth0)."
    }


def test_others_follow_what_one_is_asked_for() -> None:
    a = host("eth0 10.0.0.1/24", "eth1 10.9.0.1/24", default="10.0.0.1", asked="eth1")
    b = host("eth0 10.0.0.2/24", "eth1 10.9.0.2/24", default="10.0.0.2")
    assert addresses(a=a, b=b) == {"a": "10.9.0.1", "b": "10.9.0.2"}


def test_a_member_keeps_its_address_as_long_as_it_has_it() -> None:
    a = host("eth0 10.0.0.1/24", "eth1 10.9.0.1/24", default="10.0.0.1", known="10.9.0.1")
    assert addresses(a=a) == {"a": "10.9.0.1"}
    assert addresses(a=host("eth0 10.0.0.1/24", default="10.0.0.1", known="10.0.0.7")) == {"a": "10.0.0.1"}
    # Of either family, whatever a new host would take.
    both = host("eth0 10.0.0.1/24", "eth0 fd00::1/64", default="10.0.0.1", known="fd00::1")
    assert addresses(a=both) == {"a": "fd00::1"}
    # One that joins takes the network in which it is reached.
    b = host("eth0 10.0.0.2/24", "eth1 10.9.0.2/24", default="10.0.0.2")
    assert addresses(a=a, b=b)["b"] == "10.9.0.2"
    # So it does beside a manager that was only asked for its swarm.
    assert addresses(a={"known": "10.9.0.1"}, b=b) == {"a": "10.9.0.1", "b": "10.9.0.2"}
    # And what is asked for wins.
    assert addresses(a={**a, "asked": "eth0"}) == {"a": "10.0.0.1"}


def test_ipv6_alone() -> None:
    a, b = host("eth0 fd00::1/64", default="fd00::1"), host("eth0 fd00::2/64", default="fd00::2")
    assert addresses(a=a, b=b) == {"a": "fd00::1", "b": "fd00::2"}
    mixed = host("eth0 fd00::3/64", "eth0 10.0.0.3/24", default="10.0.0.3")
    assert addresses(a=mixed) == {"a": "10.0.0.3"}


@pytest.mark.parametrize(("engine", "works"), [("20.10.24", False), ("24.0.9", False), ("25.0.0", True), ("", True)])
def test_engines_whose_overlays_send_nothing_over_ipv6(engine: str, works: bool) -> None:
    said = problems(a=host("eth0 10.0.0.1/24", default="10.0.0.1", asked="fd00::1", engine=engine))
    assert said == (
        {}
        if works
        else {
            "a": f"a would take part by the IPv6 address fd00::1, over which the overlays of its Docker {engine} send nothing "
            "(moby/moby#41691): upgrade it to 25 or newer, or set swarm_advertise_addr to an IPv4 address."
        }
    )


def test_what_host_info_says_before_anything_is_changed() -> None:
    has = {"interfaces": {"eth0": ["10.0.0.1/24"], "eth1": ["10.9.0.1/24"]}, "default": "10.0.0.1"}
    info = {"addresses": has, "engine": {"version": "20.10.24", "swarm_address": "10.9.0.1"}}
    found = addresses_by_host_info({"a": info, "b": info}, {"b": "fd00::1"})
    assert found["a"]["address"] == "10.9.0.1"
    assert found["b"]["problem"].startswith("b would take part by the IPv6 address fd00::1")
    assert set(FilterModule().filters()) == {"addresses_by_host_info"}


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"addresses": None},
        {"addresses": "x"},
        {"addresses": {"interfaces": ["x"], "default": 7}},
        {
            "addresses": {
                "interfaces": {"eth0": "10.0.0.1/24", "eth1": [None, "$(id)", {}, "10.0.0.1/99"]},
                "default": "$(id)",
            }
        },
        {"known": "--force", "addresses": {"interfaces": {}, "default": "fe80::1%x"}},
    ],
    ids=str,
)
def test_what_a_host_says_is_held_against_its_kind(odd: dict[str, Any]) -> None:
    assert problems(a=odd)["a"].startswith("a tells no address in any network")
