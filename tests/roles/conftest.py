"""The project's modules can be imported, and playbooks say what each task did."""

import os
from pathlib import Path

import modules  # noqa: F401
import pytest

os.environ["ANSIBLE_STDOUT_CALLBACK"] = "default"


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory whose commands take the place of others."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return directory
