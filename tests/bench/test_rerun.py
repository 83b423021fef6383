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


PINGS, PLAIN_SHARE, EIGHT = 8, 0.4, 1.5  # the goals


def trained(suite: str, **settings: int) -> Iterator[Lab]:
    with Lab(suite, **settings).running() as lab:
        # Names take longer while eight engines start eight ranks on one machine.
        run = lab.play("site.yml", training_wait_for="complete", preflight_timeout=200)
        assert run.rc == 0, run.stdout[-4000:]
        yield lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    yield from trained("rerun")


@pytest.fixture(scope="module")
def eight() -> Iterator[Lab]:
    yield from trained("rerun8", lab_size=8)


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


def site(lab: Lab) -> tuple[str, ...]:
    kept = f"training_artifacts_dir={lab.artifacts} preflight_artifacts_dir={lab.artifacts} preflight_timeout=200"
    return ("ansible-playbook", "site.yml", "-i", str(lab.inventory), "-e", kept)


def medians(ways: dict[str, tuple[str, ...]], capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    seen: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, command in ways.items():
            seen[way].append(seconds(*command))
    with capsys.disabled():
        for way, times in seen.items():
            print(
                f"\n{way}: median {statistics.median(times):.1f} s of {', '.join(f'{time:.1f}' for time in times)}",
                end="",
            )
        print()
    return {way: statistics.median(times) for way, times in seen.items()}


def test_a_run_with_nothing_to_do(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    inventory = ("-i", str(lab.inventory))
    ways = {
        "ping": ("ansible", "all", *inventory, "-m", "ansible.builtin.ping"),
        "site.yml": site(lab),
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
    took = medians(ways, capsys)
    pings, plain = took["site.yml"] / took["ping"], took["site.yml"] / took["plain"]
    with capsys.disabled():
        print(
            f"site.yml with nothing to do: {pings:.1f} pings (goal: {PINGS}), {plain:.2f} of a plain playbook (goal: {PLAIN_SHARE})"
        )
    assert pings <= PINGS
    assert plain <= PLAIN_SHARE


def test_eight_hosts_cost_little_more_than_two(lab: Lab, eight: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    took = medians({"two": site(lab), "eight": site(eight)}, capsys)
    with capsys.disabled():
        print(f"eight hosts: {took['eight'] / took['two']:.2f} of two (goal: {EIGHT})")
    assert took["eight"] <= EIGHT * took["two"]
