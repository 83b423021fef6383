"""Layers 4 to 14: what the probes report leads to the right host, layer and remedy. What was not reached never passes."""

from __future__ import annotations

import copy

import pytest
from preflight_ranks import fail, only, record, verdict


def test_layer_4_container_died(pair):
    pair[1]["probe"] = None
    pair[1]["host_checks"]["container"].update(exit_code=127)
    pair[1]["host_checks"]["log_tail"] = ["python3: not found"]
    found = only(verdict(pair), 4, "host2")
    assert "127" in found["observed"] and "playbooks/image.yml" in found["hint"]


def test_layer_4_other_torch(pair):
    pair[1]["probe"]["identity"]["torch"] = "2.12.0"
    found = only(verdict(pair), 4, "host2")
    assert (found["check"], found["observed"]) == ("torch", "2.12.0")
    assert "run playbooks/image.yml --limit host2" in found["hint"]


def test_layer_4_the_odd_one_out_need_not_be_the_last(trio):
    trio[0]["probe"]["identity"].update(files_hash="bb", files={"training_code.py": "z", "util.py": "b"})
    found = only(verdict(trio), 4, "host1")
    assert "training_code.py" in found["observed"] and "util.py" not in found["observed"]


def test_layer_5_small_shm(pair):
    pair[1]["probe"]["shm_bytes"] = 65536
    found = only(verdict(pair), 5, "host2")
    assert found["observed"] == "65536 B" and "preflight_min_shm" in found["hint"]


def test_layer_5_gpu_missing(pair):
    fail(pair[1], 5, name="gpu", observed=0, expected="at least 1")
    assert "default runtime" in only(verdict(pair), 5, "host2")["hint"]
    pair[0]["probe"]["gpus"] = 1
    assert only(verdict(pair, min_gpus=1), 5, "host2")


def test_layer_5_gpu_given_twice(pair):
    pair[1]["host_checks"]["gpus_of_others"] = {"GPU-2": "other_node0.1.abc"}
    found = only(verdict(pair), 5, "host2")
    assert found["observed"] == "GPU-2 is other_node0.1.abc's too"
    assert "let other_node0.1.abc end" in found["hint"]


def test_layer_5_old_driver(pair):
    pair[1]["host_checks"].update(gpus=2, nvidia_driver="535.104.05")
    pair[1]["probe"]["identity"]["cuda"] = pair[0]["probe"]["identity"]["cuda"] = "13.0"
    hint = only(verdict(pair), 5, "host2")["hint"]
    assert hint.startswith(
        "the NVIDIA driver 535.104.05 on host2 is too old for the image's CUDA 13.0, which needs 580"
    )
    pair[1]["host_checks"]["nvidia_driver"] = "580.65.06"
    assert "default runtime" in only(verdict(pair), 5, "host2")["hint"]


def test_layer_6_wrong_interface(pair):
    fail(pair[1], 6, name="NCCL_SOCKET_IFNAME", value="eth1", expected="eth0")
    found = only(verdict(pair), 6, "host2")
    assert "set training_interface to eth0" in found["hint"]


def test_layer_6_colliding_subnet(pair):
    fail(pair[1], 6, name="interface", observed="eth0, eth1", code="shared_subnet")
    assert "collides" in only(verdict(pair), 6, "host2")["hint"]


def test_layer_7_peer_does_not_resolve(pair):
    fail(pair[0], 7, 1, name="peer name", observed="node1: does not resolve")
    assert "7946" in only(verdict(pair), 7, "host1", "host2")["hint"]


def test_layer_7_own_name(pair):
    fail(pair[0], 7, name="own name", observed="node0: 10.0.0.2")
    assert "dnsrr" in only(verdict(pair), 7, "host1")["hint"]


def test_layer_8_blocked_both_ways(pair):
    for rank in (0, 1):
        fail(pair[rank], 8, 1 - rank, name="tcp", observed="timed out")
        pair[rank]["probe"].update(heard={}, clock={})
    result = verdict(pair)
    for here, there in (("host1", "host2"), ("host2", "host1")):
        hint = only(result, 8, here, there)["hint"]
        assert hint.startswith("UDP 4789 is blocked, or the VXLAN source address does not match, between")
        assert "both directions are lost" in hint
    assert "host1" in result["message"] and "host2" in result["message"] and "4789" in result["message"]


def test_layer_8_blocked_one_way(pair):
    for rank in (0, 1):
        fail(pair[rank], 8, 1 - rank, name="tcp", observed="timed out")
    pair[0]["probe"]["heard"] = {}
    assert "only host2 to host1 is lost" in only(verdict(pair), 8, "host1")["hint"]
    assert "only host2 to host1 is lost" in only(verdict(pair), 8, "host2")["hint"]


