"""What the module asks an engine of: only the containers, services and tasks that are meant, among those of others."""

from __future__ import annotations

import contextlib
import json
from types import SimpleNamespace

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.docker.cli import CompletedDocker, DockerCli, DockerError
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe.engine import (
    container_of,
    control_peers,
    engine_facts,
    environment,
    given_gpus,
    gpus_of_others,
    inspected,
    network_facts,
    service_tasks,
    stack_services,
    swarm_nodes,
)
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe.look import look
from ansible_collections.ddp.swarm.plugins.module_utils.swarm.node import describe_node, inspect_nodes
from ansible_collections.ddp.swarm.plugins.modules import nccl_check
from preflight_ranks import node
from swarm_stand_in.fixtures import definition


class Engine:
    """Answers docker commands from a table, by their first words. A command that is not in it is a mistake.

    An answer is what is printed, an exception, or what came of a command that failed.
    """

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    def run(self, *args, check=True, **_):
        words = " ".join(args)
        self.asked.append(words)
        found = [answer for start, answer in self.answers.items() if f"{words} ".startswith(f"{start} ")]
        assert len(found) == 1, f"no answer, or several, to: docker {words}"
        if isinstance(found[0], Exception):
            raise found[0]
        done = found[0] if isinstance(found[0], CompletedDocker) else CompletedDocker(0, found[0], "")
        if check and done.rc:
            raise DockerError(done.stderr)
        return done

    def json_lines(self, *args):
        return [json.loads(line) for line in self.run(*args).stdout.splitlines()]


@pytest.fixture
def docker(swarm):
    """The stand-in for docker on host0, on which several services of two stacks run."""
    services = {
        name: {**definition()["services"]["node0"], "deploy": {"placement": {"constraints": ["node.role == manager"]}}}
        for name in ("node0", "node1", "node10")
    }
    compose = json.dumps({"version": "3.9", "services": services})
    swarm.run("stack deploy --detach=true --resolve-image never -c -", "demo", stdin=compose)
    module = SimpleNamespace(params={}, get_bin_path=lambda name: f"/usr/bin/{name}")
    return DockerCli(module)


def names(swarm):
    return {ident: item["Name"].rsplit(".", 2)[0] for ident, item in swarm.swarm.containers.items()}


@pytest.mark.parametrize(
    ("command", "ask"),
    [
        ("info", engine_facts),
        ("network inspect", lambda docker: inspected(docker, "network", "inspect", "bridge")),
        ("node ls", swarm_nodes),
        ("inspect", lambda docker: container_of(docker, "demo_node0")),
        ("ps", lambda docker: gpus_of_others(docker, {"id": "1", "gpus": ["GPU-1"]})),
        ("service ls", lambda docker: stack_services(docker, "demo")),
    ],
)
def test_an_engine_that_never_answers_is_waited_for_20_seconds(swarm, docker, command, ask):
    """The stand-in raises Hangs for a command that is waited for without a limit."""
    swarm.silent = (command,)
    began = swarm.clock.now
    with contextlib.suppress(DockerError):
        ask(docker)
    assert 20 <= swarm.clock.now - began < 25


@pytest.mark.parametrize("service", ["demo_node0", "demo_node1", "demo_node10"])
def test_the_container_is_of_the_service_that_is_asked_for(swarm, docker, service):
    container = container_of(docker, service)
    assert container is not None
    assert names(swarm)[container["id"]] == service
    assert container["state"] == "running"


@pytest.mark.parametrize("service", ["demo_node", "demo_node2", "node1"])
def test_a_service_without_a_container_here_has_none(docker, service):
    assert container_of(docker, service) is None


def test_the_services_are_of_the_stack_that_is_asked_for(swarm, docker):
    wanted = {service["ID"] for service in swarm.services.values()}
    assert len(wanted) == 3
    found = stack_services(docker, "demo")
    assert len(found) == 3
    # Docker prints the beginnings of identifiers.
    assert all(any(full.startswith(short) for full in wanted) for short in found)
    assert stack_services(docker, "dem") == []
    assert stack_services(docker, "demo_node0") == []


def test_the_tasks_are_of_the_services_stack(docker):
    tasks = service_tasks(docker, "demo_node1")
    assert sorted((task["name"], task["node"], task["error"]) for task in tasks) == [
        ("demo_node0", "host0", ""),
        ("demo_node1", "host0", ""),
        ("demo_node10", "host0", ""),
    ]


