"""Layer 13 as links and pairs have it: loss by itself for each direction, and what a wire should carry, each at its limit."""

from __future__ import annotations

import pytest
from preflight_ranks import LIMITS, healthy_report, told, verdict

ASKED = {name: LIMITS[name] for name in ("min_pair_bandwidth", "min_speed_fraction")}


def judged(reports, **limits):
    return verdict(reports, **{**ASKED, **limits})


def link(**facts):
    return {
        "name": "eth0",
        "speed": None,
        "duplex": "full",
        "state": "up",
        "mtu": 1500,
        "counters": {},
        "members": [],
        **facts,
    }


def test_a_healthy_pair_passes_what_is_asked_by_default(pair):
    for one in pair:
        one["host_checks"].update(link=link(speed=1000), counters_after={"rx_errors": 0})
        one["probe"]["pairs"][str(1 - one["rank"])].update(
            datagrams=512, datagrams_lost=0, segments=6000, segments_again=3
        )
    assert judged(pair)["ok"]


@pytest.mark.parametrize(
    ("facts", "observed"),
    [
        ({"datagrams": 512, "datagrams_lost": 6}, "1.2 % of the packets are lost (6 of 512 datagrams)"),
        ({"datagrams": 512, "datagrams_lost": 5}, None),
        ({"datagrams": 100, "datagrams_lost": 4}, None),
        ({"datagrams": 512, "datagrams_lost": 512}, "100.0 % of the packets are lost (512 of 512 datagrams)"),
        ({"segments": 2000, "segments_again": 20}, "1.0 % of the packets are lost (20 of 2000 segments of TCP were sent again)"),
        ({"segments": 2001, "segments_again": 20}, None),
        ({"segments": 500, "segments_again": 19}, None),
        ({"datagrams": 512, "datagrams_lost": 1, "segments": 100, "segments_again": 50},
         "50.0 % of the packets are lost (50 of 100 segments of TCP were sent again)"),
        ({}, None),
    ],
)  # fmt: skip
def test_loss_at_its_limit(pair, facts, observed):
    pair[1]["probe"]["pairs"]["0"].update(facts)
    assert told(judged(pair), "layer", "check", "host", "peer", "observed") == (
        [(13, "loss", "host2", "host1", observed)] if observed else []
    )


def test_a_host_that_loses_towards_all_is_said_to(trio):
    for peer in ("0", "2"):
        trio[1]["probe"]["pairs"][peer].update(datagrams=512, datagrams_lost=50)
    found = judged(trio)["findings"]
    assert [(one["host"], one["peer"]) for one in found] == [("host2", "host1"), ("host2", "host3")]
    assert "from host2 to host1, as to every other host that host2 sends to: look at" in found[0]["hint"]


def test_loss_explains_that_a_pair_and_the_group_are_slow(pair):
    pair[1]["probe"]["pairs"]["0"].update(datagrams=512, datagrams_lost=50, bandwidth_mb_s=1.0)
    pair[0]["probe"]["allreduce"]["bus_bandwidth_mb_s"] = 1.0
    assert told(judged(pair), "check", "host") == [("loss", "host2")]


@pytest.mark.parametrize(
    ("after", "check"),
    [
        ({"rx_errors": 19, "tx_errors": 1, "rx_packets": 1000}, "link errors"),
        ({"rx_errors": 18, "tx_errors": 1, "rx_packets": 1000}, None),
        ({"rx_missed_errors": 110, "rx_packets": 10000}, "link drops"),
        ({"rx_missed_errors": 109, "rx_packets": 10000}, None),
        ({"rx_missed_errors": 110, "rx_packets": 10001}, None),
        ({"rx_errors": 0, "rx_packets": 0}, None),  # counters that began anew
        ({}, None),
    ],
)
def test_counters_grow_over_the_check(pair, after, check):
    before = {
        "rx_errors": 10,
        "tx_errors": 0,
        "rx_missed_errors": 10,
        "tx_dropped": 0,
        "rx_packets": 0,
        "tx_packets": 0,
    }
    pair[1]["host_checks"].update(link=link(counters=before), counters_after=after)
    assert told(judged(pair), "layer", "check", "host") == ([(13, check, "host2")] if check else [])


@pytest.mark.parametrize(
    ("facts", "check", "observed"),
    [
        ({"duplex": "half"}, "duplex", "eth0 runs at half duplex"),
        ({"duplex": "half", "state": "down"}, None, None),
        ({"members": [{"name": "eth1", "speed": 1000, "state": "up"}, {"name": "eth2", "speed": 100, "state": "up"}]},
         "bond", "eth2 of eth0 runs at 100 Mbit/s"),
        ({"members": [{"name": "eth1", "speed": 1000, "state": "up"}, {"name": "eth2", "speed": None, "state": "down"}]}, None, None),
        ({"members": [{"name": "eth1", "duplex": "half", "state": "up"}]}, "duplex", "eth1 runs at half duplex"),
    ],
)  # fmt: skip
def test_what_a_link_says_of_itself(pair, facts, check, observed):
    pair[1]["host_checks"]["link"] = link(**facts)
    assert told(judged(pair), "check", "host", "observed") == ([(check, "host2", observed)] if check else [])


