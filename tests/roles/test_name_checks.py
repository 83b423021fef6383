"""Names that become part of a command or a path are refused before anything is asked of a host, by every playbook that runs alone."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from by_path import ROOT
from plays import silence

PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
CHECK = ROOT / "playbooks/tasks/check_names.yml"


def checked() -> dict[str, Any]:
    """The variables that every playbook looks at, with what they hold."""
    found: dict[str, Any] = yaml.safe_load(CHECK.read_text())[0]["vars"]["_names_held"]
    return found


# Whatever would connect to a host leaves a mark.


class Site:
    """An inventory whose hosts answer nobody, and a mark that an attempt leaves."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ssh, self.mark = silence(directory)
        self.variables: dict[str, Any] = {}
        self.hosts: dict[str, dict[str, dict[str, Any]]] = {"managers": {"node1": {}}, "workers": {"node2": {}}}

    def play(self, playbook: Path, *options: str, **extra: Any) -> subprocess.CompletedProcess[str]:
        common = {"ansible_ssh_executable": str(self.ssh), "ansible_host": "127.0.0.1"}
        children = {group: {"hosts": hosts} for group, hosts in self.hosts.items()}
        inventory = self.directory / "inventory.json"
        inventory.write_text(
            json.dumps({"swarm": {"vars": {**common, **self.variables}, "children": children}, "all": {"vars": {}}})
        )
        return subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", playbook, "-i", inventory, "-e", json.dumps(extra), *options],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0"},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip

    def tasks(self, output: str) -> list[str]:
        names = re.findall(r"^TASK \[(.*?)\] \*", output, re.MULTILINE)
        # Of this machine, in playbooks/lab.yml.
        return [name for name in names if name != "Gathering Facts"]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


REFUSES = "Refuse names and groups that cannot work"
HOSTILE: dict[str, Any] = {
    "training_stack": "x; touch /tmp/pwned",
    "swarm_network": "a b",
    "training_network": "-rf",
    "image_name": "../x",
    "training_mounts": [{"type": "volume", "source": "$(id)", "target": "/x"}],
    "training_script": "../x.py",
    "training_results_dir": "x",
    "training_collect": ["/etc/shadow"],
    "training_caches": ["HF-HOME"],
    "training_collect_from_each": ["x\x1b[2J"],
    "training_hosts": ["node1 node2"],
    "training_secrets": {"a b": {"content": "S3CR3T-VALUE"}},
    "training_env": {"A-B": "S3CR3T-VALUE"},
    "training_secret_env": {"1A": "S3CR3T-VALUE"},
    "docker_users": ["-rf"],
    "docker_version": "1 2",
    "docker_apt_repository": "https://me:S3CR3T-VALUE@mirror/a b",
    "image_apt_packages": ["g++; touch /tmp/pwned"],
    "image_registry": "https://registry/",
    "lab_name": "a;b",
    # No lab is made on this machine, should the check be missing.
    "lab_state": "none",
}


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
def test_every_playbook_refuses_all_of_them_at_once_before_it_asks_a_host(
    playbook: Path, check: bool, site: Site
) -> None:
    done = site.play(playbook, "-vvv", *(["--check"] if check else []), host="a;b", backup="../x", **HOSTILE)
    assert done.returncode != 0
    assert site.tasks(done.stdout) == [REFUSES]
    assert not site.mark.exists()
    flat = re.sub(r"\s+", " ", done.stdout)
    assert [
        name
        for name in HOSTILE
        if name in checked()
        and f"{name} is " not in flat
        and f" of {name} " not in flat
        and f"in {name} is " not in flat
    ] == []
    assert "S3CR3T-VALUE" not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout
    own = {"remove": "host is ", "backup": "backup is ", "restore": "backup is "}
    assert own.get(playbook.stem, "") in flat