@pytest.mark.parametrize(("stack", "left"), [("demo", True), ("demo-preflight", False), ("", None)])
def test_a_manager_says_whether_a_check_was_left_over(docker, stack, left):
    defaults = {name: option.get("default") for name, option in nccl_check.argument_spec().items()}
    checks = look({**defaults, "rank": 0, "host": "host1", "stack": stack, "network": "demo-elsewhere"}, docker)
    assert checks["engine"]["ok"] is True
    assert checks["engine"]["manager"] is True
    assert checks["left_over"] is left
    assert checks["network"]["driver"] == "overlay"
    assert checks["network"]["encrypted"] is False
    assert {node["hostname"]: node["status"] for node in checks["nodes"]} == {
        "host0": "ready",
        "host1": "ready",
        "host2": "down",
    }


@pytest.mark.parametrize("encrypted", [True, False])
def test_an_overlay_is_told_to_be_encrypted(swarm, docker, encrypted):
    swarm.run("network create --driver overlay --attachable" + " --opt encrypted" * encrypted, "demo-wire")
    network = network_facts(docker, "demo-wire")
    assert (network["driver"], network["encrypted"]) == ("overlay", encrypted)


@pytest.mark.parametrize("killed", [True, False])
def test_a_container_that_was_killed_for_its_memory(killed):
    state = {"Status": "exited", "ExitCode": 137, "OOMKilled": killed, "Error": ""}
    label = "com.docker.swarm.service.name=t_node0"
    engine = Engine(
        {
            f"ps --all --no-trunc --filter label={label}": '{"ID": "abc"}',
            "inspect --type container abc": json.dumps([{"State": state, "Config": {"Env": ["PROBE_RUN_ID=7"]}}]),
        }
    )
    container = container_of(engine, "t_node0")
    assert container == {
        "id": "abc", "run_id": "7", "image": None, "state": "exited", "exit_code": 137, "error": "", "oom_killed": killed,
        "gpus": [],
    }  # fmt: skip


def test_gpus_of_others():
    def container(name, gpus):
        return {"Name": f"/{name}", "Config": {"Env": ["A=B", f"DOCKER_RESOURCE_NVIDIA-GPU={gpus}"] if gpus else None}}

    rows = [container("second", "GPU-2,GPU-3"), container("third", "GPU-4"), container("none", "")]

    class Docker:
        def run(self, *args, **_):
            answers = {"ps": "own\nid2\nid3\nid4\n", "inspect": json.dumps(rows)}
            assert "own" not in args
            return CompletedDocker(0, answers[args[0]], "")

    own = {"id": "own", "gpus": given_gpus(container("own", "GPU-1,GPU-2"))}
    assert gpus_of_others(Docker(), own) == {"GPU-2": "second"}
    assert gpus_of_others(Docker(), {"id": "own", "gpus": []}) == {}


def test_machines_that_have_left_are_not_asked_for():
    ranks = [{"rank": 0, "host": "a"}, {"rank": 1, "host": "b"}]
    nodes = [
        node(0),
        node(1, status="down"),
        node(2, id="worker without rank", rank=None),
        node(3, id="manager without rank", rank=None, manager=True),
        node(4, id="dead manager", rank=None, manager=True, status="down"),
    ]
    assert [peer["host"] for peer in control_peers(nodes, ranks)] == ["a", "b", "h3"]
    nodes.append(node(1, id="joined again", address="192.0.2.9"))
    peers = control_peers(nodes, ranks)
    assert [peer["address"] for peer in peers if peer["host"] == "b"] == ["192.0.2.9"]


# ---------------------------------------------------------------- what an engine may answer

DOWN = DockerError("docker: no answer within 20 s")
GONE = CompletedDocker(1, "[]", "Error: No such object")


