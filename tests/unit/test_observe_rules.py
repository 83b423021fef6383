"""Docker's rules in a host's firewall, its table of connections, and the link that it is in the swarm by."""

from __future__ import annotations

import json
import subprocess
from types import SimpleNamespace

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.host import iproute
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe import links, rules
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe.engine import addresses_of_services, loners
from preflight_ranks import node as a_node
from preflight_ranks import told, verdict, with_nodes
from test_observe_engine import Engine

BRIDGE = {"IPAM": {"Config": [{"Subnet": "fd00::/64"}, {"Subnet": "172.18.0.0/16"}]}}
WRITTEN = """*nat
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 172.18.0.0/16 ! -o docker_gwbridge -j MASQUERADE
COMMIT
"""
FLUSHED = "*nat\n:POSTROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\nCOMMIT\n"


@pytest.fixture
def host(monkeypatch):
    """Programs by what they print; one that is not there is missing."""

    def made(**printed):
        def run(command, **_):
            out = printed[command[0].replace("-", "_")]
            if isinstance(out, Exception):
                raise out
            return SimpleNamespace(returncode=0 if out is not None else 1, stdout=out or "")

        monkeypatch.setattr(rules.shutil, "which", lambda name: name if name.replace("-", "_") in printed else None)
        monkeypatch.setattr(rules.subprocess, "run", run)

    return made


@pytest.mark.parametrize(
    ("printed", "there"),
    [
        ({"iptables_save": WRITTEN}, True),
        ({"iptables_save": FLUSHED}, False),
        ({"iptables_save": ""}, False),
        # Docker wrote them by the other kind of iptables.
        ({"iptables_save": FLUSHED, "iptables_legacy_save": WRITTEN}, True),
        ({"iptables_save": FLUSHED + "-A POSTROUTING -j MASQUERADE\n"}, True),
        ({"iptables_save": FLUSHED + "-A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE\n"}, False),
        ({"iptables_save": FLUSHED + "-A POSTROUTING -o eth0 -s 172.18.0.0/16 -j SNAT --to-source 192.0.2.1\n"}, True),
        ({"iptables_save": None}, None),
        ({"iptables_save": subprocess.TimeoutExpired("x", 1)}, None),
        ({}, None),
    ],
)
def test_the_rule_by_which_tasks_reach_the_outside(host, tmp_path, printed, there):
    host(**printed)
    assert rules.nat_of_gwbridge(BRIDGE, str(tmp_path)) is there