def test_the_site_refuses_too(site: Site) -> None:
    for options in ([], ["--tags", "swarm"], ["--limit", "node2"], ["--check"]):
        done = site.play(ROOT / "site.yml", *options, training_stack="../x")
        assert done.returncode != 0
        assert site.tasks(done.stdout) == [REFUSES]
        assert not site.mark.exists()


def test_names_from_the_inventory_count_for_every_host_and_those_of_hosts_themselves(site: Site) -> None:
    site.variables = {"training_stack": "{{ project }}", "project": "../x", "swarm_network": "{{ nobody_knows }}-net"}
    site.hosts["workers"]["node2"] = {"docker_users": ["a;b"]}
    site.hosts["workers"]["node 3"] = {}
    done = site.play(ROOT / "playbooks/docker.yml", "--limit", "node1")
    flat = re.sub(r"\s+", " ", done.stdout)
    assert site.tasks(done.stdout) == [REFUSES]
    assert "training_stack is '../x', which is not the name of a stack" in flat
    assert "An entry of docker_users of node2 is 'a;b'" in flat
    assert "A host of the inventory is 'node 3'" in flat
    assert not site.mark.exists()


def test_names_from_who_imports_the_playbook_count(site: Site) -> None:
    mine = site.directory / "mine.yml"
    mine.write_text(
        json.dumps(
            [
                {
                    "ansible.builtin.import_playbook": str(ROOT / "playbooks/docker.yml"),
                    "vars": {"training_stack": "../x"},
                }
            ]
        )
    )
    done = site.play(mine)
    assert "training_stack is '../x'" in re.sub(r"\s+", " ", done.stdout)
    assert not site.mark.exists()


def test_good_names_go_on_to_the_hosts(site: Site) -> None:
    site.hosts = {
        "managers": {"gpu-1.example.org": {}},
        "workers": {"2001:db8::10": {}, "me@box": {"training_interface": "eth0"}},
    }
    good = {
        "training_stack": "my_training-1",
        "swarm_network": "net.one_two",
        "image_name": "registry.example:5000/team/name",
        "image_registry": "registry:5000/team/name",
        "training_secrets": {"wandb.key": {"content": "S3CR3T-VALUE"}},
        "training_env": {"MY_VAR": "a b"},
        "training_mounts": [{"type": "bind", "source": "/srv/my data", "target": "/data"}],
    }
    done = site.play(ROOT / "playbooks/swarm.yml", **good)
    assert site.tasks(done.stdout)[0] == REFUSES
    assert "UNREACHABLE" in done.stdout
    assert site.mark.exists()


def test_secrets_are_not_computed_for_the_sake_of_their_names(site: Site) -> None:
    """They may be asked of a program, or of a person."""
    mark = site.directory / "computed"
    content = f"{{{{ lookup('ansible.builtin.pipe', 'touch {mark}; echo S3CR3T') }}}}"
    site.variables = {"training_secrets": {"token": {"content": content}}}
    done = site.play(ROOT / "playbooks/docker.yml")
    assert site.mark.exists(), done.stdout
    assert not mark.exists()


def test_a_restore_without_a_name_asks_for_one(site: Site) -> None:
    for extra in ({}, {"backup": ""}):
        done = site.play(ROOT / "playbooks/restore.yml", **extra)
        assert "as backup=NAME" in re.sub(r"\s+", " ", done.stdout)
        assert not site.mark.exists()


def test_check_is_the_first_that_every_playbook_does() -> None:
    # One that imports another leaves it to that.
    plays = {path.stem: yaml.safe_load(path.read_text())[0] for path in PLAYBOOKS}
    own = {name: play for name, play in plays.items() if "ansible.builtin.import_playbook" not in play}
    assert set(plays) - set(own) == {"site"}
    first = {name: play.get("pre_tasks", [{}])[0] for name, play in own.items()}
    assert [
        name for name, task in first.items() if task.get("ansible.builtin.import_tasks") != "tasks/check_names.yml"
    ] == []
