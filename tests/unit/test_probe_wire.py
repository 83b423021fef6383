"""What the ranks say to each other: lines over TCP, datagrams, and the size that passes."""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
import time
from types import SimpleNamespace

import pytest
from ddp_probe import checks
from ddp_probe.listener import Listener
from ddp_probe.wire import ask, describe, read_line, send_line
from ports import free_port
from probe_alone import Clock, Instead, Wire, alone, everywhere
from waiting import until

MIB = 1024 * 1024


# ---------------------------------------------------------------- lines


def test_a_message_is_one_short_line():
    wire = Wire()
    send_line(wire, {"op": "hello", "rank": 1})
    assert wire.sent == b'{"op":"hello","rank":1}\n'


def test_lines_are_read_whatever_the_packets():
    wire, rest = Wire(b'{"a"', b":1}\n{", b'"b":2}\n{"c":3}\nrest'), bytearray()
    assert [read_line(wire, rest) for _ in range(3)] == [{"a": 1}, {"b": 2}, {"c": 3}]
    assert (rest, len(wire.asked)) == (b"rest", 3)
    with pytest.raises(ConnectionError, match="the other side closed the connection"):
        read_line(wire, rest)


def line_of(length):
    return json.dumps({"a": "x" * (length - 10)}).encode() + b"\n"


@pytest.mark.parametrize("extra", [b"", b"more"])
def test_a_line_of_8192_bytes_is_read(extra):
    assert len(line_of(8192)) == 8192
    assert len(read_line(Wire(line_of(8192) + extra), bytearray())["a"]) == 8182


def test_a_longer_line_is_not_the_probes():
    with pytest.raises(ValueError, match="not a line of the probe"):
        read_line(Wire(line_of(8193)), bytearray())
    with pytest.raises(ValueError, match="not a line of the probe"):
        read_line(Wire(b"x" * 8192, b"x", b"\n"), bytearray())
    with pytest.raises(ConnectionError):
        read_line(Wire(b"x" * 8192), bytearray())


@pytest.mark.parametrize("words", [b"[]\n", b"1\n", b"SSH-2.0\n", b"\n", b"\xff\xfe\n", b"[" * 8000 + b"\n"])
def test_what_is_no_message_is_bad_talk(words):
    with pytest.raises(ValueError):
        read_line(Wire(words), bytearray())


def test_a_question_names_who_asks(monkeypatch):
    wire, calls = Wire(b'{"status":"busy"}\n'), []

    def connect(*args, **more):
        calls.append((args, more))
        return wire

    everywhere(monkeypatch, "socket", Instead(socket, create_connection=connect))
    answer = ask(alone(3, 2, PROBE_PORT="7").settings, "10.0.1.3", {"op": "status"}, timeout=1.5)
    assert answer == {"status": "busy"}
    assert (calls, wire.timeouts, wire.closed) == ([((("10.0.1.3", 7),), {"timeout": 1.5})], [1.5], True)
    assert json.loads(wire.sent) == {"rank": 2, "op": "status"}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "refused"),
        (TimeoutError(110, "Connection timed out"), "timed out"),
        (TimeoutError("timed out, really"), "timed out"),
        (OSError(113, "No route to host"), "no route to host"),
        (ConnectionError("the other side closed the connection"), "the other side closed the connection"),
        (ValueError("x" * 300), "x" * 200),
        (ValueError(), "ValueError"),
    ],
)
def test_a_failed_connection_is_told_in_words(error, words):
    assert describe(error) == words


# ---------------------------------------------------------------- the listener


@pytest.fixture
def listener():
    """That of rank 1, on 127.0.0.1."""
    settings = alone(2, 1, PROBE_PORT=str(free_port())).settings
    made = Listener(settings, "127.0.0.1", lambda: {"status": "busy"})
    yield made
    made.tcp.close()
    made.udp.close()


def caller(listener):
    return socket.create_connection(("127.0.0.1", listener.settings.port), timeout=5)


