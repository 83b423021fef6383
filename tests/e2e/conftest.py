"""A lab of two real hosts, made for these tests alone, and playbooks driven through ansible-runner."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ansible_runner
import pytest

ROOT = Path(__file__).resolve().parents[2]
LAB_NAME = "ddp-e2e" + os.environ.get("DDP_LAB_SUFFIX", "")


class Run:
    """What one run of a playbook did."""

    def __init__(self, runner: Any) -> None:
        self.rc: int = runner.rc
        self.stats: dict[str, dict[str, int]] = runner.stats or {}
        self.events = [event for event in runner.events if event["event"].startswith("runner_on_")]
        self.stdout: str = runner.stdout.read()

    def changed(self) -> list[str]:
        return [
            f"{event['event_data']['host']}: {event['event_data']['task']}"
            for event in self.events
            if event["event"] == "runner_on_ok" and event["event_data"]["res"].get("changed")
        ]

    def failure(self) -> str:
        """The message of the task that ended the run."""
        failed = [e for e in self.events if e["event"] in ("runner_on_failed", "runner_on_unreachable")]
        return str(failed[-1]["event_data"]["res"].get("msg", "")) if failed else ""


Play = Callable[..., Run]


@pytest.fixture(scope="session")
def lab_dir() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="ddp-e2e-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def play(lab_dir: Path) -> Play:
    artifacts = str(lab_dir / "artifacts")

    def run(
        playbook: str, inventory: str | None = None, limit: str | None = None, options: str = "", **variables: Any
    ) -> Run:
        runner = ansible_runner.run(
            # One of its own for each run: ansible-runner keeps options there and would use them again.
            private_data_dir=tempfile.mkdtemp(dir=lab_dir / "runner"),
            project_dir=str(ROOT),
            playbook=str(ROOT / playbook),
            inventory=inventory or str(lab_dir / "lab" / "inventory.yml"),
            limit=limit,
            cmdline=options,
            extravars={"training_artifacts_dir": artifacts, "preflight_artifacts_dir": artifacts, **variables},
            envvars={"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PATH": os.environ["PATH"]},
            quiet=True,
        )
        return Run(runner)

    (lab_dir / "runner").mkdir(exist_ok=True)
    return run


@pytest.fixture(scope="session")
def lab(play: Play, lab_dir: Path) -> Iterator[Path]:
    """The lab: a Debian 13 manager and a Debian 12 worker."""
    settings = {"lab_name": LAB_NAME, "lab_dir": str(lab_dir / "lab"), "lab_releases": {"host2": "bookworm"}}
    play("playbooks/lab.yml", inventory="localhost,", lab_state="absent", **settings)
    made = play("playbooks/lab.yml", inventory="localhost,", **settings)
    assert made.rc == 0, made.stdout[-4000:]
    yield lab_dir / "lab"
    removed = play("playbooks/lab.yml", inventory="localhost,", lab_state="absent", **settings)
    assert removed.rc == 0, removed.stdout[-4000:]
