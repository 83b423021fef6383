"""Tasks of roles, played on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from by_path import ROOT

HERE = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}


def silence(directory: Path) -> tuple[Path, Path]:
    """An ssh that reaches nobody, and the mark that attempts leave: a line of each."""
    ssh, mark = directory / "ssh", directory / "asked"
    ssh.write_text(f'#!/bin/sh\necho "$@" >>{mark}\nexit 255\n')
    ssh.chmod(0o755)
    return ssh, mark


def of_role(role: str, *entry_points: str) -> list[Any]:
    """Tasks that play these entry points, whose variables later tasks can read."""
    names = [{"name": role, "tasks_from": name, "public": True} for name in entry_points]
    return [{"ansible.builtin.include_role": name} for name in names]


def play(
    directory: Path,
    tasks: list[Any],
    inventory: Any = None,
    options: tuple[str, ...] = (),
    environment: Any = None,
    **variables: Any,
) -> subprocess.CompletedProcess[str]:
    """`inventory` are groups and hosts as JSON has them; without it there is one host, host1, on this machine."""
    (directory / "play.json").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    (directory / "inventory.json").write_text(json.dumps(inventory or {"all": {"hosts": {"host1": HERE}}}))
    command = [Path(sys.executable).parent / "ansible-playbook", directory / "play.json", *options]
    return subprocess.run(
        [*command, "-i", directory / "inventory.json", "-e", json.dumps(variables)],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1", **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )


def stand_in(directory: Path, command: str, script: str) -> None:
    """A shell script that stands in for a command, in a directory on PATH (the fixture stand_ins)."""
    (directory / command).write_text(f"#!/bin/sh\n{script}\n")
    (directory / command).chmod(0o755)
