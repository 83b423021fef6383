"""The judge: every layer's fault leads to the right host, layer and remedy, and what was not reached never passes."""

from __future__ import annotations

import copy
import json
import socket
import types

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ddp.swarm.plugins.module_utils.docker_cli import CompletedDocker, DockerError
from ansible_collections.ddp.swarm.plugins.modules import nccl_check

SPEC = nccl_check.argument_spec()
LIMITS = {name: SPEC[name].get("default") for name in nccl_check.LIMITS}


def record(layer, rank, ok=True, peer=None, name="check", observed="seen", expected="wanted", detail=""):
    return {
        "layer": layer, "name": name, "rank": rank, "peer": peer, "ok": ok, "observed": observed,
        "expected": expected, "detail": detail, "seconds": 0.1,
    }  # fmt: skip


def healthy_report(rank, size):
    others = [other for other in range(size) if other != rank]
    return {
        "rank": rank,
        "host": f"host{rank + 1}",
        "host_checks": {
            "engine": {"ok": True, "error": "", "version": "26.1.5", "root": "/var/lib/docker",
                       "swarm_state": "active", "swarm_error": "", "manager": rank == 0},
            "kernel": "6.1", "vxlan": True, "clock": {"epoch": 1000.0 + rank, "sent_at": 999.0},
            "disk_free_bytes": 10**11, "ports": [], "service": f"t-preflight_node{rank}",
            "container": {"id": "0123456789abcdef", "state": "exited", "exit_code": 0}, "log_tail": [],
            "error": "", "tasks": [], "waited_s": 5.0,
        },
        "probe": {
            "rank": rank, "world_size": size, "peers": [f"node{r}" for r in range(size)], "interface": "eth0",
            "mtu": 1450, "shm_bytes": 67108864, "gpus": 0, "backend": "gloo",
            "backend_reason": "no GPU on " + ", ".join(f"node{r}" for r in range(size)),
            "identity": {"python": "3.11.2", "torch": "2.13.0", "cuda": None, "nccl": None,
                         "files_hash": "aa", "files": {"training_code.py": "a", "util.py": "b"}},
            "clock": {str(o): {"offset_s": 0.001, "round_trip_s": 0.0002} for o in others},
            "heard": {str(o): 3 for o in others},
            "pairs": {str(o): {"latency_us": 80.0, "bandwidth_mb_s": 410.0, "path_mtu": 1450} for o in others},
            "allreduce": {"bus_bandwidth_mb_s": 400.0 + rank, "latency_us": 300.0},
            "compute": {"seconds": 0.002, "load": 0.5},
            "records": [record(layer, rank) for layer in range(4, 15)],
        },
    }  # fmt: skip


@pytest.fixture
def pair():
    return [healthy_report(0, 2), healthy_report(1, 2)]


@pytest.fixture
def trio():
    return [healthy_report(rank, 3) for rank in range(3)]


def verdict(reports, size=None, unreachable=None, probed=True, **limits):
    size = len(reports) if size is None else size
    ranks = [{"rank": rank, "host": f"host{rank + 1}"} for rank in range(size)]
    before = copy.deepcopy(reports)
    result = nccl_check.judge(reports, ranks, {**LIMITS, **limits}, unreachable, probed)
    assert reports == before, "judging must not change what was observed"
    assert set(result) >= {"ok", "findings", "layers", "table", "backend", "backend_reason", "message"}
    for one in result["findings"]:
        assert set(one) == {
            "layer", "layer_name", "rank", "host", "peer", "check", "observed", "expected", "hint",
        }  # fmt: skip
        assert one["hint"]
    json.dumps(result)
    return result


def only(result, layer, host, peer=None):
    """All findings are of one layer; return the one of this host."""
    assert not result["ok"]
    assert {one["layer"] for one in result["findings"]} == {layer}, result["message"]
    for row in result["layers"]:
        if row["layer"] > layer and result["findings"][0]["check"] != "not reached":
            assert set(row["ranks"].values()) == {"not reached"}
    found = [one for one in result["findings"] if one["host"] == host and (peer is None or one["peer"] == peer)]
    assert found, result["findings"]
    assert f"Layer {layer} " in result["message"]
    return found[0]


def fail(report, layer, peer=None, **facts):
    """Let the probe of a report fail at a layer and reach none after it."""
    records = report["probe"]["records"]
    report["probe"]["records"] = [r for r in records if r["layer"] < layer] + [
        record(layer, report["rank"], False, peer, **facts),
        *(record(later, report["rank"], None, detail="not reached") for later in range(layer + 1, 15)),
    ]
    return report


