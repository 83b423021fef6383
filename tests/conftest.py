"""What all suites share: Ctrl-C, and the lab of e2e and integration where both run in one session: what the first has made, the second finds."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from labs import Lab

# What a shell starts in the background, as `make test` does with some suites, ignores Ctrl-C, and so would all that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def pair() -> Iterator[Lab]:
    """Two bare hosts: Debian 13 (engine 26.1 later), and Debian 12 (20.10)."""
    # Not above: the unit tests want no ansible-runner.
    from labs import Lab

    with Lab("pair", lab_releases={"host2": "bookworm"}).running() as lab:
        yield lab
