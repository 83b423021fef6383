"""Faults planted in one rank of a real probe: that layer, that rank and that peer fail, in the table and in preflight.json."""

from __future__ import annotations

import hashlib
import os
import socket
import time

import pytest
from preflight_ranks import Ranks, clock_that_is, program


@pytest.fixture
def ranks(tmp_path):
    made = []

    def make(*args, **env):
        made.append(Ranks(tmp_path, *args, **env))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def test_ranks_that_are_well(ranks, judged):
    trio = ranks()
    reports = trio.run()
    for one in reports:
        assert [record for record in one["probe"]["records"] if record["ok"] is not True] == []
        others = {str(other) for other in range(3) if other != one["rank"]}
        assert set(one["probe"]["pairs"]) == set(one["probe"]["clock"]) == set(one["probe"]["heard"]) == others
        assert one["probe"]["compute"]["cores"] == os.cpu_count()
    # Several ranks in one process share its turns: which of them sends faster says nothing.
    verdict = judged(reports, straggler_factor=0).passes()
    assert verdict.file["bus_bandwidth"] == 1000.0
    assert [trio[rank].state.status for rank in range(3)] == ["done"] * 3


def test_an_image_without_the_compiler_that_a_script_may_want(ranks, judged, tmp_path):
    trio = ranks(CXX="no-such-compiler")
    (tmp_path / "files/train.py").write_text("model = torch.compile(model)\n")
    (remark,) = judged(trio.run(), straggler_factor=0).passes().file["remarks"]
    assert remark["observed"].startswith("train.py mentions torch.compile, and the image has no no-such-compiler")


@pytest.mark.parametrize("ahead", [30.0, -30.0])
def test_a_clock_that_is_wrong(ranks, judged, ahead):
    trio = ranks()
    trio[1].everywhere("time", clock_that_is(ahead))
    found = judged(trio.run(), straggler_factor=0).fails(1, (0, 1), (1, 0), (1, 2), (2, 1), check="clock skew")
    assert [one["observed"] for one in found] == [
        f"host2 is {ahead:+.1f} s off",
        f"host1 is {-ahead:+.1f} s off",
        f"host3 is {-ahead:+.1f} s off",
        f"host2 is {ahead:+.1f} s off",
    ]
    assert "chrony" in found[0]["hint"]


@pytest.mark.parametrize(
    ("interfaces", "value", "said"),
    [
        # A prefix fits both, and NCCL would take both.
        ({"eth0": "127.0.0.1", "eth1": "172.18.0.3"}, "eth", "eth, which is eth0, eth1 (it also stands for eth1, which is not in"),
        ({"eth0": "127.0.0.1", "eth01": "172.18.0.3"}, "eth0", "eth0, which is eth0, eth01 (it also stands for eth01,"),
        ({"eth0": "127.0.0.1", "eth1": "172.18.0.3"}, "eth1", "eth1 (interfaces: eth0 127.0.0.1, eth1 172.18.0.3)"),
        ({"eth0": "127.0.0.1", "eth1": "172.18.0.3"}, "^eth0", "^eth0, which is eth1 (interfaces:"),
        ({"eth0": "127.0.0.1", "eth1": "172.18.0.3"}, "ib", "ib, which no interface matches (interfaces:"),
    ],
)  # fmt: skip
def test_an_interface_that_is_not_the_trainings_alone(ranks, judged, interfaces, value, said):
    trio = ranks()
    trio[1].package.checks.interface.interfaces = lambda: [
        {"name": name, "address": address, "mtu": 65536} for name, address in interfaces.items()
    ]
    trio[1].env.update(NCCL_SOCKET_IFNAME=value, GLOO_SOCKET_IFNAME="eth0")
    found = judged(trio.run()).fails(6, (1, None), check="NCCL_SOCKET_IFNAME")
    assert found[0]["observed"].startswith(said)
    assert found[0]["expected"] == "eth0"
    assert "set training_interface to eth0: NCCL_SOCKET_IFNAME on host2 leads elsewhere" in found[0]["hint"]


def test_an_interface_whose_name_begins_as_another_is_taken_exactly(ranks, judged):
    trio = ranks()
    for one in trio:
        one.package.checks.interface.interfaces = lambda: [
            {"name": "eth0", "address": "127.0.0.1", "mtu": 65536},
            {"name": "eth01", "address": "172.18.0.3", "mtu": 1500},
        ]
        one.env.update(NCCL_SOCKET_IFNAME="=eth0", GLOO_SOCKET_IFNAME="eth0")
    judged(trio.run(), straggler_factor=0).passes()