@pytest.mark.parametrize(
    ("rate", "speeds", "host_rate", "found"),
    [
        (20.0, (None, None), None, None),
        (19.9, (None, None), None, ("bandwidth", "19.9 MB/s (159 Mbit/s)")),
        (11.9, (1000, 100), None, ("bandwidth", "11.9 MB/s (95 Mbit/s)")),
        # A quarter of 1 Gbit/s.
        (31.0, (1000, 1000), None, ("link speed", "31 MB/s (248 Mbit/s) over links of 1000 Mbit/s")),
        (31.3, (1000, 1000), None, None),
        (31.0, (1000, 1000), 40.0, None),
        (31.0, (1000, None), None, None),
        # Of a fast one no more than 100 MB/s: what virtual cards say of themselves proves little.
        (99.0, (10000, 25000), None, ("link speed", "99 MB/s (792 Mbit/s) over links of 10000 Mbit/s")),
        (100.0, (10000, 25000), None, None),
    ],
)
def test_what_a_wire_should_carry(pair, rate, speeds, host_rate, found):
    for one, speed in zip(pair, speeds):
        one["host_checks"]["link"] = link(speed=speed)
        one["probe"]["allreduce"]["bus_bandwidth_mb_s"] = 10000.0
    pair[1]["probe"]["pairs"]["0"]["bandwidth_mb_s"] = rate
    if host_rate:
        pair[1]["host_checks"]["host_network"] = {"host1": {"bandwidth_mb_s": host_rate}}
    result = judged(pair, straggler_factor=0)
    assert told(result, "check", "host", "peer", "observed") == (
        [(found[0], "host2", "host1", found[1])] if found else []
    )
    if rate == 11.9:
        assert "(the link of host2 runs at 100 Mbit/s)" in result["findings"][0]["hint"]


@pytest.mark.parametrize("busy", [{"load": 9.0, "cores": 2}, None])
def test_a_busy_host_is_no_slow_network(pair, busy):
    for one in pair:
        one["probe"]["pairs"][str(1 - one["rank"])]["bandwidth_mb_s"] = 5.0
        one["probe"]["allreduce"]["bus_bandwidth_mb_s"] = 1.0
        one["host_checks"]["link"] = link(speed=1000)
    if busy:
        pair[0]["probe"]["compute"].update(busy)
    assert judged(pair)["ok"] is bool(busy)


@pytest.mark.parametrize(("load", "slow"), [(4.0, True), (4.1, False)])
def test_a_strained_host_does_not_keep_up_with_its_link(pair, load, slow):
    for one in pair:
        one["probe"]["pairs"][str(1 - one["rank"])]["bandwidth_mb_s"] = 90.0
        one["probe"]["allreduce"]["bus_bandwidth_mb_s"] = 10.0
        one["probe"]["compute"].update(load=load, cores=2)
        one["host_checks"]["link"] = link(speed=10000)
    checks = {one["check"] for one in judged(pair)["findings"]}
    assert checks == ({"link speed", "group bandwidth"} if slow else set())


def test_what_differs_from_try_to_try_is_no_slow_network(pair):
    pair[1]["probe"]["pairs"]["0"].update(bandwidth_mb_s=5.0, bandwidth_steady=0.79)
    pair[0]["probe"]["allreduce"]["bus_bandwidth_mb_s"] = pair[1]["probe"]["allreduce"]["bus_bandwidth_mb_s"] = 50.0
    assert judged(pair, straggler_factor=0)["ok"]


@pytest.mark.parametrize(
    ("pairs", "got", "fraction", "slow"),
    [
        ((844.0, 900.0), 50.0, 0.25, False),  # of a pair no more than 200 MB/s are believed
        ((844.0, 900.0), 49.9, 0.25, True),
        ((100.0, 900.0), 25.0, 0.25, False),
        ((100.0, 900.0), 24.9, 0.25, True),
        ((100.0, 900.0), 1.0, 0, False),
        ((100.0, 900.0), None, 0.25, False),
    ],
)
def test_all_together_reach_a_part_of_what_a_pair_does(pair, pairs, got, fraction, slow):
    for one, rate in zip(pair, pairs):
        one["probe"]["pairs"][str(1 - one["rank"])]["bandwidth_mb_s"] = rate
    pair[1]["probe"]["allreduce"] = None if got is None else {"bus_bandwidth_mb_s": got, "latency_us": 1.0}
    result = judged(pair, min_speed_fraction=fraction, straggler_factor=0)
    assert told(result, "layer", "check", "host") == ([(13, "group bandwidth", "host2")] if slow else [])


def test_one_host_has_no_pair():
    report = healthy_report(0, 1)
    report["host_checks"]["link"] = link(duplex="half")
    assert judged([report])["ok"]
