"""What one host says of its swarm, and how long is waited for it. Docker is the stand-in; what it cannot show is given as engines say it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.docker.cli import DockerCli
from ansible_collections.ddp.swarm.plugins.module_utils.swarm.node import describe_node, list_jobs, own_view, settled
from ansible_collections.ddp.swarm.plugins.modules import swarm_node_info
from ansible_collections.ddp.swarm.plugins.modules.swarm_node_info import observe
from docker_stand_in import Told, run
from swarm_stand_in.fixtures import OTHER, Cluster, definition


class Host:
    """What the module asks of Ansible. `openssl` is what that command prints; None: it is not there."""

    def __init__(self, openssl: str | None = None, **params: Any) -> None:
        self.params = params
        self.openssl, self.asked = openssl, list[list[str]]()

    def get_bin_path(self, name: str) -> str | None:
        return None if name == "openssl" and self.openssl is None else f"/usr/bin/{name}"

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        self.asked.append(command)
        return 0, self.openssl or "", ""


def seen(**params: Any) -> dict[str, Any]:
    host = Host(**params)
    return observe(host, DockerCli(host))


def test_a_manager_tells_all_nodes(swarm: Cluster) -> None:
    found = seen()
    assert (found["engine"], found["root"], found["error"]) == ("26.1.5", "/var/lib/docker", "")
    assert (found["swarm"]["manager"], found["swarm"]["quorum"]) == (True, True)
    assert [(node["hostname"], node["role"], node["status"]) for node in found["nodes"]] == [
        ("host0", "manager", "ready"),
        ("host1", "worker", "ready"),
        ("host2", "worker", "down"),
    ]


def test_a_worker_tells_of_itself_alone(swarm: Cluster) -> None:
    swarm.host = "host1"
    found = seen()
    assert (found["swarm"]["manager"], found["nodes"], found["networks"]) == (False, [], [])
    assert swarm.count("node") == 0


def network(seen: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Those of this name, without what an engine chooses."""
    return [
        {what: value for what, value in network.items() if what not in ("name", "subnet")}
        for network in seen["networks"]
        if network["name"] == name
    ]


OVERLAY = {"driver": "overlay", "scope": "swarm", "attachable": True, "mtu": None}


def test_every_network_is_told(swarm: Cluster) -> None:
    swarm.run("network create --driver overlay --attachable demo-else")
    found = seen()
    assert network(found, "demo-elsewhere") == network(found, "demo-else") == [OVERLAY]
    assert network(found, "demo") == []
    (bridge,) = network(found, "bridge")
    assert (bridge["driver"], bridge["scope"]) == ("bridge", "local")


def test_a_network_may_go_while_others_are_looked_at() -> None:
    usual = {
        "info": {**ENGINE, "Swarm": MANAGER},
        "node ls": "",
        "service ls": "",
        "ps": "",
        "network ls": "net1\nnet2\n",
    }
    assert network(observe(Host(), Told({**usual, "network inspect": [NETWORK]})), "ddp-net") == [OVERLAY]
    found = observe(Host(), Told({**usual, "network inspect": ("No such network", 1)}))
    assert (found["networks"], found["swarm"]["quorum"]) == ([], True)


NETWORK = {"Id": "net1", "Name": "ddp-net", "Driver": "overlay", "Scope": "swarm", "Attachable": True, "Options": None}


def job(name: str, *targets: str) -> dict[str, Any]:
    networks = [{"Target": target} for target in targets]
    return {"Spec": {"Name": name, "TaskTemplate": {"Networks": networks or None}}}


def test_jobs_and_their_networks_are_told() -> None:
    rows = [
        ("a_node0", "1/1"),
        ("b_node0", "0/1"),
        ("c_node0", "0/0"),
        ("d_node0", "1/1"),
        ("d_node1", "1/1"),
        ("e_node0", "1/1"),
    ]
    told = Told(
        {
            "service ls": "".join(json.dumps({"Name": name, "Replicas": replicas}) + "\n" for name, replicas in rows),
            "service inspect": [job("e_node0", "net1", "net2"), job("d_node0"), job("a_node0", "net1")],
        }
    )
    jobs, idle = list_jobs(told, {"net1": "ddp-net"})
    assert idle == ["b_node0", "c_node0"]
    assert jobs == [
        {"name": "a_node0", "networks": ["ddp-net"]},
        {"name": "d_node0", "networks": []},
        {"name": "e_node0", "networks": ["ddp-net"]},
    ]
    assert told.asked[-1] == ("service", "inspect", "a_node0", "d_node0", "e_node0")
    nobody = Told({"service ls": ""})
    assert list_jobs(nobody, {"net1": "ddp-net"}) == ([], [])
    assert len(nobody.asked) == 1


