"""Where the judge has to choose: which layer, which host, which reason, and when a figure is no fault at all."""

from __future__ import annotations

import pytest
from preflight_ranks import fail, healthy_report, record


def hint(verdict, host):
    (found,) = [one for one in verdict.file["findings"] if one["host"] == host]
    return found["hint"]


# ---------------------------------------------------------------- layer 1


@pytest.mark.parametrize(
    ("offset", "trip", "fine"),
    [
        (4.9, 0.0, True),
        (5.0, 0.0, True),
        (5.1, 0.0, False),
        (-5.1, 0.0, False),
        # Half of the round trip is doubt: the clocks may be as near as that.
        (5.9, 2.0, True),
        (6.0, 2.0, True),
        (6.1, 2.0, False),
        (-5.9, 2.0, True),
        (-6.1, 2.0, False),
        (5.6, 1.0, False),
    ],
)
def test_half_of_the_round_trip_is_doubt(pair, judged, offset, trip, fine):
    pair[0]["probe"]["clock"]["1"] = {"offset_s": offset, "round_trip_s": trip}
    verdict = judged(pair)
    if fine:
        verdict.passes()
    else:
        found = verdict.fails(1, (0, 1), check="clock skew")
        assert found[0]["observed"] == f"host2 is {offset:+.1f} s off"


@pytest.mark.parametrize(("behind", "fine"), [(64, True), (66, False), (-64, True), (-66, False)])
def test_without_round_trips_a_minute_may_be_the_ways_to_the_hosts(pair, judged, behind, fine):
    for one in pair:
        one["probe"]["clock"] = {}
        one["host_checks"]["clock"] = {"epoch": 1000.0, "sent_at": 1000.0}
    pair[1]["host_checks"]["clock"]["epoch"] -= behind
    verdict = judged(pair)
    if fine:
        verdict.passes()
    else:
        found = verdict.fails(1, (0, 1), (1, 0), check="clock skew")
        assert [one["observed"] for one in found] == ["at least 6 s from host2", "at least 6 s from host1"]


# ---------------------------------------------------------------- a rank without a report


def test_a_container_that_ran_out_of_memory(pair, judged):
    pair[1]["probe"] = None
    pair[1]["host_checks"]["container"].update(state="exited", exit_code=137, oom_killed=True)
    fail(pair[0], 7, 1, name="peer name", observed="node1: does not resolve")
    found = judged(pair).fails(4, (1, None), check="probe")
    assert found[0]["observed"].startswith("the container is exited with code 137")
    assert found[0]["hint"] == (
        "the container ran out of memory on host2: raise its memory limit, or free memory there"
    )
    pair[1]["host_checks"]["container"].update(oom_killed=False)
    assert "the image on host2 cannot run the probe" in hint(judged(pair), "host2")


@pytest.mark.parametrize(
    ("error", "layer", "check", "reason"),
    [
        ("driver failed: Bind for 0.0.0.0:12355 failed: port is already allocated", 10, "task", "free that port on host2"),
        ("listen tcp4 0.0.0.0:12355: bind: address already in use", 10, "task", "free that port on host2"),
        ("no suitable node (insufficient resources on 1 node)", 5, "task", "has not the free GPUs"),
        ("no suitable node (host-mode port already in use on 1 node)", 3, "task", "no node takes rank 1"),
        ("No such image: my-ddp-trainer:abc", 4, "image", "run playbooks/image.yml --limit host2"),
        ("invalid mount config for type bind", 3, "task", "cannot start on host2"),
    ],
)  # fmt: skip
def test_a_task_that_never_started_is_of_the_layer_that_its_error_tells(pair, judged, error, layer, check, reason):
    pair[1]["probe"] = None
    pair[1]["host_checks"]["container"] = None
    pair[0]["host_checks"]["tasks"] = [
        {"name": "t-preflight_node0", "node": "host1", "desired": "Running", "state": "Running", "error": ""},
        {"name": "t-preflight_node1", "node": "", "desired": "Running", "state": "Pending", "error": ""},
        {"name": "t-preflight_node1", "node": "host2", "desired": "Shutdown", "state": "Rejected", "error": error},
    ]
    fail(pair[0], 11, name="ready", observed="silent")
    verdict = judged(pair)
    (found,) = verdict.file["findings"]
    assert (found["layer"], found["rank"], found["check"], found["observed"]) == (layer, 1, check, error)
    assert reason in found["hint"]
    assert verdict.shown()[layer][1] == verdict.written()[layer][1] == "FAIL"
    assert verdict.shown()[layer][0] != "FAIL"


