"""The stand-in in the place of the process that DockerCli starts, and a module called as Ansible calls it."""

from __future__ import annotations

import copy
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.common import warnings
from ansible.module_utils.common.parameters import PASS_VARS
from ansible.module_utils.testing import patch_module_args

from swarm_stand_in.command import Docker
from swarm_stand_in.orchestrator import Swarm
from swarm_stand_in.store import NAMESPACE, Clock, Raw

# From 2.21 on, a result has its invocation only if that is asked for.
INVOCATION = {"_ansible_inject_invocation": True} if "inject_invocation" in PASS_VARS else {}
STACK, OTHER = "demo", "demo_two"


class Hangs(BaseException):
    """A command that is never answered, and waited for without a limit. No `except` shall swallow it."""


class _Of:
    """An attribute of the swarm or of its docker, by one name for the tests."""

    def __init__(self, part: str) -> None:
        self.part = part

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, cluster: Any, owner: type) -> Any:
        return getattr(getattr(cluster, self.part), self.name)

    def __set__(self, cluster: Any, value: Any) -> None:
        setattr(getattr(cluster, self.part), self.name, value)


class Cluster:
    """host0 manages, host1 works, host2 is down. Stack demo is the test's; whatever else there is must outlive it.

    The other stack's name begins as the test's does, so that whoever goes by the beginning of names takes it along.
    """

    # A name that is set and does not exist would be a mistake that nobody sees.
    __slots__ = ("before", "clock", "docker", "mine", "swarm")
    outcomes, updates, stubborn, stop_codes = (_Of("swarm") for _ in range(4))
    busy_networks, host, info, off, refusals, refuse, silent = (_Of("docker") for _ in range(7))
    calls, seen, engine = _Of("docker"), _Of("docker"), _Of("docker")

    def __init__(self, version: str = "26.1.5") -> None:
        self.mine = STACK
        self.clock = Clock()
        self.swarm = Swarm(self.clock)
        self.swarm.add_node("host0", "manager")
        self.swarm.add_node("host1")
        self.swarm.add_node("host2")
        for name in ("bridge", "host", "none"):
            self.swarm.add_network(name, {"none": "null"}.get(name, name), "local")
        self.swarm.add_network("ingress", Ingress=True)
        self.docker = Docker(self.swarm, version)
        self.before: Raw = {}
        self._others()
        self.swarm.node("host2")["Status"]["State"] = "down"
        self.before = self.swarm.everything(but=self.mine)

    def _others(self) -> None:
        labels = {NAMESPACE: OTHER}
        for kind in ("config", "secret"):
            self.swarm.add_content(kind, f"{OTHER}_text_0123456789ab", "theirs", labels)
            self.swarm.add_content(kind, f"{STACK}_foreign_{kind}", "nobody's", {})
        compose = {
            "version": "3.9",
            "services": {
                "web": {"image": "web:1", "networks": ["own"], "configs": ["text"], "secrets": ["text"]},
                "lost": {
                    "image": "web:1",
                    "networks": ["own"],
                    "deploy": {"placement": {"constraints": ["node.hostname == host2"]}},
                },
            },
            "networks": {"own": {"attachable": True}},
            **{
                f"{kind}s": {"text": {"external": True, "name": f"{OTHER}_text_0123456789ab"}}
                for kind in ("config", "secret")
            },
        }
        self.run("stack deploy --resolve-image never -c -", OTHER, stdin=json.dumps(compose))
        self.run("network create --driver overlay --attachable", f"{STACK}-elsewhere")
        self.swarm.settle()

    def run(self, words: str, *more: str, stdin: str = "") -> str:
        """Somebody else's hand. What it does must succeed."""
        if self.before:
            self.untouched()
        calls, seen = list(self.calls), list(self.seen)
        done = self.docker.run([*words.split(), *more], stdin)
        assert done[0] == 0, done
        self.calls[:], self.seen[:] = calls, seen
        if self.before:
            self.swarm.settle()
            self.before = self.swarm.everything(but=self.mine)
        return done[1]

    # What the tests ask

    def count(self, *start: str) -> int:
        return sum(call[: len(start)] == start for call in self.calls)

    @property
    def services(self) -> dict[str, Raw]:
        return self.swarm.of_stack("service", self.mine)

    @property
    def configs(self) -> dict[str, Raw]:
        return self.swarm.of_stack("config", self.mine)

    @property
    def secrets(self) -> dict[str, Raw]:
        return self.swarm.of_stack("secret", self.mine)

    @property
    def networks(self) -> dict[str, Raw]:
        return self.swarm.of_stack("network", self.mine)

    @property
    def compose(self) -> Raw:
        """What docker was last asked to deploy."""
        asked = [seen["stdin"] for seen in self.seen if "deploy" in seen["argv"]]
        found: Raw = json.loads(asked[-1])
        return found

    def service(self, name: str) -> Raw:
        return self.swarm.named("service", f"{self.mine}_{name}")

    def newest(self, full_name: str) -> Raw:
        return self.swarm.tasks_of(full_name)[0]

    def log(self, place: str, *lines: str) -> None:
        """Lines "TIME TEXT" of a task by identifier or SERVICE.SLOT; one that begins with ! went to standard error."""
        self.docker.logs[place] = [
            (line.lstrip("!").partition(" ")[0], "stderr" if line.startswith("!") else "stdout", line.partition(" ")[2])
            for line in lines
        ]

    def not_theirs(self, kind: str, name: str) -> None:
        """It has the name of something of the test's stack, and goes with it."""
        self.before = {key: item for key, item in self.before.items() if not key.startswith(f"{kind} {name} ")}

    def untouched(self) -> None:
        """Whatever is not the test's is as it was."""
        assert self.swarm.everything(but=self.mine) == self.before

    # In the place of subprocess

    def process(self, command: list[str], **options: Any) -> SimpleNamespace:
        given = options.get("input")
        if (given is None and options.get("stdin") != subprocess.DEVNULL) or not options["capture_output"]:
            raise Hangs(f"docker {' '.join(command[1:])}: its standard input would be the module's own")
        # As a process does, whose directory is not there.
        os.stat(options["cwd"] or "/")
        began = self.clock.now
        code, out, said = self.docker.run(
            command[1:], (given or b"").decode("utf-8", "surrogateescape"), options["env"], options["cwd"]
        )
        limit = options.get("timeout")
        if self.docker.silent and command[1:] and self.docker.is_silent(command[1:]):
            if limit is None:
                raise Hangs(
                    f"docker {' '.join(command[1:])}: a swarm that does not answer would be waited for without end"
                )
            self.clock.now = began + limit
            raise subprocess.TimeoutExpired(command, limit)
        return SimpleNamespace(
            returncode=code,
            stdout=out.encode("utf-8", "surrogateescape"),
            stderr=said.encode("utf-8", "surrogateescape"),
        )