def test_layer_8_names_the_host_that_all_failures_share(trio):
    fail(trio[0], 8, 2, name="tcp", observed="timed out")
    fail(trio[1], 8, 2, name="tcp", observed="timed out")
    fail(trio[2], 8, 0, name="tcp", observed="timed out")
    trio[2]["probe"]["records"].append(record(8, 2, False, 1, name="tcp", observed="timed out"))
    assert "Every failing pair has host3 in it" in verdict(trio)["message"]


def test_layer_8_on_the_hosts_network(pair):
    fail(pair[0], 8, 1, name="tcp", observed="timed out")
    found = only(verdict(pair, network_mode="host"), 8, "host1")
    assert "firewall" in found["hint"] and "4789" not in found["hint"]


def test_layer_9_the_hosts_own_path(pair):
    """Early when a connection stalls as well; else only as the reason for a task that did not come."""
    pair[0]["host_checks"]["paths"] = {"host2": {"mtu": 1400, "tried": 1500}}
    assert verdict(pair)["ok"], "a firewall may do that to echoes alone"
    silent = copy.deepcopy(pair)
    silent[1]["probe"] = None
    silent[1]["host_checks"].update(container=None)
    assert "MTU to 1400 with swarm_network_mtu" in only(verdict(silent), 9, "host1", "host2")["hint"]
    pair[0]["host_checks"]["host_network"] = {"host2": {"error": "stalled"}}
    assert "MTU to 1400 with swarm_network_mtu" in only(verdict(pair, probed=False), 9, "host1", "host2")["hint"]


@pytest.mark.parametrize(("option", "wanted"), [(0, "1400"), (1500, "1400"), (1520, "1420")])
def test_layer_9_black_hole(pair, option, wanted):
    pair[0]["probe"]["pairs"]["1"]["path_mtu"] = 1350
    for one in pair:
        one["probe"]["mtu"] = (option or 1500) - (50 if option != 1520 else 70)
    fail(pair[0], 9, 1, name="path mtu", observed="1 MiB did not pass (timed out)")
    found = only(verdict(pair, network_mtu=option), 9, "host1", "host2")
    assert "packets of 1351 B and more are lost" in found["hint"]
    assert f"overlay's MTU to {wanted} with swarm_network_mtu" in found["hint"]


def test_layer_9_different_mtu(pair):
    pair[0]["probe"]["mtu"] = 8950
    assert "swarm_network_mtu" in only(verdict(pair), 9, "host1")["hint"]
    pair[0]["probe"]["mtu"] = 1450
    assert verdict(pair, expected_mtu=1450)["ok"]
    only(verdict(pair, expected_mtu=8950), 9, "host1")


def test_layer_10_port_taken(pair):
    fail(pair[0], 10, name="master port free", observed="port 12355: address already in use")
    found = only(verdict(pair), 10, "host1")
    assert "training_master_port" in found["hint"] and "12355" in found["hint"]


def test_layer_10_not_reachable(pair):
    fail(pair[1], 10, 0, name="master port reachable", observed="node0:12355 timed out")
    only(verdict(pair), 10, "host2", "host1")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("Bootstrap : no socket interface found", "training_interface"),
        ("ProcessGroupNCCL is only supported with GPUs, no GPUs found!", "default runtime"),
        ("Duplicate GPU detected : rank 0 and rank 1", "same GPU"),
        ("unexpected", "NCCL_DEBUG"),
    ],
)
def test_layer_11_backend_refuses(pair, words, hint):
    fail(pair[1], 11, name="group", observed="DistBackendError", detail=words)
    assert hint in only(verdict(pair), 11, "host2")["hint"]


def test_layer_11_missing_rank(pair):
    fail(pair[0], 11, 1, name="group", observed="did not join")
    assert "rank 1 on host2 is missing" in only(verdict(pair), 11, "host1", "host2")["hint"]


def test_layer_12_wrong_value(pair):
    fail(pair[1], 12, name="all-reduce 65536 B", observed="sum 7 at element 0", expected="3", code="wrong_sum")
    found = only(verdict(pair), 12, "host2")
    assert "do not train" in found["hint"]


def test_layer_12_hung_peer_without_report(pair):
    pair[1]["probe"] = None
    pair[1]["host_checks"]["container"].update(state="running")
    fail(pair[0], 12, 1, name="reduce 16777216", observed="silent (timed out)")
    result = verdict(pair)
    assert "host2" in only(result, 12, "host2")["hint"]
    assert "stopped or starved" in only(result, 12, "host1", "host2")["hint"]