@pytest.mark.parametrize(
    ("versions", "layer", "check", "reason"),
    [
        ({"nccl": None, "gpus": 1}, 4, "nccl", "set training_backend to gloo"),
        ({"nccl": "2.27.5", "gpus": 0}, 5, "gpu", "no GPU is visible in the task on host2"),
    ],
)
def test_a_torch_that_cannot_do_what_is_asked_of_it(ranks, judged, versions, layer, check, reason):
    """Reports stand in for a GPU here."""
    trio = ranks()
    for one in trio:
        one.torch["versions"].update(nccl="2.27.5", gpus=1)
    trio[1].torch["versions"].update(versions)
    trio[1].env["PROBE_BACKEND"] = "nccl"
    reports = trio.run()
    for one in reports:
        one["probe"]["identity"]["nccl"] = None  # what differs between the ranks is another finding
    found = judged(reports, backend="gloo").fails(layer, (1, None), check=check)
    assert reason in found[0]["hint"]


@pytest.mark.parametrize(("address", "fine"), [("127.0.0.1", True), ("172.18.0.3", False)])
def test_gloo_goes_by_the_host_name_where_nothing_else_is_said(ranks, judged, address, fine):
    class Names:
        """Stands in for the module `socket` on a host whose name leads there."""

        gethostbyname = staticmethod(lambda name: address)

        def __getattr__(self, name):
            return getattr(socket, name)

    trio = ranks()
    trio[1].everywhere("socket", Names())
    trio[1].env["GLOO_SOCKET_IFNAME"] = ""
    verdict = judged(trio.run(), straggler_factor=0)
    if fine:
        verdict.passes()
    else:
        found = verdict.fails(6, (1, None), check="GLOO_SOCKET_IFNAME")
        assert found[0]["observed"].startswith("unset, the host name resolves to 172.18.0.3")


def test_gloo_takes_no_prefixes(ranks, judged):
    trio = ranks()
    trio[1].env["GLOO_SOCKET_IFNAME"] = "l"
    found = judged(trio.run()).fails(6, (1, None), check="GLOO_SOCKET_IFNAME")
    assert found[0]["observed"].startswith("l, which no interface matches (")


def test_two_networks_with_one_subnet(ranks, judged):
    trio = ranks()
    trio[2].package.checks.interface.interfaces = lambda: [
        {"name": "eth0", "address": "127.0.0.1", "mtu": 65536},
        {"name": "eth1", "address": "127.0.0.9", "mtu": 1500},
    ]
    trio[2].env.update(NCCL_SOCKET_IFNAME="", GLOO_SOCKET_IFNAME="eth0")
    found = judged(trio.run()).fails(6, (2, None), check="interface")
    assert "collides with another network of host3" in found[0]["hint"]


def test_no_address_in_the_subnet(ranks, judged):
    trio = ranks()
    trio[1].env["PROBE_SUBNET"] = "198.51.100.0/24"
    # Its peers are outside of it as well, but layer 6 comes first.
    found = judged(trio.run()).fails(6, (1, None), check="interface")
    assert found[0]["expected"] == "an address in 198.51.100.0/24"
    assert "the task on host2 is not attached to ddp-net" in found[0]["hint"]


def test_a_name_that_leads_out_of_the_subnet(ranks, judged):
    trio = ranks(addresses=["127.0.0.1", "127.0.0.2", "127.0.0.9"], PROBE_SUBNET="127.0.0.0/29")
    found = judged(trio.run()).fails(7, (0, 2), (1, 2), check="peer name")
    for one, host in zip(found, ("host1", "host2"), strict=True):
        assert one["observed"] == "127.0.0.9: 127.0.0.9 (not in 127.0.0.0/29)"
        assert one["hint"].startswith(f"the name of rank 2 leads {host} to an address outside of ddp-net")


def test_the_own_name_that_leads_to_another_host(ranks, judged):
    trio = ranks()
    trio[1].package.checks.names.is_local = lambda address: False
    trio[1].env["PROBE_APPEAR_TIMEOUT"] = "0.5"
    found = judged(trio.run()).fails(7, (1, None), check="own name")
    assert found[0]["observed"] == "127.0.0.2: 127.0.0.2 (not only this task's address)"
    assert "dnsrr" in found[0]["hint"]