def test_healthy(pair):
    result = verdict(pair)
    assert result["ok"] and result["findings"] == []
    assert all(set(row["ranks"].values()) == {"ok"} for row in result["layers"])
    assert result["message"].startswith(
        "2 ranks reach each other over ddp-net: gloo (no GPU on host1, host2), bus bandwidth 400 MB/s"
    )
    assert "80 / 410" in result["table"]
    rows = [line.split() for line in result["table"].splitlines()[:15]]
    assert rows[0] == ["layer", "0", "host1", "1", "host2"]
    assert [row[0] for row in rows[1:]] == [str(layer) for layer in range(1, 15)]
    assert all(row[-2:] == ["ok", "ok"] for row in rows[1:])
    assert "FAIL" not in result["table"].replace("FAIL: failed", "")


def test_single_host():
    report = healthy_report(0, 1)
    report["probe"]["allreduce"]["bus_bandwidth_mb_s"] = 0.0
    result = verdict([report], min_bus_bandwidth=100)
    assert result["ok"] and result["bus_bandwidth"] is None
    assert result["message"].startswith("1 rank on host1 is ready")


def test_many_ranks_fit_the_table():
    table = verdict([healthy_report(rank, 8) for rank in range(8)])["table"]
    assert "7 host8" in table
    assert all(len(line) < 160 for line in table.splitlines())


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
    assert found["observed"] == "Connection refused" and "ssh host2" in found["hint"]


def test_layer_2_a_manager_without_a_rank(pair):
    result = verdict(pair, unreachable={"manager1": "no route"})
    assert only(result, 2, "manager1")["rank"] == -1 and "(rank" not in result["message"]
    lame = {"rank": -1, "host": "manager1", "probe": None, "host_checks": {"engine": {"ok": False, "error": "down"}}}
    assert "start Docker on manager1" in only(verdict([*pair, lame], size=2), 2, "manager1")["hint"]


def node(number, **changes):
    return {"id": f"id{number}", "hostname": f"h{number}", "state": "ready", "message": "", "availability": "active",
            "rank": str(number), "manager": number == 0, "address": f"192.0.2.{number + 1}", **changes}  # fmt: skip


def with_nodes(reports, *nodes):
    for report in reports:
        report["host_checks"]["engine"]["node"] = f"id{report['rank']}"
    reports[0]["host_checks"].update(nodes=list(nodes), network={"subnet": "10.0.1.0/24", "mtu": 0, "encrypted": False})
    return reports


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"availability": "drain"}, "host2 is drained: run 'docker node update --availability active h1'"),
        ({"availability": "pause"}, "host2 is paused"),
        ({"state": "down", "message": "heartbeat failure"}, "2377/tcp to the managers"),
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
    assert verdict(with_nodes(pair, node(0), node(1), node(1, id="old", state="down")))["ok"]
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


# As engines 26.1 and 20.10 print it.
GOSSIP_WARNINGS = [
    f'time="..." level=warning msg="memberlist: Was able to connect to 4f5211e90d77 {what}, network may be misconfigured"'
    for what in ("over TCP but UDP probes failed", "but other probes failed")
]


