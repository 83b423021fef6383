"""What the probe measures, part by part: identity, clocks, bandwidth and the connections of a process."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.contract import LAYERS
from ddp_probe import checks, connections
from ddp_probe.contract import PROBED_LAYERS
from preflight_ranks import Ranks
from probe_alone import alone, everywhere


def test_the_probe_reports_the_judges_layers_from_the_fourth_on():
    assert {layer: name for layer, name in LAYERS.items() if layer >= 4} == PROBED_LAYERS


# ---------------------------------------------------------------- layer 4


def test_mounted_files_and_folders_are_not_the_images(tmp_path, monkeypatch):
    """Two hosts with different data in a volume have the same image."""
    (tmp_path / "code.py").write_text("1")
    alone = checks.identity.file_identity(str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "part.bin").write_text("2")
    (tmp_path / "secret.json").write_text("3")
    assert set(checks.identity.file_identity(str(tmp_path))["files"]) == {"code.py", "data/part.bin", "secret.json"}
    for mounted, left in (("data", {"code.py", "secret.json"}), ("secret.json", {"code.py", "data/part.bin"})):
        monkeypatch.setattr(checks.identity, "mount_points", lambda mounted=mounted: {str(tmp_path / mounted)})
        assert set(checks.identity.file_identity(str(tmp_path))["files"]) == left
    monkeypatch.setattr(
        checks.identity, "mount_points", lambda: {str(tmp_path / "data"), str(tmp_path / "secret.json")}
    )
    assert checks.identity.file_identity(str(tmp_path)) == alone


def test_mounts_are_those_of_the_kernel():
    with open("/proc/self/mounts", encoding="utf-8") as stream:
        wanted = {line.split()[1].replace("\\040", " ") for line in stream}
    assert "/proc" in wanted
    assert checks.identity.mount_points() == wanted


# ---------------------------------------------------------------- layer 1


@pytest.fixture
def pair(tmp_path):
    made = Ranks(tmp_path, 2)
    yield made
    made.stop()


@pytest.mark.parametrize("ahead", [0.0, -7.0])
def test_a_slow_answer_is_no_clock_that_is_wrong(pair, ahead):
    """The stamp was made in the middle of the round trip, whatever that takes."""

    def slow(real, rank):
        time.sleep(0.02)
        stamp = time.time() + ahead
        time.sleep(0.02)
        return {**real(), "time": stamp}

    pair[1].plant(pair[1].package.state.State, "shown", slow)
    clock = pair.run()[0]["probe"]["clock"]["1"]
    assert 0.04 <= clock["round_trip_s"] < 0.5
    assert clock["offset_s"] == pytest.approx(ahead, abs=0.01)


# ---------------------------------------------------------------- bandwidth of a connection


def measured(seconds, first=400.0):
    """What `measure_pairs` makes of transfers that take so many seconds, each of 8 MiB."""
    one = alone(2)
    one.peers[1].pair["bandwidth_mb_s"] = first
    left = list(seconds)
    sizes = []
    now = [0.0]

    def bulk(state, peer, payload, checksum, timeout):
        assert (state, peer) == (one, one.peers[1])
        sizes.append(len(payload))
        assert not checksum
        now[0] += left[0]
        return left.pop(0), {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks.path, "bulk", bulk)
        everywhere(patch, "time", SimpleNamespace(monotonic=lambda: now[0]))
        checks.pairs.measure_pairs(one)
    return one.peers[1].pair, sizes, left


MIB8 = 8 * 1024 * 1024 / 1e6


def test_bandwidth_is_the_best_of_three_that_agree():
    pair, sizes, left = measured([MIB8 / 100, MIB8 / 96, MIB8 / 94, 1.0])
    assert pair["bandwidth_mb_s"] == pytest.approx(100, abs=0.1)
    assert pair["bandwidth_steady"] == 0.96
    assert pair["bandwidth_bytes"] == 8388608
    assert (sizes, left) == ([8388608] * 3, [1.0])


def test_measures_that_differ_are_repeated():
    pair, _, left = measured([MIB8 / 100, MIB8 / 40, MIB8 / 80, MIB8 / 99, MIB8 / 98, 1.0])
    assert pair["bandwidth_mb_s"] == pytest.approx(100, abs=0.1)
    assert pair["bandwidth_steady"] == 0.98
    assert left == [1.0]


def test_a_busy_moment_is_told_by_measures_that_never_agree():
    pair, _, left = measured([2.0, 4.0, 2.4, 1.0])
    assert pair["bandwidth_mb_s"] == pytest.approx(MIB8 / 2, abs=0.1)
    assert (pair["bandwidth_steady"], left) == (0.0, [2.4, 1.0])
    pair, _, left = measured([1.0, 3.0, 2.0, 1.0])
    assert (pair["bandwidth_steady"], left) == (0.5, [1.0])


def test_what_is_fast_needs_no_agreement():
    _, _, left = measured([MIB8 / 900, MIB8 / 300, MIB8 / 200, 1.0])
    assert left == [1.0]


def test_a_slow_connection_is_measured_with_less():
    _, sizes, _ = measured([1.0, 1.0, 1.0], first=19.9)
    assert sizes == [1048576] * 3


@pytest.mark.parametrize(
    ("rates", "enough"),
    [
        ([100.0, 100.0], False),
        ([100.0, 95.0, 90.0], True),
        ([100.0, 95.0, 89.0], False),
        ([10.0, 100.0, 95.0, 90.0], True),
        ([200.0, 20.0, 30.0], True),
        ([199.0, 20.0, 30.0], False),
    ],
)
def test_three_that_agree_are_enough(rates, enough):
    assert checks.pairs.settled(rates) is enough


# ---------------------------------------------------------------- layer 11


def test_connections_are_this_processs_own_and_established():
    client = (
        "import socket, sys; s = socket.create_connection(('127.0.0.5', int(sys.argv[1])), source_address=('127.0.0.7', 0)); "
        "print(1, flush=True); sys.stdin.read()"
    )
    with (
        socket.create_server(("127.0.0.5", 0)) as server,
        socket.create_server(("127.0.0.8", 0)),  # listens only
    ):
        port = server.getsockname()[1]
        assert not set(connections.own_connections()) & {"127.0.0.5", "127.0.0.6", "127.0.0.7", "127.0.0.8"}
        other = subprocess.Popen(
            [sys.executable, "-c", client, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert other.stdout
            other.stdout.readline()
            # It is in the table, and another process holds it.
            assert not set(connections.own_connections()) & {"127.0.0.5", "127.0.0.7"}
            with server.accept()[0], socket.create_connection(("127.0.0.5", port), source_address=("127.0.0.6", 0)):
                assert set(connections.own_connections()) >= {"127.0.0.5", "127.0.0.6"}
                assert not set(connections.own_connections()) & {"127.0.0.7", "127.0.0.8"}
        finally:
            other.communicate()


def test_a_connection_of_ipv4_inside_of_ipv6_is_told():
    with (
        socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server,
        socket.create_connection(("127.0.0.9", server.getsockname()[1])),
        server.accept()[0],
    ):
        assert "127.0.0.9" in connections.own_connections()