def test_another_rank_behind_a_name(ranks, judged):
    trio = ranks()
    trio[0].env.update(PROBE_PEERS="127.0.0.1,127.0.0.2,127.0.0.2", PROBE_APPEAR_TIMEOUT="1")
    found = judged(trio.run()).fails(8, (0, 2), check="tcp")
    assert found[0]["observed"] == "rank 1 answers under the name 127.0.0.2"
    assert "the name of rank 2 leads to another rank's task" in found[0]["hint"]


def test_another_program_behind_a_name(ranks, judged):
    """Something listens at the probe's port: that alone is no rank."""
    trio = ranks(PROBE_APPEAR_TIMEOUT="1")
    trio[2].plant(trio[2].package.checks.reach, "start_listener", lambda real, state: None)
    port = int(trio[2].env["PROBE_PORT"])
    with program("127.0.0.3", port, b'{"status": "ready", "time": 1}\n'):
        found = judged(trio.run()).fails(8, (0, 2), (1, 2), check="tcp")
    assert found[0]["observed"] == "rank None answers under the name 127.0.0.3"


def test_a_rank_that_does_not_say_its_time(ranks, judged):
    trio = ranks(PROBE_APPEAR_TIMEOUT="1")
    trio[2].plant(trio[2].package.state.State, "shown", lambda real, state: {**real(), "time": None})
    found = judged(trio.run()).fails(8, (0, 2), (1, 2), check="tcp")
    assert found[0]["observed"] == "connected, no answer (an answer without its time)"
    assert "the task on host3 accepts connections but does not answer" in found[0]["hint"]


@pytest.mark.parametrize("position", [0, 1048575])
def test_a_byte_of_the_mebibyte_that_arrives_changed(ranks, judged, position):
    trio = ranks()
    path = trio[0].package.checks.path
    real = path.bulk

    def bulk(state, peer, payload, checksum, timeout):
        if peer.rank == 2 and checksum:
            changed = bytearray(payload)
            changed[position] ^= 1
            payload = bytes(changed)
        return real(state, peer, payload, checksum, timeout)

    path.bulk = bulk
    reports = trio.run()
    found = judged(reports).fails(9, (0, 2), check="path mtu")
    assert found[0]["observed"].startswith("the data arrived changed (")
    for one in reports:
        left = {record["detail"] for record in one["probe"]["records"] if record["layer"] > 10}
        who = (
            "rank 0 (127.0.0.1) failed at layer 9 (path MTU)"
            if one["rank"]
            else "layer 9 (path MTU) failed on this rank"
        )
        assert left == {f"not reached: {who}"}


def test_a_mebibyte_without_a_checksum_proves_nothing(ranks, judged):
    trio = ranks()
    listener = trio[1].package.listener.Listener
    real = listener._swallow
    listener._swallow = lambda *args: {**real(*args), "sha256": None}
    judged(trio.run()).fails(9, (0, 1), (2, 1), check="path mtu")


def test_a_byte_that_is_changed_once_is_sent_again(ranks, judged):
    trio = ranks()
    listener = trio[1].package.listener.Listener
    real = listener._swallow
    left = [1]

    def swallow(*args):
        answer = real(*args)
        if left and answer["sha256"]:
            left.pop()
            answer["sha256"] = hashlib.sha256(b"other").hexdigest()
        return answer

    listener._swallow = swallow
    judged(trio.run(), straggler_factor=0).passes()
    assert left == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "another program answers: 'SSH-2.0-OpenSSH_9.2'"),
        (b"ddp-probe masterpiece\n", "another program answers: 'ddp-probe masterpiece'"),
    ],
)
def test_another_program_at_the_master_port(ranks, judged, words, said):
    trio = ranks()
    port = trio[0].package.checks.master_port
    trio[0].plant(port, "open_master_port", lambda real, state: state.report.add(10, "master port free", True))
    for one in trio[1:]:

        def hurry(real, state):
            state.work_deadline = time.monotonic() + 0.4
            real()

        one.plant(one.package.checks.master_port, "check_master_port", hurry)
    with program("127.0.0.1", trio.master_port, words):
        found = judged(trio.run()).fails(10, (1, 0), (2, 0), check="master port reachable")
    for one in found:
        assert one["observed"] == f"127.0.0.1:{trio.master_port} {said}"
        assert "does not reach port 12355 of rank 0 on host1" in one["hint"]


