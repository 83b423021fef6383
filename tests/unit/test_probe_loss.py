"""What is lost on the way to a peer: counted where it arrives, on loopback. Nothing here depends on how fast that is."""

from __future__ import annotations

import json
import socket
import struct

import pytest
from ddp_probe import checks, connections, tcp_info
from ddp_probe.listener import Listener
from ports import free_port
from probe_alone import Clock, alone
from waiting import until


@pytest.fixture
def net():
    """Rank 0, and the listener of rank 1 on loopback."""
    port = str(free_port())
    mine, other = alone(2, 0, PROBE_PORT=port), alone(2, 1, PROBE_PORT=port)
    listener = Listener(other.settings, "127.0.0.1", lambda: {"status": "busy"})
    mine.peers[1].address = "127.0.0.1"
    mine.peers[1].pair.update(path_mtu=1450, bandwidth_mb_s=400.0)
    yield mine, mine.peers[1], listener
    listener.tcp.close()
    listener.udp.close()


def dropping(monkeypatch, every):
    """Each so-manieth datagram that is sent is lost."""
    real, sent = socket.socket, []

    class Lossy(real):
        def sendto(self, data, address):
            sent.append(len(data))
            return len(data) if len(sent) % every == 0 else super().sendto(data, address)

    class Sockets:
        socket = Lossy

        def __getattr__(self, name):
            return getattr(socket, name)

    monkeypatch.setattr(checks.loss, "socket", Sockets())
    return sent


def test_all_datagrams_arrive_and_are_as_large_as_passes(net, monkeypatch):
    state, peer, _ = net
    sent = dropping(monkeypatch, 10**9)
    assert checks.loss.count_lost(state, peer, 0) == 0
    assert sent == [1450 - 28] * 1024


@pytest.mark.parametrize(("every", "lost"), [(50, 20), (10, 102), (1, 1024)])
def test_lost_datagrams_are_counted(net, monkeypatch, every, lost):
    state, peer, _ = net
    dropping(monkeypatch, every)
    assert checks.loss.count_lost(state, peer, 0) == lost


def test_each_turn_counts_by_itself(net, monkeypatch):
    state, peer, listener = net
    for turn in (0, 1):
        assert checks.loss.count_lost(state, peer, turn) == 0
    assert listener.counted == {(0, 0): 1024, (0, 1): 1024}


@pytest.mark.parametrize(
    ("turns", "told", "asked"), [([0, 99], 0, 1), ([99, 0, 1], 1, 3), ([9, 12, 0], 9, 3), ([10, 10, 10], 10, 3)]
)
def test_the_middle_of_three_turns_counts_if_the_first_lost_something(net, monkeypatch, turns, told, asked):
    state, peer, _ = net
    left = list(turns)
    monkeypatch.setattr(checks.loss, "count_lost", lambda state, peer, turn: left.pop(0))
    monkeypatch.setattr(checks.loss, "count_segments", lambda state, peer: None)
    checks.loss.measure_loss(state, peer, float("inf"))
    assert (peer.pair["datagrams"], peer.pair["datagrams_lost"]) == (1024, told)
    assert len(turns) - len(left) == asked
    assert "segments" not in peer.pair


@pytest.mark.parametrize(
    ("turns", "told"),
    [
        ([(6000, 29)], (6000, 29)),
        ([(6000, 30), (6000, 0), (6000, 40)], (6000, 30)),
        ([(6000, 600), (6000, 1), (6000, 2)], (6000, 2)),
        ([(6000, 600), None, None], (6000, 600)),
    ],
)
def test_so_do_segments_that_were_sent_again(net, monkeypatch, turns, told):
    state, peer, _ = net
    left = list(turns)
    monkeypatch.setattr(checks.loss, "count_lost", lambda *_: 0)
    monkeypatch.setattr(checks.loss, "count_segments", lambda *_: left.pop(0))
    checks.loss.measure_loss(state, peer, float("inf"))
    assert (peer.pair["segments"], peer.pair["segments_again"], left) == (*told, [])


def test_what_nobody_counts_is_not_kept(net):
    """A rank that there is not, and a turn that nobody asks for: whoever is in the network can send these."""
    state, _, listener = net
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for rank, turn in ((2, 0), (0, 3), (60000, 60000), (0, 0)):
            packet = struct.pack("!4sBHHH", b"DDPp", 4, rank, turn, 11)
            sock.sendto(packet, ("127.0.0.1", state.settings.port))
    until(lambda: listener.counted)
    assert listener.counted == {(0, 0): 1}


