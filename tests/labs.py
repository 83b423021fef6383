"""A lab of real hosts for a suite of tests, and playbooks driven on it through ansible-runner.

`DDP_KEEP_LAB=1` keeps a suite's lab, in `.lab-SUITE`, and uses it again: for whoever works on the tests.
`DDP_NEWER_ENGINES=host1,host2` gives these hosts the engine of Debian's next release (28.5), if they are Debian 13.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ansible_runner

ROOT = Path(__file__).resolve().parents[1]
NEWER_ENGINE = (ROOT / "tests" / "newer_engine.sh").read_text()


class Run:
    """What one run of a playbook did."""

    def __init__(self, runner: Any) -> None:
        self.rc: int = runner.rc
        self.stats: dict[str, dict[str, int]] = runner.stats or {}
        self.events = [event for event in runner.events if event["event"].startswith("runner_on_")]
        self.stdout: str = runner.stdout.read()

    def changed(self) -> list[str]:
        told = [
            (event["event_data"]["host"], event["event_data"]["task"])
            for event in self.events
            if event["event"] == "runner_on_ok" and event["event_data"]["res"].get("changed")
        ]
        # Of a task with no_log, only the recap tells that it changed something.
        left = Counter(self.stats.get("changed", {})) - Counter(host for host, _ in told)
        return [f"{host}: {task}" for host, task in told] + [f"{host}: a task with no_log" for host in left.elements()]

    def said(self) -> str:
        """All that was printed, in one line, without colours: long messages are wrapped."""
        return re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;]*m", "", self.stdout))

    def failure(self) -> str:
        """The message of the task that ended the run; of a loop, those of the items that failed. Of a run that says of none, its last lines."""
        failed = [e for e in self.events if e["event"] in ("runner_on_failed", "runner_on_unreachable")]
        if not failed:
            return self.said()[-2000:] if self.rc else ""
        result = failed[-1]["event_data"]["res"]
        items = [item["msg"] for item in result.get("results", []) if item.get("failed") and "msg" in item]
        return "\n".join(items) or str(result.get("msg", ""))


def good(run: Run) -> Run:
    """One that came to its end."""
    assert run.rc == 0, run.failure() + run.stdout[-4000:]
    return run


Play = Callable[..., Run]


class Lab:
    """Hosts under a lab name of the suite's own. `settings` are variables of the role lab."""

    def __init__(self, suite: str, **settings: Any) -> None:
        self.name = f"ddp-{suite}" + os.environ.get("DDP_LAB_SUFFIX", "")
        self.hosts = [f"host{number + 1}" for number in range(settings.get("lab_size", 2))]
        self.directory = ROOT / f".lab-{suite}"
        self.inventory = self.directory / "lab" / "inventory.yml"
        self.artifacts = self.directory / "artifacts"
        self.settings = {"lab_name": self.name, "lab_dir": str(self.directory / "lab"), **settings}

    def play(
        self, playbook: str, inventory: str | None = None, limit: str | None = None, options: str = "", **variables: Any
    ) -> Run:
        (self.directory / "runner").mkdir(parents=True, exist_ok=True)
        artifacts = str(self.artifacts)
        runner = ansible_runner.run(
            # One of its own for each run: ansible-runner keeps options there and would use them again.
            private_data_dir=tempfile.mkdtemp(dir=self.directory / "runner"),
            project_dir=str(ROOT),
            playbook=str(ROOT / playbook),
            inventory=inventory or str(self.inventory),
            limit=limit,
            cmdline=options,
            extravars={"training_artifacts_dir": artifacts, "preflight_artifacts_dir": artifacts, **variables},
            envvars={
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "PATH": os.environ["PATH"],
                "ANSIBLE_HOST_KEY_CHECKING": "True",  # which ansible-runner would switch off
            },
            quiet=True,
        )
        # ansible-runner takes Ctrl-C for itself, and returns a run that failed without a word.
        if runner.status == "canceled":
            raise KeyboardInterrupt
        return Run(runner)

    def _have(self, state: str) -> None:
        run = self.play("playbooks/lab.yml", inventory="localhost,", lab_state=state, **self.settings)
        assert run.rc == 0, run.stdout[-4000:]

    def run(self, *playbooks: str) -> None:
        """Playbooks by their names, such as docker and swarm, each to its end."""
        for playbook in playbooks:
            run = self.play(f"playbooks/{playbook}.yml")
            assert run.rc == 0, run.stdout[-4000:]

    def _remove(self) -> None:
        if not os.environ.get("DDP_KEEP_LAB"):
            self._have("absent")
            shutil.rmtree(self.directory, ignore_errors=True)

    @contextmanager
    def running(self, *playbooks: str) -> Iterator["Lab"]:
        """The lab is there, with what these playbooks bring, and gone afterwards, whatever happened."""
        self._remove()
        try:
            self._have("present")
            for host in filter(None, os.environ.get("DDP_NEWER_ENGINES", "").split(",")):
                self.install_newer_engine(host)
            self.run(*playbooks)
            yield self
        finally:
            self._remove()

    def install_newer_engine(self, host: str) -> None:
        """On a host of Debian 13, before the role docker, which keeps it then."""
        self.on(host, "sh", "-c", NEWER_ENGINE, timeout=600)

    def read(self, host: str, path: str) -> bytes:
        """A file of a host."""
        argv = ["docker", "exec", f"{self.name}-{host}", "cat", path]
        return subprocess.run(argv, capture_output=True, check=True, timeout=120).stdout

    def on(self, host: str, *command: str, check: bool = True, timeout: float = 120) -> str:
        """Standard output of a command on a host, as root."""
        argv = ["docker", "exec", f"{self.name}-{host}", *command]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout)
        assert done.returncode == 0 or not check, f"{host}: {' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout
