"""From the collection's archive alone: a directory with a playbook of six lines trains on two bare hosts, and is taken down."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import BIN, built, installed, run, write_project
from labs import Lab


@pytest.fixture(scope="module")
def hosts() -> Iterator[Lab]:
    with Lab("archive").running() as lab:
        yield lab


def play(project: Path, lab: Lab, *words: str) -> str:
    return run(BIN / "ansible-playbook", "-i", lab.inventory, *words, cwd=project)


def test_six_lines_train_on_two_bare_hosts(hosts: Lab, tmp_path: Path) -> None:
    installed(built(tmp_path), tmp_path)
    write_project(tmp_path)
    said = play(tmp_path, hosts, "train.yml")
    results = tmp_path / "artifacts" / "mine"
    assert {"node0.log", "node1.log", "snapshot.pt", "metrics.jsonl", "preflight.json", "stack.yml"} <= {
        path.name for path in results.iterdir()
    }
    assert "weights are identical on all 2 ranks" in (results / "node0.log").read_text()
    # What it prints to be typed can be typed here.
    assert "ddp.swarm.report" in said
    play(tmp_path, hosts, "ddp.swarm.report", "-e", "training_stack=mine")
    assert (results / "report.html").exists()
    assert "There is nothing to change." in play(tmp_path, hosts, "train.yml")
    assert "mine" in play(tmp_path, hosts, "ddp.swarm.status")
    play(tmp_path, hosts, "ddp.swarm.teardown", "-e", "teardown_volumes=true")
    assert hosts.on("host1", "docker", "info", "--format", "{{.Swarm.LocalNodeState}}").strip() == "inactive"
    # Nothing was written into the collection.
    tree = tmp_path / "collections" / "ansible_collections" / "ddp" / "swarm"
    assert not {"artifacts", "backups", ".lab"} & {path.name for path in tree.iterdir()}
