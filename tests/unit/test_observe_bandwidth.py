"""The bandwidth that a host measures towards the others, and serves to them."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe import wire as observed
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe.wire import BANDWIDTH_MAGIC, HostNetwork

MIB = 2**20
PEERS = [{"host": "b", "address": "127.0.0.2"}, {"host": "c", "address": "127.0.0.3"}]


class Clock:
    """Nothing waits, and each wait is as long as it says. `then`: what happens after so many waits."""

    def __init__(self):
        self.now, self.waits, self.then = 1000.0, 0, {}

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.waits += 1
        self.then.get(self.waits, lambda: None)()


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(observed, "time", clock)
    return clock


@pytest.fixture
def network(monkeypatch):
    """A host that listens on a port of its own, and measures nothing yet."""
    with contextlib.ExitStack() as stack:

        def network(*peers):
            one = HostNetwork(0, [])
            stack.enter_context(one.listener)
            stack.callback(one.listener.shutdown, socket.SHUT_RDWR)
            one.peers = list(peers)
            return one

        yield network


# ---------------------------------------------------------------- what is sent


class Line:
    """Stands in for a connection on which each MiB takes its time: the last of these seconds all further ones."""

    def __init__(self, clock, seconds, answer=b"+"):
        self.clock, self.seconds, self.answer = clock, list(seconds), answer
        self.said, self.limit = [], None

    def settimeout(self, seconds):
        self.limit = seconds

    def sendall(self, data):
        assert self.limit == HostNetwork.STALLED, "a stalled connection is waited for without end"
        if len(data) == MIB:
            self.clock.now += self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]
        self.said.append("MiB" if len(data) == MIB else data)

    def recv(self, size):
        assert size == 1
        return self.answer


@pytest.mark.parametrize(
    ("seconds", "blocks", "rate"),
    [
        ([0.05], 5, 21.0),
        ([0.06], 4, 17.5),
        # A quarter of a second carries one more, or none.
        ([0.2], 1, 5.2),
        ([0.125], 2, 8.4),
        ([0.3], 0, 3.5),
        ([0.001], 64, 1048.6),
        # The better of both rounds.
        ([0.05, 0.02], 5, 52.4),
        ([0.05, 0.1], 5, 21.0),
    ],
)
def test_two_rounds_of_which_the_second_takes_a_quarter_of_a_second(clock, network, seconds, blocks, rate):
    line = Line(clock, seconds)
    assert network()._send(line) == rate
    more = [b"%d\n" % blocks, *["MiB"] * blocks] if blocks else []
    assert line.said == [BANDWIDTH_MAGIC, b"1\n", "MiB", *more, b"0\n"]


def test_a_clock_that_stands_still_divides_by_nothing(clock, network):
    assert network()._send(Line(clock, [0.0])) == 64 * MIB


def test_a_host_that_hangs_up_in_between_is_no_figure(clock, network):
    with pytest.raises(OSError, match="the other host closed the connection"):
        network()._send(Line(clock, [0.05], b""))


# ---------------------------------------------------------------- what comes in


@contextlib.contextmanager
def caller(network, *words):
    """Somebody who has said this to the host, and says no more."""
    here, there = socket.socketpair()
    with here:
        here.settimeout(5)
        here.sendall(b"".join(words))
        here.shutdown(socket.SHUT_WR)
        network._swallow(there)
        yield here


@pytest.mark.parametrize(
    ("words", "served"),
    [
        ((BANDWIDTH_MAGIC, b"0\n"), 1),
        ((b"GET / HTTP/1.1\n", b"0\n"), 0),
        ((BANDWIDTH_MAGIC, b"one\n"), 0),
        ((BANDWIDTH_MAGIC, b"1\n", b"cut"), 0),
        ((BANDWIDTH_MAGIC,), 0),
        ((), 0),
    ],
)
def test_only_who_measures_to_the_end_is_served(network, words, served):
    host = network()
    with caller(host, *words) as here:
        assert here.recv(9) == b"", "nothing was acknowledged"
    assert host.served == served


def test_bandwidth_between_two_hosts(network):
    first, second = network(), network(PEERS[0])
    second.port = first.listener.getsockname()[1]
    second._measure()
    assert second.results["b"]["bandwidth_mb_s"] > 10
    until = time.monotonic() + 5
    while not first.served and time.monotonic() < until:
        time.sleep(0.001)
    assert (first.served, second.served) == (1, 0)


def test_no_thread_keeps_the_module_from_its_end(network):
    host = network()
    with socket.create_connection(host.listener.getsockname()) as sock:
        sock.sendall(BANDWIDTH_MAGIC + b"0\n")
        while sock.recv(1):
            pass
        with socket.create_connection(host.listener.getsockname()):
            while not [one for one in threading.enumerate() if "_swallow" in one.name]:
                time.sleep(0.001)
            assert [one.name for one in threading.enumerate() if not one.daemon] == ["MainThread"]


# ---------------------------------------------------------------- who is reached, and when


class Refuses:
    """Stands in for socket.create_connection: so often is the port closed, then `answer` comes."""

    def __init__(self, clock, times, answer):
        self.clock, self.times, self.answer, self.calls = clock, times, answer, []

    def __call__(self, address, timeout):
        self.calls.append((*address, timeout))
        if len(self.calls) <= self.times:
            raise ConnectionRefusedError(111, "Connection refused")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_the_host_that_is_early_waits_for_the_other(clock, network, monkeypatch):
    answer = object()
    host = network()
    host.port = 23456
    refuses = Refuses(clock, 3, answer)
    monkeypatch.setattr(socket, "create_connection", refuses)
    assert host._connect("192.0.2.2") is answer
    assert [call[:2] for call in refuses.calls] == [("192.0.2.2", 23456)] * 4
    assert clock.waits == 3
    left = [call[2] for call in refuses.calls]
    assert left == sorted(left, reverse=True)
    assert left[0] == HostNetwork.PATIENCE


def test_it_does_not_wait_longer_than_its_patience(clock, network, monkeypatch):
    host = network()
    refuses = Refuses(clock, 10**6, None)
    monkeypatch.setattr(socket, "create_connection", refuses)
    with pytest.raises(ConnectionRefusedError):
        host._connect("192.0.2.2")
    assert HostNetwork.PATIENCE < clock.now - 1000 < HostNetwork.PATIENCE + 0.2
    assert min(call[2] for call in refuses.calls) == 0.5, "a connection needs some time, however late it is"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (TimeoutError("timed out"), "timed out"),
        (OSError(113, "No route to host"), "no route to host"),
        (OSError("Odd"), "odd"),
    ],
)
def test_a_host_that_is_not_reached_says_why_and_the_next_one_is_tried(clock, network, monkeypatch, fault, said):
    host = network(*PEERS)
    refuses = Refuses(clock, 0, fault)
    monkeypatch.setattr(socket, "create_connection", refuses)
    host._measure()
    assert host.results == {"b": {"error": said}, "c": {"error": said}}
    assert [call[0] for call in refuses.calls] == ["127.0.0.2", "127.0.0.3"]


def test_a_connection_that_stalls_is_told_from_one_that_is_refused(network, monkeypatch):
    monkeypatch.setattr(HostNetwork, "PATIENCE", 0.05)
    monkeypatch.setattr(HostNetwork, "STALLED", 0.05)
    with socket.create_server(("127.0.0.2", 0)) as silent:
        host = network(*PEERS)
        host.port = silent.getsockname()[1]
        host._measure()
    assert host.results["b"] == {"error": "stalled"} and "refused" in host.results["c"]["error"]


def test_a_port_that_is_taken_is_told_at_once_and_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(HostNetwork, "_measure", lambda self: self.results.clear())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = HostNetwork(port, PEERS).result()
    assert list(result) == ["b", "c"]
    assert all(one["error"].startswith(f"port {port}: Address already in use") for one in result.values())


# ---------------------------------------------------------------- the end


def test_the_result_has_what_takes_its_time_to_be_measured(monkeypatch):
    def measure(host):
        time.sleep(0.05)
        host.results["b"] = {"bandwidth_mb_s": 7.0}

    monkeypatch.setattr(HostNetwork, "_measure", measure)
    host = HostNetwork(0, PEERS[:1])
    host.served = 1
    assert host.result() == {"b": {"bandwidth_mb_s": 7.0}}


@pytest.mark.parametrize(("served", "waited"), [(2, 0.1), (1, HostNetwork.PATIENCE), (3, 0.1)])
def test_a_host_that_has_measured_still_serves_the_others(clock, monkeypatch, served, waited):
    """Until each of them has measured as well, or had the time to."""
    monkeypatch.setattr(HostNetwork, "_measure", lambda self: None)
    host = HostNetwork(0, PEERS)
    port = host.listener.getsockname()[1]
    clock.then[2] = lambda: setattr(host, "served", served)
    assert host.result() == {}
    assert waited <= round(clock.now - 1000, 3) < waited + 0.1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_host_measures_by_itself_what_it_is_told_to():
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    host = HostNetwork(port, [{"host": "b", "address": "127.0.0.1"}])
    assert host.result()["b"]["bandwidth_mb_s"] > 10
