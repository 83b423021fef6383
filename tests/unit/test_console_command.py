"""Which command a subcommand of ./ddp stands for, and how it is typed."""

import sys
from pathlib import Path

import pytest
from ansible_collections.ddp.swarm.plugins.filter.playbook_command import playbook_command
from ansible_collections.ddp.swarm.plugins.module_utils.typed import typed

from console import ROOT
from console.command import EXAMPLE, Settings, Usage, command, inventories, is_example, variable, whole


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A checkout with an inventory of somebody's own, in which one stands."""
    monkeypatch.delenv("ANSIBLE_INVENTORY", raising=False)
    monkeypatch.delenv("ANSIBLE_CONFIG", raising=False)
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory" / "hosts.yml").write_text("swarm: {children: {managers: {hosts: {mine: {}}}}}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def example(project):
    hosts = (ROOT / "inventory" / "hosts.yml").read_text()
    (project / "inventory" / "hosts.yml").write_text(hosts)


def test_the_example_is_that_of_the_project():
    assert is_example(ROOT / "inventory" / "hosts.yml")


@pytest.mark.parametrize(
    "text", ["", "a: [", "swarm: {}", "swarm: {children: {managers: {hosts: {machine1: {}}}}}", "- 1"]
)
def test_what_is_no_example(text, tmp_path):
    (tmp_path / "hosts.yml").write_text(text)
    assert not is_example(tmp_path / "hosts.yml")


def test_a_given_inventory_wins(project, monkeypatch):
    monkeypatch.setenv("ANSIBLE_INVENTORY", "elsewhere")
    (project / "other").write_text("")
    assert inventories(("other", "host1,"), project) == ["other", "host1,"]
    with pytest.raises(Usage, match="There is no inventory nowhere: name a file or directory that exists with -i"):
        inventories(("nowhere",), project)


def test_then_that_of_the_environment_which_ansible_reads_itself(project, monkeypatch):
    monkeypatch.setenv("ANSIBLE_INVENTORY", "elsewhere")
    assert inventories((), project) == []


def test_then_the_projects_own_and_the_labs_while_that_is_the_example(project):
    lab = project / ".lab" / "inventory.yml"
    lab.parent.mkdir()
    lab.write_text("")
    assert inventories((), project, lab) == ["inventory"]
    example(project)
    assert inventories((), project, lab) == [".lab/inventory.yml"]
    lab.unlink()
    with pytest.raises(Usage, match="inventory/hosts.yml still has the example's machines: write yours there"):
        inventories((), project, lab)


def test_a_project_without_an_inventory(project):
    (project / "inventory" / "hosts.yml").unlink()
    (project / "inventory").rmdir()
    with pytest.raises(Usage, match="There is no inventory"):
        inventories((), project, project / "none")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, ["-e", "name=true"]),
        (5, ["-e", "name=5"]),
        ("simple-training", ["-e", "name=simple-training"]),
        ("14 2", ["-e", '{"name": "14 2"}']),
        ('a"b', ["-e", '{"name": "a\\"b"}']),
        ("", ["-e", '{"name": ""}']),
    ],
)
def test_variables(value, words):
    assert variable("name", value) == words


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("training_args=14 2 --lr 0.1", '{"training_args": "14 2 --lr 0.1"}'),
        ("training_args=14 --lr=0.1", '{"training_args": "14 --lr=0.1"}'),
        ("a=1 b=2", "a=1 b=2"),
        ('a="1 2"', 'a="1 2"'),
        ("a=1", "a=1"),
        ('{"a": "1 2"}', '{"a": "1 2"}'),
        ("@file with blanks.yml", "@file with blanks.yml"),
    ],
)
def test_a_value_with_blanks_stays_whole(text, made):
    assert whole(text) == made


def test_all_of_a_command(project, monkeypatch):
    (project / "i").write_text("")
    settings = Settings(("i",), ("a=1",), "host1", True, 2, False, ("-K",))
    words = command(settings, "site.yml", training_stack="job")
    assert words[1:] == [
        str(ROOT / "site.yml"), "-i", "i", "-e", "training_stack=job", "-e", "a=1", "--limit", "host1", "--check", "--diff", "-vv", "-K",
    ]  # fmt: skip
    assert settings.asks == "-K"
    # From elsewhere the configuration has to be named, or Ansible finds no roles.
    assert typed(words, ROOT).startswith(f"ANSIBLE_CONFIG={ROOT}/ansible.cfg ")
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    words = command(Settings(("localhost,",)), "site.yml")
    environment = Path(sys.executable).parents[1]
    shown = environment.relative_to(ROOT) if environment.is_relative_to(ROOT) else environment
    assert typed(words, ROOT) == f"{shown}/bin/ansible-playbook site.yml -i localhost,"
    # make and the console name it for what they start.
    monkeypatch.setenv("ANSIBLE_CONFIG", str(ROOT / "ansible.cfg"))
    monkeypatch.setenv("VIRTUAL_ENV", str(environment))
    assert typed(words, ROOT) == "ansible-playbook site.yml -i localhost,"
    assert (
        playbook_command("playbooks/status.yml", str(ROOT), [str(ROOT / "inventory"), "host1,"], training_stack="a")
        == "ansible-playbook playbooks/status.yml -i inventory -i host1, -e training_stack=a"
    )


def test_no_secret_is_shown(project):
    (project / "i").write_text("")
    words = command(Settings(("i",), ("registry_password=geheimnis", '{"api_key": "geheimnis"}')), "site.yml")
    assert "geheimnis" in " ".join(words)
    assert "geheimnis" not in typed(words, ROOT)


def test_the_examples_machines_are_known():
    assert EXAMPLE.keys() == {"machine1", "machine2"}
