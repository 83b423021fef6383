"""How far a module is, noted by its action plugin while it runs."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.reporting import tell
from ansible_collections.ddp.swarm.plugins.plugin_utils import progress


class Host:
    """A stand-in for an action plugin of a module that tells how far it is, and for the connection to its host, which is this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.given: dict[str, Any] = {}
        self.seen: list[str] = []
        self._task = SimpleNamespace(args={"name": "demo"})
        self._connection = SimpleNamespace(_shell=SimpleNamespace(join_path=os.path.join), exec_command=self.ran)

    def _make_tmp_path(self) -> str:
        return str(self.folder)

    @staticmethod
    def ran(command: str, sudoable: bool) -> tuple[int, bytes, bytes]:
        done = subprocess.run(command, shell=True, capture_output=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def _execute_module(self, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        self.given = module_args
        tell(module_args["progress"], "demo_node1 on host2 (preparing)")
        until = time.monotonic() + 10
        while "host1" not in progress.noted() and time.monotonic() < until:
            time.sleep(0.02)
        self.seen = [progress.noted()["host1"]["text"]]
        return {"changed": True}


def test_what_a_module_tells_is_noted_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.05)
    monkeypatch.setattr(progress, "place", lambda: tmp_path / "progress")
    host = Host(tmp_path)
    assert progress.executed(host, {"inventory_hostname": "host1"}) == {"changed": True}
    assert (host.given["name"], host.seen) == ("demo", ["demo_node1 on host2 (preparing)"])
    assert progress.noted() == {}
