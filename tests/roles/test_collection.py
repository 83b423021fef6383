"""The tree is a collection: it builds, installs from its archive, and its modules run from there by their full names."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from by_path import ROOT
from swarm_stand_in import executable
from swarm_stand_in.fixtures import Cluster, definition

BIN = Path(sys.executable).parent
PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ddp.swarm.swarm_stack: {name: demo, compose: "{{ compose }}", wait_for: none}
    - ddp.swarm.swarm_stack_info: {name: demo}
      register: info
    - ddp.swarm.nccl_check: {reports: [], ranks: [{rank: 0, host: host1}]}
      register: check
    - ansible.builtin.copy:
        content: "{{ {'info': info, 'check': check, 'filtered': {'DB_PASS': 'x'} | ddp.swarm.masked} | to_json }}"
        dest: "{{ answer }}"
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


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of collections with this one in it, made as its users would."""
    place = tmp_path_factory.mktemp("collection")
    run(BIN / "ansible-galaxy", "collection", "build", ROOT, "--output-path", place, cwd=place)
    (archive,) = place.glob("ddp-swarm-*.tar.gz")
    options = ["--offline", "--no-deps", "--collections-path", place / "collections"]
    run(BIN / "ansible-galaxy", "collection", "install", archive, *options, cwd=place)
    return place / "collections"


def test_modules_and_filters_run_by_their_full_names(installed: Path, tmp_path: Path) -> None:
    cluster = Cluster()
    executable.install(cluster, tmp_path)
    play, answer = tmp_path / "play.yml", tmp_path / "answer.json"
    play.write_text(PLAY)
    given = {"compose": definition(), "answer": str(answer), "ansible_python_interpreter": sys.executable}
    run(
        BIN / "ansible-playbook", "-i", "localhost,", "-c", "local", "-e", json.dumps(given), play,
        cwd=tmp_path, ANSIBLE_COLLECTIONS_PATH=str(installed), PATH=f"{tmp_path}:{os.environ['PATH']}",
    )  # fmt: skip
    said: dict[str, Any] = json.loads(answer.read_text())
    assert {service["name"] for service in said["info"]["services"]} == {"node0", "node1"}
    assert not said["check"]["ok"]
    assert "host1" in said["check"]["message"]
    assert said["filtered"] == {"DB_PASS": "(hidden 1)"}


def test_what_is_needed_is_in_the_archive_and_nothing_else(installed: Path) -> None:
    tree = installed / "ansible_collections" / "ddp" / "swarm"
    wanted = {
        "README.md",
        "LICENSE",
        "docs",
        "library",
        "meta",
        "module_utils",
        "playbooks",
        "plugins",
        "roles",
        "training",
    }
    # A link in the tree, which the probe's archive follows.
    contract = "module_utils/preflight/contract.py"
    assert (tree / "roles/preflight/files/probe/ddp_probe/contract.py").read_text() == (tree / contract).read_text()
    found = {path.name for path in tree.iterdir()}
    assert wanted <= found
    assert not found & {
        "console",
        "ddp",
        ".venv",
        ".git",
        ".lab",
        "artifacts",
        "backups",
        "collections",
        "molecule",
        "tests",
    }


def test_both_lists_of_needed_collections_are_the_same() -> None:
    listed = yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"]
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text())
    assert galaxy["dependencies"] == {entry["name"]: entry["version"] for entry in listed}
