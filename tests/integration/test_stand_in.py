"""The stand-in for docker (tests/swarm_stand_in) held against real engines.

`DDP_RECORD=1` writes what they answer into tests/unit/recordings/, where the unit tests replay it without Docker.
With it and without it, the answers are compared with those of the stand-in.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from labs import Lab
from shell_image import import_shell
from swarm_stand_in import calls
from swarm_stand_in.fixtures import Cluster

RECORDINGS = Path(__file__).resolve().parents[1] / "unit" / "recordings"


class Host:
    """One host of a lab: its docker command, called as a shell on it would."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name = lab, name

    def run(self, argv: list[str], stdin: str = "") -> tuple[int, str, str]:
        command = ["docker", "exec", "--interactive", f"{self.lab.name}-{self.name}", "docker", *argv]
        for _ in range(10):
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=120)
            # Swarm changes what it keeps by itself, and refuses a call that was begun before; nothing was done then.
            if "update out of sequence" not in done.stderr:
                break
            time.sleep(1)
        return done.returncode, done.stdout, done.stderr

    def version(self) -> str:
        """Major and minor, of engine and command line, which are the same here."""
        code, out, said = self.run(["version", "--format", "{{.Server.Version}} {{.Client.Version}}"])
        assert code == 0, said
        server, client = (".".join(version.split(".")[:2]) for version in out.split())
        assert server == client, out
        return server

    def clear(self) -> None:
        """Nothing of an earlier recording is left, however it ended."""
        self.run(["stack", "rm", calls.STACK])
        self.settle("gone")
        for kind, name in (("config", "text"), ("config", "empty"), ("secret", "key"), ("network", "own")):
            self.run([kind, "rm", f"{calls.STACK}_{name}"])

    def settle(self, goal: str) -> None:
        wanted: dict[str, Callable[[], bool]] = {
            "deployed": lambda: self.states("a") == ["Running"] and self.states("b")[:1] == ["Failed"],
            "updated": lambda: self.states("a").count("Running") == 2 and self.update() == "completed",
            "gone": self.gone,
        }
        deadline = time.monotonic() + 90
        while not wanted[goal]():
            assert time.monotonic() < deadline, (goal, self.run(["stack", "ps", "--no-trunc", calls.STACK]))
            time.sleep(1)
        # Labels, states and networks reach a manager that does not lead a moment later.
        time.sleep(1)

    def states(self, letter: str) -> list[str]:
        """First words of the current states of a service's tasks."""
        out = self.run(["stack", "ps", "--format", "{{.Name}} {{.CurrentState}}", calls.STACK])[1]
        return [line.split()[1] for line in out.splitlines() if line.startswith(f"{calls.STACK}_{letter}.")]

    def update(self) -> str:
        template = "{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}"
        return self.run(["service", "inspect", "--format", template, f"{calls.STACK}_a"])[1].strip()

    def gone(self) -> bool:
        self.run(["network", "rm", f"{calls.STACK}_own"])
        label = ["--quiet", "--filter", calls.LABEL]
        left = [self.run([kind, "ls", *label])[1] for kind in ("service", "network")]
        return not "".join(left).strip() and not self.run(["ps", "--all", *label])[1].strip()


@pytest.fixture
def host1(lab: Lab) -> Iterator[Host]:
    host = Host(lab, "host1")
    host.clear()
    yield host
    host.clear()


@pytest.fixture
def host2(lab: Lab, host1: Host) -> Iterator[Host]:
    """The older engine, as a manager for so long."""
    host = Host(lab, "host2")
    assert host1.run(["node", "promote", "host2"])[0] == 0
    try:
        deadline = time.monotonic() + 60
        while host.run(["node", "ls"])[0] != 0:
            assert time.monotonic() < deadline, host.run(["node", "ls"])
            time.sleep(1)
        yield host
    finally:
        host1.clear()
        host1.run(["node", "demote", "host2"])


@pytest.fixture
def newer() -> Iterator[Host]:
    if not os.environ.get("DDP_RECORD") and not os.environ.get("DDP_NEWER_ENGINES"):
        pytest.skip("a host with a newer engine takes minutes: DDP_NEWER_ENGINES=host1, or DDP_RECORD=1")
    with Lab("stand-in", lab_size=1).running() as lab:
        lab.install_newer_engine("host1")
        lab.run("docker", "swarm")
        import_shell(lab, "host1", "shell:1", "shell:2")
        yield Host(lab, "host1")


def hold_against(host: Host) -> None:
    version = host.version()
    real = calls.play(host.run, host.settle)
    if os.environ.get("DDP_RECORD"):
        RECORDINGS.mkdir(exist_ok=True)
        text = json.dumps({"engine": version, "calls": real}, indent=1, ensure_ascii=False)
        (RECORDINGS / f"{version}.json").write_text(text + "\n", encoding="utf-8")
    cluster = Cluster(f"{version}.5")
    cluster.swarm.outcomes = {f"{calls.STACK}_b": ("failed", 3, "task: non-zero exit (3)")}
    cluster.log(f"{calls.STACK}_b.1", "2025-01-01T10:00:00Z out", "!2025-01-01T10:00:01Z err")
    played = calls.play(cluster.docker.run, lambda goal: cluster.swarm.settle())
    # Also of a recording: it is written by then, and what differs is to be seen to at once.
    assert calls.compare(played, real) == []


def test_engine_of_debian_13(host1: Host) -> None:
    hold_against(host1)


def test_engine_of_debian_12(host2: Host) -> None:
    hold_against(host2)


def test_newer_engine(newer: Host) -> None:
    hold_against(newer)
