"""What the judge compares itself: images, GPUs and memory, MTUs, bandwidths and stragglers, each exactly at its limit."""

from __future__ import annotations

import pytest
from preflight_ranks import healthy_report, told, verdict

# ---------------------------------------------------------------- layer 4


@pytest.mark.parametrize("key", ["python", "torch", "cuda", "nccl"])
@pytest.mark.parametrize(
    ("values", "odd", "expected"),
    [
        ("aab", ["host3"], "a as on host1"),
        ("baa", ["host1"], "a as on host2"),
        ("aba", ["host2"], "a as on host1"),
        # No majority: as the lowest rank has it.
        ("abc", ["host2", "host3"], "a as on host1"),
        ("aaa", [], ""),
    ],
)
def test_the_image_that_differs_is_the_one_of_the_fewest(trio, key, values, odd, expected):
    for one, value in zip(trio, values):
        one["probe"]["identity"][key] = value
    label = {"python": "Python", "torch": "torch", "cuda": "CUDA", "nccl": "NCCL"}[key]
    assert told(verdict(trio), "layer", "check", "host", "observed", "expected") == [
        (4, label, host, values[int(host[-1]) - 1], expected) for host in odd
    ]


@pytest.mark.parametrize(
    ("key", "odd"), [("torch", []), ("files_hash", []), ("nccl", ["host2"]), ("python", ["host2"])]
)
def test_a_value_that_a_probe_could_not_tell_is_passed_over_if_it_says_so_itself(trio, key, odd):
    """That torch cannot be imported, or files not be read, is a record of its own. No CUDA is an answer."""
    for one in trio:
        one["probe"]["identity"][key] = "a"
    trio[1]["probe"]["identity"][key] = None
    assert [host for (host,) in told(verdict(trio), "host")] == odd


def test_each_kind_of_difference_is_told(trio):
    trio[1]["probe"]["identity"].update(python="3.9", nccl="2")
    trio[2]["probe"]["identity"]["torch"] = "1"
    assert told(verdict(trio), "check", "host") == [("Python", "host2"), ("torch", "host3"), ("NCCL", "host2")]


@pytest.mark.parametrize(
    ("mine", "theirs", "observed"),
    [
        ({"a": "1", "b": "2"}, {"a": "1", "b": "3"}, "different: b"),
        ({"a": "1"}, {"a": "1", "b": "3"}, "different: b"),
        ({"b": "1"}, None, "different: b"),
        ({"a": "1"}, {"a": "1"}, "different: files beyond those listed"),
        ({c: "1" for c in "gfedcba"}, {}, "different: a, b, c, d, e"),
    ],
)
def test_the_files_that_differ_are_named(pair, mine, theirs, observed):
    pair[0]["probe"]["identity"]["files"] = theirs
    pair[1]["probe"]["identity"].update(files_hash="bb", files=mine)
    assert told(verdict(pair), "check", "host", "observed", "expected") == [
        ("files", "host2", observed, "the files of host1")
    ]


def test_one_image_differs_from_none(pair):
    pair[1]["probe"] = None
    pair[1]["host_checks"]["container"]["state"] = "running"
    pair[0]["probe"]["identity"]["torch"] = "odd"
    assert told(verdict(pair), "check", "host") == [("probe", "host2")]


# ---------------------------------------------------------------- layer 5


