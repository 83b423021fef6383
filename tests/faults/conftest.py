"""A lab for these tests alone, made ready to train: a Debian 13 manager and a Debian 12 worker with the image on both.

What the preflight said of each fault is printed at the end, and kept in artifacts/faults.md: one row for each fault, with where it was located
and whether its hint cured it. Rows of faults that this run did not plant are those of earlier runs (artifacts/faults.json).
"""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from labs import ROOT, Lab, Play, Run
from planted import FAULTS

Check = Callable[..., tuple[dict, Run]]
ROWS: list[tuple[str, str, str]] = []
# By the fault's name: the layer and hosts where it was `located`, `cured` (yes, no, or empty where no hint is a cure), `seconds`, `said`.
RESULTS: dict[str, dict[str, Any]] = {}


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with Lab("faults", lab_releases={"host2": "bookworm"}).running("docker", "swarm", "image") as lab:
        yield lab


@pytest.fixture(scope="session")
def play(lab: Lab) -> Play:
    return lab.play


@pytest.fixture(scope="session")
def note() -> Callable[..., None]:
    """Takes a row of the table: the fault, the seconds that the check took, its verdict."""

    def take(fault: str, seconds: float, verdict: dict) -> None:
        ROWS.append((fault, f"{seconds:.1f} s", verdict["message"]))

    return take


@pytest.fixture
def check(play: Play, lab: Lab, note: Callable[..., None]) -> Check:
    """Runs the preflight, and sees to it that exit code, file and words agree and that nothing is left on the hosts."""

    def run_it(fault: str = "none", **arguments) -> tuple[dict, Run]:  # type: ignore[no-untyped-def]
        (lab.artifacts / "preflight.json").unlink(missing_ok=True)
        began = time.monotonic()
        run = play("playbooks/preflight.yml", **arguments)
        seconds = time.monotonic() - began
        assert (lab.artifacts / "preflight.json").exists(), run.stdout[-4000:]
        verdict = json.loads((lab.artifacts / "preflight.json").read_text())
        note(fault, seconds, verdict)
        enforced = arguments.get("preflight_enforce", True)
        assert (run.rc != 0) == (enforced and not verdict["ok"]), run.stdout[-4000:]
        assert verdict["message"] in run.failure() or verdict["ok"] or not enforced
        assert run.changed() == []
        return verdict, run

    return run_it


def left_overs(lab: Lab) -> list[str]:
    """What of a probe is still there, on any host."""
    stack = ["--quiet", "--filter", "label=com.docker.stack.namespace=simple-training-preflight"]
    found = lab.on("host1", "docker", "service", "ls", *stack) + lab.on("host1", "docker", "config", "ls", *stack)
    name = ["--quiet", "--filter", "name=preflight"]
    for host in lab.hosts:
        found += lab.on(host, "docker", "ps", "--all", *name) + lab.on(host, "sh", "-c", "ls -d /tmp/*probe* || true")
    return found.split()


ARTIFACTS = ROOT / "artifacts"


def merged(fresh: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """With those of earlier runs, in the order of the list of faults."""
    path = ARTIFACTS / "faults.json"
    known: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    known.update(fresh)
    ordered = {name: known[name] for name in [fault.name for fault in FAULTS] if name in known}
    ARTIFACTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(ordered, indent=1) + "\n")
    return ordered


def table(results: dict[str, dict[str, Any]]) -> list[str]:
    lines = ["| planted | located | cured by its hint | took | what was reported |", "| --- | --- | --- | --- | --- |"]
    for name, one in results.items():
        cells = [name, one["located"] or "no", one["cured"], f"{one['seconds']:.0f} s", one["said"]]
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    curable = [one for one in results.values() if one["cured"]]
    counts = (
        f"{len(results)} planted, {sum(bool(one['located']) for one in results.values())} located, "
        f"{sum(one['cured'] == 'yes' for one in curable)} of {len(curable)} cured by their hints"
    )
    return [*lines, "", f"{counts}. The list has {len(FAULTS)} faults."]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not ROWS:
        return
    rows = [("fault", "took", "what was reported"), ("---", "---", "---"), *ROWS]
    lines = ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows]
    lines += ["", *table(merged(RESULTS))] if RESULTS else []
    ARTIFACTS.mkdir(exist_ok=True)
    (ARTIFACTS / "faults.md").write_text("\n".join(lines) + "\n")
    terminalreporter.section("artifacts/faults.md")
    terminalreporter.write("\n".join(lines) + "\n")
