"""Four hosts and the swarms that inventories over them ask for. At the end, the recovery table of docs/measurements.md is printed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from labs import ROOT, Lab, Run

TABLE: list[str] = []
STARTED: list[subprocess.Popen[str]] = []


def start(lab: Lab, playbook: str, *options: str, **variables: Any) -> subprocess.Popen[str]:
    """A playbook that goes on beside the test."""
    command = [Path(sys.executable).parent / "ansible-playbook", "-i", lab.inventory, playbook, *options]
    STARTED.append(
        subprocess.Popen(
            [*command, "-e", json.dumps(variables)],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    )
    return STARTED[-1]


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """What a test has started and does not wait for, as one that fails."""
    yield
    for process in STARTED:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    STARTED.clear()


@dataclass
class Shape:
    """A swarm that an inventory asks for, on some of the lab's hosts."""

    lab: Lab
    managers: list[str]
    workers: list[str] = field(default_factory=list)
    variables: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def hosts(self) -> list[str]:
        return self.managers + self.workers

    @property
    def inventory(self) -> Path:
        lab = yaml.safe_load(self.lab.inventory.read_text())
        children = lab["all"]["children"]["swarm"]["children"]
        known = {**(children["managers"].get("hosts") or {}), **(children["workers"].get("hosts") or {})}
        hosts = {host: {**known[host], **self.variables.get(host, {})} for host in self.hosts}
        children["managers"] = {"hosts": {host: hosts[host] for host in self.managers}}
        children["workers"] = {"hosts": {host: hosts[host] for host in self.workers}}
        path = self.lab.directory / f"inventory-{'-'.join(self.managers)}+{'-'.join(self.workers)}.yml"
        path.write_text(yaml.safe_dump(lab))
        return path

    def play(self, playbook: str, **options: Any) -> Run:
        return self.lab.play(playbook, inventory=str(self.inventory), **options)

    def cluster(self, **options: Any) -> Run:
        """The part of the site that makes a cluster: no image and no training."""
        return self.play("site.yml", options="--tags docker,swarm " + options.pop("options", ""), **options)

    def have(self) -> None:
        run = self.cluster(
            swarm_rejoin=True, swarm_rebuild=True, swarm_force_new_cluster=True, docker_daemon_replace=True
        )
        assert run.rc == 0, run.stdout[-4000:]
        self.is_whole()

    def have_if_broken(self) -> None:
        try:
            self.is_whole(patience=0)
        except (AssertionError, StopIteration):
            self.have()

    def have_anew(self) -> None:
        """As have(), in a swarm of its own: no node of another shape is left in it."""
        for host in self.hosts:
            self.lab.on(host, "docker", "swarm", "leave", "--force", check=False)
        self.have()

    def nodes(self) -> dict[str, str]:
        lead = next(host for host in self.managers if self.state(host) == "active")
        rows = self.lab.on(
            lead, "docker", "node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.Availability}} {{.ManagerStatus}}"
        )
        names = [row.split()[0] for row in rows.splitlines()]
        assert len(names) == len(set(names)), f"a former node is left: {rows}"
        return {
            row.split()[0]: " ".join(row.split()[1:]).replace("Leader", "Manager").replace("Reachable", "Manager")
            for row in rows.splitlines()
        }

    def label(self, host: str, name: str = "ddp_rank") -> str:
        template = f'{{{{index .Spec.Labels "{name}"}}}}'
        return self.lab.on(self.managers[0], "docker", "node", "inspect", host, "--format", template).strip()

    def state(self, host: str) -> str:
        return self.lab.on(
            host, "docker", "info", "--format", "{{.Swarm.LocalNodeState}}", check=False, timeout=60
        ).strip()

    def is_whole(self, patience: float = 15) -> None:
        """Every host is Ready, has its role and its rank, and no other node is there."""
        expected = {host: "Ready Active" + (" Manager" if host in self.managers else "") for host in self.hosts}
        deadline = time.monotonic() + patience
        while (nodes := self.nodes()) != expected and time.monotonic() < deadline:
            time.sleep(1)
        assert nodes == expected
        assert {host: self.label(host) for host in self.hosts} == {
            host: str(rank) for rank, host in enumerate(self.hosts)
        }
        networks = self.lab.on(
            self.managers[0], "docker", "network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"
        )
        assert "ddp-net overlay swarm" in networks

    def changes_nothing(self, playbook: str = "site.yml", **options: Any) -> None:
        run = self.cluster() if playbook == "site.yml" else self.play(playbook, **options)
        assert run.rc == 0, run.stdout[-4000:]
        assert run.changed() == []

    def recover(
        self,
        state: str,
        said: str,
        playbook: str = "playbooks/swarm.yml",
        allow: str = "",
        foretold: str = "",
        **options: Any,
    ) -> None:
        """One row of the table: foretold by --check, refused without `allow` where that is needed, repaired, and whole."""
        command = f"{playbook}{' --limit ' + options['limit'] if 'limit' in options else ''}"
        variables = {allow: True} if allow else {}
        tags = "--tags docker,swarm" if playbook == "site.yml" else ""
        if allow:
            refused = self.play(playbook, options=tags, **options)
            assert refused.rc != 0
            assert f"{allow}=true" in refused.failure(), refused.stdout[-3000:]
            assert refused.changed() == []
            command += f" -e {allow}=true"
        told = self.play(playbook, options=f"--check --diff {tags}", **options, **variables)
        assert told.rc == 0, told.stdout[-4000:]
        assert told.changed() != [], told.stdout[-4000:]
        assert flat(foretold or said) in flat(told.stdout), told.stdout[-6000:]
        start = time.monotonic()
        run = self.play(playbook, options=tags, **options, **variables)
        seconds = time.monotonic() - start
        assert run.rc == 0, run.stdout[-4000:]
        assert flat(said) in flat(run.stdout), run.stdout[-6000:]
        self.is_whole()
        self.changes_nothing(playbook, **options)
        note(
            self.lab,
            f"| {state} | `{command}` | {sentence(run, said)} | {sum(run.stats['changed'].values())} | {seconds:.0f} |",
        )