def test_services_with_a_container_on_the_host_are_told(swarm: Cluster) -> None:
    assert seen()["services"] == [f"{OTHER}_web"]
    swarm.host = "host1"
    assert seen()["services"] == []


@pytest.mark.parametrize(
    "command",
    ["info", "node ls", "node inspect", "network ls", "network inspect", "service ls", "service inspect", "ps"],
)
def test_nothing_is_waited_for_without_end(command: str, swarm: Cluster, call: Any) -> None:
    """The stand-in raises Hangs for a command that is waited for without a limit."""
    call(compose=[definition()])
    swarm.silent = (command,)
    found = seen()
    error = found["error"] if command == "info" else found["swarm"]["error"]
    assert error.startswith(f"docker {command}: no answer within ")


ENGINE = {"ServerVersion": "26.1.5"}
MANAGER = {
    "LocalNodeState": "active", "NodeID": "n1", "NodeAddr": "192.0.2.1", "ControlAvailable": True, "Nodes": 2, "Error": "",
    "Cluster": {"ID": "c1", "Spec": {"EncryptionConfig": {"AutoLockManagers": False}}},
    "RemoteManagers": [{"NodeID": "n1", "Addr": "192.0.2.1:2377"}, {"NodeID": "n2", "Addr": "[2001:db8::2]:2377"}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("info", "error"),
    [
        (("docker info: Cannot connect\nto it", 1), "docker info: Cannot connect"),
        ("no JSON", "docker info prints no JSON"),
        ("", "the engine does not answer"),
        ({}, "the engine does not answer"),
        ({"ServerVersion": ""}, "the engine does not answer"),
        ({"ServerErrors": ["no route", "no socket"]}, "no route; no socket"),
        ({**ENGINE, "ServerErrors": ["no route"]}, "no route"),
    ],
)
def test_an_engine_that_does_not_answer_is_an_answer(monkeypatch: pytest.MonkeyPatch, info: Any, error: str) -> None:
    monkeypatch.setattr(swarm_node_info.addresses, "ask", lambda *_question: [])
    assert observe(Host(), Told({"info": info})) == {
        "engine": "",
        "error": error,
        "addresses": {"interfaces": {}, "default": ""},
        "root": "",
        "swarm": {},
        "nodes": [],
        "networks": [],
        "jobs": [],
        "idle": [],
        "services": [],
        "containers": [],
    }


def test_no_engine_and_no_docker(swarm: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    swarm.off = True
    assert "Cannot connect to the Docker daemon" in seen()["error"]
    host = Host()
    monkeypatch.setattr(host, "get_bin_path", lambda _name: None)
    assert observe(host, DockerCli(host))["error"] == "the docker command line is not installed on this host"


@pytest.mark.parametrize(("said", "root"), [({}, "/var/lib/docker"), ({"DockerRootDir": "/srv/docker"}, "/srv/docker")])
def test_the_engines_directory(said: dict[str, str], root: str) -> None:
    assert observe(Host(), Told({"info": {**ENGINE, **said}, "ps": ""}))["root"] == root


def test_a_quorum_that_is_lost_between_two_questions_is_none(swarm: Cluster) -> None:
    swarm.refuse = "rpc error: The swarm does not have a leader.\nIt's possible that too few managers are online."
    found = seen()
    assert found["swarm"]["manager"] is True
    assert found["swarm"]["quorum"] is False
    assert "The swarm does not have a leader." in found["swarm"]["error"]
    assert "too few" not in found["swarm"]["error"]
    assert (found["nodes"], found["engine"], found["error"]) == ([], "26.1.5", "")


def test_a_swarm_without_nodes_is_not_inspected() -> None:
    found = observe(
        Host(),
        Told(
            {
                "info": {**ENGINE, "Swarm": MANAGER},
                "node": "",
                "network": "",
                "service": "",
                "ps": "3\tb\n2\ta\n1\tb\nmine\t\n",
            }
        ),
    )
    assert (found["nodes"], found["services"], found["containers"]) == ([], ["a", "b"], ["mine"])


# A node's own view.


def test_what_a_manager_says_of_itself() -> None:
    assert own_view(Host(), {"Swarm": MANAGER}) == {
        "state": "active", "error": "", "node_id": "n1", "address": "192.0.2.1", "manager": True, "quorum": True, "cluster": "c1",
        "autolock": False, "data_path_port": 0, "default_addr_pool": ["10.0.0.0/8"], "subnet_size": 24, "remotes": ["192.0.2.1", "2001:db8::2"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "info", [{}, {"Swarm": None}, {"Swarm": {}}, {"Swarm": {"LocalNodeState": "", "Cluster": None}}]
)
def test_a_host_in_no_swarm(info: dict[str, Any]) -> None:
    assert own_view(Host("O=abc"), info) == {
        "state": "inactive", "error": "", "node_id": "", "address": "", "manager": False, "quorum": False, "cluster": "",
        "autolock": False, "data_path_port": 0, "default_addr_pool": [], "subnet_size": 0, "remotes": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"Error": "rpc error: no leader\nat all"},
            {"quorum": False, "error": "rpc error: no leader", "manager": True},
        ),
        ({"Nodes": 0}, {"quorum": False, "manager": True}),
        ({"Nodes": 1}, {"quorum": True}),
        ({"ControlAvailable": False}, {"quorum": False, "manager": False}),
        ({"RemoteManagers": None}, {"remotes": []}),
        ({"Cluster": {"ID": "c1", "Spec": {"EncryptionConfig": {"AutoLockManagers": True}}}}, {"autolock": True}),
        ({"Cluster": {"ID": "c1", "Spec": None}}, {"autolock": False}),
        (
            {"Cluster": {"ID": "c1", "DataPathPort": 7777, "DefaultAddrPool": ["10.20.0.0/16"], "SubnetSize": 25}},
            {"data_path_port": 7777, "default_addr_pool": ["10.20.0.0/16"], "subnet_size": 25},
        ),
        ({"Cluster": {"ID": "c1", "Spec": {"EncryptionConfig": None}}}, {"autolock": False}),
        ({"LocalNodeState": "locked"}, {"state": "locked"}),
    ],
)
def test_what_a_manager_may_say_else(change: dict[str, Any], expected: dict[str, Any]) -> None:
    view = own_view(Host(), {"Swarm": {**MANAGER, **change}})
    assert {name: view[name] for name in expected} == expected