def test_when_time_is_over_nothing_is_begun(net, monkeypatch):
    state, peer, _ = net
    monkeypatch.setattr(checks.loss, "count_lost", lambda *_: pytest.fail("too late"))
    checks.loss.measure_loss(state, peer, 0.0)
    assert "datagrams" not in peer.pair


def test_when_time_is_over_one_turn_has_to_do(net, monkeypatch):
    state, peer, _ = net
    clock = Clock()

    def count(answer):
        def counted(*_):
            clock.now += 1
            return answer

        return counted

    monkeypatch.setattr(checks.loss, "count_lost", count(50))
    monkeypatch.setattr(checks.loss, "count_segments", count((100, 50)))
    monkeypatch.setattr(checks.loss, "time", clock)
    checks.loss.measure_loss(state, peer, 1000.5)
    assert (peer.pair["datagrams_lost"], peer.pair["segments_again"]) == (50, 50)


def test_a_peer_that_has_gone_leaves_nothing_to_tell(net):
    state, peer, listener = net
    listener.tcp.close()
    peer.address = "127.0.0.9"
    checks.loss.measure_loss(state, peer, float("inf"))
    assert "datagrams" not in peer.pair


def test_segments_are_counted_by_the_kernel(net):
    state, peer, _ = net
    sent, again = checks.loss.count_segments(state, peer)
    assert sent > 10 and again >= 0
    peer.pair["bandwidth_mb_s"] = 0
    assert checks.loss.count_segments(state, peer) is None


def test_a_kernel_that_tells_less_is_not_read():
    class Old:
        def getsockopt(self, *_):
            return bytes(104)

    class Older:
        def getsockopt(self, *_):
            raise OSError

        setsockopt = getsockopt

    assert tcp_info.segments(Old()) is tcp_info.segments(Older()) is None
    tcp_info.pace(Older(), 1e6)


def test_the_fields_of_tcp_info_are_where_the_kernel_has_them():
    raw = bytearray(232)
    struct.pack_into("=I", raw, 100, 7)
    struct.pack_into("=I", raw, 156, 99)

    class Kernel:
        def getsockopt(self, *named):
            assert named == (socket.IPPROTO_TCP, 11, 256)
            return bytes(raw)

    assert tcp_info.segments(Kernel()) == (99, 7)


@pytest.mark.parametrize(
    ("words", "address"),
    [
        ("0100007F", "127.0.0.1"),
        ("00000000000000000000000001000000", "::1"),
        ("0000000000000000FFFF00000301000A", "10.0.1.3"),
        ("000080FE00000000FF1BC10201004000", "fe80::2c1:1bff:40:1"),
    ],
)
def test_addresses_of_the_kernels_tables(words, address):
    """Which are written in the order of a little-endian machine here."""
    assert connections.address_of(words) == address


def test_a_peer_over_ipv6_loopback_is_no_other_network(monkeypatch):
    state = alone(2)
    state.address = "10.0.1.3"
    checks.group_records.check_connections(state, ["::1", "10.0.1.3"])
    assert [one["ok"] for one in state.report.records] == [True]
    checks.group_records.check_connections(state, ["fd00::5"])
    assert (state.report.records[-1]["ok"], state.report.records[-1]["observed"]) == (False, "? fd00::5")


def test_the_counting_needs_no_name_of_its_own(net):
    """A caller that asks for a count that nobody made gets 0."""
    state, _, _ = net
    with socket.create_connection(("127.0.0.1", state.settings.port), timeout=5) as sock:
        sock.sendall(json.dumps({"op": "counted", "rank": 5, "turn": 3}).encode() + b"\n")
        assert json.loads(sock.recv(100)) == {"counted": 0}


def test_a_slow_pair_is_told_to_the_child(monkeypatch):
    from ddp_probe import collectives

    sizes = {rate: collectives.size_for(rate, collectives.LARGE) for rate in (1000.0, 20.0, 19.9, 11.9, 1.2, 0.01)}
    mib = 2**20
    assert sizes == {1000.0: 16 * mib, 20.0: 16 * mib, 19.9: 16 * mib, 11.9: 8 * mib, 1.2: mib, 0.01: 65536}
    sizes = {rate: collectives.size_for(rate, collectives.HUGE) for rate in (1000.0, 268.0, 100.0, 20.0, 11.9)}
    assert sizes == {1000.0: 256 * mib, 268.0: 128 * mib, 100.0: 64 * mib, 20.0: 16 * mib, 11.9: 8 * mib}