def test_paused_container(pair):
    pair[1]["probe"] = None
    pair[1]["host_checks"]["container"].update(state="paused")
    fail(pair[0], 8, 1, name="tcp", observed="connected, no answer (timed out)")
    assert "docker unpause 0123456789ab" in only(verdict(pair), 8, "host2")["hint"]


def test_layer_13_floor(pair):
    pair[1]["probe"]["pairs"]["0"]["bandwidth_mb_s"] = 250.0
    found = only(verdict(pair, min_bus_bandwidth=1000), 13, "host1")
    assert "slowest pair: host2 to host1, 250 MB/s" in found["hint"]
    assert verdict(pair, min_bus_bandwidth=399)["ok"]


def test_layer_13_against_the_hosts_network(pair):
    """A slow overlay on a fast network is one; a slow network is not; and nor is what the CPU bounds."""
    for overlay, bare, fine in ((4.0, 110.0, False), (100.0, 118.0, True), (11.0, 12.0, True), (210.0, 9000.0, True)):
        for rank in (0, 1):
            pair[rank]["probe"]["pairs"][str(1 - rank)]["bandwidth_mb_s"] = overlay
            pair[rank]["host_checks"]["host_network"] = {f"host{2 - rank}": {"bandwidth_mb_s": bare}}
        result = verdict(pair)
        assert result["ok"] is fine, (overlay, bare)
        assert f"({bare:.0f})" in result["table"]
        if not fine:
            assert "preflight_min_network_fraction" in only(result, 13, "host1", "host2")["hint"]
        assert verdict(pair, min_network_fraction=0)["ok"]


def test_layer_14_slow_computing(pair):
    pair[1]["probe"]["compute"]["seconds"] = 0.02
    found = only(verdict(pair), 14, "host2")
    assert found["check"] == "compute" and "load" in found["hint"]
    assert verdict(pair, straggler_factor=0)["ok"]


def test_layer_14_slow_sending(pair):
    pair[1]["probe"]["pairs"]["0"]["bandwidth_mb_s"] = 11.0
    assert only(verdict(pair), 14, "host2")["check"] == "sending"


def test_layer_14_what_differs_from_try_to_try_is_no_slow_network(pair):
    pair[1]["probe"]["pairs"]["0"].update(bandwidth_mb_s=60.0, bandwidth_steady=0.6)
    pair[1]["host_checks"]["host_network"] = {"host1": {"bandwidth_mb_s": 2000.0}}
    assert verdict(pair)["ok"]
    pair[1]["probe"]["pairs"]["0"].update(bandwidth_steady=0.95)
    only(verdict(pair), 13, "host2")
    only(verdict(pair, min_network_fraction=0), 14, "host2")
    pair[0]["probe"]["compute"].update(load=9.0, cores=2)
    assert verdict(pair)["ok"], "a host that is busy measures itself"


def test_layer_14_a_starved_receiver_is_not_the_senders_fault(pair):
    pair[1]["probe"]["compute"]["seconds"] = 0.02
    pair[0]["probe"]["pairs"]["1"]["bandwidth_mb_s"] = 3.9
    assert [(one["host"], one["check"]) for one in verdict(pair)["findings"]] == [("host2", "compute")]


def test_layer_14_noise_is_no_alarm(trio):
    for one, (seconds, rate) in zip(trio, ((0.0020, 900.0), (0.0050, 310.0), (0.0029, 2500.0))):
        one["probe"]["compute"]["seconds"] = seconds
        for entry in one["probe"]["pairs"].values():
            entry["bandwidth_mb_s"] = rate
    assert verdict(trio)["ok"]


@pytest.mark.parametrize("layer", range(4, 15))
def test_what_was_not_reached_never_passes(pair, layer):
    for entry in pair[1]["probe"]["records"]:
        if entry["layer"] == layer:
            entry.update(ok=None, detail="time was over")
    found = only(verdict(pair), layer, "host2")
    assert found["check"] == "not reached" and found["observed"] == "time was over"
    pair[1]["probe"]["records"] = [r for r in pair[1]["probe"]["records"] if r["layer"] != layer]
    shown = verdict(pair)
    assert not shown["ok"] and shown["layers"][layer - 1]["ranks"]["1"] == "not reached"


def test_the_first_failing_layer_wins_and_lists_every_host(trio):
    fail(trio[0], 11, name="group", observed="timeout")
    fail(trio[1], 6, name="interface", observed="none")
    fail(trio[2], 6, name="interface", observed="none")
    result = verdict(trio)
    assert [one["host"] for one in result["findings"]] == ["host2", "host3"]
    only(result, 6, "host3")