@pytest.mark.parametrize(
    ("settings", "command", "bridge"),
    [
        ('{"iptables": false}', "", BRIDGE),
        ('{"firewall-backend": "nftables"}', "", BRIDGE),
        ("", "dockerd\0--iptables=false", BRIDGE),
        ("", "", {}),
        ("", "", {**BRIDGE, "Options": {"com.docker.network.bridge.enable_ip_masquerade": "false"}}),
    ],
)
def test_rules_that_nobody_asked_for_are_not_missed(host, tmp_path, settings, command, bridge):
    host(iptables_save=FLUSHED)
    for name, text in (("etc/docker/daemon.json", settings), ("run/docker.pid", "7"), ("proc/7/cmdline", command)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert rules.nat_of_gwbridge(bridge, str(tmp_path)) is None


def test_settings_that_are_none_leave_the_rules_to_the_engine(tmp_path):
    for text in ("[]", "no JSON"):
        (tmp_path / "etc/docker").mkdir(parents=True, exist_ok=True)
        (tmp_path / "etc/docker/daemon.json").write_text(text)
        assert rules.engine_writes_rules(str(tmp_path))


def test_rules_that_are_gone_are_a_finding(pair):
    pair[1]["host_checks"].update(nat_rules=False, gateway_bridge="172.18.0.0/16")
    assert told(verdict(pair), "layer", "check", "host") == [(2, "NAT rules", "host2")]
    assert "run 'systemctl restart docker' on host2" in verdict(pair)["findings"][0]["hint"]
    assert verdict(pair, network_mode="host")["ok"]
    pair[1]["host_checks"]["nat_rules"] = None
    assert verdict(pair)["ok"]


@pytest.mark.parametrize(("count", "full"), [(950, False), (951, True)])
def test_a_table_of_connections_that_is_nearly_full(pair, tmp_path, count, full):
    folder = tmp_path / "proc/sys/net/netfilter"
    folder.mkdir(parents=True)
    (folder / "nf_conntrack_count").write_text(f"{count}\n")
    assert rules.conntrack(str(tmp_path)) == {}
    (folder / "nf_conntrack_max").write_text("1000\n")
    pair[1]["host_checks"]["conntrack"] = rules.conntrack(str(tmp_path))
    assert told(verdict(pair), "layer", "check", "host") == ([(2, "connections", "host2")] if full else [])


# ---------------------------------------------------------------- links


def make(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def test_a_link_tells_of_itself(tmp_path):
    make(tmp_path / "eth0", speed=1000, duplex="full", operstate="up", mtu=1500, statistics__rx_errors=3)
    assert links.link_facts("eth0", str(tmp_path)) == {
        "name": "eth0", "speed": 1000, "duplex": "full", "state": "up", "mtu": 1500, "members": [],
        "counters": {name: 3 if name == "rx_errors" else 0 for name in links.COUNTERS},
    }  # fmt: skip
    assert links.counters_of("eth0", str(tmp_path))["rx_errors"] == 3
    assert links.link_facts("eth7", str(tmp_path)) == links.link_facts("", str(tmp_path)) == links.counters_of("") == {}


def test_a_virtual_link_has_no_speed(tmp_path):
    make(tmp_path / "eth0", speed=-1)
    assert links.link_facts("eth0", str(tmp_path))["speed"] is None


@pytest.mark.parametrize("name", ["bond0", "bond0.100"])
def test_the_members_of_a_bond_that_a_vlan_is_on_as_well(tmp_path, name):
    make(tmp_path / "bond0", bonding__slaves="eth0 eth1", speed=2000)
    make(tmp_path / "eth0", speed=1000, operstate="up")
    make(tmp_path / "eth1", operstate="down")
    make(tmp_path / "bond0.100", speed=2000)
    (tmp_path / "bond0.100/lower_bond0").symlink_to("../bond0")
    found = links.link_facts(name, str(tmp_path))["members"]
    assert [(one["name"], one["speed"], one["state"]) for one in found] == [
        ("eth0", 1000, "up"),
        ("eth1", None, "down"),
    ]


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        (json.dumps([{"ifname": "lo"}, {"ifname": "eth1", "addr_info": [{"local": "192.0.2.2"}, {"local": "192.0.2.7"}]}]), "eth1"),
        ("[]", ""),
        ("{}", ""),
        ("no JSON", ""),
        (FileNotFoundError(2, "ip"), ""),
    ],
    ids=["held", "nobody", "odd", "old", "missing"],
)  # fmt: skip
def test_the_interface_that_holds_an_address(monkeypatch, printed, name):
    def run(*_, **__):
        if isinstance(printed, Exception):
            raise printed
        return SimpleNamespace(returncode=0, stdout=printed)

    monkeypatch.setattr(iproute.subprocess, "run", run)
    assert links.interface_of("192.0.2.7") == name


# ---------------------------------------------------------------- the overlay's addresses


def test_what_else_is_in_a_network():
    services = [
        {"ID": "aaa1", "Spec": {"TaskTemplate": {"Networks": [{"Target": "net"}]}},
         "Endpoint": {"VirtualIPs": [{"NetworkID": "net"}, {"NetworkID": "other"}]}},
        {"ID": "bbb1", "Spec": {"TaskTemplate": {"Networks": [{"Target": "other"}]}}},
        {"ID": "ccc1", "Spec": {"Networks": [{"Target": "net"}]}, "Endpoint": {}},
        {"ID": "ddd1", "Spec": {"Networks": [{"Target": "net"}], "Labels": {"com.docker.stack.namespace": "simple-training"}}},
    ]  # fmt: skip
    engine = Engine({
        "service ls --format": "aaa1 3/3\nbbb1 7/7\nccc1 0/1 (max 1 per node)\nddd1 1/1\n",
        "service inspect aaa1 bbb1 ccc1 ddd1": json.dumps(services),
    })  # fmt: skip
    # A job that is to be replaced holds nothing for long.
    assert addresses_of_services(engine, "net", ["simple-training"]) == 4
    assert addresses_of_services(engine, "net", []) == 5
    assert addresses_of_services(Engine({"service ls --format": ""}), "net", []) == 0
    containers = {
        "1": {"Name": "mine"}, "2": {"Name": f"t_node0.1.{'a1b2c' * 5}"}, "lb-ddp-net": {"Name": "ddp-net-endpoint"},
    }  # fmt: skip
    assert loners({"Containers": containers}) == ["mine"]
    assert loners({}) == []


