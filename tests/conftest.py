"""The lab that the suites e2e and integration share where both run in one session: what the first has made, the second finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from labs import Lab


@pytest.fixture(scope="session")
def pair() -> Iterator[Lab]:
    """Two bare hosts: Debian 13 (engine 26.1 later), and Debian 12 (20.10)."""
    # Not above: the unit tests want no ansible-runner.
    from labs import Lab

    with Lab("pair", lab_releases={"host2": "bookworm"}).running() as lab:
        yield lab
