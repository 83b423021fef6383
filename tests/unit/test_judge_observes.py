"""What the module asks an engine of: only the containers, services and tasks that are meant, among those of others."""

from __future__ import annotations

import json
import socket
import struct
from types import SimpleNamespace

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.docker_cli import DockerCli
from ansible_collections.ddp.swarm.plugins.modules import nccl_check
from swarm_stand_in.fixtures import definition
from test_nccl_check import Engine


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


@pytest.mark.parametrize("service", ["demo_node0", "demo_node1", "demo_node10"])
def test_the_container_is_of_the_service_that_is_asked_for(swarm, docker, service):
    container = nccl_check.container_of(docker, service)
    assert container is not None
    assert names(swarm)[container["id"]] == service
    assert container["state"] == "running"


@pytest.mark.parametrize("service", ["demo_node", "demo_node2", "node1"])
def test_a_service_without_a_container_here_has_none(docker, service):
    assert nccl_check.container_of(docker, service) is None


def test_the_services_are_of_the_stack_that_is_asked_for(swarm, docker):
    wanted = {service["ID"] for service in swarm.services.values()}
    assert len(wanted) == 3
    found = nccl_check.stack_services(docker, "demo")
    assert len(found) == 3
    # Docker prints the beginnings of identifiers.
    assert all(any(full.startswith(short) for full in wanted) for short in found)
    assert nccl_check.stack_services(docker, "dem") == []
    assert nccl_check.stack_services(docker, "demo_node0") == []


def test_the_tasks_are_of_the_services_stack(docker):
    tasks = nccl_check.service_tasks(docker, "demo_node1")
    assert sorted((task["name"], task["node"], task["error"]) for task in tasks) == [
        ("demo_node0", "host0", ""),
        ("demo_node1", "host0", ""),
        ("demo_node10", "host0", ""),
    ]


@pytest.mark.parametrize(("stack", "left"), [("demo", True), ("demo-preflight", False), ("", None)])
def test_a_manager_says_whether_a_check_was_left_over(docker, stack, left):
    defaults = {name: option.get("default") for name, option in nccl_check.argument_spec().items()}
    checks = nccl_check.look(
        {**defaults, "rank": 0, "host": "host1", "stack": stack, "network": "demo-elsewhere"}, docker
    )
    assert checks["engine"]["ok"] is True
    assert checks["engine"]["manager"] is True
    assert checks["left_over"] is left
    assert checks["network"]["driver"] == "overlay"
    assert checks["network"]["encrypted"] is False
    assert {node["hostname"]: node["state"] for node in checks["nodes"]} == {
        "host0": "ready",
        "host1": "ready",
        "host2": "down",
    }


@pytest.mark.parametrize("encrypted", [True, False])
def test_an_overlay_is_told_to_be_encrypted(swarm, docker, encrypted):
    swarm.run("network create --driver overlay --attachable" + " --opt encrypted" * encrypted, "demo-wire")
    network = nccl_check.network_facts(docker, "demo-wire")
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
    container = nccl_check.container_of(engine, "t_node0")
    assert container == {
        "id": "abc", "run_id": "7", "image": None, "state": "exited", "exit_code": 137, "error": "", "oom_killed": killed,
        "gpus": [],
    }  # fmt: skip


class Wire:
    """Stands in for a raw socket and a path that loses what is larger than `carries`. `interface`: its MTU."""

    def __init__(self, carries, interface):
        self.carries, self.interface, self.waiting = carries, interface, []

    def socket(self, family, kind, protocol=0):
        return self

    def __getattr__(self, name):
        return getattr(socket, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def connect(self, address):
        assert address[0] == "192.0.2.2"

    def getsockopt(self, level, option):
        assert (level, option) == (socket.IPPROTO_IP, 14)  # IP_MTU
        return self.interface

    def setsockopt(self, *option):
        assert option == (socket.IPPROTO_IP, 10, 3)  # IP_MTU_DISCOVER, IP_PMTUDISC_PROBE: no fragments

    def settimeout(self, seconds):
        pass

    def sendto(self, echo, address):
        if 20 + len(echo) > self.interface:
            raise OSError("message too long")
        words = struct.unpack(f"!{len(echo) // 2}H", echo[: len(echo) // 2 * 2])
        total = sum(words) + (echo[-1] << 8 if len(echo) % 2 else 0)
        assert echo[0] == 8
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        assert total == 0xFFFF, "its checksum is wrong"
        if 20 + len(echo) <= self.carries:
            self.waiting += [b"\x45" + bytes(19) + b"\x00" + echo[1:], b"\x45" + bytes(19) + echo]

    def recv(self, size):
        if not self.waiting:
            raise TimeoutError
        return self.waiting.pop(0)


@pytest.mark.parametrize(
    ("carries", "interface", "wanted", "largest", "tried"),
    [
        (9000, 1500, 1500, 1500, 1500),
        (1400, 1500, 1500, 1400, 1500),
        (1399, 1500, 1500, 1399, 1500),
        (1401, 1500, 1500, 1401, 1500),
        (1499, 1500, 1500, 1499, 1500),
        (400, 1500, 1500, 400, 1500),
        (9000, 1400, 1500, 1400, 1400),
        (9000, 9000, 1500, 1500, 1500),
        (399, 1500, 1500, None, 1500),
    ],
)
def test_the_largest_packet_that_passes_between_two_hosts(monkeypatch, carries, interface, wanted, largest, tried):
    monkeypatch.setattr(nccl_check, "socket", Wire(carries, interface))
    assert nccl_check.path_mtu("192.0.2.2", wanted) == {"mtu": largest, "tried": tried}