def older_engine(lab: Lab, host: str) -> None:
    """The host's own package under a lower version, so that the repository has a newer one."""
    lab.on(
        host,
        "sh",
        "-c",
        "set -e; rm -rf /tmp/old; mkdir /tmp/old; cd /tmp/old; apt-get update -qq; apt-get download -qq docker.io; "
        "dpkg-deb -R docker.io_*.deb tree; sed -i 's/^Version: .*/&~older/' tree/DEBIAN/control; dpkg-deb -b tree older.deb >/dev/null; "
        "dpkg --force-downgrade -i older.deb >/dev/null; rm -rf /tmp/old",
        timeout=600,
    )


def note(lab: Lab, row: str) -> None:
    """A row of the table, also for whoever does not wait for the end."""
    TABLE.append(row)
    with (lab.directory / "recovery.md").open("a") as file:
        file.write(f"{row}\n")


def flat(text: str) -> str:
    """Ansible colours, folds and quotes long messages."""
    return " ".join(re.sub(r"\x1b\[[\d;]*m", "", text).split()).replace("''", "'")


def sentence(run: Run, said: str) -> str:
    """The whole message, or the task's name, in which the words are."""
    for event in run.events:
        message = str(event["event_data"].get("res", {}).get("msg", ""))
        if said in event["event_data"]["task"]:
            return str(event["event_data"]["task"])
        if flat(said) in flat(message):
            return flat(message)
    raise AssertionError(said)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if TABLE:
        terminalreporter.write_line(
            "\n".join(
                [
                    "| state | command | what it says | changed tasks | seconds |",
                    "| --- | --- | --- | --- | --- |",
                    *TABLE,
                ]
            )
        )


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with Lab("lifecycle", lab_size=4, lab_managers=3, lab_releases={"host4": "bookworm"}).running() as lab:
        yield lab
