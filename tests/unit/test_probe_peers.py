"""Layers 8 to 10: the way to each of the other ranks, and to the master port."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import threading
from types import SimpleNamespace

import pytest
from ddp_probe import checks
from ddp_probe import wire as probe_wire
from ports import free_port
from probe_alone import Clock, Instead, Wire, alone, everywhere, record
from waiting import until

MIB = 1024 * 1024
UNREACHABLE = OSError(113, "No route to host")


class Network:
    """Connections that a probe makes, one after the other: a Wire, or the error that comes of it."""

    def __init__(self, monkeypatch, *ends, rank=0, size=3, **env):
        self.clock = Clock()
        self.ends = list(ends)
        self.called = []
        everywhere(monkeypatch, "time", self.clock)
        everywhere(monkeypatch, "socket", Instead(socket, create_connection=self.connect))
        self.state = alone(size, rank, **{"PROBE_PORT": "7", "PROBE_APPEAR_TIMEOUT": "1", **env})
        self.peer = next(iter(self.state.peers.values()))
        self.peer.address = "10.0.1.4"
        monkeypatch.setattr(checks.names, "resolve", lambda name: [f"address of {name}", "another"])

    def connect(self, address, timeout):
        self.called.append((*address, timeout))
        end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        if isinstance(end, Exception):
            raise end
        return end

    @property
    def records(self):
        return self.state.report.records


class Answers(Wire):
    """A rank's listener at the other end: each line is answered, after so many seconds."""

    def __init__(self, clock, trips, **answer):
        super().__init__()
        self.clock = clock
        self.trips = trips
        self.answer = answer
        self.count = 0

    def recv(self, size):
        trip = self.trips[min(self.count, len(self.trips) - 1)]
        self.count += 1
        self.clock.now += trip / 4
        stamp = self.clock.time()
        self.clock.now += trip * 3 / 4
        return json.dumps({"time": stamp, "count": self.count, **self.answer}).encode() + b"\n"


# ---------------------------------------------------------------- layer 8


def test_a_peer_is_greeted_twelve_times_and_its_best_answer_counts(monkeypatch):
    net = Network(monkeypatch, UNREACHABLE)
    wire = Answers(net.clock, [0.4, 0.2, 0.04, 0.2], rank=1, status="busy")
    assert checks.reach.greet(net.state, wire, net.peer) == ("round trip 40000 us", None)
    assert wire.sent == b'{"op":"hello","rank":0}\n' * 12
    assert net.peer.reached is True
    assert net.peer.pair == {"latency_us": 20000.0}
    # Stamped after a quarter of the way: half of it is what is taken for its time.
    assert net.peer.clock == {"offset_s": pytest.approx(-0.01, abs=1e-6), "round_trip_s": pytest.approx(0.04, abs=1e-6)}
    assert len(str(net.peer.clock["round_trip_s"])) <= 8
    assert net.peer.hello["count"] == 12


def test_of_two_equally_good_answers_the_first_counts(monkeypatch):
    net = Network(monkeypatch, UNREACHABLE)
    net.clock.now = 0.0
    wire = Answers(net.clock, [0.5], rank=1)
    real = wire.recv
    wire.recv = lambda size: real(size).replace(b'"time": ', b'"time": ' if wire.count == 1 else b'"time": 1')
    checks.reach.greet(net.state, wire, net.peer)
    assert net.peer.clock == {"offset_s": -0.125, "round_trip_s": 0.5}


def test_another_rank_is_no_peer(monkeypatch):
    net = Network(monkeypatch, UNREACHABLE)
    assert checks.reach.greet(net.state, Answers(net.clock, [0.1], rank=2), net.peer) == (
        "rank 2 answers under the name node1",
        "other_rank",
    )
    assert (net.peer.reached, net.peer.hello, net.peer.pair, net.peer.clock) == (False, {}, {}, {})


@pytest.mark.parametrize("time", ["", ',"time":null', ',"time":"12:00"', ',"time":[]'])
def test_an_answer_without_its_time_is_none(monkeypatch, time):
    said = f'{{"rank":1{time}}}\n'.encode()
    net = Network(monkeypatch, Wire(said), Wire(said), PROBE_APPEAR_TIMEOUT="0.1")
    checks.reach.reach(net.state, net.peer)
    assert net.records == [
        tcp(False, "connected, no answer (an answer without its time)", "address of node1", 0.2, "no_greeting")
    ]
    assert (net.peer.reached, net.peer.hello, net.peer.pair, net.peer.clock) == (False, {}, {}, {})