def test_it_says_who_it_is_how_it_is_and_when(listener):
    rest = bytearray()
    with caller(listener) as sock:
        for rank in (0, 3):
            before = time.time()
            send_line(sock, {"op": "hello", "rank": rank})
            answer = read_line(sock, rest)
            assert before <= answer.pop("time") <= time.time()
            assert answer == {"rank": 1, "status": "busy"}
    assert (listener.callers, listener.goodbyes) == ({0, 3}, set())
    with caller(listener) as sock:
        send_line(sock, {"op": "bye", "rank": 3})
        assert read_line(sock, rest)["status"] == "busy"
        send_line(sock, {"op": "bye"})
        assert read_line(sock, rest)["status"] == "busy"
    assert (listener.callers, listener.goodbyes) == ({0, 3}, {3, -1})


@pytest.mark.parametrize(
    "words",
    [b"GET / HTTP/1.1\n", b'{"op":"bulk","size":0}\n', b'{"op":"bulk"}\n', b'{"op":"bulk","size":null}\n',
     b'{"op":"bye","rank":null}\n', b'{"op":"bye","rank":"x"}\n', b"[" * 8000 + b"\n"],
)  # fmt: skip
def test_whoever_speaks_otherwise_is_hung_up_on(listener, words, monkeypatch):
    died = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    with caller(listener) as sock:
        sock.sendall(words)
        assert sock.recv(10) == b""
    with caller(listener) as sock:
        send_line(sock, {})
        assert read_line(sock, bytearray())["rank"] == 1
    assert died == []


def test_a_bulk_is_hashed_and_the_talk_goes_on(listener):
    data = bytes(range(256)) * 1000
    rest = bytearray()
    with caller(listener) as sock:
        head = json.dumps({"op": "bulk", "rank": 0, "size": len(data), "checksum": True}).encode() + b"\n"
        sock.sendall(head + data + b'{"op":"hello","rank":0}\n')
        assert read_line(sock, rest) == {"size": 256000, "sha256": hashlib.sha256(data).hexdigest()}
        assert read_line(sock, rest)["rank"] == 1


def test_a_call_is_answered_without_delay(listener):
    """Small answers would wait for each other, and a caller that hangs would hold a thread for ever."""
    wire = Wire(b'{"op":"hello"}\n')
    listener._talk(wire)
    assert (wire.options, wire.timeouts, wire.closed) == ([(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)], [20], True)


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize(
    ("size", "rest", "blocks", "asked", "left"),
    [
        (4, b"abcd", [], [], b""),
        (4, b"abcdef", [], [], b"ef"),
        (4, b"ab", [b"c", b"d"], [2, 1], b""),
        (1, b"", [b"a"], [1], b""),
        (MIB + 3, b"a", [b"b" * MIB, b"cd"], [MIB, 2], b""),
    ],
)
def test_a_bulk_is_taken_to_its_end_and_no_further(listener, checksum, size, rest, blocks, asked, left):
    whole = (rest + b"".join(blocks))[:size]
    wire, kept = Wire(*blocks), bytearray(rest)
    answer = listener._swallow(wire, kept, {"size": size, "checksum": checksum})
    assert answer == {"size": size, "sha256": hashlib.sha256(whole).hexdigest() if checksum else None}
    assert (wire.asked, kept) == (asked, left)


def test_a_bulk_that_ends_early_is_an_error(listener):
    with pytest.raises(ConnectionError, match="closed"):
        listener._swallow(Wire(b"ab"), bytearray(), {"size": 3})


@pytest.mark.parametrize(("size", "fine"), [(-1, False), (0, False), (64 * MIB, True), (64 * MIB + 1, False)])
def test_a_bulk_is_64_mib_at_most(listener, size, fine):
    with pytest.raises(ConnectionError if fine else ValueError, match="closed" if fine else "size"):
        listener._swallow(Wire(), bytearray(), {"size": size})


def datagram(kind, rank=0, turn=7, size=13, magic=b"DDPp", length=None):
    return struct.pack("!4sBHHH", magic, kind, rank, turn, size).ljust(size if length is None else length, b"\0")


def test_datagrams_are_counted_and_those_of_the_right_size_answered(listener):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", listener.settings.port))
        sock.settimeout(5)
        sock.send(b"x")  # too short
        sock.send(datagram(2, magic=b"DDPx"))
        sock.send(datagram(1, 5, size=11))  # a hello
        sock.send(datagram(2, 3, size=100, length=99))
        sock.send(datagram(2, 3, size=100, length=101))
        sock.send(datagram(2, 3, turn=9, size=100))
        assert sock.recv(100) == datagram(3, 1, 9, 100, length=11)
        sock.send(datagram(2, 3, turn=2, size=9000))
        assert sock.recv(100) == datagram(3, 1, 2, 9000, length=11)
    assert listener.heard == {5: 1, 3: 4}


