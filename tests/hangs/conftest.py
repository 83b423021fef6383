"""The launchers of the unit tests, whose collection this makes importable. The table is printed at the end, and kept in artifacts/hangs.md."""

import sys
from pathlib import Path
from typing import Any

import modules
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))
ROWS: list[str] = []


@pytest.fixture(scope="session")
def rows() -> list[str]:
    return ROWS


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if ROWS:
        lines = ["| planted on rank 1 | what is said |", "| --- | --- |", *ROWS]
        artifacts = modules.ROOT / "artifacts"
        artifacts.mkdir(exist_ok=True)
        (artifacts / "hangs.md").write_text("\n".join(lines) + "\n")
        terminalreporter.section("artifacts/hangs.md")
        terminalreporter.write("\n".join(lines) + "\n")
