"""Another machine with the host's address: frames are built and read by hand, and asked for over a real pair of links."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe import twins
from preflight_ranks import verdict

MAC, OTHER = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
ADDRESS = socket.inet_aton("192.0.2.7")


def frame(sender: bytes = OTHER, address: bytes = ADDRESS, kind: int = 0x0806, protocol: int = 0x0800) -> bytes:
    arp = struct.pack("!HHBBH6s4s6s4s", 1, protocol, 6, 4, 2, sender, address, MAC, bytes(4))
    return MAC + sender + struct.pack("!H", kind) + arp


def test_a_probe_claims_no_address() -> None:
    asked = twins.probe(MAC, ADDRESS)
    assert asked[:14] == b"\xff" * 6 + MAC + b"\x08\x06"
    assert asked[14:] == struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, MAC, bytes(4), bytes(6), ADDRESS)


@pytest.mark.parametrize(
    ("seen", "mac"),
    [
        (frame(), "02:00:00:00:00:02"),
        (frame(sender=MAC), ""),
        (frame(address=socket.inet_aton("192.0.2.8")), ""),
        (frame(kind=0x0800), ""),
        (frame(protocol=0x86DD), ""),
        (frame()[:30], ""),
        (b"", ""),
    ],
)
def test_who_says_that_it_has_the_address(seen: bytes, mac: str) -> None:
    assert twins.holder(seen, ADDRESS, {MAC}) == mac


@pytest.mark.parametrize(
    ("kind", "flags", "mac", "found"),
    [
        ("1", "0x1003", "02:00:00:00:00:01", MAC),
        ("1", "0x1083", "02:00:00:00:00:01", b""),
        ("65534", "0x1003", "", b""),
        ("1", "0x1003", "none", b""),
    ],
)
def test_links_that_speak_arp(tmp_path: Path, kind: str, flags: str, mac: str, found: bytes) -> None:
    for name, text in (("type", kind), ("flags", flags), ("address", mac)):
        (tmp_path / name).write_text(f"{text}\n")
    assert twins.mac_of(str(tmp_path)) == found


def test_a_link_that_is_not_there(tmp_path: Path) -> None:
    assert twins.mac_of(str(tmp_path / "none")) == b""
    assert twins.Twins("none", "192.0.2.7").result() == []


@pytest.mark.parametrize("address", ["", "2001:db8::1"])
def test_no_address_to_ask_for(address: str) -> None:
    assert twins.Twins("lo", address).result() == []


@pytest.fixture
def wire() -> Iterator[str]:
    """Two links joined by a cable, of which the far end is another machine's: a namespace."""
    ip = ["ip", "netns", "add", "ddp-twin"]
    if os.geteuid() != 0 or subprocess.run(ip, capture_output=True, check=False).returncode:
        pytest.skip("makes a network namespace, which needs root and iproute2")
    try:
        for words in (
            "link add ddp-near type veth peer name ddp-far netns ddp-twin",
            "link set ddp-near up",
            "-n ddp-twin link set ddp-far up",
        ):
            subprocess.run(["ip", *words.split()], check=True)
        yield "ddp-near"
    finally:
        subprocess.run(["ip", "netns", "del", "ddp-twin"], check=True)


def test_a_machine_with_the_same_address_is_found(wire: str) -> None:
    assert twins.Twins(wire, "192.0.2.7").result() == []
    subprocess.run(["ip", "-n", "ddp-twin", "address", "add", "192.0.2.7/24", "dev", "ddp-far"], check=True)
    shown = subprocess.run(
        ["ip", "-n", "ddp-twin", "-brief", "link", "show", "ddp-far"], capture_output=True, text=True, check=True
    )
    assert twins.Twins(wire, "192.0.2.7").result() == [shown.stdout.split()[2]]
    assert twins.Twins(wire, "192.0.2.8").result() == []


def test_the_sentence(pair: Any) -> None:
    checks = pair[0]["host_checks"]
    checks.update(twins=["02:00:00:00:00:02"], link={"name": "eth0"})
    checks["engine"]["address"] = "192.0.2.7"
    (finding,) = verdict(pair)["findings"]
    host = pair[0]["host"]
    assert (finding["layer"], finding["host"], finding["peer"]) == (3, host, None)
    assert finding["observed"] == "the machine with the MAC address 02:00:00:00:00:02 has 192.0.2.7 too"
    assert f"192.0.2.7 of {host} is that of two machines on the network of eth0" in finding["hint"]
