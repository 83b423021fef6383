"""A host's addresses, as iproute2 tells them. Its answers are shaped as those of Debian hosts."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.host import addresses, iproute

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
NONE: dict[str, Any] = {"interfaces": {}, "default": ""}


def stand_in(monkeypatch: pytest.MonkeyPatch, links: Any, four: Any = (), six: Any = (), code: int = 0) -> None:
    """In iproute2's place, with a table of routes for each family."""
    answers = {
        "address show scope global": links,
        "-4 route show default": four,
        "-6 route show default": six,
    }

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        assert command[:2] == ["ip", "-json"]
        said = answers[" ".join(command[2:])]
        return SimpleNamespace(returncode=code, stdout=said if isinstance(said, str) else json.dumps(list(said)))

    monkeypatch.setattr(iproute.subprocess, "run", run)


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
def test_addresses_and_the_one_of_the_default_route(monkeypatch: Any, four: Any, six: Any, default: str) -> None:
    stand_in(monkeypatch, LINKS, four, six)
    assert addresses.look() == {"interfaces": HAS, "default": default}


@pytest.mark.parametrize("links", ["", "{", "7", '["x"]', "[{}]"])
def test_addresses_of_an_odd_answer(monkeypatch: Any, links: str) -> None:
    stand_in(monkeypatch, links)
    assert addresses.look() == NONE


def test_addresses_where_iproute2_fails(monkeypatch: Any) -> None:
    stand_in(monkeypatch, LINKS, code=255)
    assert addresses.look() == NONE


def test_addresses_without_iproute2(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(iproute, "SBIN", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert addresses.look() == NONE


def test_iproute2_is_found_where_path_does_not_name_its_folder(monkeypatch: Any, tmp_path: Path) -> None:
    program = tmp_path / "ip"
    program.write_text("""#!/bin/sh\n[ "$*" = "-json address show" ] && echo '[{"ifname": "lo"}, 7]'\n""")
    program.chmod(0o755)
    monkeypatch.setattr(iproute, "SBIN", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    assert iproute.ask("address", "show") == [{"ifname": "lo"}]
    assert iproute.ask("route", "show") == []