WORKER = {"LocalNodeState": "active", "NodeID": "n2", "Cluster": None}
SUBJECT = "subject=CN=n2,OU=swarm-worker,O=c1\n"


@pytest.mark.parametrize(
    ("swarm_", "openssl", "there", "cluster", "asks"),
    [
        (WORKER, SUBJECT, True, "c1", True),
        ({**WORKER, "LocalNodeState": "locked"}, SUBJECT, True, "c1", True),
        (WORKER, "subject=CN=n2,OU=swarm-worker\n", True, "", True),
        (WORKER, "", True, "", True),
        (WORKER, SUBJECT, False, "", False),
        (WORKER, None, True, "", False),
        # Who was in a swarm once may still have the certificate.
        ({"LocalNodeState": "inactive"}, SUBJECT, True, "", False),
        ({**WORKER, "Cluster": {"ID": "c2"}}, SUBJECT, True, "c2", False),
    ],
)
def test_a_worker_knows_its_swarm_by_its_certificate(
    swarm_: dict[str, Any], openssl: str | None, there: bool, cluster: str, asks: bool, tmp_path: Path
) -> None:
    certificate = tmp_path / "swarm/certificates/swarm-node.crt"
    certificate.parent.mkdir(parents=True)
    if there:
        certificate.write_text("certificate")
    host = Host(openssl)
    assert own_view(host, {"Swarm": swarm_, "DockerRootDir": str(tmp_path)})["cluster"] == cluster
    command = ["/usr/bin/openssl", "x509", "-noout", "-subject", "-nameopt", "RFC2253", "-in", str(certificate)]
    assert host.asked == ([command] if asks else [])


# A node as its manager sees it.

NODE = {
    "ID": "n1",
    "Spec": {"Labels": {"ddp_rank": "0"}, "Role": "manager", "Availability": "drain"},
    "Description": {
        "Hostname": "host1",
        "Resources": {
            "GenericResources": [
                {"NamedResourceSpec": {"Kind": "GPU", "Value": "a"}},
                {"NamedResourceSpec": {"Kind": "GPU", "Value": "b"}},
                {"DiscreteResourceSpec": {"Kind": "SSD", "Value": 3}},
            ]
        },
    },
    "Status": {"State": "ready", "Addr": "0.0.0.0"},
    "ManagerStatus": {"Leader": True, "Reachability": "reachable", "Addr": "192.0.2.1:2377"},
}


