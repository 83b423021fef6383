"""All that a host can say at once, and the wait for its probe's report."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.docker.cli import DockerError
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.contract import MARKER
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe import look as observed
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe.look import observe, parse_report
from preflight_ranks import SPEC
from test_observe_engine import Engine

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
        "logs abc": f"hello\n{MARKER}" + '{"rank": 0}',
        "stack ps --no-trunc t-preflight":
        '{"Name": "t-preflight_node1.1", "Node": "", "CurrentState": "Pending", "Error": "no suitable node"}\n'
        '{"Name": " \\\\_ t-preflight_node1.1", "Node": "h", "CurrentState": "Failed", "Error": "x"}',
    })  # fmt: skip
    report = observe(params(), engine)
    assert report["probe"] == {"rank": 0}
    assert report["host_checks"]["container"]["state"] == "running"
    assert report["host_checks"]["log_tail"] == ["hello"]
    assert [(task["name"], task["node"], task["error"]) for task in report["host_checks"]["tasks"]] == [
        ("t-preflight_node1", "", "no suitable node"),
        ("t-preflight_node1", "h", "x"),
    ]
    assert report["host_checks"]["disk_free_bytes"] > 0
    # What the probes themselves hold must not be counted as others'.
    assert "services_in_network" not in report["host_checks"]


def test_observe_reports_a_stopped_engine():
    """And asks it nothing more."""
    engine = Engine({"info": DockerError("Cannot connect to the Docker daemon")})
    report = observe(params(), engine)
    assert report["probe"] is None
    assert "Cannot connect" in report["host_checks"]["error"]
    assert report["host_checks"]["engine"]["ok"] is False


def test_observe_gives_up_on_a_service_without_container():
    report = observe(params(), Engine({**MANAGER, PS: "", "stack ps --no-trunc t-preflight": ""}))
    assert report["probe"] is None and report["host_checks"]["container"] is None


def test_a_manager_names_the_nodes_and_the_ports_to_reach():
    def row(ident, rank, **more):
        labels = {} if rank is None else {"ddp_rank": rank}
        return {"ID": ident, "Description": {"Hostname": f"h-{ident}"}, "Spec": {"Labels": labels, "Availability": "active"},
                "Status": {"State": "ready", "Addr": f"192.0.2.{ident}"}, **more}  # fmt: skip

    manager = Engine({
        "info": INFO,
        "node ls --quiet": "1\n2\n3",
        "node inspect 1 2 3": json.dumps([row(1, "0", ManagerStatus={"Addr": "192.0.2.77:2377", "Reachability": "reachable"}), row(2, "1"), row(3, None)]),
        "network inspect docker_gwbridge ddp-net": "[]",
        "service ls --quiet --filter label=com.docker.stack.namespace=t-preflight": "left",
        "network inspect ddp-net": json.dumps([{
            "Driver": "overlay", "Options": {"com.docker.network.driver.mtu": "1400"},
            "IPAM": {"Config": [{"Subnet": "fd00::/64"}, {"Subnet": "10.0.1.0/24"}]},
        }]),
        "image inspect x:1": "[]",
    })  # fmt: skip
    ranks = [{"rank": 0, "host": "a"}, {"rank": 1, "host": "b"}]
    checks = observe(params(service=None, ranks=ranks, stack="t-preflight", image="x:1"), manager)["host_checks"]
    assert checks["control_peers"] == [
        {"host": "a", "address": "192.0.2.77", "ports": [2377, 7946]},
        {"host": "b", "address": "192.0.2.2", "ports": [7946]},
    ]
    assert checks["network"] == {"subnet": "10.0.1.0/24", "mtu": 1400, "encrypted": False, "driver": "overlay"}
    assert checks["left_over"] is True and checks["image"] == {"name": "x:1", "present": False}


def test_report_line_is_found_among_others():
    good = MARKER + json.dumps({"rank": 1, "run_id": "b"})
    old = MARKER + json.dumps({"rank": 0, "run_id": "a"})
    text = f"noise\n{old}\n{good}\nmore\n{MARKER}{{cut"
    assert parse_report(text) == {"rank": 1, "run_id": "b"}
    assert parse_report(text, "a") == {"rank": 0, "run_id": "a"}
    assert parse_report(text, "c") is None
    assert parse_report("") is None
    assert parse_report(f"{good}\n{MARKER}[1]") == {"rank": 1, "run_id": "b"}
    assert parse_report(f"echo {good}") is None
    assert parse_report(f"{good}\n{MARKER}{'[' * 100_000}") == {"rank": 1, "run_id": "b"}
    # What a container echoes is not a line of the probe.
    assert parse_report(f"echo\x85{good}") is None


# ---------------------------------------------------------------- all that a host can say

HERE = {"host": "host1", "address": "192.0.2.1", "ports": [2377, 7946]}
THERE = {"host": "host2", "address": "192.0.2.2", "ports": [7946]}
MANAGES = {"host": "manager9", "address": "192.0.2.9", "ports": [2377, 7946]}


@pytest.fixture
def looked(monkeypatch, tmp_path):
    """What the module sees on a host on which nothing is measured; `parts` are what was asked of its parts."""
    parts = {}

    class Network:
        def __init__(self, port, peers):
            parts["network"] = (port, [peer["host"] for peer in peers])

        def result(self):
            return {"host2": {"bandwidth_mb_s": 7.0}}

    def part(name, answer):
        def asked(*args):
            parts.setdefault(name, []).append(args)
            return answer(*args)

        monkeypatch.setattr(observed, name, asked)

    def usage(path):
        parts["disk"] = path
        if path == "/gone":
            raise FileNotFoundError(path)
        return SimpleNamespace(free=12345)

    monkeypatch.setattr(observed, "HostNetwork", Network)
    monkeypatch.setattr(observed.shutil, "disk_usage", usage)
    monkeypatch.setattr(observed, "time", SimpleNamespace(time=lambda: 77.0))
    monkeypatch.setattr(observed.platform, "node", lambda: "host1")
    monkeypatch.setattr(observed.platform, "release", lambda: "5.4-of-python")
    part("check_ports", lambda peers: [peer["host"] for peer in peers])
    part("path_mtu", lambda address, wanted: f"{address} {wanted}")
    part("silent_gossip", lambda docker, network: ["192.0.2.2"])
    part("vxlan_support", lambda kernel: f"vxlan of {kernel}")
    part("local_networks", lambda: ["the networks"])
    part("nvidia_gpus", lambda: 2)
    part("nvidia_driver", lambda: "535")
    part("gpu_states", lambda: (["a GPU"], "a complaint"))
    part("recent_xids", list)
    part("fabric", dict)
    part("diagnosis", dict)
    part("interface_of", lambda address: f"of {address}")
    part("link_facts", lambda name: {"name": name})
    part("nat_of_gwbridge", lambda bridge: bridge.get("Name") == "docker_gwbridge")
    part("conntrack", lambda: {"count": 1, "max": 9})
    monkeypatch.setattr(observed.labels, "is_enforcing", lambda: True)
    monkeypatch.setattr(observed.labels, "type_of", lambda path: f"{path[1:]}_t")

    def looked(info=None, answers=None, **changes):
        parts.clear()
        info = info if isinstance(info, DockerError) else json.dumps(json.loads(INFO) | (info or {}))
        bridge = json.dumps([{"Name": "docker_gwbridge", "IPAM": {"Config": [{"Subnet": "172.18.0.0/16"}]}}])
        engine = Engine({"info": info, "network inspect docker_gwbridge ddp-net": bridge, **(answers or {})})
        report = observe(params(**{"service": None, "control_peers": [HERE, THERE, MANAGES], **changes}), engine)
        parts["asked"] = [words for words in engine.asked if not words.startswith("info")]
        return report, parts

    return looked


WORKER = {"Swarm": {"LocalNodeState": "active", "ControlAvailable": False, "NodeAddr": "192.0.2.7"}}
STOPPED = DockerError("Cannot connect to the Docker daemon")


@pytest.mark.parametrize(("options", "denied"), [(["name=selinux"], [{"path": "/home", "type": "home_t"}]), ([], [])])
def test_labels_count_where_the_engine_goes_by_them(looked, options, denied):
    mounts = [{"source": "/home", "read_only": True}, {"source": "/container_file", "read_only": False}]
    report, _ = looked({**WORKER, "SecurityOptions": options}, bind_mounts=mounts)
    assert report["host_checks"]["bind_labels"] == denied


def test_all_that_a_worker_says(looked):
    report, parts = looked(WORKER, image="x:1", stack="t", answers={"image inspect x:1": '[{"Id": "1"}]'})
    checks = report.pop("host_checks")
    assert report == {"rank": 0, "host": "host1", "probe": None}
    engine = checks.pop("engine")
    assert (engine["ok"], engine["manager"]) == (True, False)
    assert checks == {
        "kernel": "6.1", "vxlan": "vxlan of 6.1", "clock": {"epoch": 77.0, "sent_at": 1.0}, "disk_free_bytes": 12345, "growth": {},
        "networks": ["the networks"], "gpus": 2, "nvidia_driver": "535", "ports": ["host2", "manager9"],
        "paths": {"host2": "192.0.2.2 1500", "manager9": "192.0.2.9 1500"}, "image": {"name": "x:1", "present": True},
        "nodes": [], "control_peers": [], "network": None, "left_over": None, "host_network": {},
        "silent_gossip": ["host2"], "error": "", "gateway_bridge": "172.18.0.0/16", "nat_rules": True,
        "conntrack": {"count": 1, "max": 9}, "bind_mounts": [], "volumes": [], "bind_labels": [], "twins": [], "link": {"name": "of 192.0.2.7"}, "loners": [], "services_in_network": 0, "gpu_states": ["a GPU"], "gpu_error": "a complaint", "fabric": {}, "dcgm": {}, "gpu_uuids": [], "xids": [],
    }  # fmt: skip
    assert (parts["disk"], parts["asked"]) == (
        "/",
        ["image inspect x:1", "network inspect docker_gwbridge ddp-net"],
    ), "a worker is asked nothing about the swarm"
    assert "network" not in parts
    assert parts["silent_gossip"][0][1] == "ddp-net"


def test_a_stopped_engine_is_asked_no_more_and_its_host_is(looked):
    report, parts = looked(STOPPED, image="x:1", stack="t")
    checks = report["host_checks"]
    assert (checks["engine"]["ok"], checks["error"]) == (False, "Cannot connect to the Docker daemon")
    assert (checks["kernel"], parts["disk"]) == ("5.4-of-python", "/var/lib/docker")
    assert (checks["image"], checks["nodes"], checks["left_over"], checks["silent_gossip"]) == ({}, [], None, [])
    assert (checks["ports"], checks["disk_free_bytes"]) == (["host2", "manager9"], 12345)
    assert parts["asked"] == []
    # Nor is an engine whose server has errors, which answers in part.
    report, parts = looked({"ServerErrors": ["lost"]}, image="x:1", stack="t")
    assert (report["host_checks"]["network"], parts["asked"]) == (None, [])


@pytest.mark.parametrize("left", ["", "id1"])
def test_a_manager_is_asked_about_the_swarm(looked, left):
    answers = {
        "node ls": "",
        "network inspect ddp-net": '[{"Driver": "overlay"}]',
        "service ls --quiet": left,
    }
    checks = looked(answers=answers, stack="t")[0]["host_checks"]
    assert (checks["network"]["driver"], checks["left_over"]) == ("overlay", bool(left))
    assert (checks["image"], checks["nodes"], checks["control_peers"]) == ({}, [], [])
    del answers["service ls --quiet"]
    assert looked(answers=answers, stack="")[0]["host_checks"]["left_over"] is None


@pytest.mark.parametrize(("own", "held"), [([], 2), (["t"], 0)])
def test_a_manager_counts_what_else_is_in_the_network(looked, own, held):
    service = {"ID": "a1", "Spec": {"Labels": {"com.docker.stack.namespace": "t"}, "Networks": [{"Target": "net"}]}}
    answers = {
        "network inspect docker_gwbridge ddp-net": '[{"Name": "ddp-net", "Id": "net"}]', "network inspect ddp-net": "[]",
        "node ls": "", "service ls --format": "a1 2/2\n", "service inspect a1": json.dumps([service]),
    }  # fmt: skip
    checks = looked(answers=answers, own_stacks=own)[0]["host_checks"]
    assert checks["services_in_network"] == held
    # A worker cannot tell.
    del answers["service ls --format"], answers["service inspect a1"]
    assert looked(WORKER, answers=answers)[0]["host_checks"]["services_in_network"] == 0


@pytest.mark.parametrize(
    ("port", "peers", "ranks", "measured"),
    [
        (23456, [HERE, THERE, MANAGES], None, (23456, ["host2", "manager9"])),
        (
            23456,
            [HERE, THERE, MANAGES],
            [{"rank": 0, "host": "host1"}, {"rank": 1, "host": "host2"}],
            (23456, ["host2"]),
        ),
        (0, [HERE, THERE, MANAGES], None, None),
        (23456, [HERE], None, None),
        (23456, [HERE, MANAGES], [{"rank": 0, "host": "host1"}, {"rank": 1, "host": "host2"}], None),
    ],
)
def test_bandwidth_is_measured_between_the_hosts_with_a_rank(looked, port, peers, ranks, measured):
    report, parts = looked(WORKER, host_network_port=port, control_peers=peers, ranks=ranks)
    assert parts.get("network") == measured
    assert report["host_checks"]["host_network"] == ({"host2": {"bandwidth_mb_s": 7.0}} if measured else {})


def test_a_host_alone_has_nobody_to_hear(looked):
    report, parts = looked(WORKER, control_peers=[HERE])
    assert report["host_checks"]["silent_gossip"] == report["host_checks"]["ports"] == []
    assert "silent_gossip" not in parts


@pytest.mark.parametrize(
    ("changes", "info", "seen"),
    [
        ({"network_mtu": 9000}, WORKER, {"paths": {"host2": "192.0.2.2 9000", "manager9": "192.0.2.9 9000"}}),
        ({"host": None}, WORKER, {"ports": ["host2", "manager9"]}),
        ({"host": "host2"}, WORKER, {"ports": ["host1", "manager9"]}),
        ({"sent_at": None}, WORKER, {"clock": {}}),
        ({}, {**WORKER, "DockerRootDir": "/gone"}, {"disk_free_bytes": None}),
        ({}, {**WORKER, "KernelVersion": None}, {"kernel": "5.4-of-python", "vxlan": "vxlan of 5.4-of-python"}),
    ],
)
def test_what_is_looked_at_depends_on_what_is_asked(looked, changes, info, seen):
    report, _ = looked(info, **changes)
    assert report["host"] == (changes.get("host") or "host1")
    assert {key: report["host_checks"][key] for key in seen} == seen
