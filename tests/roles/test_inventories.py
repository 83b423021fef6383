"""Inventories and working directories with which nothing can work: one sentence, before any host is asked."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from by_path import ROOT
from plays import silence

CONFIG = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}


class Site:
    """An inventory whose hosts answer nobody, and a mark that an attempt to reach one leaves."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ssh, self.mark = silence(directory)

    def play(
        self, playbook: Path, groups: Any, *options: str, cwd: Path = ROOT, environment: Any = None
    ) -> tuple[int, str]:
        """Exit code and what was said, with single blanks. `groups` may be the path of an inventory instead.

        Without `environment`, Ansible finds its settings by the directory.
        """
        common = {
            "ansible_ssh_executable": str(self.ssh),
            "ansible_host": "{{ inventory_hostname }}.invalid",
        }
        inventory = groups if isinstance(groups, Path) else self.directory / "inventory.json"
        if not isinstance(groups, Path):
            inventory.write_text(json.dumps({"all": {"vars": common}, **groups}))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE")}
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", playbook, "-i", inventory, *options],
            cwd=cwd,
            env={**kept, "NO_COLOR": "1", **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, re.sub(r"\s+", " ", done.stdout + done.stderr)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def swarm(managers: list[str], workers: list[str], *others: str) -> Any:
    children = {
        "managers": {"hosts": {host: {} for host in managers}},
        "workers": {"hosts": {host: {} for host in workers}},
    }
    return {"swarm": {"children": children, "hosts": {host: {} for host in others}}}


@pytest.mark.parametrize("playbook", ["site.yml", "playbooks/swarm.yml", "playbooks/status.yml"])
@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (
            swarm(["host1"], [], "host2", "host3"),
            "host2 and host3 are in the group 'swarm', but neither in 'managers' nor in 'workers': write each into one of them.",
        ),
        (
            swarm(["host1"], [], "host2"),
            "host2 is in the group 'swarm', but neither in 'managers' nor in 'workers': write it into one of them.",
        ),
        (swarm(["host1"], ["host1", "host2"]), "host1 is in 'managers' and in 'workers': leave it in one of them."),
        (
            swarm([], ["host1", "host2"]),
            "The inventory's group 'managers' is empty: one machine has to lead the swarm. Move one of host1, host2 there.",
        ),
        (
            {"swarm": {"hosts": {"host1": {}}}},
            "The inventory's group 'managers' is empty: one machine has to lead the swarm. Move one of host1 there.",
        ),
    ],
    ids=["two in neither", "one in neither", "in both", "no manager", "no groups"],
)
def test_groups_that_cannot_work(playbook: str, groups: Any, said: str, site: Site) -> None:
    code, told = site.play(ROOT / playbook, groups, environment=CONFIG)
    assert code != 0
    assert said in told
    assert not site.mark.exists()


def test_an_inventory_without_machines(site: Site) -> None:
    code, told = site.play(ROOT / "site.yml", {"other": {"hosts": {"host1": {}}}}, environment=CONFIG)
    assert code != 0
    assert (
        "The inventory's group 'swarm' is empty: write your machines into its groups 'managers' and 'workers'" in told
    )


@pytest.mark.parametrize("playbook", ["site.yml", "playbooks/status.yml"])
def test_a_limit_with_a_host_that_is_not_there(playbook: str, site: Site) -> None:
    code, told = site.play(ROOT / playbook, swarm(["host1"], ["host2"]), "--limit", "host1,hots2", environment=CONFIG)
    assert code != 0
    assert "--limit names hots2, which is neither a host nor a group of the inventory" in told
    assert not site.mark.exists()


def test_an_inventory_that_is_not_there(site: Site, tmp_path: Path) -> None:
    code, told = site.play(ROOT / "playbooks/status.yml", tmp_path / "none.yml", environment=CONFIG)
    assert code != 0
    assert "none.yml" in told


def test_groups_that_work(site: Site) -> None:
    """Nobody answers, so it ends there."""
    code, told = site.play(ROOT / "site.yml", swarm(["host1"], ["host2"]), environment=CONFIG)
    assert code != 0
    # Each of them takes its time.
    for host in ("host1", "host2"):
        assert f"{host} ({host}.invalid) does not answer over SSH" in told
        assert site.mark.read_text().count(f"{host}.invalid") == 1


@pytest.mark.parametrize("playbook", ["site.yml", "playbooks/status.yml"])
def test_another_working_directory(playbook: str, site: Site, tmp_path: Path) -> None:
    code, told = site.play(ROOT / playbook, swarm(["host1"], ["host2"]), cwd=tmp_path)
    assert code != 0
    assert (
        f"Ansible has not read the project's ansible.cfg, without which it is not safe: run ansible-playbook in {ROOT}, "
        f"or set ANSIBLE_CONFIG={ROOT}/ansible.cfg." in told
    )
    assert "was not found" not in told
    assert not site.mark.exists()


def test_another_working_directory_with_the_projects_settings(site: Site, tmp_path: Path) -> None:
    _code, told = site.play(ROOT / "site.yml", swarm(["host1"], ["host2"]), cwd=tmp_path, environment=CONFIG)
    assert "does not answer over SSH" in told


def test_a_checkout_that_everybody_can_write_to(site: Site, tmp_path: Path) -> None:
    """As a directory of Windows is under WSL: Ansible takes no ansible.cfg from it."""
    checkout = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".git", ".venv", ".lab*", ".*_cache", "artifacts", "tests", "molecule")
    shutil.copytree(ROOT, checkout, symlinks=True, ignore=ignored)
    checkout.chmod(0o777)
    code, told = site.play(checkout / "site.yml", swarm(["host1"], ["host2"]), cwd=checkout)
    assert code != 0
    assert f"set ANSIBLE_CONFIG={checkout}/ansible.cfg." in told
    assert "Everybody can write to that directory" in told
    assert not site.mark.exists()
    checkout.chmod(0o755)
    code, told = site.play(checkout / "site.yml", swarm(["host1"], ["host2"]), cwd=checkout)
    assert "does not answer over SSH" in told
