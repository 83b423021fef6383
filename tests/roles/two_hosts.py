"""Two hosts, both this machine, with the stand-in for docker and its swarm. Beside that one, a script answers what it does not play."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from by_path import ROOT
from plays import HERE
from swarm_stand_in import executable
from swarm_stand_in.fixtures import Cluster

DOCKER = """#!/bin/sh
# Stand-in. A container's log is one line, which names it.
echo "$STAND_IN_HOST $*" >>{place}/asked
case "$*" in
"volume ls"*) exit 0;;
"volume inspect"*) exit 1;;
"logs --timestamps"*) echo "2026-01-01T00:00:00.000000000Z written by $3"; exit 0;;
"inspect --format {{{{.Created}}}}"*) echo "2026-01-01T00:00:00Z,running,0,"; exit 0;;
"stop "*|"swarm leave"*|"node ps"*|"node update"*|"node demote"*|"node rm"*) exit 0;;
esac
exec {place}/swarm/docker "$@"
"""
SYSTEMCTL = """#!/bin/sh
# Stand-in: engines that do not stop, so that whatever stops them ends there.
[ "$1" = show ] || {{ echo "$STAND_IN_HOST systemctl $*" >>{place}/asked; exit 1; }}
printf 'Id=docker.service\\nLoadState=loaded\\nActiveState=active\\nSubState=running\\nUnitFileState=enabled\\n'
"""
JOB = {"image": "trainer:1", "command": ["run"]}


class TwoHosts:
    """host0 manages the swarm, host1 works. Each job has a rank on both."""

    def __init__(self, directory: Path, service: dict[str, Any] | None = None, **jobs: str) -> None:
        """`jobs` are how the ranks of each end; `runs` for those that do not. `service` is what a rank has besides."""
        self.directory = directory
        self.artifacts = directory / "artifacts"
        self.cluster = Cluster()
        self.service = {**JOB, **(service or {})}
        self.cluster.before = {}
        for rank, host in enumerate(("host0", "host1")):
            labels = {"ddp_rank": str(rank), "ddp_host": host}
            self.cluster.swarm.node(host)["Spec"]["Labels"].update(labels)
        for name, end in jobs.items():
            self.start(name, end)
        (directory / "swarm").mkdir()
        executable.install(self.cluster, directory / "swarm")
        for name, script in (("docker", DOCKER), ("systemctl", SYSTEMCTL)):
            (directory / "bin").mkdir(exist_ok=True)
            (directory / "bin" / name).write_text(script.format(place=directory))
            (directory / "bin" / name).chmod(0o755)

    def start(self, name: str, end: str) -> None:
        place = {"restart_policy": {"condition": "none"}}
        services = {
            f"node{rank}": {
                **self.service,
                "deploy": {**place, "placement": {"constraints": [f"node.hostname == host{rank}"]}},
            }
            for rank in range(2)
        }
        if end != "runs":
            outcome = (end, 0 if end == "complete" else 1, "", 1)
            outcomes = {f"{name}_node{rank}": outcome for rank in range(2)}
            self.cluster.swarm.outcomes = {**self.cluster.swarm.outcomes, **outcomes}
        compose = json.dumps({"version": "3.9", "services": services})
        self.cluster.run("stack deploy --resolve-image never -c -", name, stdin=compose)
        self.cluster.swarm.settle(120)

    def loses_quorum(self) -> None:
        swarm = {"LocalNodeState": "active", "NodeID": self.cluster.swarm.node("host0")["ID"], "ControlAvailable": True}
        said = "rpc error: code = Unknown desc = The swarm does not have a leader."
        docker = self.directory / "bin" / "docker"
        told = json.dumps({"ServerVersion": "26", "DockerRootDir": "/none", "Swarm": {**swarm, "Error": said}})
        words = f'case "$1" in info) echo \'{told}\'; exit 0;; node|service|stack) echo "{said}" >&2; exit 1;; esac\n'
        docker.write_text(docker.read_text().replace("exec ", f"{words}exec "))

    def hosts(self) -> dict[str, Any]:
        found = {}
        for host in ("host0", "host1"):
            python = self.directory / f"python-of-{host}"
            python.write_text(f'#!/bin/sh\nSTAND_IN_HOST={host} exec {sys.executable} "$@"\n')
            python.chmod(0o755)
            address = self.cluster.swarm.node(host)["Status"]["Addr"]
            found[host] = {**HERE, "ansible_python_interpreter": str(python), "swarm_advertise_addr": address}
            found[host]["ansible_remote_tmp"] = str(self.directory / f"tmp-{host}")
        return found

    def play(self, playbook: str, *options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        hosts = self.hosts()
        groups = {"managers": {"hosts": {"host0": hosts["host0"]}}, "workers": {"hosts": {"host1": hosts["host1"]}}}
        inventory = self.directory / "inventory.json"
        inventory.write_text(json.dumps({"swarm": {"children": groups}}))
        variables = {
            "training_artifacts_dir": f"{self.artifacts}/{{{{ training_stack }}}}",
            "swarm_wait": 0,
            "_training_stage": f"{self.directory}/stage-{{{{ inventory_hostname }}}}",
            "_swarm_root": str(self.directory),
            "_lock_path": str(self.directory / "run" / "lease.json"),
        } | variables
        command = [Path(sys.executable).parent / "ansible-playbook", ROOT / "playbooks" / playbook, "-i", inventory]
        return subprocess.run(
            [*command, "-e", json.dumps(variables), *options],
            cwd=ROOT,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "NO_COLOR": "1",
                "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}",
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def asked(self, *words: str) -> int:
        """When an engine was first asked for what has these words; a large number where none was."""
        path = self.directory / "asked"
        lines = path.read_text().splitlines() if path.exists() else []
        return next((number for number, line in enumerate(lines) if all(word in line for word in words)), 10**9)

    def collected(self, job: str) -> list[str]:
        """The logs that the controller has."""
        return sorted(path.name for path in (self.artifacts / job).glob("node*.log"))
