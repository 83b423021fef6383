"""A real swarm for the tests: host1 manages (Debian 13, engine 26.1), host2 works (Debian 12, engine 20.10)."""

from collections.abc import Iterator

import pytest
from labs import Lab
from stacks import Manager

# An image that holds a shell, out of the host's own files: no registry, and nothing to build.
MAKE_IMAGE = """set -e
files="/bin/sh /bin/sleep /bin/cat $(ldd /bin/sh /bin/sleep /bin/cat | grep -o '/lib[^ ]*' | sort -u)"
tar -C / -ch $files 2>/dev/null | docker import - shell:1
docker tag shell:1 shell:2"""


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with Lab("integration", lab_releases={"host2": "bookworm"}).running("docker", "swarm") as lab:
        for host in ("host1", "host2"):
            lab.on(host, "sh", "-c", MAKE_IMAGE)
        yield lab


@pytest.fixture(scope="session")
def manager(lab: Lab) -> Manager:
    return Manager(lab, "host1")


@pytest.fixture
def name(manager: Manager, request: pytest.FixtureRequest) -> Iterator[str]:
    """A stack of the test's own. Swarm takes it away afterwards; nobody waits for that."""
    stack = request.node.name.removeprefix("test_").replace("_", "-")
    yield stack
    manager.docker(f"stack rm {stack}")