@pytest.mark.parametrize(
    ("subnet", "services", "containers", "wanted"),
    [
        ("10.98.0.0/29", 0, [], None),  # five addresses; two ranks and two hosts
        ("10.98.0.0/29", 1, [], None),
        ("10.98.0.0/29", 1, ["mine"], "/28"),
        ("10.98.0.0/30", 0, [], "/28"),
        ("10.98.0.0/31", 0, [], "/28"),
        ("10.98.0.0/24", 249, [], None),
        ("10.98.0.0/24", 250, [], "/23"),
    ],
)
def test_an_overlay_that_is_too_small_for_its_ranks(pair, subnet, services, containers, wanted):
    with_nodes(pair, a_node(0), a_node(1))
    pair[0]["host_checks"]["network"]["subnet"] = subnet
    for one in pair:  # both manage the swarm, and tell of the same services
        one["host_checks"]["services_in_network"] = services
    pair[1]["host_checks"]["loners"] = containers
    result = verdict(pair, probed=False)
    assert told(result, "layer", "check", "host") == ([(6, "subnet size", "host1")] if wanted else [])
    if wanted:
        assert (
            f"which need a {wanted} or larger: set swarm_network_subnet to 10.64.0.0/2" in result["findings"][0]["hint"]
        )
        assert "run 'docker network rm ddp-net' on host1) and run playbooks/swarm.yml" in result["findings"][0]["hint"]
    assert verdict(pair, probed=False, network_mode="host")["findings"] == []


@pytest.mark.parametrize(
    ("task", "full"),
    [
        ({"state": "New 12 seconds ago", "node": ""}, True),
        ({"state": "Pending 3 seconds ago", "node": "", "error": "node is missing network attachments, ip addresses may be exhausted"}, True),
        ({"state": "Rejected", "node": "h1", "error": "could not find an available IP"}, True),
        ({"state": "New 1 second ago", "node": "h1"}, False),
        ({"state": "Pending 3 seconds ago", "node": ""}, False),
    ],
)  # fmt: skip
def test_a_task_that_got_no_address_is_recognised_in_swarms_words(pair, task, full):
    with_nodes(pair, a_node(0), a_node(1))
    pair[1]["probe"] = pair[1]["host_checks"]["container"] = None
    pair[0]["host_checks"]["tasks"] = [{"name": "t-preflight_node1", "error": "", "desired": "Running", **task}]
    found = next(one for one in verdict(pair)["findings"] if one["host"] == "host2")
    assert (found["check"] == "address") is full
    assert ("no address of ddp-net (10.0.1.0/24) was free for rank 1 on host2" in found["hint"]) is full


# ---------------------------------------------------------------- networks of the site


@pytest.mark.parametrize(
    ("networks", "found"),
    [
        ([("eth0", "10.0.1.0/24", "192.0.2.2")],
         ("subnet", "10.0.1.0/24 overlaps 10.0.1.0/24 of eth0 (a route through 192.0.2.2)", "swarm_network_subnet to 10.64.0.0/24")),
        ([("eth0", "172.18.5.0/24", "192.0.2.2")],
         ("gateway bridge", "172.18.0.0/16 of docker_gwbridge overlaps 172.18.5.0/24 of eth0 (a route through 192.0.2.2)",
          "set swarm_gwbridge_subnet to 10.64.0.0/24, take the host out of the swarm (playbooks/remove.yml -e host=host2)")),
        ([("docker_gwbridge", "172.18.0.0/16", None), ("eth0", "192.168.1.0/24", None)], None),
    ],
)  # fmt: skip
def test_networks_of_the_site_that_meet_dockers(pair, networks, found):
    with_nodes(pair, a_node(0), a_node(1))
    rows = [{"interface": name, "network": net, **({"gateway": way} if way else {})} for name, net, way in networks]
    pair[1]["host_checks"].update(networks=rows, gateway_bridge="172.18.0.0/16")
    result = verdict(pair)
    assert told(result, "layer", "check", "host", "observed") == ([(6, found[0], "host2", found[1])] if found else [])
    if found:
        assert found[2] in result["findings"][0]["hint"]
    assert verdict(pair, network_mode="host")["ok"]
