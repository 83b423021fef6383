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
from ansible_collections.ddp.swarm.plugins.filter import names as names_filter
from by_path import ROOT

PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
CHECK = ROOT / "playbooks/tasks/check_names.yml"

BAD = ["x; touch /tmp/pwned", "../x", "a b", "-rf", "x\ny", "x\x1b[2J", "x\n", "", "x" * 300, "$(id)", "`id`", "x\x00y", "a/../../b", "x\x9b2J"]  # fmt: skip
# What one of these may well be, in kinds that reach a shell nowhere.
ALLOWED = {
    "pattern": ["x; touch /tmp/pwned", "a b", "$(id)", "`id`"],
    "script": ["x; touch /tmp/pwned", "a b", "$(id)", "`id`"],
    "source": [],
    "file": ["x; touch /tmp/pwned", "a b", "$(id)", "`id`", "../x", "a/../../b"],
}
GOOD = {
    "stack": ["simple-training", "a_1"],
    "network": ["ddp-net", "my.net_1"],
    "volume": ["snapshots", "a.b"],
    "backup": ["2026-11-27T150000Z", 2026],
    "image": ["my-ddp-trainer", "registry.example:5000/team/name"],
    "inventory host": ["node1", "gpu-1.example.org", "192.168.1.10", "2001:db8::10", "::1", "2001-db8--10.ip6", "me@box"],
    "hosts": ["node1", "node1,node2", "node1, node2,", "gpu.example.org"],
    "secret": ["token", "db.password", "wandb-key_1"],
    "environment variable": ["NCCL_DEBUG", "_x", "http_proxy"],
    "registry": ["registry:5000/team/name", "registry.example.org", "192.168.1.10:5000", "[2001:db8::10]:5000/x", "Registry.Example"],
    "reference": ["python:3.11-slim-bookworm", "registry:5000/team/name:1.2", "a@sha256:" + "0" * 64, "registry:2"],
    "user": ["me", "_apt", "me@example.org", "DOMAIN\\me", "pc$"],
    "version": ["26.1.5+dfsg1-9+b9", "5:27.0.3-1~debian.12~bookworm", "5:27.*"],
    "CUDA": ["12.8", 12.8, 13],
    "address": ["https://download.docker.com/linux", "http://me:word@mirror:3142/docker", "file:///srv/mirror"],
    "directory": ["/snapshots", "/srv/my-data_1/x.y", "/", "/donn\xe9es/", "/a..b"],
    "source": ["/srv/data", "/srv/my data", "/"],
    "script": ["training_code.py", "src/train.py", "my train.py", "./train.py", "a..b/train.py"],
    "pattern": ["snapshot.pt", "metrics-rank*.jsonl", "runs/[0-9]*", "tensorboard/", "a..b"],
    "file": ["/etc/ssl/mine.crt", "ca.crt", "~/ca.crt", "../ca.crt"],
    "lab": ["ddp-lab", "ddp-lab-2"],
}  # fmt: skip


@pytest.fixture(scope="module")
def names() -> Any:
    return names_filter


def checked() -> dict[str, Any]:
    """The variables that every playbook looks at, with what they hold."""
    found: dict[str, Any] = yaml.safe_load(CHECK.read_text())[0]["vars"]["_names_held"]
    return found


def test_the_kinds_have_examples(names: Any) -> None:
    used = {next(iter(held.values())) if isinstance(held, dict) else held for held in checked().values()} - {"mount"}
    assert used <= set(GOOD)
    assert [kind for kind in GOOD if kind not in names.KINDS] == []


@pytest.mark.parametrize("kind", GOOD)
def test_good_names_pass(kind: str, names: Any) -> None:
    assert [said for value in GOOD[kind] for said in names.problems("it", kind, value)] == []


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("value", BAD, ids=ascii)
def test_hostile_names_are_refused_on_one_line(kind: str, value: str, names: Any) -> None:
    said = names.problems("the_variable", kind, value)
    if value in ALLOWED.get(kind, []):
        assert said == []
    else:
        assert len(said) == 1
        assert said[0].startswith("the_variable is ")
        assert said[0].isprintable()


def test_a_list_is_checked_by_its_entries_and_a_mapping_by_its_keys(names: Any) -> None:
    assert names.problems("training_hosts", {"each": "inventory host"}, ["a", "b c"])[0].startswith(
        "An entry of training_hosts is 'b c'"
    )
    said = names.problems("training_env", {"keys": "environment variable"}, {"A": "S3CR3T", "B;C": "S3CR3T"})
    assert said[0].startswith("A key of training_env is 'B;C'")
    assert "S3CR3T" not in str(said)


def test_what_has_the_wrong_shape_is_not_shown(names: Any) -> None:
    """It may be a secret that was written into the wrong place."""
    for held, value in (({"keys": "secret"}, "S3CR3T"), ({"each": "user"}, {"a": "S3CR3T"}), ("stack", ["S3CR3T"])):
        said = names.problems("it", held, value)
        assert len(said) == 1
        assert "S3CR3T" not in said[0]


