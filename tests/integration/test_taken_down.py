"""What has to be taken down for a change: refused before it begins where it cannot end, on each engine."""

from collections.abc import Iterator
from typing import Any

import pytest
from labs import Lab
from stacks import Compose, Manager, service, two

SENTENCE = (
    "Stack {name} cannot be deployed: {name}_own must be removed, and {users}, which no service made, uses it: stop it, or take it off "
    "the network (docker network disconnect NETWORK CONTAINER on that host), and call again"
)


def compose(attachable: bool) -> Compose:
    return {**two(networks=["own"]), "networks": {"own": {"attachable": attachable}}}


class Containers:
    """Of no service, one on each host, on a stack's network."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name = lab, name

    def start(self) -> None:
        for host in ("host1", "host2"):
            run = f"docker run --detach --name on-{host} --network {self.name}_own shell:1 sh -c 'sleep 1000'"
            self.lab.on(host, "sh", "-c", run)

    def stop(self, host: str) -> None:
        self.lab.on(host, "docker", "rm", "--force", f"on-{host}", check=False)


@pytest.fixture
def containers(lab: Lab, name: str) -> Iterator[Containers]:
    made = Containers(lab, name)
    yield made
    for host in ("host1", "host2"):
        made.stop(host)


def spares(manager: Manager, name: str, containers: Containers) -> None:
    """The stack runs on while anything else is on its network, wherever that is."""
    manager.succeed(name, compose(attachable=True), wait_for="running")
    containers.start()
    made = manager.fail(name, compose(attachable=False))
    assert made["msg"] == SENTENCE.format(name=name, users="container on-host1 on host1, container on-host2 on host2")
    containers.stop(manager.host)
    made = manager.fail(name, compose(attachable=False))
    other = {"host1": "host2", "host2": "host1"}[manager.host]
    assert made["msg"] == SENTENCE.format(name=name, users=f"container on-{other} on {other}")
    assert made["state"]["converged"]
    containers.stop(other)
    made = manager.succeed(name, compose(attachable=False), wait_for="running")
    assert made["actions"][0] == f"recreate network {name}_own"


def test_containers_on_a_network(manager: Manager, name: str, containers: Containers) -> None:
    spares(manager, name, containers)


def test_containers_on_a_network_that_goes(manager: Manager, name: str, containers: Containers) -> None:
    manager.succeed(name, compose(attachable=True), wait_for="running")
    containers.start()
    made = manager.fail(name, two())
    assert f"{name}_own must be removed, and container on-host1 on host1, container on-host2 on host2" in made["msg"]


class TestOnAnOldEngine:
    def test_containers_on_the_network_of_an_old_manager(self, old: Manager, name: str, containers: Containers) -> None:
        spares(old, name, containers)


def test_another_mode(manager: Manager, name: str) -> None:
    def with_mode(**deploy: Any) -> Compose:
        return {"services": {"a": service(on="host1", deploy={**deploy}), "b": service(on="host2")}}

    manager.succeed(name, with_mode(), wait_for="running")
    made = manager.succeed(name, with_mode(mode="global"), wait_for="running")
    assert made["actions"][0] == "recreate service a: swarm cannot change its mode"
    assert [action.split(":")[0] for action in made["actions"]] == ["recreate service a", "update service a"]
    assert manager.succeed(name, with_mode(mode="global"), wait_for="running")["actions"] == []


def test_docker_refuses_a_definition(manager: Manager, name: str) -> None:
    """Before services are taken down for it."""
    manager.succeed(name, compose(attachable=True), wait_for="running")
    wrong = compose(attachable=False)
    wrong["services"]["a"]["healthcheck"] = {"nonsense": 1}
    made = manager.fail(name, wrong)
    assert made["msg"] == "docker stack config: services.a.healthcheck Additional property nonsense is not allowed"
    assert manager.call(module="swarm_stack_info", name=name)["converged"]
