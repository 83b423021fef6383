"""A directory beside a secret, and no descriptor that is left open."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "key").write_text("S3CR3T")
    return tmp_path / "root"


@pytest.fixture(autouse=True)
def all_is_closed() -> Iterator[None]:
    """A directory has many files, and a process may hold few of them."""
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(ascii(name).strip("'"))