@pytest.mark.parametrize("words", GOSSIP_WARNINGS)
@pytest.mark.parametrize(
    ("ages", "goes_on", "silent"),
    [
        ((9, 7, 5, 3, 1), True, ["192.0.2.2"]),
        ((9, 7, 5, 3, 1), False, []),
        ((5, 3, 1), True, []),
        ((20, 18, 16, 14, 12), True, []),
        ((), False, []),
    ],
)
def test_the_engine_says_who_answers_by_tcp_alone(words, ages, goes_on, silent, monkeypatch, tmp_path):
    now = nccl_check.time.time()
    lines = [f"{now - age:.6f} host1 dockerd[15937]: {words}" for age in ages]
    (tmp_path / "journal").write_text("\n".join([f"{now:.6f} host1 dockerd[15937]: something else", *lines]))
    (tmp_path / "journalctl").write_text(f"#!/bin/sh\n/bin/cat {tmp_path}/journal\n")
    (tmp_path / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    def sleep(seconds):
        last = words if goes_on else "all is well"
        with (tmp_path / "journal").open("a") as file:
            file.write(f"\n{nccl_check.time.time() + seconds:.6f} host1 dockerd[15937]: {last}")

    monkeypatch.setattr(nccl_check.time, "sleep", sleep)
    networks = [{"Peers": [{"Name": "4f5211e90d77", "IP": "192.0.2.2"}, {"Name": "411fb8b73774", "IP": "192.0.2.1"}]}]
    docker = types.SimpleNamespace(run=lambda *args, **options: types.SimpleNamespace(stdout=json.dumps(networks)))
    assert nccl_check.silent_gossip(docker, "ddp-net") == silent
    monkeypatch.setenv("PATH", "")
    assert nccl_check.silent_gossip(docker, "ddp-net") == []


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


def test_gpus_of_others():
    def container(name, gpus):
        return {"Name": f"/{name}", "Config": {"Env": ["A=B", f"DOCKER_RESOURCE_NVIDIA-GPU={gpus}"] if gpus else None}}

    rows = [container("second", "GPU-2,GPU-3"), container("third", "GPU-4"), container("none", "")]

    class Docker:
        def run(self, *args, **_):
            answers = {"ps": "own\nid2\nid3\nid4\n", "inspect": json.dumps(rows)}
            assert "own" not in args
            return CompletedDocker(0, answers[args[0]], "")

    own = {"id": "own", "gpus": nccl_check.given_gpus(container("own", "GPU-1,GPU-2"))}
    assert nccl_check.gpus_of_others(Docker(), own) == {"GPU-2": "second"}
    assert nccl_check.gpus_of_others(Docker(), {"id": "own", "gpus": []}) == {}


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
    fail(pair[1], 6, name="NCCL_SOCKET_IFNAME", observed="eth1, which is eth1", expected="eth0")
    found = only(verdict(pair), 6, "host2")
    assert "set training_interface to eth0" in found["hint"]


def test_layer_6_colliding_subnet(pair):
    fail(pair[1], 6, name="interface", observed="eth0, eth1", detail="two networks share this subnet")
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
    fail(pair[1], 12, name="all-reduce 65536 B", observed="sum 7 at element 0", expected="3")
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


def test_no_reports_at_all():
    result = verdict([], size=2)
    assert {one["host"] for one in result["findings"]} == {"host1", "host2"}
    assert result["backend"] is None


# ---------------------------------------------------------------- observing


def test_report_line_is_found_among_others():
    good = nccl_check.MARKER + json.dumps({"rank": 1, "run_id": "b"})
    old = nccl_check.MARKER + json.dumps({"rank": 0, "run_id": "a"})
    text = f"noise\n{old}\n{good}\nmore\n{nccl_check.MARKER}{{cut"
    assert nccl_check.parse_report(text) == {"rank": 1, "run_id": "b"}
    assert nccl_check.parse_report(text, "a") == {"rank": 0, "run_id": "a"}
    assert nccl_check.parse_report(text, "c") is None
    assert nccl_check.parse_report("") is None


def test_vxlan_support(tmp_path):
    assert nccl_check.vxlan_support("6.1", str(tmp_path)) is None
    modules = tmp_path / "lib" / "modules" / "6.1"
    modules.mkdir(parents=True)
    (modules / "modules.dep").write_text("kernel/drivers/net/veth.ko:\n")
    assert nccl_check.vxlan_support("6.1", str(tmp_path)) is False
    (modules / "modules.builtin").write_text("kernel/drivers/net/vxlan/vxlan.ko\n")
    assert nccl_check.vxlan_support("6.1", str(tmp_path)) is True


class Engine:
    """Answers docker commands from a table, by their first words. A command that is not in it is a mistake."""

    def __init__(self, answers):
        self.answers = answers

    def run(self, *args, check=True, **_):
        words = " ".join(args)
        found = [answer for start, answer in self.answers.items() if f"{words} ".startswith(f"{start} ")]
        assert len(found) == 1, f"no answer, or several, to: docker {words}"
        if isinstance(found[0], Exception):
            raise found[0]
        return CompletedDocker(0, found[0], "")

    def json_lines(self, *args):
        return [json.loads(line) for line in self.run(*args).stdout.splitlines()]


INFO = json.dumps(
    {"ServerVersion": "26.1.5", "KernelVersion": "6.1", "DockerRootDir": "/",
     "Swarm": {"LocalNodeState": "active", "ControlAvailable": True, "Error": ""}}
)  # fmt: skip


def params(**changes):
    defaults = {name: option.get("default") for name, option in SPEC.items()}
    return {**defaults, "service": "t-preflight_node0", "rank": 0, "host": "host1", "timeout": 0, "start_timeout": 0,
            "sent_at": 1.0, **changes}  # fmt: skip


PS = "ps --all --no-trunc --filter label=com.docker.swarm.service.name=t-preflight_node0"
MANAGER = {"info --format {{json .}}": INFO, "node ls --quiet": "", "network inspect ddp-net": "[]"}


def test_observe_reads_the_report():
    engine = Engine({
        **MANAGER,
        PS: '{"ID": "abc"}',
        "inspect --type container abc": json.dumps(
            [{"State": {"Status": "running", "ExitCode": 0}, "Config": {"Image": "x"}}]
        ),
        "logs abc": f"hello\n{nccl_check.MARKER}" + '{"rank": 0}',
        "stack ps --no-trunc t-preflight":
        '{"Name": "t-preflight_node1.1", "Node": "", "CurrentState": "Pending", "Error": "no suitable node"}\n'
        '{"Name": " \\\\_ t-preflight_node1.1", "Node": "h", "CurrentState": "Failed", "Error": "x"}',
    })  # fmt: skip
    report = nccl_check.observe(params(), engine)
    assert report["probe"] == {"rank": 0}
    assert report["host_checks"]["container"]["state"] == "running"
    assert report["host_checks"]["log_tail"] == ["hello"]
    assert [(task["name"], task["node"], task["error"]) for task in report["host_checks"]["tasks"]] == [
        ("t-preflight_node1", "", "no suitable node"),
        ("t-preflight_node1", "h", "x"),
    ]
    assert report["host_checks"]["disk_free_bytes"] > 0


def test_observe_reports_a_stopped_engine():
    """And asks it nothing more."""
    engine = Engine({"info": DockerError("Cannot connect to the Docker daemon")})
    report = nccl_check.observe(params(), engine)
    assert report["probe"] is None
    assert "Cannot connect" in report["host_checks"]["error"]
    assert report["host_checks"]["engine"]["ok"] is False


def test_observe_gives_up_on_a_service_without_container():
    report = nccl_check.observe(params(), Engine({**MANAGER, PS: "", "stack ps --no-trunc t-preflight": ""}))
    assert report["probe"] is None and report["host_checks"]["container"] is None


def test_a_manager_names_the_nodes_and_the_ports_to_reach():
    def row(ident, rank, **more):
        labels = {} if rank is None else {"ddp_rank": rank}
        return {"ID": ident, "Description": {"Hostname": f"h-{ident}"}, "Spec": {"Labels": labels, "Availability": "active"},
                "Status": {"State": "ready", "Addr": f"192.0.2.{ident}"}, **more}  # fmt: skip

    manager = Engine({
        "info": INFO,
        "node ls --quiet": "1\n2\n3",
        "node inspect 1 2 3": json.dumps([row(1, "0", ManagerStatus={"Addr": "192.0.2.77:2377"}), row(2, "1"), row(3, None)]),
        "service ls --quiet --filter label=com.docker.stack.namespace=t-preflight": "left",
        "network inspect ddp-net": json.dumps([{
            "Driver": "overlay", "Options": {"com.docker.network.driver.mtu": "1400"},
            "IPAM": {"Config": [{"Subnet": "fd00::/64"}, {"Subnet": "10.0.1.0/24"}]},
        }]),
        "image inspect x:1": "[]",
    })  # fmt: skip
    ranks = [{"rank": 0, "host": "a"}, {"rank": 1, "host": "b"}]
    checks = nccl_check.observe(params(service=None, ranks=ranks, stack="t-preflight", image="x:1"), manager)[
        "host_checks"
    ]
    assert checks["control_peers"] == [
        {"host": "a", "address": "192.0.2.77", "ports": [2377, 7946]},
        {"host": "b", "address": "192.0.2.2", "ports": [7946]},
    ]
    assert checks["network"] == {"subnet": "10.0.1.0/24", "mtu": 1400, "encrypted": False, "driver": "overlay"}
    assert checks["left_over"] is True and checks["image"] == {"name": "x:1", "present": False}


def test_machines_that_have_left_are_not_asked_for():
    ranks = [{"rank": 0, "host": "a"}, {"rank": 1, "host": "b"}]
    nodes = [
        node(0),
        node(1, state="down"),
        node(2, id="worker without rank", rank=None),
        node(3, id="manager without rank", rank=None, manager=True),
        node(4, id="dead manager", rank=None, manager=True, state="down"),
    ]
    assert [peer["host"] for peer in nccl_check.control_peers(nodes, ranks)] == ["a", "b", "h3"]
    nodes.append(node(1, id="joined again", address="192.0.2.9"))
    peers = nccl_check.control_peers(nodes, ranks)
    assert [peer["address"] for peer in peers if peer["host"] == "b"] == ["192.0.2.9"]


def test_ports_and_paths_of_this_machine():
    with socket.create_server(("127.0.0.1", 0)) as open_port, socket.create_server(("127.0.0.1", 0)) as closed:
        ports = [open_port.getsockname()[1], closed.getsockname()[1]]
        closed.close()
        seen = nccl_check.check_ports([{"host": "b", "address": "127.0.0.1", "ports": ports}])
    assert [bool(one["error"]) for one in seen] == [False, True] and "refused" in seen[1]["error"]
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
        largest = 1500
    except PermissionError:
        largest = None  # who may not send echoes cannot tell
    assert nccl_check.path_mtu("127.0.0.1", 1500) == {"mtu": largest, "tried": 1500}


def test_attached_networks_by_the_routing_table(tmp_path):
    (tmp_path / "proc" / "net").mkdir(parents=True)
    (tmp_path / "proc" / "net" / "route").write_text(
        "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
        "eth0 00000000 010013AC 0003 0 0 0 00000000 0 0 0\n"
        "eth0 000013AC 00000000 0001 0 0 0 0000FFFF 0 0 0\n"
        "eth0 0000000A 010013AC 0003 0 0 0 000000FF 0 0 0\n"
    )
    assert nccl_check.local_networks(str(tmp_path)) == [{"interface": "eth0", "network": "172.19.0.0/16"}]


def test_bandwidth_between_two_hosts_that_start_apart():
    """Two hosts on loopback: each sends to the other, and the one that is early waits."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    first = nccl_check.HostNetwork(port, [{"host": "b", "address": "127.0.0.1"}])
    assert first.result()["b"]["bandwidth_mb_s"] > 10
    alone = nccl_check.HostNetwork(0, [])
    assert alone.result() == {}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = nccl_check.HostNetwork(taken.getsockname()[1], [{"host": "b", "address": "127.0.0.1"}])
        assert "in use" in busy.result()["b"]["error"].lower()


def test_a_connection_that_stalls_is_told_from_one_that_is_refused(monkeypatch):
    monkeypatch.setattr(nccl_check.HostNetwork, "PATIENCE", 0.3)
    monkeypatch.setattr(nccl_check.HostNetwork, "STALLED", 0.5)
    with socket.create_server(("127.0.0.2", 0)) as silent:
        network = nccl_check.HostNetwork(0, [])
        network.port = silent.getsockname()[1]
        network.peers = [{"host": "b", "address": "127.0.0.2"}, {"host": "c", "address": "127.0.0.3"}]
        network._measure()
    assert network.results["b"] == {"error": "stalled"} and "refused" in network.results["c"]["error"]


def test_the_verdict_is_written_to_a_file(capsys, pair, tmp_path):
    path = tmp_path / "new" / "preflight.json"
    ranks = [{"rank": 0, "host": "host1"}, {"rank": 1, "host": "host2"}]
    assert call(capsys, reports=pair, ranks=ranks, path=str(path)).out["ok"] is True
    assert json.loads(path.read_text())["ok"] is True and "table" not in json.loads(path.read_text())
    call(capsys, reports=pair[:1], ranks=ranks, path=str(path), _ansible_check_mode=True)
    assert json.loads(path.read_text())["ok"] is True
    (tmp_path / "file").write_text("")
    assert call(capsys, reports=pair, ranks=ranks, path=str(tmp_path / "file" / "x.json")).code == 1


def call(capsys, **arguments):
    with patch_module_args(arguments), pytest.raises(SystemExit) as left:
        nccl_check.main()
    return types.SimpleNamespace(code=left.value.code, out=json.loads(capsys.readouterr().out))


def test_module_warns_or_enforces(capsys, pair):
    ranks = [{"rank": 0, "host": "host1"}, {"rank": 1, "host": "host2"}]
    pair[1]["probe"]["shm_bytes"] = 1
    warned = call(capsys, reports=pair, ranks=ranks, _ansible_check_mode=True)
    assert warned.code == 0 and warned.out["ok"] is False and warned.out["changed"] is False
    refused = call(capsys, reports=pair, ranks=ranks, enforce=True)
    assert refused.code == 1 and refused.out["failed"] and refused.out["findings"][0]["layer"] == 5
    assert refused.out["msg"] == refused.out["message"]


@pytest.mark.parametrize("arguments", [{}, {"service": "a"}, {"reports": []}, {"rank": 0, "reports": [], "ranks": []}])
def test_module_wants_one_of_its_two_uses(capsys, arguments):
    assert call(capsys, **arguments).code == 1