@pytest.fixture
def swarm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster whose docker answers the modules. What is not of stack demo must be in the end as it was."""
    from ansible_collections.ddp.swarm.plugins.module_utils.docker import cli
    from ansible_collections.ddp.swarm.plugins.module_utils.stack import apply, record, remove, stop, wait

    cluster = Cluster()
    place = tmp_path / "stand-in"
    place.mkdir()
    command = place / "docker"
    command.write_text("#!/bin/sh\necho 'the real docker must not be called' >&2; exit 99\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    played = SimpleNamespace(run=cluster.process, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(cli, "subprocess", played)
    for module in (apply, record, remove, stop, wait):
        monkeypatch.setattr(module, "time", cluster.clock)
    yield cluster
    cluster.untouched()


Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(swarm: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls a module, minutes after whatever was before: what a swarm has begun until then has ended."""
    from ansible.module_utils import _internal
    from ansible_collections.ddp.swarm.plugins.modules import swarm_stack

    # A module's warnings are in its result, also if a test of a plugin was before it.
    monkeypatch.setattr(_internal, "is_controller", False, raising=False)

    def call(module: ModuleType | None = None, check: bool = False, later: float = 120, **args: Any) -> dict[str, Any]:
        swarm.swarm.settle(later)
        # A module is a process of its own, with no warnings of an earlier one.
        getattr(warnings, "_global_warnings", {}).clear()
        module = module or swarm_stack
        named = {} if "names" in args else {"name": STACK}
        args = {**named, **({"wait_timeout": 20} if module is swarm_stack else {}), **args}
        with (
            patch_module_args({**args, **INVOCATION, "_ansible_check_mode": check, "_ansible_diff": True}),
            pytest.raises(SystemExit),
        ):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
        if "secret" not in str(args):
            result.pop("invocation", None)
        return result

    return call


def definition(**changes: Any) -> dict[str, Any]:
    """Two services that are not started again; `changes` are of the second."""
    service = {
        "image": "trainer:1",
        "command": ["run"],
        "environment": {"A": "1"},
        "deploy": {
            "restart_policy": {"condition": "none"},
            "placement": {"constraints": ["node.role == worker"]},
        },
    }
    services = {"node0": copy.deepcopy(service), "node1": copy.deepcopy(service)}
    services["node1"].update(changes)
    return {"services": services}