def reached(monkeypatch, net, greets):
    """`reach`, with these results of a greeting; the hellos that it sent."""
    hellos = []
    monkeypatch.setattr(checks.reach, "say_hello", lambda state, peer: hellos.append(peer.address))
    left = list(greets)

    def greet(state, sock, peer):
        assert (state, peer) == (net.state, net.peer)
        said = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(said, Exception):
            raise said
        peer.reached = said.startswith("round trip")
        return said, None if peer.reached else "other_rank"

    monkeypatch.setattr(checks.reach, "greet", greet)
    checks.reach.reach(net.state, net.peer)
    return hellos


def tcp(ok, said, address, seconds, code=None):
    more = {"detail": f"node1 at {address}", "peer": 1, "seconds": seconds, "code": code}
    return record(8, "tcp", ok, said, "an answer within 2 s", **more)


def test_a_peer_that_answers_is_reached_at_once(monkeypatch):
    wire = Wire()
    net = Network(monkeypatch, wire)
    assert reached(monkeypatch, net, ["round trip 80 us"]) == ["10.0.1.4"]
    assert net.records == [tcp(True, "round trip 80 us", "10.0.1.4", 0.0)]
    assert net.called == [("10.0.1.4", 7, 2)]
    assert (wire.timeouts, wire.options, wire.closed) == ([3], [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)], True)


def test_a_task_that_comes_back_under_another_address_is_reached_there(monkeypatch):
    net = Network(monkeypatch, UNREACHABLE, Wire())
    assert reached(monkeypatch, net, ["round trip 80 us"]) == ["10.0.1.4", "address of node1"]
    assert net.records == [tcp(True, "round trip 80 us", "address of node1", 0.2)]
    assert net.called == [("10.0.1.4", 7, 2), ("address of node1", 7, 2)]
    assert net.peer.address == "address of node1"


@pytest.mark.parametrize(
    ("ends", "greets", "said", "code"),
    [
        ([UNREACHABLE], [""], "no route to host", None),
        ([ConnectionRefusedError(111, "x")], [""], "refused", "refused"),
        ([Wire()], [TimeoutError()], "connected, no answer (timed out)", "no_greeting"),
        (
            [Wire()],
            [ValueError("not a line of the probe")],
            "connected, no answer (not a line of the probe)",
            "no_greeting",
        ),
        ([Wire(), UNREACHABLE], [TimeoutError()], "no route to host", None),
        ([Wire()], ["rank 2 answers under the name node1"], "rank 2 answers under the name node1", "other_rank"),
    ],
)
def test_a_peer_that_does_not_answer_is_tried_until_it_should_have(monkeypatch, ends, greets, said, code):
    net = Network(monkeypatch, *ends)

    def unknown(name):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(checks.names, "resolve", unknown)
    # At 0, 0.2, ... 1.0 seconds, and once more.
    assert reached(monkeypatch, net, greets) == ["10.0.1.4"] * len(net.called)
    assert net.records == [tcp(False, said, "10.0.1.4", round(net.clock.now - 1000, 4), code)]
    assert 6 <= len(net.called) <= 7


def test_patience_ends_after_and_not_at_the_deadline(monkeypatch):
    net = Network(monkeypatch, UNREACHABLE, PROBE_APPEAR_TIMEOUT="0.2")
    reached(monkeypatch, net, [""])
    assert len(net.called) == 3
    assert net.records[0]["seconds"] == 0.4


def test_a_hello_is_a_datagram_to_the_peers_port():
    one = alone(3, 2, PROBE_PORT=str(free_port()))
    checks.reach.say_hello(one, one.peers[0])  # without a listener there is nothing to send from
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        heard.bind(("127.0.0.1", one.settings.port))
        heard.settimeout(5)
        one.listener = SimpleNamespace(udp=udp)
        one.peers[0].address = "127.0.0.1"
        checks.reach.say_hello(one, one.peers[0])
        assert heard.recv(100) == struct.pack("!4sBHHH", b"DDPp", 1, 2, 0, 11)
        one.peers[0].address = "255.255.255.255"  # forbidden without a right of its own
        checks.reach.say_hello(one, one.peers[0])


