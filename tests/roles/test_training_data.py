"""Data that are copied from the controller with rsync: the role runs for real, with this machine as the host."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not shutil.which("rsync"), reason="needs rsync")
def test_data_are_copied_and_nothing_is_removed(tmp_path: Path) -> None:
    here, there = tmp_path / "with me", tmp_path / "host/data"
    (here / "train").mkdir(parents=True)
    (here / "train/a.png").write_bytes(b"a")
    (here / "train/a.png").chmod(0o600)
    there.mkdir(parents=True)
    (there / "own.txt").write_text("mine")
    play = {
        "hosts": "swarm",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.import_role": {"name": "training", "tasks_from": "data"}},
            {"ansible.builtin.stat": {"path": str(there / "train/a.png")}},
        ],
    }
    (tmp_path / "play.json").write_text(json.dumps([play]))
    python = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    groups = {"managers": {"hosts": {"host1": python}}, "workers": {}}
    (tmp_path / "inventory.json").write_text(json.dumps({"swarm": {"children": groups}}))
    settings = {
        "training_data": [{"path": str(there), "controller": str(here)}],
        "training_data_from": "controller",
        "training_artifacts_dir": str(tmp_path / "artifacts"),
        "ansible_become": False,
    }
    command = [Path(sys.executable).parent / "ansible-playbook", tmp_path / "play.json"]
    done = subprocess.run(
        [*command, "-i", tmp_path / "inventory.json", "-e", json.dumps(settings)],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    assert (there / "own.txt").read_text() == "mine"
    assert (there / "train/a.png").read_bytes() == b"a"
    # The container's user has to read it.
    assert (there / "train/a.png").stat().st_mode & 0o777 == 0o644
    assert not (tmp_path / "artifacts/.ddp-data").exists()
