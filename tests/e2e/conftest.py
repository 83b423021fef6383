"""A lab for these tests alone: a Debian 13 manager and a Debian 12 worker."""

from collections.abc import Iterator

import pytest
from labs import Lab, Play


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    yield from Lab("e2e", lab_releases={"host2": "bookworm"}).running()


@pytest.fixture(scope="session")
def play(lab: Lab) -> Play:
    return lab.play
