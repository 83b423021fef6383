"""A lab for these tests alone: a Debian 13 manager and a Debian 12 worker."""

from collections.abc import Iterator

import pytest
from labs import Lab, Play


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with Lab("e2e", lab_releases={"host2": "bookworm"}).running() as lab:
        yield lab


@pytest.fixture(scope="session")
def play(lab: Lab) -> Play:
    return lab.play