@pytest.mark.parametrize("address", [None, "127.0.0.1"])
def test_the_listener_takes_the_own_address(monkeypatch, address):
    made = []
    monkeypatch.setattr(checks.reach, "Listener", lambda *arguments: made.append(arguments) or "listener")
    one = alone()
    one.address = address
    checks.reach.start_listener(one)
    assert one.listener == "listener"
    assert made == [(one.settings, address or "0.0.0.0", one.shown)]
    assert one.report.records == []


def test_a_port_that_is_taken_is_layer_8():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        one = alone(PROBE_PORT=str(port))
        one.address = "127.0.0.1"
        checks.reach.start_listener(one)
    assert one.listener is None
    assert one.report.records == [
        record(8, "listener", False, f"port {port}: address already in use", "a free port for the probe")
    ]


# ---------------------------------------------------------------- layer 9


def test_a_bulk_is_timed_from_its_request_to_the_answer(monkeypatch):
    net = Network(monkeypatch, UNREACHABLE, rank=1)
    wire = Answers(net.clock, [0.5], sha256="aa")
    net.ends = [wire]
    seconds, answer = checks.path.bulk(net.state, net.peer, b"payload", True, 6)
    assert (seconds, answer["sha256"]) == (0.5, "aa")
    head = {"op": "bulk", "rank": 1, "size": 7, "checksum": True}
    assert wire.sent == json.dumps(head, separators=(",", ":")).encode() + b"\npayload"
    assert (net.called, wire.timeouts, wire.closed) == ([("10.0.1.4", 7, 3)], [6], True)
    assert wire.options == [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]


PASSED = (0.25, {"sha256": "right"})
CHANGED = (0.25, {"sha256": "wrong"})
SILENT = TimeoutError()
LOST = "1 MiB did not pass (timed out)"


@pytest.mark.parametrize(
    ("results", "path", "problem", "tries"),
    [
        ([PASSED], 1450, "", 1),
        ([PASSED], None, "", 1),
        ([CHANGED, PASSED], 1450, "", 2),
        ([SILENT, PASSED], 1450, "", 2),
        ([PASSED, CHANGED], 1450, "", 1),
        ([CHANGED, CHANGED, PASSED], 1450, "the data arrived changed", 2),
        ([(0.1, {}), (0.1, {})], 1450, "the data arrived changed", 2),
        ([SILENT, SILENT], 1400, LOST, 2),
        ([SILENT, ValueError("not a line of the probe")], None, "1 MiB did not pass (not a line of the probe)", 2),
    ],
)
def test_a_mebibyte_must_arrive_as_it_was(monkeypatch, results, path, problem, tries):
    net = Network(monkeypatch, UNREACHABLE)
    left, sent = list(results), []

    def bulk(state, peer, payload, checksum, timeout):
        assert (state, peer) == (net.state, net.peer)
        assert (len(payload), checksum, timeout) == (MIB, True, 6)
        sent.append(payload)
        net.clock.now += 0.25
        result = left.pop(0)
        if isinstance(result, Exception):
            raise result
        right = hashlib.sha256(payload).hexdigest()
        return result[0], {key: right if value == "right" else value for key, value in result[1].items()}

    monkeypatch.setattr(checks.path, "bulk", bulk)
    net.state.mtu = 1500
    monkeypatch.setattr(checks.path, "path_mtu", lambda state, peer: path)
    checks.path.check_size(net.state, net.peer)
    detail = f"largest packet that passes: {path} B of an interface with 1500 B"
    assert net.records == [
        record(9, "path mtu", not problem, problem or "1 MiB in 250 ms", "1 MiB with its checksum", peer=1,
               detail=detail if path else "no datagram size could be measured", seconds=0.25 * tries),
    ]  # fmt: skip
    assert len(sent) == tries
    assert net.peer.bulk_ok is (not problem)
    rate = {} if problem else {"bandwidth_mb_s": 4.2}
    assert net.peer.pair == ({"path_mtu": path} if path else {}) | rate


