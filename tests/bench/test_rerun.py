"""What site.yml costs where nothing is to be done, beside pings and beside a plain playbook that looks after the same state.

Ratios of medians of five, measured in turn on the same hosts: seconds say more of the machine than of the tool.
"""

import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from labs import ROOT, Lab

ROUNDS = 5
PLAIN = Path(__file__).parent / "plain.yml"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("rerun").running() as lab:
        run = lab.play("site.yml", training_wait_for="complete")
        assert run.rc == 0, run.stdout[-4000:]
        yield lab


def seconds(*command: str) -> float:
    began = time.monotonic()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "default"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "changed=0" in done.stdout or command[0] == "ansible", done.stdout[-1000:]
    return time.monotonic() - began


def test_a_run_with_nothing_to_do(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    inventory = ("-i", str(lab.inventory))
    artifacts = (
        "-e",
        f"training_artifacts_dir={lab.artifacts} preflight_artifacts_dir={lab.artifacts}",
    )
    ways = {
        "ping": ("ansible", "all", *inventory, "-m", "ansible.builtin.ping"),
        "site.yml": ("ansible-playbook", "site.yml", *inventory, *artifacts),
        "plain": ("ansible-playbook", str(PLAIN), *inventory),
    }
    # The first run of the plain playbook installs the SDK and copies.
    subprocess.run(
        [*ways["plain"]],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "default"},
        check=True,
        capture_output=True,
    )
    seen: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, command in ways.items():
            seen[way].append(seconds(*command))
    medians = {way: statistics.median(times) for way, times in seen.items()}
    pings, plain = medians["site.yml"] / medians["ping"], medians["site.yml"] / medians["plain"]
    with capsys.disabled():
        print("\n" + ", ".join(f"{way} {value:.1f} s" for way, value in medians.items()))
        print(f"site.yml with nothing to do: {pings:.1f} pings (goal: 8), {plain:.2f} of a plain playbook (goal: 0.4)")
