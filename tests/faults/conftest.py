"""A lab for these tests alone, made ready to train: a Debian 13 manager and a Debian 12 worker with the image on both.

What the preflight said of each fault is printed at the end, and kept in artifacts/faults.md.
"""

from collections.abc import Callable, Iterator

import pytest
from labs import ROOT, Lab, Play

ROWS: list[tuple[str, str, str]] = []


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    yield from Lab("faults", lab_releases={"host2": "bookworm"}).ready_to_train()


@pytest.fixture(scope="session")
def play(lab: Lab) -> Play:
    return lab.play


@pytest.fixture(scope="session")
def note() -> Callable[..., None]:
    """Takes a row of the table: the fault, the seconds that the check took, its verdict."""

    def take(fault: str, seconds: float, verdict: dict) -> None:
        ROWS.append((fault, f"{seconds:.1f} s", verdict["message"]))

    return take


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not ROWS:
        return
    rows = [("fault", "took", "what was reported"), ("---", "---", "---"), *ROWS]
    lines = ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows]
    (ROOT / "artifacts").mkdir(exist_ok=True)
    (ROOT / "artifacts" / "faults.md").write_text("\n".join(lines) + "\n")
    terminalreporter.section("artifacts/faults.md")
    terminalreporter.write("\n".join(lines) + "\n")