def test_a_master_port_that_is_taken(ranks, judged):
    trio = ranks()
    with program("127.0.0.1", trio.master_port, b"SSH-2.0-OpenSSH_9.2\r\n"):
        reports = trio.run()
    verdict = judged(reports, master_port=trio.master_port)
    assert [(one["rank"], one["peer"], one["check"]) for one in verdict.file["findings"]] == [
        (0, None, "master port free"),
        (1, "host1", "master port reachable"),
        (2, "host1", "master port reachable"),
    ]
    assert verdict.shown()[10] == verdict.written()[10] == ["FAIL"] * 3
    # What rank 0 says of itself reaches the others with the right number.
    for one in verdict.file["findings"][1:]:
        assert one["observed"].endswith("; rank 0 failed at layer 10 (master port)")


def test_a_process_group_that_talks_over_another_network(ranks, judged):
    trio = ranks()
    trio[1].torch["group"]["connections"] = ["127.0.0.2", "172.18.0.3"]
    found = judged(trio.run()).fails(11, (1, None), check="connections")
    assert found[0]["observed"] == "? 172.18.0.3"
    assert found[0]["expected"] == "addresses in 127.0.0.0/8"
    assert found[0]["hint"] == "the process group on host2 talks over ? 172.18.0.3: set training_interface to lo"


def test_a_process_group_whose_connections_were_not_found_is_not_proven(ranks, judged):
    trio = ranks()
    trio[1].torch["group"]["connections"] = []
    verdict = judged(trio.run(), straggler_factor=0)
    assert verdict.file["ok"] is False
    assert verdict.shown()[11] == verdict.written()[11] == ["ok", "-", "ok"]
    (found,) = verdict.file["findings"]
    assert (found["layer"], found["rank"], found["check"]) == (11, 1, "not reached")
    assert found["observed"] == "no connection of the process group was found"


def test_a_store_that_does_not_start(ranks, judged):
    trio = ranks()
    for event in list(trio[0].torch)[1:]:
        del trio[0].torch[event]
    trio[0].torch["failed"] = {"error": "RuntimeError: address family not supported"}
    reports = trio.run()
    found = judged(reports).fails(11, (0, None), check="store", unreached=(1, 2))
    assert found[0]["observed"].startswith("RuntimeError: address family not supported")
    for one in reports[1:]:
        left = next(record["detail"] for record in one["probe"]["records"] if record["layer"] == 11)
        assert left == "not reached: rank 0 (127.0.0.1) failed at layer 11 (process group)"


@pytest.mark.parametrize("size", [4, 65536, 16777216])
def test_a_sum_that_is_wrong(ranks, judged, size):
    trio = ranks()
    trio[1].torch[f"reduce {size}"].update(right=False, observed="sum 7 at element 0, 12 elements wrong")
    found = judged(trio.run()).fails(12, (1, None), check=f"all-reduce {size} B")
    assert (found[0]["observed"], found[0]["expected"]) == ("sum 7 at element 0, 12 elements wrong", "6")
    assert "the sum is wrong on host2: do not train on it" in found[0]["hint"]


def test_packets_that_are_lost(ranks, judged):
    """Every tenth datagram that rank 1 sends: counted where the others are, whatever their answers meet."""
    trio = ranks()
    sent = []

    class Lossy(socket.socket):
        def sendto(self, data, address):
            sent.append(address)
            return len(data) if len(sent) % 10 == 0 else super().sendto(data, address)

    class Sockets:
        socket = Lossy

        def __getattr__(self, name):
            return getattr(socket, name)

    trio[1].package.checks.loss.socket = Sockets()
    trio[1].package.checks.loss.PATIENCE = 0.02  # this rank waits in vain, and what comes later counts as lost as well
    found = judged(trio.run(), straggler_factor=0).fails(13, (1, 0), (1, 2), check="loss")
    assert all(" of 1024 datagrams)" in one["observed"] for one in found)
    assert "lost on the way from host2 to host1, as to every other host that host2 sends to" in found[0]["hint"]


def test_a_bus_that_is_too_slow(ranks, judged):
    trio = ranks()
    trio[2].torch["bandwidth"]["bus_bandwidth_mb_s"] = 400.0
    verdict = judged(trio.run(), min_bus_bandwidth=500)
    found = verdict.fails(13, (2, None), check="bus bandwidth")
    assert (found[0]["observed"], found[0]["expected"]) == ("400 MB/s", "at least 500 MB/s")
    assert verdict.file["bus_bandwidth"] == 400.0


def test_a_rank_that_computes_slowly(ranks, judged):
    trio = ranks()
    trio[1].torch["compute"]["seconds"] = 0.02
    found = judged(trio.run()).fails(14, (1, None), check="compute")
    assert found[0]["observed"] == "20.00 ms for a matrix product on average"
