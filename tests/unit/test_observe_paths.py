"""The largest packet that passes between two hosts, by echoes."""

from __future__ import annotations

import os
import socket
import struct
from types import SimpleNamespace

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe import wire as observed
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe.wire import path_mtu


class Wire:
    """Stands in for a raw socket, and for a path that loses what is larger than `carries`. `interface`: its MTU.

    `lost`: how often each size is lost before it passes. `unsent`: a size that cannot be sent. `header`: the words of an
    IP header. `flood`: there is always another packet, of somebody else.
    """

    def __init__(self, carries=1500, interface=1500, lost=0, unsent=0, header=5, flood=False):
        self.carries, self.interface, self.lost, self.unsent = carries, interface, lost, unsent
        self.header, self.flood = bytes([0x40 + header]) + bytes(4 * header - 1), flood
        self.waiting, self.sent = [], []
        self.whole = self.patient = False
        self.idle = 0
        self.now = 1000.0

    def socket(self, family, kind, protocol=0):
        return self

    def __getattr__(self, name):
        return getattr(socket, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def connect(self, address):
        assert address[0] == "192.0.2.2"

    def getsockopt(self, level, option):
        assert (level, option) == (socket.IPPROTO_IP, 14)  # IP_MTU
        return self.interface

    def setsockopt(self, *option):
        assert option == (socket.IPPROTO_IP, 10, 3)  # IP_MTU_DISCOVER, IP_PMTUDISC_PROBE: no fragments
        self.whole = True

    def settimeout(self, seconds):
        assert 0 < seconds < 1
        self.patient = True

    def sendto(self, echo, address):
        assert self.whole
        size = 20 + len(echo)
        if size > self.interface or size == self.unsent:
            raise OSError("message too long")
        words = struct.unpack(f"!{len(echo) // 2}H", echo[: len(echo) // 2 * 2])
        total = sum(words) + (echo[-1] << 8 if len(echo) % 2 else 0)
        assert echo[:2] == b"\x08\x00"
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        assert total == 0xFFFF, "its checksum is wrong"
        self.sent.append(size)
        # What is heard of it anyway: itself, as on loopback, and the answer to somebody else's of the largest size.
        foreign = echo[2:4] + bytes(byte ^ 255 for byte in echo[4:6]) + struct.pack("!H", self.interface)
        self.waiting += [self.header + echo, self.header + b"\x00\x00" + foreign]
        if size <= self.carries and self.sent.count(size) > self.lost:
            self.waiting.append(self.header + b"\x00\x00" + echo[2:])

    def recv(self, size):
        assert self.patient
        assert size >= 9000
        if self.waiting:
            return self.waiting.pop(0)
        if self.flood:
            self.now += 0.01
            assert self.now < 1010, "it listens without end"
            return self.header + b"\x00\x00" + bytes(6)
        self.idle += 1
        raise TimeoutError


@pytest.fixture
def wire(monkeypatch):
    def wire(**facts):
        one = Wire(**facts)
        monkeypatch.setattr(observed, "socket", one)
        monkeypatch.setattr(observed, "time", SimpleNamespace(monotonic=lambda: one.now))
        return one

    return wire


@pytest.mark.parametrize(
    ("carries", "interface", "wanted", "largest", "tried"),
    [
        (9000, 1500, 1500, 1500, 1500),
        (1400, 1500, 1500, 1400, 1500),
        (1399, 1500, 1500, 1399, 1500),
        (1401, 1500, 1500, 1401, 1500),
        (1499, 1500, 1500, 1499, 1500),
        (400, 1500, 1500, 400, 1500),
        (9000, 1400, 1500, 1400, 1400),
        (9000, 9000, 1500, 1500, 1500),
        (9000, 300, 1500, 300, 300),
        (399, 1500, 1500, None, 1500),
    ],
)
def test_the_largest_packet_that_passes_between_two_hosts(wire, carries, interface, wanted, largest, tried):
    path = wire(carries=carries, interface=interface)
    assert path_mtu("192.0.2.2", wanted) == {"mtu": largest, "tried": tried}
    assert path.idle <= 9, "three rounds, each with three tries"


@pytest.mark.parametrize("mark", [b"\x00\x00", b"\xff\xff", b"\xf7\xff", b"\x12\x34"])
def test_on_a_good_path_two_echoes_are_enough(wire, monkeypatch, mark):
    path = wire()
    monkeypatch.setattr(os, "urandom", lambda size: mark[:size])
    assert path_mtu("192.0.2.2", 1500) == {"mtu": 1500, "tried": 1500}
    assert (sorted(path.sent), path.idle) == ([400, 1500], 0)


@pytest.mark.parametrize("carries", [1500, 1400])
@pytest.mark.parametrize("facts", [{"lost": 2}, {"header": 6}, {"header": 15}, {"flood": True}])
def test_a_busy_network_has_the_same_answer(wire, facts, carries):
    wire(carries=carries, **facts)
    assert path_mtu("192.0.2.2", 1500) == {"mtu": carries, "tried": 1500}


@pytest.mark.parametrize("unsent", [400, 1500])
def test_a_size_that_cannot_be_sent_is_not_the_end(wire, unsent):
    wire(unsent=unsent)
    assert path_mtu("192.0.2.2", 1500)["mtu"] == (1500 if unsent == 400 else 1499)


@pytest.mark.parametrize("name", ["connect", "socket"])
def test_who_may_not_send_echoes_or_has_no_route_cannot_tell(wire, monkeypatch, name):
    def refuse(*args):
        if name == "connect" or args[1] == socket.SOCK_RAW:
            raise PermissionError
        return path

    path = wire()
    monkeypatch.setattr(path, name, refuse)
    assert path_mtu("192.0.2.2", 1500) == {"mtu": None, "tried": 1500}
    assert path.sent == []