def test_an_engine_tells_of_itself():
    info = {
        "ServerVersion": "26.1.5", "KernelVersion": "6.1.0", "DockerRootDir": "/data", "DefaultRuntime": "nvidia",
        "Swarm": {"LocalNodeState": "error", "Error": "no leader", "ControlAvailable": True, "NodeID": "n1",
                  "Cluster": {"DataPathPort": 7777}},
    }  # fmt: skip
    assert engine_facts(Engine({"info --format {{json .}}": json.dumps(info)})) == {
        "ok": True, "error": "", "version": "26.1.5", "kernel": "6.1.0", "root": "/data", "swarm_state": "error",
        "swarm_error": "no leader", "manager": True, "node": "n1", "address": "", "default_runtime": "nvidia", "data_path_port": 7777, "selinux": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    "swarm", [{}, None, {"Cluster": None, "Error": None, "NodeID": None, "ControlAvailable": False}]
)
def test_an_engine_that_says_little_is_none_that_failed(swarm):
    engine = engine_facts(Engine({"info": json.dumps({"ServerVersion": "1", "Swarm": swarm, "ServerErrors": None})}))
    assert engine == {
        "ok": True, "error": "", "version": "1", "kernel": None, "root": None, "swarm_state": None, "swarm_error": "",
        "manager": False, "node": "", "address": "", "default_runtime": "", "data_path_port": 0, "selinux": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (DOWN, "docker: no answer within 20 s"),
        (DockerError("x" * 501), "x" * 500),
        ("no JSON", "docker info prints no JSON"),
        (json.dumps({"ServerErrors": ["cannot connect", "is it running?"]}), "cannot connect; is it running?"),
    ],
)
def test_an_engine_that_does_not_answer(answer, error):
    engine = engine_facts(Engine({"info": answer}))
    assert (engine["ok"], engine["error"]) == (False, error)


def test_a_network_that_is_missing_leaves_the_others(docker):
    found = inspected(docker, "network", "inspect", "ingress", "nowhere")
    assert [row["Name"] for row in found] == ["ingress"]
    assert network_facts(docker, "nowhere") is None


@pytest.mark.parametrize("answer", [DOWN, "", "no JSON", "null", '{"Name": "x"}', GONE])
def test_what_cannot_be_inspected_is_nothing(answer):
    assert inspected(Engine({"image inspect x": answer}), "image", "inspect", "x") == []


def test_a_manager_tells_of_its_nodes_as_its_swarm_does():
    """One shape, and one way to read a manager's address: an IPv6 one has brackets before its port."""
    offers = [
        {"DiscreteResourceSpec": {"Kind": "SSD", "Value": 3}},
        {"NamedResourceSpec": {"Kind": "NVIDIA-GPU", "Value": "GPU-1"}},
        {"NamedResourceSpec": {"Kind": "FPGA", "Value": "x"}},
    ]
    row = {
        "ID": "1",
        "ManagerStatus": {"Addr": "[fd00::1]:2377"},
        "Description": {"Resources": {"GenericResources": offers}},
    }
    engine = Engine({"node ls --quiet": "1\n", "node inspect 1": json.dumps([row])})
    assert swarm_nodes(engine) == [describe_node(row)]
    assert swarm_nodes(engine)[0]["address"] == "fd00::1"
    assert swarm_nodes(engine)[0]["named"] == {"NVIDIA-GPU": ["GPU-1"], "FPGA": ["x"]}


@pytest.mark.parametrize("answer", [DOWN, ""])
def test_a_manager_that_does_not_answer_knows_no_nodes(answer):
    engine = Engine({"node ls": answer})
    assert swarm_nodes(engine) == []
    assert len(engine.asked) == 1, "docker inspects no node if it is told none"


@pytest.mark.parametrize("answer", ["no JSON", "{}", "[" * 100_000, DOWN])
def test_nodes_that_cannot_be_read_are_told(answer):
    engine = Engine({"node ls": "1\n", "node inspect 1": answer})
    assert swarm_nodes(engine) == []
    with pytest.raises(DockerError, match="docker"):
        inspect_nodes(engine)


@pytest.mark.parametrize(
    ("changes", "peer"),
    [
        ({}, {"host": "a", "address": "192.0.2.1", "ports": [7946]}),
        ({"manager": True}, {"host": "a", "address": "192.0.2.1", "ports": [2377, 7946]}),
        ({"rank": "7", "manager": True}, {"host": "h0", "address": "192.0.2.1", "ports": [2377, 7946]}),
        ({"rank": "7"}, None),
        ({"address": None}, None),
        ({"address": ""}, None),
        ({"status": "down"}, {"host": "a", "address": "192.0.2.1", "ports": [7946]}),
        ({"status": "unknown", "rank": None, "manager": True}, None),
    ],
)
def test_whose_ports_are_to_be_reached(changes, peer):
    found = control_peers([node(0, **{"manager": False, **changes})], [{"rank": 0, "host": "a"}])
    assert found == ([peer] if peer else [])


