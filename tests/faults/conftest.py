"""A lab for these tests alone, made ready to train: a Debian 13 manager and a Debian 12 worker with the image on both."""

from collections.abc import Iterator

import pytest
from labs import Lab, Play


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    for lab in Lab("faults", lab_releases={"host2": "bookworm"}).running():
        for playbook in ("docker", "swarm", "image"):
            run = lab.play(f"playbooks/{playbook}.yml")
            assert run.rc == 0, run.stdout[-4000:]
        yield lab


@pytest.fixture(scope="session")
def play(lab: Lab) -> Play:
    return lab.play