@pytest.mark.parametrize(("size", "floor", "fine"), [(8, 8, True), (7, 8, False), (0, 1, False), (None, 8, True)])
def test_shared_memory_at_its_limit(pair, size, floor, fine):
    pair[0]["probe"]["shm_bytes"] = 8
    pair[1]["probe"]["shm_bytes"] = size
    assert told(verdict(pair, min_shm=floor), "layer", "check", "host", "observed", "expected") == (
        [] if fine else [(5, "/dev/shm", f"host{n}", f"{seen} B", f"at least {floor} B")
                         for n, seen in ((1, 8), (2, size)) if seen < floor]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("host", "task", "backend", "observed"),
    [
        (2, 0, "auto", "the host has 2, torch in the task sees none"),
        (2, None, "nccl", "the host has 2, torch in the task sees none"),
        (2, 1, "auto", None),
        (0, 0, "auto", None),
        (2, 0, "gloo", None),
    ],
)
def test_gpus_that_a_task_does_not_see(pair, host, task, backend, observed):
    pair[1]["host_checks"]["gpus"] = host
    pair[1]["probe"]["gpus"] = task
    assert told(verdict(pair, backend=backend), "layer", "check", "host", "observed") == (
        [(5, "GPUs", "host2", observed)] if observed else []
    )


@pytest.mark.parametrize(
    ("gpus", "floor", "observed"),
    [((2, 2), 2, []), ((2, 1), 2, ["1"]), ((None, 0), 1, ["0", "0"]), ((0, 0), 0, [])],
)
def test_gpus_at_their_limit(pair, gpus, floor, observed):
    for one, number in zip(pair, gpus):
        one["probe"]["gpus"] = number
    assert told(verdict(pair, min_gpus=floor), "check", "observed", "expected") == [
        ("GPUs", seen, f"at least {floor}") for seen in observed
    ]


def test_a_rank_that_did_not_report_has_no_gpus_to_count(pair):
    pair[1]["probe"] = None
    pair[1]["host_checks"]["gpus"] = 2
    pair[1]["host_checks"]["container"]["state"] = "running"
    pair[0]["probe"]["gpus"] = 1
    assert told(verdict(pair, min_gpus=1), "layer", "check") == [(8, "probe")]


def test_each_gpu_that_was_given_twice_is_told(pair):
    pair[1]["host_checks"]["gpus_of_others"] = {"GPU-1": "a.1", "GPU-2": "b.1"}
    assert told(verdict(pair), "check", "observed", "expected") == [
        ("GPUs", "GPU-1 is a.1's too", "GPUs of its own"), ("GPUs", "GPU-2 is b.1's too", "GPUs of its own"),
    ]  # fmt: skip


# ---------------------------------------------------------------- layer 9


@pytest.mark.parametrize(
    ("mtus", "wanted", "odd"),
    [
        ((1450, 1450, 1450), 0, []),
        ((1450, 1500, 1450), 0, [("host2", "1500 B", "1450 B")]),
        ((1500, 1500, 1450), 0, [("host1", "1500 B", "1450 B"), ("host2", "1500 B", "1450 B")]),
        ((1450, 1450, 1500), 1500, [("host1", "1450 B", "1500 B"), ("host2", "1450 B", "1500 B")]),
        ((1450, None, 1450), 0, []),
        ((None, None, 1500), 1450, [("host3", "1500 B", "1450 B")]),
        ((None, None, None), 1450, []),
        ((None, None, None), 0, []),
    ],
)
def test_one_mtu_on_every_rank(trio, mtus, wanted, odd):
    for one, mtu in zip(trio, mtus):
        one["probe"]["mtu"] = mtu
    assert told(verdict(trio, expected_mtu=wanted), "host", "observed", "expected") == odd


# ---------------------------------------------------------------- layer 13


@pytest.mark.parametrize(
    ("size", "rates", "floor", "slow"),
    [
        (2, (400.0, 500.0), 400, []),
        (2, (400.0, 399.5), 400, [("host2", "399.5 MB/s", "at least 400 MB/s")]),
        (2, (400.0, None), 400, []),
        (2, (0.0, 1.0), 0, []),
        (2, (0.0, 500.0), 0.5, [("host1", "0 MB/s", "at least 0.5 MB/s")]),
        (1, (0.0,), 400, []),
        (
            3,
            (1.0, 500.0, 2.0),
            400,
            [("host1", "1 MB/s", "at least 400 MB/s"), ("host3", "2 MB/s", "at least 400 MB/s")],
        ),
    ],
)
def test_the_bus_at_its_limit(size, rates, floor, slow):
    reports = [healthy_report(rank, size) for rank in range(size)]
    for one, rate in zip(reports, rates):
        one["probe"]["allreduce"] = None if rate is None else {"bus_bandwidth_mb_s": rate, "latency_us": 300.0}
    assert told(verdict(reports, min_bus_bandwidth=floor), "host", "observed", "expected") == slow