@pytest.mark.parametrize(
    ("seen", "layer"),
    [
        # (rank that failed, layer, its peer): the first trouble with rank 2 counts, not that with others.
        ([], 8),
        ([(0, 11, 2)], 11),
        ([(0, 12, 2), (1, 11, 2)], 11),
        ([(0, 11, 2), (1, 12, 2)], 11),
        ([(0, 9, 1), (1, 11, 2)], 11),
        ([(0, 9, None), (1, 11, 2)], 11),
    ],
)
def test_a_rank_that_hangs_is_blamed_at_the_layer_at_which_others_met_it(trio, judged, seen, layer):
    trio[2]["probe"] = None
    trio[2]["host_checks"]["container"].update(state="running")
    for rank, at, peer in seen:
        trio[rank]["probe"]["records"].append(record(at, rank, False, peer, name="planted"))
    findings = judged(trio).file["findings"]
    first = min([layer, *(at for _, at, _ in seen)])
    assert {one["layer"] for one in findings} == {first}
    blamed = [one for one in findings if one["host"] == "host3"]
    if first == layer:
        assert [(one["layer"], one["check"], one["peer"]) for one in blamed] == [(layer, "probe", None)]
        assert "the probe on host3 hangs: its container is running" in blamed[0]["hint"]
    else:
        assert blamed == [], "not before anybody had trouble with it"


# ---------------------------------------------------------------- layer 8


@pytest.mark.parametrize("encrypted", [True, False])
def test_an_encrypted_overlay_needs_another_protocol(pair, judged, encrypted):
    pair[0]["host_checks"]["network"] = {"subnet": "10.0.1.0/24", "mtu": 0, "encrypted": encrypted}
    fail(pair[0], 8, 1, name="tcp", observed="timed out")
    (found,) = judged(pair).fails(8, (0, 1), check="tcp")
    assert found["hint"].endswith(
        "open 4789/udp both ways" + (", and IP protocol 50 (ESP), since the overlay is encrypted" if encrypted else "")
    )


def test_another_data_path_port_is_named(pair, judged):
    pair[0]["host_checks"]["engine"]["data_path_port"] = 7777
    fail(pair[0], 8, 1, name="tcp", observed="timed out")
    (found,) = judged(pair).fails(8, (0, 1), check="tcp")
    assert found["hint"].startswith("UDP 7777 is blocked")
    assert found["hint"].endswith("open 7777/udp both ways")


@pytest.mark.parametrize(
    ("here", "there", "words"),
    [
        (True, True, ""),
        (True, False, " (only host1 to host2 is lost)"),
        (False, True, " (only host2 to host1 is lost)"),
        (False, False, " (both directions are lost)"),
    ],
)
def test_the_direction_that_is_closed(pair, judged, here, there, words):
    pair[0]["probe"]["heard"] = {"1": 1} if here else {}
    pair[1]["probe"]["heard"] = {"0": 1} if there else {}
    fail(pair[0], 8, 1, name="tcp", observed="timed out")
    (found,) = judged(pair).fails(8, (0, 1), check="tcp")
    assert f"between host1 and host2{words}: open" in found["hint"]


@pytest.mark.parametrize(
    ("check", "code", "reason"),
    [
        ("listener", None, "set PROBE_PORT"),
        ("tcp", "other_rank", "leads to another rank's task"),
        ("tcp", "no_greeting", "accepts connections but does not answer"),
        ("tcp", "refused", "the probe there does not listen"),
    ],
)
def test_what_became_of_a_connection_is_the_reason(pair, judged, check, code, reason):
    fail(pair[0], 8, 1, name=check, code=code)
    (found,) = judged(pair).fails(8, (0, 1), check=check)
    assert reason in found["hint"]


