"""The project's modules can be imported, and the ranks and probes of the unit tests are here too."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

import modules  # noqa: F401
from browser import Look, chromium, required


@pytest.fixture(scope="session")
def browser() -> None:
    """Is here, or the suite ends: without it nobody need train."""
    required()


@pytest.fixture(scope="session")
def window(browser: None) -> Iterator[Callable[..., Look]]:
    with chromium() as opened:
        yield opened