@pytest.mark.parametrize(
    ("rates", "slowest"),
    [
        ((410.0, 250.5), "; slowest pair: host2 to host1, 250.5 MB/s"),
        ((100.0, 250.0), "; slowest pair: host1 to host2, 100 MB/s"),
        ((None, 250.0), "; slowest pair: host2 to host1, 250 MB/s"),
        ((0.0, 250.0), "; slowest pair: host2 to host1, 250 MB/s"),
        ((None, None), ""),
    ],
)
def test_the_slowest_pair_is_named(pair, rates, slowest):
    for one, rate in zip(pair, rates):
        one["probe"]["pairs"][str(1 - one["rank"])]["bandwidth_mb_s"] = rate
    result = verdict(pair, min_bus_bandwidth=401)
    assert result["findings"][0]["hint"] == f"the network is slower than preflight_min_bus_bandwidth asks{slowest}"


def test_pairs_after_one_that_is_no_finding_are_compared(trio):
    """Host1 is busy, host2 has no figure of its own network."""
    trio[0]["probe"]["compute"].update(load=9.0, cores=1)
    for one in trio:
        one["host_checks"]["host_network"] = {f"host{number}": {"bandwidth_mb_s": 1000.0} for number in (1, 2, 3)}
        for pair in one["probe"]["pairs"].values():
            pair["bandwidth_mb_s"] = 50.5
    del trio[1]["host_checks"]["host_network"]
    found = verdict(trio, network="my-net")
    assert told(found, "layer", "check", "host", "peer", "observed", "expected") == [
        (13, "network", "host3", "host2", "50.5 MB/s over my-net", "at least 0.1 of the 1000 MB/s without it")
    ]
    assert found["findings"][0]["hint"].startswith("my-net slows host3 down towards host2: compare swarm_network_mtu")


# ---------------------------------------------------------------- layer 14


@pytest.mark.parametrize(
    ("seconds", "factor", "slow"),
    [
        ((2.0, 2.0, 6.5), 3, []),
        ((2.0, 2.0, 6.6), 3, [("host3", "6.60 ms for a matrix product on average", "2.00 ms")]),
        ((2.0, 4.0, 9.6), 3, [("host3", "9.60 ms for a matrix product on average", "3.00 ms")]),
        ((2.0, 2.0, 4.6), 2, [("host3", "4.60 ms for a matrix product on average", "2.00 ms")]),
        ((2.0, 2.0, 99.0), 0, []),
        ((None, 2.0, 99.0), 3, [("host3", "99.00 ms for a matrix product on average", "2.00 ms")]),
        ((None, None, 99.0), 3, []),
        ((0, 2.0, 2.0), 3, []),
        ((99.0, 2.0, 99.0), 3, []),
    ],
)
def test_a_rank_that_computes_slowly(trio, seconds, factor, slow):
    for one, milliseconds in zip(trio, seconds):
        one["probe"]["compute"].update(seconds=milliseconds and milliseconds / 1000, load=1.5)
    found = verdict(trio, straggler_factor=factor)
    assert told(found, "layer", "check", "host", "observed", "expected") == [
        (14, "compute", host, observed, f"within {factor} times the others' median of {median}")
        for host, observed, median in slow
    ]
    if slow:
        assert "computes slower than the others (its load is 1.5)" in found["findings"][0]["hint"]


def set_rates(reports, rates):
    for one, rate in zip(reports, rates):
        for entry in one["probe"]["pairs"].values():
            entry["bandwidth_mb_s"] = rate