def test_a_node_that_manages() -> None:
    assert describe_node(NODE) == {
        "id": "n1", "hostname": "host1", "resources": {"GPU": 2, "SSD": 3}, "named": {"GPU": ["a", "b"]}, "labels": {"ddp_rank": "0"}, "role": "manager",
        "availability": "drain", "status": "ready", "message": "", "address": "192.0.2.1", "leader": True, "reachability": "reachable",
    }  # fmt: skip


def test_a_node_that_works() -> None:
    worker = describe_node({**NODE, "ManagerStatus": None, "Status": {"State": "down", "Addr": "192.0.2.2"}})
    assert (worker["address"], worker["leader"], worker["reachability"]) == ("192.0.2.2", False, "")


@pytest.mark.parametrize("parts", [("Spec", "Description", "Status", "ManagerStatus"), ("Spec",), ("Description",)])
def test_a_node_of_which_little_is_known(parts: tuple[str, ...]) -> None:
    """One that has never been heard of since its manager started."""
    node = describe_node({**NODE, **dict.fromkeys(parts)})
    assert node["id"] == "n1"
    if "Spec" in parts:
        assert (node["labels"], node["role"], node["availability"]) == ({}, "", "")
    if "Description" in parts:
        assert (node["hostname"], node["resources"]) == ("", {})
    if "Status" in parts:
        assert (node["status"], node["address"], node["leader"]) == ("", "", False)


# How long is waited.

READY = {"id": "a", "status": "ready"}


@pytest.mark.parametrize(
    ("swarm_", "nodes", "wait_for", "is_settled"),
    [
        ({}, [], [], True),
        ({}, [], ["a"], True),
        ({"state": "inactive", "manager": False, "quorum": False}, [], [], True),
        ({"state": "pending", "manager": False, "quorum": False}, [], [], False),
        ({"state": "locked", "manager": False, "quorum": False}, [], [], True),
        ({"state": "error", "manager": True, "quorum": False}, [], [], True),
        ({"state": "active", "manager": True, "quorum": False}, [], [], False),
        # A worker sees no nodes.
        ({"state": "active", "manager": False, "quorum": False}, [], ["a"], True),
        ({"state": "active", "manager": True, "quorum": True}, [READY], ["a"], True),
        ({"state": "active", "manager": True, "quorum": True}, [READY], [], True),
        (
            {"state": "active", "manager": True, "quorum": True},
            [READY, {"id": "b", "status": "down"}],
            ["a", "b"],
            False,
        ),
        ({"state": "active", "manager": True, "quorum": True}, [READY], ["a", "c"], False),
    ],
)
def test_what_is_in_the_making_is_not_settled(
    swarm_: dict[str, Any], nodes: list[dict[str, str]], wait_for: list[str], is_settled: bool
) -> None:
    assert settled({"swarm": swarm_, "nodes": nodes}, wait_for) is is_settled


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that goes on only while somebody sleeps."""
    clock = SimpleNamespace(now=100.0)
    clock.monotonic = lambda: clock.now
    clock.sleep = lambda seconds: setattr(clock, "now", clock.now + seconds)
    monkeypatch.setattr(swarm_node_info, "time", clock)
    return clock


@pytest.mark.parametrize(("wait", "times"), [(None, 1), (0, 1), (0.5, 2), (3, 4)])
def test_an_answer_in_the_making_is_asked_for_once_a_second(
    wait: float | None, times: int, swarm: Cluster, clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    swarm.info = {"LocalNodeState": "pending"}
    said = run(swarm_node_info, capsys, wait=wait)
    assert (said["swarm"]["state"], said["changed"]) == ("pending", False)
    assert swarm.count("info") == times
    assert clock.now == 100 + times - 1


def test_the_answer_comes_as_soon_as_it_is_settled(
    swarm: Cluster, clock: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = itertools.chain([{"LocalNodeState": "pending"}] * 2, itertools.repeat(None))

    def sleep(seconds: float) -> None:
        clock.now += seconds
        swarm.info = next(answers)

    swarm.info = next(answers)
    monkeypatch.setattr(clock, "sleep", sleep)
    said = run(swarm_node_info, capsys, wait=30, _ansible_check_mode=True)
    assert (said["swarm"]["quorum"], clock.now, len(said["nodes"])) == (True, 102, 3)
    assert network(said, "demo-elsewhere") == [OVERLAY]


def test_nodes_are_waited_for_by_their_identifier(
    swarm: Cluster, clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = {node["hostname"]: node["id"] for node in run(swarm_node_info, capsys)["nodes"]}
    run(swarm_node_info, capsys, wait=5, wait_for=[ids["host1"]])
    assert clock.now == 100
    run(swarm_node_info, capsys, wait=5, wait_for=[ids["host2"]])
    assert clock.now == 105
