"""The tree is a collection: it builds, installs from its archive, and its modules run from there by their full names."""

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from archives import BIN, SIX_LINES, built, installed, run, write_project
from by_path import ROOT
from changelog import notes
from swarm_stand_in import executable
from swarm_stand_in.fixtures import Cluster, definition

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


# Anything else in the archive is there by mistake.
FILES = {
    *("CHANGELOG.md", "CONTRIBUTING.md", "FILES.json", "LICENSE", "MANIFEST.json", "README.md"),
    *("ansible.cfg", "execution-environment.yml", "requirements.txt", "requirements.yml", "site.yml"),
}
FOLDERS = {"docs", "examples", "library", "meta", "module_utils", "playbooks", "plugins", "roles", "training"}
GALAXY: dict[str, Any] = yaml.safe_load((ROOT / "galaxy.yml").read_text())
INVENTORY = {
    "swarm": {"children": {"managers": {"hosts": {"host1": {"ansible_host": "host1.invalid"}}}, "workers": {}}}
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make release` builds it, which names the directory where it is to stay."""
    return built(Path(os.environ.get("DDP_RELEASE") or tmp_path_factory.mktemp("archive")).absolute())


@pytest.fixture(scope="module")
def collections(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(archive, tmp_path_factory.mktemp("collection"))


@pytest.fixture
def project(collections: Path, tmp_path: Path) -> Path:
    """A directory of a user's, who has the collection, and nothing else of this project."""
    (tmp_path / "collections").symlink_to(collections)
    write_project(tmp_path)
    (tmp_path / "hosts.json").write_text(json.dumps(INVENTORY))
    return tmp_path


def test_modules_and_filters_run_by_their_full_names(collections: Path, tmp_path: Path) -> None:
    cluster = Cluster()
    executable.install(cluster, tmp_path)
    play, answer = tmp_path / "play.yml", tmp_path / "answer.json"
    play.write_text(PLAY)
    given = {"compose": definition(), "answer": str(answer), "ansible_python_interpreter": sys.executable}
    run(
        BIN / "ansible-playbook", "-i", "localhost,", "-c", "local", "-e", json.dumps(given), play,
        cwd=tmp_path, ANSIBLE_COLLECTIONS_PATH=str(collections), PATH=f"{tmp_path}:{os.environ['PATH']}",
    )  # fmt: skip
    said: dict[str, Any] = json.loads(answer.read_text())
    assert {service["name"] for service in said["info"]["services"]} == {"node0", "node1"}
    assert not said["check"]["ok"]
    assert "host1" in said["check"]["message"]
    assert said["filtered"] == {"DB_PASS": "(hidden 1)"}


def test_what_is_needed_is_in_the_archive_and_nothing_else(archive: Path, collections: Path) -> None:
    tree = collections / "ansible_collections" / "ddp" / "swarm"
    # A link in the tree, which the probe's archive follows.
    contract = "module_utils/preflight/contract.py"
    assert (tree / "roles/preflight/files/probe/ddp_probe/contract.py").read_text() == (tree / contract).read_text()
    assert {path.name for path in tree.iterdir()} == FILES | FOLDERS
    assert not [
        path for path in tree.rglob("*") if path.name == "__pycache__" or path.suffix in {".pyc", ".swp", ".orig"}
    ]
    assert archive.stat().st_size < 1_000_000


def test_the_archive_has_the_version_and_what_changed_in_it(archive: Path) -> None:
    version = GALAXY["version"]
    assert archive.name == f"ddp-swarm-{version}.tar.gz"
    text = (ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## (\d\S+)", text, re.MULTILINE)
    assert version in released or not released
    assert notes(text, version).startswith("### ")


def test_a_playbook_of_six_lines_finds_the_site(project: Path) -> None:
    assert len(SIX_LINES.strip().splitlines()) == 6
    said = run(BIN / "ansible-playbook", "-i", "hosts.json", "train.yml", "--list-tasks", cwd=project)
    assert "ddp.swarm.training : " in said
    assert "Form the swarm" in said


def test_every_playbook_is_found_by_its_full_name(project: Path) -> None:
    names = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
    said = run(
        BIN / "ansible-playbook",
        "-i",
        "hosts.json",
        *(f"ddp.swarm.{name}" for name in names),
        "--syntax-check",
        cwd=project,
    )
    assert [name for name in names if f"/playbooks/{name}.yml" not in said] == []


def test_results_are_looked_for_where_the_playbook_was_started(project: Path) -> None:
    place = project / "artifacts" / "simple-training"
    place.mkdir(parents=True)
    (place / "metrics.jsonl").write_text('{"event": "step", "rank": 0, "time": 1, "step": 1, "loss": 0.5}\n')
    said = run(BIN / "ansible-playbook", "-i", "hosts.json", "ddp.swarm.report", cwd=project)
    assert "Report: " in said
    assert (place / "report.html").exists()


def test_the_modules_are_documented_by_their_full_names(project: Path) -> None:
    said = json.loads(run(BIN / "ansible-doc", "--json", "ddp.swarm.swarm_stack", "ddp.swarm.nccl_check", cwd=project))
    assert said["ddp.swarm.swarm_stack"]["doc"]["collection"] == "ddp.swarm"


def test_the_execution_environment_is_one_that_ansible_builder_takes(archive: Path, tmp_path: Path) -> None:
    """Its build context alone: no image registry can be asked."""
    (tmp_path / "dist").mkdir()
    shutil.copy(archive, tmp_path / "dist")
    for name in ("execution-environment.yml", "requirements.txt", "requirements.yml"):
        shutil.copy(ROOT / name, tmp_path)
    run(BIN / "ansible-builder", "create", "--output-filename", "Containerfile", cwd=tmp_path)
    context = tmp_path / "context"
    text = (context / "Containerfile").read_text()
    assert "ansible-galaxy collection install collection/ddp-swarm-" in text
    assert "ENV ANSIBLE_INJECT_FACT_VARS=False" in text
    assert (context / "_build" / "collection" / archive.name).exists()
    assert "ansible-runner==" in text


def test_both_lists_of_needed_collections_are_the_same() -> None:
    listed = yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"]
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text())
    assert galaxy["dependencies"] == {entry["name"]: entry["version"] for entry in listed}