def test_a_port_may_be_taken_again_at_once_and_holds_many_callers(listener):
    assert listener.tcp.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
    assert listener.tcp.getsockname() == listener.udp.getsockname() == ("127.0.0.1", listener.settings.port)


class Listening(Wire):
    """Stands in for one of the listener's sockets: this happens one after the other, then it is closed."""

    def __init__(self, *happens):
        super().__init__()
        self.happens = list(happens)
        self.answers = []

    def bind(self, address):
        self.address = address

    def listen(self, waiting):
        self.waiting = waiting

    def accept(self):
        self.open = bool(self.happens)
        one = self.happens.pop(0) if self.happens else OSError(9, "Bad file descriptor")
        if isinstance(one, Exception):
            raise one
        return one, ("10.0.1.4", 1)

    def recvfrom(self, size):
        assert size == 65535
        return self.accept()

    def sendto(self, packet, address):
        self.answers.append((packet, address))

    def fileno(self):
        return 0 if self.open else -1


def listening(monkeypatch, tcp, udp):
    """A listener over these sockets, which has come to their end."""
    before = set(threading.enumerate())
    left = [tcp, udp]
    everywhere(monkeypatch, "socket", Instead(socket, socket=lambda *kind: left.pop(0)))
    made = Listener(alone(PROBE_PORT="7").settings, "10.0.1.3", dict)
    until(lambda: set(threading.enumerate()) <= before)
    return made


def test_a_burst_of_callers_and_datagrams_is_not_lost_for_lack_of_room(monkeypatch):
    """The kernel grants less without a right; this is what is asked for."""
    tcp, udp = Listening(), Listening()
    listening(monkeypatch, tcp, udp)
    assert (tcp.waiting, tcp.address, udp.address) == (128, ("10.0.1.3", 7), ("10.0.1.3", 7))
    assert (socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB) in udp.options


def test_an_error_of_one_caller_does_not_end_the_listening(monkeypatch):
    gone, hello = OSError(103, "Software caused connection abort"), b'{"op":"hello","rank":2}\n'
    first, second = Wire(hello), Wire(hello)
    udp = Listening(gone, b"x", datagram(2, 1, 7, 11), gone, datagram(2, 2, 8, 11))
    made = listening(monkeypatch, Listening(first, gone, second), udp)
    assert b'"rank":0' in first.sent and b'"rank":0' in second.sent
    assert made.heard == {1: 1, 2: 1}
    assert udp.answers == [(datagram(3, 0, turn, 11), ("10.0.1.4", 1)) for turn in (7, 8)]


# ---------------------------------------------------------------- the size that passes


@pytest.mark.parametrize(
    ("mtu", "top", "step"), [(1500, 1500, 27), (None, 1500, 27), (9216, 9216, 220), (65536, 9216, 220)]
)
def test_the_largest_packet_that_passes_is_found(monkeypatch, mtu, top, step):
    one = alone()
    one.mtu = mtu
    for passes in (400, 401, 800, 1199, 1450, top - 2, top - 1):
        bursts = []

        def burst(state, peer, turn, sizes, passes=passes, bursts=bursts):
            bursts.append((turn, sizes))
            return {size for size in sizes if size <= passes}

        monkeypatch.setattr(checks.path, "sized_burst", burst)
        assert checks.path.path_mtu(one, one.peers[1]) == passes
        low = 400 + (passes - 400) // step * step
        assert bursts == [
            (1, [400, top]), (2, list(range(400, top, step))), (3, list(range(low, min(low + step + 1, top)))),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("mtu", "passes", "found", "bursts"),
    [
        (1500, 1500, 1500, [(1, [400, 1500])]),
        (1500, 399, None, [(1, [400, 1500])]),
        (300, 1500, 300, [(1, [300])]),
        (800, 410, 410, [(1, [400, 800]), (2, list(range(400, 800, 16))), (3, list(range(400, 417)))]),
        (401, 400, 400, [(1, [400, 401]), (2, [400]), (3, [400])]),
    ],
)
def test_few_packets_are_sent_where_few_tell_all(monkeypatch, mtu, passes, found, bursts):
    one, sent = alone(), []
    one.mtu = mtu

    def burst(state, peer, turn, sizes):
        sent.append((turn, sizes))
        return {size for size in sizes if size <= passes}

    monkeypatch.setattr(checks.path, "sized_burst", burst)
    assert checks.path.path_mtu(one, one.peers[1]) == found
    assert sent == bursts