@pytest.mark.parametrize(
    ("row", "facts"),
    [
        (
            {"Driver": "overlay", "Options": {"encrypted": "", "com.docker.network.driver.mtu": "1400"},
             "IPAM": {"Config": [{}, {"Subnet": "fd00::/64"}, {"Subnet": "10.0.1.0/24"}, {"Subnet": "10.0.2.0/24"}]}},
            {"subnet": "10.0.1.0/24", "mtu": 1400, "encrypted": True, "driver": "overlay"},
        ),
        ({"Options": None, "IPAM": None}, {"subnet": "", "mtu": 0, "encrypted": False, "driver": None}),
        ({"Options": {}, "IPAM": {"Config": None}}, {"subnet": "", "mtu": 0, "encrypted": False, "driver": None}),
        ({"IPAM": {"Config": [{"Subnet": "fd00::/64"}]}}, {"subnet": "", "mtu": 0, "encrypted": False, "driver": None}),
    ],
)  # fmt: skip
def test_a_manager_tells_of_the_network(row, facts):
    engine = Engine({"network inspect ddp-net": json.dumps([row])})
    assert network_facts(engine, "ddp-net") == facts


PS = "ps --all --no-trunc --filter label=com.docker.swarm.service.name=t_node0"


def test_the_newest_container_of_a_service_counts():
    rows = "".join(json.dumps({"ID": name}) + "\n" for name in ("new", "old"))
    details = {
        "State": {"Status": "created", "ExitCode": 128, "Error": "no such device", "OOMKilled": False},
        "Config": {"Image": "x:1", "Env": ["A", "B=c=d", "PROBE_RUN_ID=9", "DOCKER_RESOURCE_NVIDIA-GPU=GPU-1,GPU-2"]},
    }
    engine = Engine({PS: rows, "inspect --type container new": json.dumps([details])})
    assert container_of(engine, "t_node0") == {
        "id": "new", "run_id": "9", "image": "x:1", "state": "created", "exit_code": 128, "error": "no such device",
        "oom_killed": False, "gpus": ["GPU-1", "GPU-2"],
    }  # fmt: skip
    assert environment(details) == {
        "A": "", "B": "c=d", "PROBE_RUN_ID": "9", "DOCKER_RESOURCE_NVIDIA-GPU": "GPU-1,GPU-2",
    }  # fmt: skip


def test_a_container_of_which_little_is_known():
    engine = Engine({PS: '{"ID": "new"}', "inspect": '[{"State": null, "Config": null}]'})
    assert container_of(engine, "t_node0") == {
        "id": "new", "run_id": "", "image": None, "state": None, "exit_code": None, "error": "", "oom_killed": False,
        "gpus": [],
    }  # fmt: skip


@pytest.mark.parametrize("answer", [GONE, "", "no JSON"])
def test_a_container_that_is_gone_meanwhile_is_none(answer):
    engine = Engine({PS: '{"ID": "new"}', "inspect --type container new": answer})
    assert container_of(engine, "t_node0") is None


@pytest.mark.parametrize("answer", [DOWN, CompletedDocker(1, "other", "cannot connect")])
def test_an_engine_that_does_not_answer_tells_of_no_other_containers(answer):
    engine = Engine({"ps --quiet": answer, "inspect": GONE})
    assert gpus_of_others(engine, {"id": "own", "gpus": ["GPU-1"]}) == {}


def test_the_history_of_tasks_is_told_with_their_errors():
    rows = [
        {"Name": "my_stack_node0.1", "Node": "h0", "DesiredState": "Running", "CurrentState": "Running 2 s ago", "Error": ""},
        {"Name": " \\_ my_stack_node0.1", "Node": None, "DesiredState": "Shutdown", "CurrentState": "Rejected", "Error": "x"},
        {},
    ]  # fmt: skip
    engine = Engine({"stack ps --no-trunc my_stack": "\n".join(map(json.dumps, rows))})
    assert service_tasks(engine, "my_stack_node1") == [
        {"name": "my_stack_node0", "node": "h0", "desired": "Running", "state": "Running 2 s ago", "error": ""},
        {"name": "my_stack_node0", "node": "", "desired": "Shutdown", "state": "Rejected", "error": "x"},
        {"name": "", "node": "", "desired": None, "state": None, "error": ""},
    ]


def test_a_manager_that_does_not_answer_knows_no_tasks_and_no_services():
    engine = Engine({"stack ps": DOWN, "service ls": DOWN})
    assert service_tasks(engine, "t_node0") == []
    assert stack_services(engine, "t") == []
