"""The console on a site whose hosts are this machine, with the stand-in for docker and its swarm in the place of engines."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

from by_path import ROOT
from swarm_stand_in import executable
from swarm_stand_in.fixtures import Cluster, definition
from swarm_stand_in.store import stamp

HERE = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}


class Site:
    """Its swarm has a job of each name that start() was given."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.cluster = Cluster()
        self.inventory = directory / "hosts.json"
        groups = {"managers": {"hosts": {"host0": HERE}}, "workers": {"hosts": {"host1": HERE}}}
        artifacts = str(directory / "artifacts" / "{{ training_stack }}")
        shared = {"training_artifacts_dir": artifacts}
        self.inventory.write_text(json.dumps({"all": {"vars": shared}, "swarm": {"children": groups}}))
        executable.install(self.cluster, directory)

    def start(self, name: str, *ends: Any, lines: tuple[str, ...] = ()) -> None:
        """A job of two ranks. `ends` is how each ends, `lines` what rank 0 writes, a second apart."""
        outcomes = {f"{name}_node{rank}": end for rank, end in enumerate(ends)}
        self.cluster.swarm.outcomes = {**self.cluster.swarm.outcomes, **outcomes}
        self.cluster.before = {}
        compose = {"version": "3.9", **definition()}
        self.cluster.run("stack deploy --resolve-image never -c -", name, stdin=json.dumps(compose))
        self.cluster.swarm.settle(120)
        began = self.cluster.clock.now
        self.cluster.log(f"{name}_node0.1", *(f"{stamp(began + second)} {line}" for second, line in enumerate(lines)))
        self.save()

    def save(self) -> None:
        (self.directory / "swarm.pickle").write_bytes(pickle.dumps(self.cluster.docker))

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE")}
        path = f"{self.directory}{os.pathsep}{os.environ['PATH']}"
        return {**kept, "PATH": path, "COLUMNS": "100", **more}

    def ddp(self, *words: str, cwd: Path = ROOT, timeout: float = 300, **more: str) -> subprocess.CompletedProcess[str]:
        """Without an inventory among the words, the site's."""
        given = [] if {"-i", "--inventory"} & set(words) or words[0].startswith("-") else ["-i", str(self.inventory)]
        return subprocess.run(
            [str(ROOT / "ddp"), *words, *given],
            cwd=cwd,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