def test_an_address_is_shown_without_its_password(names: Any) -> None:
    for held, value in (
        ("address", "https://me:S3CR3TPW@host/a b"),
        ({"unless_empty": "registry"}, "https://me:S3CR3TPW@host"),
    ):
        said = names.problems("it", held, value)
        assert len(said) == 1
        assert "host" in said[0]
        assert "S3CR3TPW" not in said[0]


def test_nothing_stands_for_a_default(names: Any) -> None:
    assert names.problems("image_registry", {"unless_empty": "registry"}, "") == []
    assert names.problems("image_registry", {"unless_empty": "registry"}, " ") != []
    assert names.problems("training_stack", "stack", None) == []


MOUNT = {"type": "volume", "source": "snapshots", "target": "/snapshots"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source": "../x"}, "The source of a mount in training_mounts is '../x', which is not the name of a volume"),
        ({"source": "a b"}, "is 'a b'"),
        ({"target": "snapshots"}, "The target of a mount in training_mounts is 'snapshots'"),
        ({"target": "/a/../etc"}, "is '/a/../etc'"),
        ({"target": "/a b"}, "is '/a b'"),
        ({"type": "bind", "source": "data"}, "The source of a mount in training_mounts is 'data'"),
        ({"type": "bind", "source": "/a\nb"}, r"is '/a\nb'"),
        ({"type": "bind", "source": "-rf"}, "is '-rf'"),
    ],
)  # fmt: skip
def test_mounts(change: dict[str, str], said: str, names: Any) -> None:
    problems = names.problems("training_mounts", {"each": "mount"}, [MOUNT, {**MOUNT, **change}])
    assert len(problems) == 1
    assert said in problems[0]


def test_mounts_that_are_right(names: Any) -> None:
    mounts = [
        MOUNT,
        {"type": "bind", "source": "/srv/my data", "target": "/data"},
        {"type": "tmpfs", "target": "/tmp"},
        {"type": "volume", "target": "/scratch"},
    ]
    assert names.problems("training_mounts", {"each": "mount"}, mounts) == []
    said = names.problems("training_mounts", {"each": "mount"}, ["data:/data"])
    assert "type, source and target" in said[0]


def test_a_stack_leaves_room_for_the_name_of_the_preflights(names: Any) -> None:
    assert names.problems("training_stack", "stack", "a" * 42) == []
    assert "it has 42 characters at most" in names.problems("training_stack", "stack", "a" * 43)[0]


def test_the_defaults_of_the_roles_pass(names: Any) -> None:
    defaults: dict[str, Any] = {}
    for file in (ROOT / "roles").glob("*/defaults/main.yml"):
        defaults |= yaml.safe_load(file.read_text())
    literal = {name: defaults[name] for name in checked() if name in defaults and "{{" not in str(defaults[name])}
    assert {"training_stack", "image_name", "training_mounts", "training_collect"} <= set(literal)
    assert [said for name, value in literal.items() for said in names.problems(name, checked()[name], value)] == []
    assert [name for name in checked() if name not in defaults] == []


def test_is_name_is_a_filter(names: Any) -> None:
    is_name = names.FilterModule().filters()["is_name"]
    assert is_name("snapshots", "volume")
    assert not is_name("../x", "volume")


# The rest runs the playbooks. Whatever would connect to a host leaves a mark.


class Site:
    """An inventory whose hosts answer nobody, and a mark that an attempt leaves."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mark = directory / "asked"
        ssh = directory / "ssh"
        ssh.write_text(f"#!/bin/sh\ntouch {self.mark}\nexit 255\n")
        ssh.chmod(0o755)
        self.variables: dict[str, Any] = {}
        self.hosts: dict[str, dict[str, dict[str, Any]]] = {"managers": {"node1": {}}, "workers": {"node2": {}}}

    def play(self, playbook: Path, *options: str, **extra: Any) -> subprocess.CompletedProcess[str]:
        common = {"ansible_ssh_executable": str(self.directory / "ssh"), "ansible_host": "127.0.0.1"}
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


REFUSES = "Refuse names that cannot be part of a command or a path"
HOSTILE: dict[str, Any] = {
    "training_stack": "x; touch /tmp/pwned",
    "swarm_network": "a b",
    "training_network": "-rf",
    "image_name": "../x",
    "training_mounts": [{"type": "volume", "source": "$(id)", "target": "/x"}],
    "training_script": "../x.py",
    "training_results_dir": "x",
    "training_collect": ["/etc/shadow"],
    "training_collect_from_each": ["x\x1b[2J"],
    "training_hosts": ["node1 node2"],
    "training_secrets": {"a b": {"content": "S3CR3T-VALUE"}},
    "training_env": {"A-B": "S3CR3T-VALUE"},
    "docker_users": ["-rf"],
    "docker_version": "1 2",
    "docker_apt_repository": "https://me:S3CR3T-VALUE@mirror/a b",
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
    first = {path.stem: yaml.safe_load(path.read_text())[0].get("pre_tasks", [{}])[0] for path in PLAYBOOKS}
    assert [
        name for name, task in first.items() if task.get("ansible.builtin.import_tasks") != "tasks/check_names.yml"
    ] == []