class Path:
    """Stands in for a UDP socket and the way to a peer: `passes(size, attempt)` says which IP packets are acknowledged."""

    def __init__(self, monkeypatch, passes, stray=()):
        self.clock = Clock()
        self.passes = passes
        self.options = []
        self.sent = []
        self.answers = list(stray)
        everywhere(monkeypatch, "time", self.clock)
        everywhere(monkeypatch, "select", SimpleNamespace(select=self.select))
        everywhere(monkeypatch, "socket", Instead(socket, socket=lambda *kind: self))
        self.waits = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def setsockopt(self, *option):
        self.options.append(option)

    def setblocking(self, blocking):
        self.options.append(blocking)

    def sendto(self, packet, address):
        magic, kind, rank, turn, size = struct.unpack_from("!4sBHHH", packet)
        assert (magic, kind, rank, size) == (b"DDPp", 2, 0, len(packet))
        assert set(packet[11:]) <= {0}
        assert address == ("10.0.1.4", 7)
        whole = len(packet) + 28
        self.sent.append(whole)
        passed = self.passes(whole, self.sent.count(whole))
        if passed is None:
            raise OSError(90, "Message too long")
        if passed:
            self.answers.append(datagram(3, 1, turn, size, length=11))

    def select(self, read, write, failed, wait):
        assert (read, write, failed) == ([self], [], [])
        self.waits.append(round(wait, 3))
        if self.answers:
            self.clock.now += 0.001
            return read, [], []
        self.clock.now += wait
        return [], [], []

    def recv(self, size):
        assert size == 64
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def burst(monkeypatch, sizes, passes, stray=()):
    path = Path(monkeypatch, passes, stray)
    one = alone(PROBE_PORT="7")
    one.peers[1].address = "10.0.1.4"
    began = path.clock.now
    heard = checks.path.sized_burst(one, one.peers[1], 2, sizes)
    return path, heard, round(path.clock.now - began, 2)


def test_all_that_pass_are_told_after_one_round(monkeypatch):
    path, heard, seconds = burst(monkeypatch, [400, 1500], lambda size, attempt: True)
    assert (path.sent, heard, seconds) == ([400, 1500], {400, 1500}, 0.0)
    # IP_MTU_DISCOVER, IP_PMTUDISC_PROBE: nothing on the way may cut it into pieces.
    assert path.options == [(socket.IPPROTO_IP, 10, 3), False]
    assert path.waits[0] == 0.4


def test_what_is_lost_is_sent_three_times(monkeypatch):
    path, heard, seconds = burst(
        monkeypatch, [400, 800, 1500], lambda size, attempt: size == 400 or attempt == 2 and size == 800
    )
    assert (path.sent, heard) == ([400, 800, 1500, 800, 1500, 1500], {400, 800})
    assert seconds == 1.2


def test_what_does_not_fit_the_own_interface_is_left_out(monkeypatch):
    path, heard, _ = burst(monkeypatch, [1500, 400], lambda size, attempt: True if size == 400 else None)
    assert (path.sent, heard) == ([1500, 400, 1500, 1500], {400})


def test_other_datagrams_are_no_acknowledgements(monkeypatch):
    stray = [
        ConnectionRefusedError(111, "Connection refused"), b"x", datagram(3, 1, 2, 372, b"DDPx", 11),
        datagram(2, 1, 2, 372, length=11), datagram(3, 1, 1, 372, length=11),
    ]  # fmt: skip
    path, heard, _ = burst(monkeypatch, [400, 800], lambda size, attempt: size == 800, stray)
    # What comes after them is heard in the same round.
    assert (path.sent, heard) == ([400, 800, 400, 400], {800})
