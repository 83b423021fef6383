"""A lab for these tests alone, made ready to train: a Debian 13 manager and a Debian 12 worker with the image on both.

What the preflight said of each fault is printed at the end, and kept in artifacts/faults.md.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from labs import ROOT, Lab, Play, Run

Check = Callable[..., tuple[dict, Run]]
ROWS: list[tuple[str, str, str]] = []
COUNTS: Counter[str] = Counter()


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not ROWS:
        return
    rows = [("fault", "took", "what was reported"), ("---", "---", "---"), *ROWS]
    lines = ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows]
    if COUNTS:
        lines += [
            "",
            "{planted} planted, {located} located, {cured} of {curable} cured by their hints".format_map(COUNTS),
        ]
    (ROOT / "artifacts").mkdir(exist_ok=True)
    (ROOT / "artifacts" / "faults.md").write_text("\n".join(lines) + "\n")
    terminalreporter.section("artifacts/faults.md")
    terminalreporter.write("\n".join(lines) + "\n")