def test_what_takes_no_time_at_all_is_no_division_by_zero(monkeypatch):
    net = Network(monkeypatch, UNREACHABLE)
    monkeypatch.setattr(os, "urandom", lambda size: b"x" * size)
    right = hashlib.sha256(b"x" * MIB).hexdigest()
    monkeypatch.setattr(checks.path, "bulk", lambda *args, **more: (0.0, {"sha256": right}))
    monkeypatch.setattr(checks.path, "path_mtu", lambda state, peer: None)
    checks.path.check_size(net.state, net.peer)
    assert net.peer.pair == {"bandwidth_mb_s": 1048576.0}
    checks.pairs.measure_pairs(net.state)
    assert net.peer.pair["bandwidth_mb_s"] == 8388608.0


def test_a_pair_that_was_not_measured_is_measured_with_little(monkeypatch):
    net = Network(monkeypatch, UNREACHABLE)
    tries = []

    def bulk(state, peer, payload, checksum, timeout):
        tries.append((peer.rank, len(payload), checksum, timeout))
        if len(tries) == 4:
            raise SILENT
        net.clock.now += 0.5
        return 0.5, {}

    monkeypatch.setattr(checks.path, "bulk", bulk)
    net.state.peers[2].pair["bandwidth_mb_s"] = 20.0
    checks.pairs.measure_pairs(net.state)
    assert net.state.stage == "measuring pairs"
    assert tries == [(1, MIB, False, 5)] * 3 + [(2, 8 * MIB, False, 5)]
    assert net.peer.pair == {"bandwidth_mb_s": 2.1, "bandwidth_bytes": MIB, "bandwidth_steady": 1.0}
    assert net.state.peers[2].pair == {"bandwidth_mb_s": 20.0}


def test_two_measures_are_too_few_to_be_steady(monkeypatch):
    net = Network(monkeypatch, UNREACHABLE)

    def bulk(*_, **__):
        net.clock.now += 3.0
        return 3.0, {}

    monkeypatch.setattr(checks.path, "bulk", bulk)
    checks.pairs.measure_pairs(net.state)
    assert net.peer.pair == {"bandwidth_mb_s": 0.3, "bandwidth_bytes": MIB, "bandwidth_steady": 0.0}
    # The time is one for all of the peers: six seconds were over.
    assert net.state.peers[2].pair == {}


# ---------------------------------------------------------------- layer 10


@pytest.fixture
def rank0():
    one = alone(2, PROBE_MASTER_PORT=str(free_port()))
    yield one
    checks.master_port.close_master_port(one)


def test_the_master_port_greets_all_who_come(rank0):
    checks.master_port.open_master_port(rank0)
    port = rank0.settings.master_port
    assert rank0.report.records == [record(10, "master port free", True, f"port {port}", "a free port")]
    assert rank0.master.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
    for address in ("127.0.0.1", "127.0.0.2"):
        with socket.create_connection((address, port), timeout=5) as sock:
            assert sock.makefile().read() == "ddp-probe master\n"


def test_a_master_port_that_was_closed_is_free_at_once(rank0):
    checks.master_port.open_master_port(rank0)
    with socket.create_connection(("127.0.0.1", rank0.settings.master_port), timeout=5) as sock:
        sock.recv(64)
        checks.master_port.close_master_port(rank0)
        assert rank0.master is None
        checks.master_port.close_master_port(rank0)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", rank0.settings.master_port), timeout=5)
        checks.master_port.open_master_port(rank0)
        assert rank0.report.first_failure() is None


def test_a_master_port_that_is_gone_is_closed_all_the_same(rank0):
    checks.master_port.open_master_port(rank0)
    rank0.master.close()
    checks.master_port.close_master_port(rank0)
    assert rank0.master is None


def test_a_caller_that_hangs_up_does_not_end_the_greeting(rank0, monkeypatch):
    callers = [Wire(), OSError(103, "Software caused connection abort"), Wire()]
    left, number = list(callers), [5]

    def accept():
        number[0] = 5 if left else -1
        one = left.pop(0) if left else OSError(9, "Bad file descriptor")
        if isinstance(one, Exception):
            raise one
        return one, ("10.0.1.4", 1)

    opened = {name: lambda *_: None for name in ("setsockopt", "bind", "listen", "shutdown", "close")}
    played = SimpleNamespace(accept=accept, fileno=lambda: number[0], **opened)
    everywhere(monkeypatch, "socket", Instead(socket, socket=lambda *kind: played))
    before = set(threading.enumerate())
    checks.master_port.open_master_port(rank0)
    # When the port is closed, nobody goes on trying it.
    until(lambda: set(threading.enumerate()) <= before)
    assert [(one.sent, one.closed) for one in callers if isinstance(one, Wire)] == [(b"ddp-probe master\n", True)] * 2