@pytest.mark.parametrize(
    ("rates", "factor", "slow"),
    [
        ((300.0, 300.0, 99.5), 3, [("host3", "99.5 MB/s to its peers", "300 MB/s")]),
        ((300.0, 300.0, 100.0), 3, []),
        ((300.0, 100.0, 60.0), 3, [("host3", "60 MB/s to its peers", "200 MB/s")]),
        ((300.0, 300.0, 100.0), 2, [("host3", "100 MB/s to its peers", "300 MB/s")]),
        ((900.0, 900.0, 130.0), 3, []),
        ((900.0, 900.0, 129.5), 3, [("host3", "129.5 MB/s to its peers", "900 MB/s")]),
        ((900.0, 900.0, 1.0), 0, []),
        ((None, 900.0, 10.0), 3, [("host3", "10 MB/s to its peers", "900 MB/s")]),
        ((None, None, 10.0), 3, []),
        ((0.0, 900.0, 900.0), 3, []),
        # Of two slow ones of three, each is slower than the others' middle.
        ((10.0, 10.0, 900.0), 3, [(f"host{n}", "10 MB/s to its peers", "455 MB/s") for n in (1, 2)]),
        # Of two, each is held against the other.
        ((900.0, 10.0), 3, [("host2", "10 MB/s to its peers", "900 MB/s")]),
    ],
)
def test_a_rank_that_sends_slowly(rates, factor, slow):
    reports = [healthy_report(rank, len(rates)) for rank in range(len(rates))]
    set_rates(reports, rates)
    assert told(verdict(reports, straggler_factor=factor), "layer", "check", "host", "observed", "expected") == [
        (14, "sending", host, observed, f"at least 1/{factor} of the others' median of {median}")
        for host, observed, median in slow
    ]


@pytest.mark.parametrize(
    ("steady", "slow"),
    [((0.79, 0.79), False), ((0.8, 0.8), True), ((0.7, 0.9), True), ((0.7, 0.89), False), ((None, 0.1), False)],
)
def test_a_sender_is_slow_if_it_is_so_each_time(trio, steady, slow):
    """Of all its connections, in the median; one that does not tell is taken for steady."""
    set_rates(trio, (900.0, 900.0, 10.0))
    for entry, value in zip(trio[2]["probe"]["pairs"].values(), steady):
        entry["bandwidth_steady"] = value
        if value is None:
            del entry["bandwidth_steady"]
    assert told(verdict(trio), "check", "host") == ([("sending", "host3")] if slow else [])


def test_ranks_after_one_whose_connections_differ_are_compared(trio):
    set_rates(trio, (10.0, 900.0, 10.0))
    for entry in trio[0]["probe"]["pairs"].values():
        entry["bandwidth_steady"] = 0.1
    set_rates(trio[2:], (10.0,))
    trio[1]["probe"]["pairs"]["0"]["bandwidth_mb_s"] = trio[1]["probe"]["pairs"]["2"]["bandwidth_mb_s"] = 9000.0
    assert told(verdict(trio), "check", "host") == [("sending", "host3")]


def test_a_rank_that_computes_slowly_is_no_measure_of_its_peers(trio):
    """host3 has no time: what it sends and what reaches it is left out, and what host1 and host2 have is enough."""
    trio[2]["probe"]["compute"]["seconds"] = 0.1
    set_rates(trio, (900.0, 900.0, 1.0))
    for one in trio[:2]:
        one["probe"]["pairs"]["2"]["bandwidth_mb_s"] = 1.0
    assert told(verdict(trio), "check", "host") == [("compute", "host3")]
    trio[0]["probe"]["pairs"]["1"]["bandwidth_mb_s"] = 10.0
    assert told(verdict(trio), "check", "host") == [("compute", "host3"), ("sending", "host1")]


def test_one_host_is_compared_with_nobody():
    report = healthy_report(0, 1)
    report["probe"]["compute"]["seconds"] = 9.0
    report["probe"]["pairs"] = {"0": {"bandwidth_mb_s": 1.0}}
    assert verdict([report])["ok"]
