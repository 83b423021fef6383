"""A real swarm for the tests: host1 manages (Debian 13, engine 26.1), host2 works (Debian 12, engine 20.10)."""

from collections.abc import Iterator

import pytest
from labs import Lab
from shell_image import import_shell
from stacks import Manager

ALL_READY = "for i in $(seq 60); do test $(docker node ls | grep -c Ready) = 2 && exit; sleep 1; done; exit 1"


@pytest.fixture(scope="session")
def lab(pair: Lab) -> Lab:
    pair.run("docker", "swarm")
    for host in pair.hosts:
        import_shell(pair, host, "shell:1", "shell:2")
    return pair


@pytest.fixture(scope="session")
def manager(lab: Lab) -> Manager:
    return Manager(lab, "host1")


@pytest.fixture
def name(manager: Manager, request: pytest.FixtureRequest) -> Iterator[str]:
    """A stack of the test's own. Swarm takes it away afterwards; nobody waits for that."""
    stack = request.node.name.removeprefix("test_").replace("_", "-")
    yield stack
    manager.docker(f"stack rm {stack}")


@pytest.fixture(scope="class")
def old(lab: Lab, manager: Manager) -> Iterator[Manager]:
    manager.docker("node promote host2")
    lab.on("host2", "sh", "-c", ALL_READY)
    yield Manager(lab, "host2")
    lab.on("host1", "sh", "-c", ALL_READY)
    manager.docker("node demote host2")