def test_a_master_port_that_is_taken_is_told(rank0):
    port = rank0.settings.master_port
    with socket.create_server(("0.0.0.0", port)):
        checks.master_port.open_master_port(rank0)
    assert rank0.master is None
    assert rank0.report.records == [
        record(10, "master port free", False, f"port {port}: address already in use", "a free port")
    ]


class Master(Network):
    """Rank 1 before the master port of rank 0, and what rank 0's listener says meanwhile."""

    def __init__(self, monkeypatch, *ends, says=None, **env):
        super().__init__(monkeypatch, *ends, rank=1, PROBE_MASTER_PORT="9", **env)
        self.peer = self.state.peers[0]
        self.peer.address = "10.0.1.3"
        self.says = {"status": "busy"} if says is None else says
        self.asked = []
        monkeypatch.setattr(probe_wire, "ask", self.ask)

    def ask(self, settings, address, message, timeout):
        self.asked.append((address, message, timeout))
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


def at_master(ok, said, seconds):
    more = {"peer": 0, "rank": 1, "seconds": pytest.approx(seconds)}
    return record(10, "master port reachable", ok, f"node0:9 {said}", "rank 0 answers", **more)


def test_rank_0_is_reached_at_the_master_port(monkeypatch):
    wire = Wire(b"ddp-probe master\n")
    net = Master(monkeypatch, wire)
    checks.master_port.check_master_port(net.state)
    assert net.records == [at_master(True, "answered", 0.0)]
    assert (net.called, wire.timeouts, net.asked, wire.closed) == ([("10.0.1.3", 9, 2)], [2], [], True)
    assert wire.asked == [64]
    assert net.state.stage == "reaching the master port"


@pytest.mark.parametrize("says", [{"status": "busy"}, {}, TimeoutError(), ValueError("not a line of the probe")])
def test_a_master_port_that_opens_late_is_reached(monkeypatch, says):
    net = Master(monkeypatch, UNREACHABLE, Wire(b"\xff\n"), Wire(b"ddp-probe master\n"), says=says)
    checks.master_port.check_master_port(net.state)
    assert net.records == [at_master(True, "answered", 0.6)]
    assert net.asked == [("10.0.1.3", {"op": "status"}, 2)] * 2


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ([UNREACHABLE], "no route to host"),
        ([Wire(b"x" * 64)] * 30, f"another program answers: '{'x' * 40}'"),
        ([Wire()], "another program answers: ''"),
    ],
)
def test_a_master_port_that_does_not_open_is_waited_for_eight_seconds(monkeypatch, ends, said):
    net = Master(monkeypatch, *ends)
    if ends[0] is not UNREACHABLE and ends[0].blocks:
        net.ends = [Wire(b"x" * 64) for _ in range(40)]
    checks.master_port.check_master_port(net.state)
    assert net.records == [at_master(False, said, 8.1)]
    assert len(net.called) == 27


def test_it_is_not_waited_for_beyond_the_time_that_is_left(monkeypatch):
    net = Master(monkeypatch, UNREACHABLE)
    net.clock.now = net.state.work_deadline - 0.3
    checks.master_port.check_master_port(net.state)
    assert net.records == [at_master(False, "no route to host", 0.3)]
    assert len(net.called) == 1


def test_a_rank_0_that_failed_is_not_waited_for(monkeypatch):
    net = Master(monkeypatch, UNREACHABLE, says={"status": "failed at layer 10 (master port)"})
    checks.master_port.check_master_port(net.state)
    assert net.records == [at_master(False, "no route to host; rank 0 failed at layer 10 (master port)", 0.3)]


def test_rank_0_does_not_call_itself(monkeypatch):
    net = Network(monkeypatch, UNREACHABLE)
    checks.master_port.check_master_port(net.state)
    assert (net.records, net.called, net.state.stage) == ([], [], "starting")