# ---------------------------------------------------------------- layers 13 and 14


@pytest.mark.parametrize(
    ("load", "cores", "fine"),
    [
        (8.0, 2, False),
        (8.1, 2, True),
        (8.1, 4, False),
        (16.0, 4, False),
        (16.1, 4, True),
        (4.1, 1, True),
        (4.1, None, True),
        (None, 2, False),
    ],
)
def test_a_host_is_busy_by_its_load_for_each_core(pair, judged, load, cores, fine):
    pair[1]["probe"]["pairs"]["0"]["bandwidth_mb_s"] = 11.0
    pair[0]["probe"]["compute"].update(load=load, cores=cores)
    verdict = judged(pair)
    if fine:
        verdict.passes()
    else:
        verdict.fails(14, (1, None), check="sending")
    pair[1]["host_checks"]["host_network"] = {"host1": {"bandwidth_mb_s": 2000.0}}
    verdict = judged(pair)
    if fine:
        verdict.passes()
    else:
        verdict.fails(13, (1, 0), check="network")


@pytest.mark.parametrize(("steady", "fine"), [(0.79, True), (0.8, False), (0.81, False), (0.5, True), (None, False)])
def test_what_differs_from_try_to_try_is_no_finding(pair, judged, steady, fine):
    pair[1]["probe"]["pairs"]["0"]["bandwidth_mb_s"] = 11.0
    if steady is not None:
        pair[1]["probe"]["pairs"]["0"]["bandwidth_steady"] = steady
    for more, layer, where, check in (
        ({}, 14, (1, None), "sending"),
        ({"host1": {"bandwidth_mb_s": 2000.0}}, 13, (1, 0), "network"),
    ):
        pair[1]["host_checks"]["host_network"] = more
        verdict = judged(pair)
        assert [one["steady"] for one in verdict.file["pairs"]] == [True, not fine]
        if fine:
            verdict.passes()
        else:
            verdict.fails(layer, where, check=check)


@pytest.mark.parametrize(
    ("overlay", "bare", "fine"),
    [(9.9, 100.0, False), (10.0, 100.0, True), (199.9, 9000.0, False), (200.0, 9000.0, True), (11.0, None, True)],
)
def test_a_tenth_of_the_hosts_network_is_enough(pair, judged, overlay, bare, fine):
    for one in pair:
        for entry in one["probe"]["pairs"].values():
            entry["bandwidth_mb_s"] = overlay
    pair[0]["host_checks"]["host_network"] = {"host2": {"bandwidth_mb_s": bare}}
    verdict = judged(pair)
    if fine:
        verdict.passes()
    else:
        verdict.fails(13, (0, 1), check="network")


@pytest.mark.parametrize(("floor", "where"), [(400, ()), (400.5, ((0, None),)), (402, ((0, None), (1, None)))])
def test_the_floor_of_the_bus_is_held_by_every_rank(pair, judged, floor, where):
    """healthy_report: 400 MB/s on rank 0, 401 on rank 1."""
    verdict = judged(pair, min_bus_bandwidth=floor)
    assert verdict.file["bus_bandwidth"] == 400
    if where:
        verdict.fails(13, *where, check="bus bandwidth")
    else:
        verdict.passes()


@pytest.mark.parametrize(("seconds", "fine"), [(0.0064, True), (0.0066, False)])
def test_three_times_the_others_median_and_some_noise(trio, judged, seconds, fine):
    """Three times 2 ms, and 0.5 ms."""
    trio[2]["probe"]["compute"]["seconds"] = seconds
    trio[0]["probe"]["compute"]["seconds"] = 0.002
    verdict = judged(trio)
    if fine:
        verdict.passes()
    else:
        verdict.fails(14, (2, None), check="compute")


