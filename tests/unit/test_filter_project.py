"""Where the project's own directories are, and where results go."""

from pathlib import Path

import pytest
from ansible_collections.ddp.swarm.plugins.filter.playbook_command import playbook_command
from ansible_collections.ddp.swarm.plugins.filter.project import TREE, phase_wanted, project_part, results_home
from by_path import ROOT


@pytest.fixture
def collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed collection, and the user's own directory, which is the working directory."""
    tree = tmp_path / "collections" / "ansible_collections" / "ddp" / "swarm"
    (tree / "playbooks").mkdir(parents=True)
    (tree / "training").mkdir()
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    return tree


def test_a_checkout_has_all_beside_its_playbooks(tmp_path: Path) -> None:
    assert TREE == ROOT
    for place in (str(ROOT), f"{ROOT}/playbooks"):
        assert project_part(place, "training") == f"{ROOT}/training"
        assert results_home(place) == str(ROOT)
    assert results_home(str(tmp_path)) == str(tmp_path)


def test_results_of_a_collections_playbook_go_where_it_was_started(collection: Path, tmp_path: Path) -> None:
    place = str(collection / "playbooks")
    assert results_home(place, collection) == str(tmp_path / "mine")
    assert project_part(place, "training", collection) == str(collection / "training")


def test_a_playbook_of_ones_own_has_its_own_directories_first(collection: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    assert results_home(str(mine), collection) == str(mine)
    assert project_part(str(mine), "training", collection) == str(collection / "training")
    (mine / "training").mkdir()
    assert project_part(str(mine), "training", collection) == str(mine / "training")


def test_the_command_for_a_collections_playbook_has_its_full_name(
    collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_CONFIG", "ansible.cfg")
    said = playbook_command("playbooks/report.yml", str(collection), ["hosts.yml"], collection, training_stack="mine")
    assert said.endswith("ansible-playbook ddp.swarm.report -i hosts.yml -e training_stack=mine")
    monkeypatch.delenv("ANSIBLE_CONFIG")
    assert "ANSIBLE_CONFIG" not in playbook_command("playbooks/report.yml", str(collection), ["hosts.yml"], collection)
    assert "playbooks/report.yml" in playbook_command("playbooks/report.yml", str(ROOT), ["hosts.yml"])


@pytest.mark.parametrize(
    ("tags", "skipped", "wanted"),
    [(["all"], [], True), (["docker", "swarm"], [], True), (["swarm", "always"], [], False), (["all"], ["docker"], False), (["mine"], [], True)],
)  # fmt: skip
def test_which_parts_a_run_has(tags: list[str], skipped: list[str], wanted: bool) -> None:
    assert phase_wanted("docker", tags, skipped) is wanted
