"""The collection as its users have it: an archive that was built, installed into a directory of theirs, and a playbook of six lines."""

import os
import subprocess
import sys
from pathlib import Path

from by_path import ROOT

BIN = Path(sys.executable).parent
SIX_LINES = """
- name: Train
  ansible.builtin.import_playbook: ddp.swarm.site
  vars:
    training_stack: mine
    training_args: 4 2 --batch_size 32 --snapshot_path /snapshots/snapshot.pt
    training_wait_for: complete
"""
CONFIG = """
[defaults]
collections_path = collections
inject_facts_as_vars = False
callbacks_enabled = ddp.swarm.terminal_guard
stdout_callback = ddp.swarm.phases
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**kept, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def built(place: Path) -> Path:
    """The archive, in a directory in which no older one stays."""
    for old in place.glob("ddp-swarm-*.tar.gz"):
        old.unlink()
    run(BIN / "ansible-galaxy", "collection", "build", ROOT, "--output-path", place, cwd=place)
    (archive,) = place.glob("ddp-swarm-*.tar.gz")
    return archive


def installed(archive: Path, place: Path) -> Path:
    """The directory of collections with this one in it."""
    options = ["--offline", "--no-deps", "--collections-path", place / "collections"]
    run(BIN / "ansible-galaxy", "collection", "install", archive, *options, cwd=place)
    return place / "collections"


def write_project(place: Path) -> None:
    (place / "ansible.cfg").write_text(CONFIG)
    (place / "train.yml").write_text(SIX_LINES)
