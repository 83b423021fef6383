"""Layers 1 to 3, and a rank that never starts: what the hosts say leads to the right host, layer and remedy."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.verdict import judge
from preflight_ranks import LIMITS, fail, healthy_report, node, only, told, verdict, with_nodes


def test_layer_1_measured_skew(pair):
    pair[0]["probe"]["clock"]["1"]["offset_s"] = -12.5
    found = only(verdict(pair), 1, "host1", "host2")
    assert "chrony" in found["hint"] and "-12.5" in found["observed"]


def test_layer_1_bound_from_the_controllers_stamp(pair):
    pair[0]["probe"]["clock"] = pair[1]["probe"]["clock"] = {}
    assert verdict(pair)["ok"], "seconds of transit are no skew"
    pair[1]["host_checks"]["clock"]["epoch"] -= 3600
    only(verdict(pair), 1, "host2", "host1")


def test_layer_1_unmeasured_is_not_passed(pair):
    for one in pair:
        one["probe"]["clock"] = {}
        one["host_checks"]["clock"]["sent_at"] = None
    found = only(verdict(pair), 1, "host1")
    assert found["check"] == "not reached"


def test_layer_2_engine_stopped(pair):
    pair[1]["probe"] = None
    pair[1]["host_checks"].update(engine={"ok": False, "error": "Cannot connect to the Docker daemon"}, container=None)
    fail(pair[0], 7, 1, name="peer name", observed="node1: does not resolve")
    found = only(verdict(pair), 2, "host2")
    assert "start Docker on host2" in found["hint"]


def test_layer_2_no_vxlan(pair):
    pair[1]["host_checks"]["vxlan"] = False
    pair[0]["probe"]["clock"] = pair[1]["probe"]["clock"] = {}
    assert "modprobe vxlan" in only(verdict(pair), 2, "host2")["hint"]


def test_layer_2_traffic_proves_vxlan(pair):
    pair[1]["host_checks"]["vxlan"] = None
    assert verdict(pair)["ok"]


def test_layer_2_disk_full(pair):
    pair[1]["host_checks"]["disk_free_bytes"] = 1000
    assert "free space on host2" in only(verdict(pair), 2, "host2")["hint"]


def test_layer_2_host_without_report(pair):
    found = only(verdict(pair[:1], size=2), 2, "host2")
    assert "playbooks/preflight.yml" in found["hint"]


def test_layer_2_unreachable(pair):
    found = only(verdict(pair[:1], size=2, unreachable={"host2": "Connection\nrefused"}), 2, "host2")
    assert found["observed"] == "Connection refused" and "ansible host2 --become" in found["hint"]


def test_layer_2_a_manager_without_a_rank(pair):
    result = verdict(pair, unreachable={"manager1": "no route"})
    assert only(result, 2, "manager1")["rank"] == -1 and "(rank" not in result["message"]
    lame = {"rank": -1, "host": "manager1", "probe": None, "host_checks": {"engine": {"ok": False, "error": "down"}}}
    assert "start Docker on manager1" in only(verdict([*pair, lame], size=2), 2, "manager1")["hint"]


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"availability": "drain"}, "host2 is drained: run 'docker node update --availability active h1'"),
        ({"availability": "pause"}, "host2 is paused"),
        ({"status": "down", "message": "heartbeat failure"}, "2377/tcp to the managers"),
        ({"rank": None}, "ddp_rank=1 on host2"),
        ({"rank": "0"}, "ddp_rank=1 on host2"),
        ({"id": "other"}, "removed from this one"),
    ],
)
def test_layer_3_the_swarm_would_not_start_the_rank(pair, changes, hint):
    assert verdict(with_nodes(pair, node(0), node(1)))["ok"]
    result = verdict(with_nodes(pair, node(0), node(1, **changes)), probed=False)
    assert any(hint in one["hint"] for one in result["findings"]), result["findings"]
    assert only(result, 3, "host2")


def test_layer_3_a_node_that_left_is_no_rival(pair):
    assert verdict(with_nodes(pair, node(0), node(1), node(1, id="old", status="down")))["ok"]
    only(verdict(with_nodes(pair, node(0), node(1), node(1, id="old")), probed=False), 3, "host2")


def test_layer_3_no_network(pair):
    with_nodes(pair, node(0), node(1))[0]["host_checks"]["network"] = None
    assert "playbooks/swarm.yml" in only(verdict(pair, probed=False), 3, "host1")["hint"]


def test_layer_3_another_check_took_over(pair):
    pair[1]["probe"] = None
    pair[1]["host_checks"]["container"]["run_id"] = "2"
    assert "at the same time" in only(verdict(pair, run_id="1"), 3, "host2")["hint"]


def test_layer_4_image_missing(pair):
    pair[1]["host_checks"]["image"] = {"name": "x:1", "present": False}
    assert "playbooks/image.yml --limit host2" in only(verdict(pair, probed=False), 4, "host2")["hint"]


def test_layer_6_the_hosts_own_subnet(pair):
    with_nodes(pair, node(0), node(1))
    pair[1]["host_checks"]["networks"] = [{"interface": "eth0", "network": "10.0.0.0/16"}]
    pair[0]["host_checks"]["networks"] = [{"interface": "eth0", "network": "10.64.0.0/24"}]
    found = only(verdict(pair), 6, "host2")
    assert "swarm_network_subnet to 10.64.1.0/24" in found["hint"] and "10.0.0.0/16 of eth0" in found["observed"]
    assert verdict(pair, network_mode="host")["ok"]


def test_hosts_that_are_fine_are_no_verdict_yet(pair):
    for one in pair:
        one["probe"] = None
    result = verdict(pair, probed=False)
    assert result["findings"] == [] and not result["ok"] and "have not run" in result["message"]


def test_two_reports_of_a_host_are_one(pair):
    looked, heard = copy.deepcopy(pair), copy.deepcopy(pair)
    for one in looked:
        one["probe"] = None
        one["host_checks"]["disk_free_bytes"] = 1
    for one in heard:
        one["host_checks"] = {"service": "x", "clock": {}, "disk_free_bytes": None}
    only(verdict([*looked, *heard], size=2), 2, "host1")


def test_layer_3_not_in_the_swarm(pair):
    pair[1]["host_checks"]["engine"]["swarm_state"] = "inactive"
    assert "playbooks/swarm.yml" in only(verdict(pair), 3, "host2")["hint"]


def test_layer_3_control_port(pair):
    pair[0]["host_checks"]["ports"] = [{"host": "host2", "address": "192.0.2.2", "port": 7946, "error": "timed out"}]
    found = only(verdict(pair), 3, "host1", "host2")
    assert "7946/tcp" in found["hint"] and "2377/tcp" in found["hint"]


def test_gossip_that_passes_by_tcp_alone(pair):
    pair[1]["host_checks"]["silent_gossip"] = ["host1"]
    found = only(verdict(pair), 3, "host2", "host1")
    assert "7946/udp is closed between host2 and host1" in found["hint"]


@pytest.mark.parametrize(
    ("error", "layer", "hint"),
    [
        ("no suitable node (scheduling constraints not satisfied on 2 nodes)", 3, "drained"),
        ("No such image: my-ddp-trainer:abc", 4, "run playbooks/image.yml --limit host2"),
        ("invalid mount config for type bind", 3, "cannot start"),
        ("", 3, "gave host2 no task"),
    ],
)
def test_rank_that_never_starts(pair, error, layer, hint):
    pair[1]["probe"] = None
    pair[1]["host_checks"]["container"] = None
    pair[0]["host_checks"]["tasks"] = [
        {"name": "t-preflight_node0", "node": "host1", "desired": "Running", "state": "Running", "error": ""},
        {"name": "t-preflight_node1", "node": "", "desired": "Running", "state": "Pending", "error": error},
    ]
    fail(pair[0], 7, 1, name="peer name", observed="node1: does not resolve")
    assert hint in only(verdict(pair), layer, "host2")["hint"]


def test_no_reports_at_all():
    result = verdict([], size=2)
    assert {one["host"] for one in result["findings"]} == {"host1", "host2"}
    assert result["backend"] is None


# ---------------------------------------------------------------- who has spoken, and of whom


def test_the_order_of_what_is_given_does_not_matter(trio):
    ranks = [{"rank": str(rank), "host": f"host{rank + 1}"} for rank in (2, 0, 1)]
    result = judge([None, trio[2], "no report", trio[0], trio[1]], ranks, LIMITS)
    assert result["ok"] is True
    assert result["table"].splitlines()[0].split() == ["layer", "0", "host1", "1", "host2", "2", "host3"]


def test_no_rank_is_no_pass(pair):
    result = verdict(with_nodes(pair, node(0), node(1)), size=0)
    assert (result["ok"], result["findings"]) == (False, [])
    assert result["message"] == "There is no rank to check."


def test_what_a_manager_without_a_rank_knows_of_the_swarm_counts(pair):
    with_nodes(pair, node(0), node(1, availability="drain"))
    checks = pair[0]["host_checks"]
    manager = {"rank": -1, "host": "m", "host_checks": {"engine": {"ok": True}, "nodes": checks.pop("nodes")}}
    manager["host_checks"]["network"] = {**checks.pop("network"), "encrypted": True}
    silent = {"rank": -1, "host": "n"}
    assert told(verdict([*pair, manager], size=2), "layer", "host", "check") == [(3, "host2", "node")]
    assert told(verdict([*pair, manager, silent], size=2), "host") == [("n",)], (
        "one of which nothing is known is at fault"
    )
    # What a host with a rank says as somebody else is not taken for a manager's.
    twice = {"rank": -1, "host": "host2", "host_checks": {"engine": {"ok": False}}}
    assert verdict([*pair, twice], size=2)["ok"]


@pytest.mark.parametrize(
    ("first", "second", "fine"),
    [(10**11, None, True), (None, 10**11, True), (10**11, 0, False), (0, None, False), (0, 10**11, True)],
)
def test_the_later_look_counts_unless_it_does_not_know(pair, first, second, fine):
    looked, again = copy.deepcopy(pair), copy.deepcopy(pair)
    looked[1]["host_checks"]["disk_free_bytes"], again[1]["host_checks"]["disk_free_bytes"] = first, second
    again[1]["probe"] = None
    result = verdict([*looked, *again], size=2)
    assert result["ok"] is fine
    if not fine:
        assert told(result, "host", "check") == [("host2", "disk")]


@pytest.mark.parametrize(
    ("why", "observed"), [("no\n  route", "no route"), ("", "no answer"), ("x" * 301, "x" * 300), ("\n", "no answer")]
)
def test_each_host_that_was_not_reached_is_told_once(trio, why, observed):
    """Of two looks at host1 one has succeeded. host2 was not even asked."""
    result = verdict([trio[0]], size=3, unreachable={"host1": "too late", "host3": why, "m": why})
    assert told(result, "rank", "host", "observed", "expected") == [
        (2, "host3", observed, "an answer over SSH"),
        (-1, "m", observed, "an answer over SSH"),
        (1, "host2", "no report from this host", "a report"),
    ]
    assert [row["ranks"] for row in result["layers"]][1] == {"0": "ok", "1": "fail", "2": "fail"}


def test_hosts_after_one_that_is_lost_are_judged(trio):
    for one in trio:
        one["probe"]["clock"] = {}
    trio[2]["host_checks"]["clock"] = {"epoch": 9000.0, "sent_at": 1.0}
    result = verdict(trio[1:], size=3)
    assert told(result, "layer", "host", "peer") == [(1, "host2", "host3"), (1, "host3", "host2")]
    trio[2]["host_checks"]["clock"] = {}
    trio[2]["host_checks"]["disk_free_bytes"] = 0
    trio[1]["host_checks"]["engine"]["ok"] = False
    assert told(verdict(trio[1:], size=3), "host", "check") == [
        ("host1", "host"),
        ("host2", "engine"),
        ("host3", "disk"),
    ]


# ---------------------------------------------------------------- layer 1


@pytest.mark.parametrize(
    ("stamps", "marks"),
    [
        # Seconds that each host is ahead of the controller's stamp, or nothing is known of it.
        ((1, 1, 1), "ok ok ok"),
        ((1, 1, None), "ok ok -"),
        ((1, None, None), "- - -"),
        ((65, 0, 0), "ok ok ok"),
        ((66, 0, 0), "FAIL FAIL FAIL"),
        ((66, 30, 0), "FAIL ok FAIL"),
        ((66, 1, None), "ok ok -"),
        ((66, None, 0), "FAIL - FAIL"),
    ],
)
def test_clocks_that_no_probe_compares_are_bound_by_stamps(trio, stamps, marks):
    for one, ahead in zip(trio, stamps):
        one["probe"]["clock"] = {}
        one["host_checks"]["clock"] = {"epoch": 1000.0 + (ahead or 0), "sent_at": None if ahead is None else 1000.0}
    result = verdict(trio)
    row = result["layers"][0]["ranks"]
    assert [{"ok": "ok", "fail": "FAIL", "not reached": "-"}[row[str(rank)]] for rank in range(3)] == marks.split()
    for one in result["findings"]:
        assert one["observed"] == ("not measured" if "FAIL" not in marks else f"at least 6 s from {one['peer']}")


def test_what_probes_have_measured_counts_before_the_stamps(trio):
    for one in trio[:2]:
        one["host_checks"]["clock"] = {"epoch": 1000.0, "sent_at": 1000.0}
    trio[2]["host_checks"]["clock"] = {"epoch": 5000.0, "sent_at": 1000.0}
    assert verdict(trio)["ok"]
    # Towards host3 only the stamp is left, on the one that has not heard it.
    del trio[0]["probe"]["clock"]["2"]
    found = verdict(trio)
    assert told(found, "layer", "host", "peer", "observed", "expected") == [
        (1, "host1", "host3", "at least 3940 s from host3", "within 5 s")
    ]
    assert found["findings"][0]["hint"].startswith("synchronise the clocks of host1 and host3 (enable chrony")


def test_only_clocks_of_ranks_are_compared(pair):
    pair[0]["probe"]["clock"]["7"] = {"offset_s": 99.0, "round_trip_s": 0.0}
    assert verdict(pair)["ok"]


# ---------------------------------------------------------------- layer 2


@pytest.mark.parametrize(
    ("vxlan", "clock", "mode", "size", "probed", "mark"),
    [
        (True, {}, "overlay", 2, True, "ok"),
        (False, {"0": {"offset_s": 0, "round_trip_s": 0}}, "overlay", 2, True, "ok"),
        (None, {}, "overlay", 2, True, "not reached"),
        (None, {}, "host", 2, True, "ok"),
        (False, {}, "overlay", 2, True, "fail"),
        (False, {}, "host", 2, True, "ok"),
        (None, {}, "overlay", 1, True, "ok"),
        (False, {}, "overlay", 1, False, "fail"),
        (None, {}, "overlay", 1, False, "not reached"),
    ],
)
def test_a_kernel_with_vxlan_or_frames_that_have_crossed(vxlan, clock, mode, size, probed, mark):
    reports = [healthy_report(rank, size) for rank in range(size)]
    last = reports[-1]
    last["host_checks"]["vxlan"] = vxlan
    last["probe"]["clock"] = clock
    if not probed:
        last["probe"] = None
    result = verdict(reports, probed=probed, network_mode=mode)
    assert result["layers"][1]["ranks"][str(size - 1)] == mark
    if mark == "fail":
        assert told(result, "check", "observed", "expected") == [("vxlan", "kernel 6.1", "a kernel with vxlan")]


@pytest.mark.parametrize(
    ("free", "floor", "observed"),
    [(10**9, 10**9, None), (10**9 - 1, 10**9, "1000 MB"), (0, 1, "0 MB"), (0, 0, None), (5 * 10**6, 10**15, "5 MB"),
     (7 * 10**15, 10**16, "7000000000 MB"), (None, 10**9, None)],
)  # fmt: skip
def test_the_free_space_is_enough_or_told(pair, free, floor, observed):
    pair[1]["host_checks"]["disk_free_bytes"] = free
    pair[0]["host_checks"]["disk_free_bytes"] = 10**17
    result = verdict(pair, min_disk=floor)
    wanted = [("host2", f"{observed} free under /var/lib/docker", f"{floor / 10**6:.0f} MB")] if observed else []
    assert told(result, "host", "observed", "expected") == wanted


@pytest.mark.parametrize(
    ("error", "own", "observed"), [("a", "b", "a"), ("", "b", "b"), (None, None, "no answer"), ("a", None, "a")]
)
def test_an_engine_that_is_down_says_why(pair, error, own, observed):
    pair[1]["host_checks"].update(error=error, engine={"ok": False, "error": own})
    result = verdict(pair)
    assert told(result, "layer", "check", "observed", "expected") == [(2, "engine", observed, "a running engine")]


# ---------------------------------------------------------------- layer 3


@pytest.mark.parametrize(
    ("state", "error", "observed"),
    [
        ("inactive", "", "inactive"),
        ("active", "no leader", "active no leader"),
        (None, None, "it said nothing of what it saw"),
        ("error", "x", "error x"),
    ],
)
def test_a_host_that_is_no_member_of_the_swarm(pair, state, error, observed):
    pair[1]["host_checks"]["engine"].update(swarm_state=state, swarm_error=error)
    assert told(verdict(pair), "check", "host", "observed") == [("swarm membership", "host2", observed)]


def test_each_port_and_each_silent_peer_is_told(trio):
    trio[1]["host_checks"]["ports"] = [
        {"host": "host1", "address": "192.0.2.1", "port": 2377, "error": "timed out"},
        {"host": "host3", "address": "192.0.2.3", "port": 7946, "error": ""},
        {"host": "m", "address": "192.0.2.9", "port": 7946, "error": "connection refused"},
    ]
    trio[1]["host_checks"]["silent_gossip"] = ["host3", "m"]
    result = verdict(trio)
    assert told(result, "check", "peer", "observed", "expected") == [
        ("port 2377", "host1", "timed out", "host1 answers on 2377/tcp"),
        ("port 7946", "m", "connection refused", "m answers on 7946/tcp"),
        ("port 7946/udp", "host3", "the engine's gossip is answered by tcp alone", "host3 answers on 7946/udp"),
        ("port 7946/udp", "m", "the engine's gossip is answered by tcp alone", "m answers on 7946/udp"),
    ]
    assert result["findings"][0]["hint"].startswith(
        "2377/tcp is closed from host2 to host1: open 2377/tcp towards managers"
    )


@pytest.mark.parametrize(
    ("changes", "observed", "expected"),
    [
        ({"status": "down", "message": "heartbeat failure"}, "down heartbeat failure", "ready"),
        ({"status": "unknown", "availability": "drain"}, "unknown", "ready"),
        ({"availability": "drain"}, "availability drain", "availability active"),
        ({"availability": "odd"}, "availability odd", "availability active"),
        ({"id": "other"}, "the first manager's swarm does not know this node", "a node of it"),
    ],
)
def test_nodes_after_one_that_is_wrong_are_judged(trio, changes, observed, expected):
    """And each is told once: a node that is down still is the one with the label."""
    with_nodes(trio, node(0), node(1, **changes), node(2, availability="pause"))
    result = verdict(trio)
    assert told(result, "check", "host", "observed", "expected") == [
        ("node", "host2", observed, expected),
        ("node", "host3", "availability pause", "availability active"),
    ]


def test_a_word_that_is_new_is_told_as_it_is(pair):
    with_nodes(pair, node(0), node(1, availability="odd"))
    assert verdict(pair)["findings"][0]["hint"].startswith("host2 is odd: run 'docker node update")


def test_a_host_whose_node_is_not_known_is_passed_over(trio):
    with_nodes(trio, node(0), node(1), node(2, availability="drain"))
    del trio[0]["host_checks"]["engine"]["node"]
    assert told(verdict(trio), "layer", "host") == [(3, "host3")]
    assert told(verdict(trio[1:], size=3), "layer", "host") == [(2, "host1")]


@pytest.mark.parametrize(
    ("nodes", "observed"),
    [
        ([node(0), node(1, rank=None)], "no node"),
        ([node(0), node(1, rank="0")], "no node"),
        ([node(0), node(1), node(9, rank="1")], "h1 and h9"),
        ([node(0), node(1, rank=None), node(9, rank="1")], "h9"),
    ],
)
def test_who_carries_the_label_instead(pair, nodes, observed):
    result = verdict(with_nodes(pair, *nodes))
    found = [one for one in result["findings"] if one["host"] == "host2"]
    assert [(one["check"], one["observed"], one["expected"]) for one in found] == [
        ("rank label", f"{observed} carries the label ddp_rank=1", "host2 carries it")
    ]


@pytest.mark.parametrize(
    ("mode", "network", "fine"), [("overlay", None, False), ("host", None, True), ("overlay", {}, False)]
)
def test_only_an_overlay_is_missed(pair, mode, network, fine):
    with_nodes(pair, node(0), node(1))[0]["host_checks"]["network"] = network
    result = verdict(pair, network_mode=mode, network="my-net")
    assert told(result, "check", "host", "observed", "expected") == (
        [] if fine else [("network", "host1", "the swarm has no network my-net", "the network my-net")]
    )


# ---------------------------------------------------------------- layers 4 and 6


@pytest.mark.parametrize(("image", "fine"), [({}, True), ({"present": True}, True), ({"present": None}, True)])
def test_an_image_that_nobody_looked_for_is_not_missed(trio, image, fine):
    trio[0]["host_checks"]["image"] = image
    trio[1]["host_checks"]["image"] = trio[2]["host_checks"]["image"] = {"name": "x:1", "present": False}
    assert told(verdict(trio), "layer", "host", "observed") == [
        (4, "host2", "x:1 is not on the host"), (4, "host3", "x:1 is not on the host"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("subnet", "networks", "collides", "free"),
    [
        ("10.0.1.0/24", ["192.168.1.0/24"], [], None),
        ("10.0.1.7/24", ["10.0.1.128/25"], ["10.0.1.128/25"], "10.64.0.0/24"),
        ("10.64.0.0/24", ["10.64.0.0/30"], ["10.64.0.0/30"], "10.64.1.0/24"),
        ("10.64.0.0/24", ["10.0.0.0/8"], ["10.0.0.0/8"], "a free one"),
        ("", ["10.0.1.0/24"], [], None),
    ],
)
def test_a_subnet_of_the_hosts_is_not_the_overlays(pair, subnet, networks, collides, free):
    with_nodes(pair, node(0), node(1))[0]["host_checks"]["network"]["subnet"] = subnet
    pair[1]["host_checks"]["networks"] = [{"interface": f"eth{n}", "network": net} for n, net in enumerate(networks)]
    result = verdict(pair)
    assert told(result, "layer", "check", "host", "observed") == [
        (6, "subnet", "host2", f"{subnet.replace('.7/', '.0/')} overlaps {net} of eth{networks.index(net)}")
        for net in collides
    ]
    if free:
        assert f"set swarm_network_subnet to {free}, remove the network" in result["findings"][0]["hint"]