@pytest.mark.parametrize(("rate", "fine"), [(129.0, False), (131.0, True), (43.0, False)])
def test_a_link_of_a_gigabit_is_slow_and_a_faster_one_is_not(trio, judged, rate, fine):
    for entry in trio[1]["probe"]["pairs"].values():
        entry["bandwidth_mb_s"] = rate
    verdict = judged(trio)
    if fine:
        verdict.passes()
    else:
        verdict.fails(14, (1, None), check="sending")


# ---------------------------------------------------------------- the other layers


def test_fewer_gpus_than_asked_for_are_layer_5(pair, judged):
    pair[0]["probe"]["gpus"] = 2
    pair[1]["probe"]["gpus"] = 1
    judged(pair, min_gpus=1).passes()
    found = judged(pair, min_gpus=2).fails(5, (1, None), check="GPUs")
    assert (found[0]["observed"], found[0]["expected"]) == ("1", "at least 2")


@pytest.mark.parametrize("size", [1, 2])
def test_a_kernel_that_does_not_tell_of_vxlan(judged, size):
    """With one host there is nobody whose frames could have crossed: its probe has run, which is enough."""
    reports = [healthy_report(rank, size) for rank in range(size)]
    for one in reports:
        one["host_checks"]["vxlan"] = None
        one["probe"]["clock"] = {}
    verdict = judged(reports)
    if size == 1:
        assert verdict.passes().file["latency"] is None
        return
    (first, second) = verdict.file["findings"]
    assert (first["layer"], first["check"], first["rank"], second["rank"]) == (2, "not reached", 0, 1)


@pytest.mark.parametrize(
    ("value", "variable", "reason"),
    [
        ("eth1", "", "set training_interface to eth0: NCCL_SOCKET_IFNAME on host2 leads elsewhere"),
        ("eth1", "eth1", "set training_interface to eth0: NCCL_SOCKET_IFNAME on host2 leads elsewhere"),
        ("eth1", "eth0", "NCCL_SOCKET_IFNAME is eth1 in training_env: take it out there, and set training_interface to eth0"),
    ],
)  # fmt: skip
def test_an_interface_that_was_set_by_hand_is_taken_out_there(pair, judged, value, variable, reason):
    fail(pair[1], 6, name="NCCL_SOCKET_IFNAME", value=value, code="shared_subnet")
    found = judged(pair, training_interface=variable).fails(6, (1, None), check="NCCL_SOCKET_IFNAME")
    assert found[0]["hint"] == reason


def test_the_hint_of_the_master_port_names_rank_0s_host(trio, judged):
    fail(trio[2], 10, 0, name="master port reachable", observed="timed out")
    found = judged(trio, master_port=23456).fails(10, (2, 0), check="master port reachable")
    assert found[0]["hint"].startswith("host3 does not reach port 23456 of rank 0 on host1: free it")


@pytest.mark.parametrize(
    ("path", "lossy"), [((1400, 1500), True), ((1500, 1500), False), ((None, 1500), False), ((1399, 1400), True)]
)
def test_a_stalled_connection_is_a_path_that_loses_large_packets_or_none(pair, judged, path, lossy):
    pair[0]["host_checks"]["paths"] = {"host2": {"mtu": path[0], "tried": path[1]}}
    pair[0]["host_checks"]["host_network"] = {"host2": {"error": "stalled"}}
    verdict = judged(pair)
    if lossy:
        found = verdict.fails(9, (0, 1), check="path mtu of the hosts")
        assert found[0]["observed"].startswith(f"small packets pass, those of {path[0] + 1} B and more are lost")
        assert found[0]["expected"] == f"packets of {path[1]} B pass"
    else:
        verdict.passes()


def test_the_smallest_bandwidth_and_the_largest_latency_are_told(trio, judged):
    for one, rate, latency in zip(trio, (500.0, 300.0, 400.0), (100.0, 200.0, 150.0)):
        one["probe"]["allreduce"] = {"bus_bandwidth_mb_s": rate, "latency_us": latency}
    verdict = judged(trio).passes()
    assert (verdict.file["bus_bandwidth"], verdict.file["latency"]) == (300.0, 200.0)
    assert verdict.file["message"].endswith("bus bandwidth 300 MB/s, all-reduce latency 200 us.")
