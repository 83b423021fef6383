"""The playbooks on two bare hosts: a Debian 13 manager and a Debian 12 worker."""

import pytest
from labs import Lab, Play


@pytest.fixture(scope="session")
def lab(pair: Lab) -> Lab:
    return pair


@pytest.fixture(scope="session")
def play(lab: Lab) -> Play:
    return lab.play
