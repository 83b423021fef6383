"""A host's addresses, as iproute2 tells them. Its answers are shaped as those of Debian hosts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.host import addresses
from host_stand_in import Host

LINKS = [
    {"ifname": "lo", "addr_info": []},
    {
        "ifname": "eth0",
        "addr_info": [
            {"family": "inet6", "local": "fd00::9", "prefixlen": 64, "temporary": True},
            {"family": "inet6", "local": "fd00::8", "prefixlen": 64, "deprecated": True},
            {"family": "inet6", "local": "fd00::7", "prefixlen": 64, "tentative": True},
            {"family": "inet6", "local": "fd00::1", "prefixlen": 64},
            {"family": "inet", "local": "10.0.0.1", "prefixlen": 24},
            {"family": "inet", "local": "10.0.0.9", "prefixlen": 24},
        ],
    },
    {"ifname": "wlan0", "addr_info": [{"family": "inet", "local": "10.7.0.1", "prefixlen": 16}]},
    {"ifname": "docker0", "addr_info": [{"family": "inet", "local": "172.17.0.1", "prefixlen": 16}]},
    {"ifname": "docker_gwbridge", "addr_info": [{"family": "inet", "local": "172.18.0.1", "prefixlen": 16}]},
    {"ifname": "br-0123456789ab", "addr_info": [{"family": "inet", "local": "172.19.0.1", "prefixlen": 16}]},
    {"ifname": "br-lan", "addr_info": [{"family": "inet", "local": "10.6.0.1", "prefixlen": 16}]},
]
HAS = {"eth0": ["10.0.0.1/24", "10.0.0.9/24", "fd00::1/64"], "wlan0": ["10.7.0.1/16"], "br-lan": ["10.6.0.1/16"]}


class Routed(Host):
    """iproute2, with a table of routes for each family."""

    def __init__(self, links: Any, four: Any = (), six: Any = ()) -> None:
        super().__init__(ip=(0, ""))
        self.said = {"address": links, "-4": four, "-6": six}

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        assert command[:2] == ["/usr/bin/ip", "-json"]
        assert command[2:] in (
            ["address", "show", "scope", "global"],
            ["-4", "route", "show", "default"],
            ["-6", "route", "show", "default"],
        )
        said = self.said[command[2]]
        return (0, said if isinstance(said, str) else json.dumps(list(said)), "")


@pytest.mark.parametrize(
    ("four", "six", "default"),
    [
        ([{"dev": "eth0"}], [], "10.0.0.1"),
        ([{"dev": "eth0", "prefsrc": "10.0.0.9"}], [], "10.0.0.9"),
        ([{"dev": "eth0", "prefsrc": "10.1.0.9"}], [], "10.0.0.1"),
        ([{"dev": "eth0", "metric": 100}, {"dev": "wlan0", "metric": 600}], [], "10.0.0.1"),
        ([{"dev": "eth0", "metric": 700}, {"dev": "wlan0", "metric": 600}], [], "10.7.0.1"),
        ([{"dev": "eth0", "metric": 700}, {"dev": "wlan0"}], [], "10.7.0.1"),
        ([{"dev": "docker0"}], [], ""),
        ([{"dev": "tun9"}], [{"dev": "eth0"}], "fd00::1"),
        ([], [{"dev": "wlan0"}], ""),
        ([], [], ""),
        ("", "no JSON", ""),
    ],
    ids=str,
)
def test_addresses_and_the_one_of_the_default_route(four: Any, six: Any, default: str) -> None:
    assert addresses.look(Routed(LINKS, four, six)) == {"interfaces": HAS, "default": default}


@pytest.mark.parametrize("links", ["", "{", "7", '["x"]', "[{}]"])
def test_addresses_of_an_odd_answer(links: str) -> None:
    assert addresses.look(Routed(links)) == {"interfaces": {}, "default": ""}


def test_addresses_without_iproute2_or_with_one_that_fails() -> None:
    assert addresses.look(Host()) == {"interfaces": {}, "default": ""}
    assert addresses.look(Host(ip=(255, json.dumps(LINKS)))) == {"interfaces": {}, "default": ""}
