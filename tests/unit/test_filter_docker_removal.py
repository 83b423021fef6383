"""What a teardown of everything takes, and what it leaves."""

from typing import Any

import pytest
import yaml
from ansible_collections.ddp.swarm.plugins.filter.docker_removal import (
    apt_removals,
    docker_removal,
    new_packages,
    own_images,
    what_is_left,
)
from ansible_collections.ddp.swarm.plugins.module_utils.docker.platforms import DOCKERS, PLATFORMS
from ansible_collections.ddp.swarm.plugins.module_utils.host.packages import ENGINES
from by_path import ROOT

OWN = ["docker.io", "docker-cli", "containerd", "nvidia-container-toolkit"]
NOTED = [
    "before",
    "before/runc",
    "packages",
    *(f"packages/{name}" for name in OWN),
    "certificates/lab.crt",
    "repositories/docker",
]
FILES = ["/etc/apt/sources.list.d/docker.sources", "/etc/apt/keyrings/docker.asc"]
CERTIFICATES = ["/usr/local/share/ca-certificates/lab.crt"]


def host(**changes: Any) -> dict[str, Any]:
    return {
        "engine": {"version": "26.1.5", "installed": "26.1.5", "root": "/var/lib/docker"},
        "packages": {"installed": dict.fromkeys([*OWN, "runc", "zstd"], "1")},
        "running": {"services": ["job_node0"], "containers": []},
        "certificates": {"folder": "/usr/local/share/ca-certificates"},
        "distribution": {"family": "debian"},
        **changes,
    }


BARE = host(
    engine={"version": "", "installed": "", "root": ""}, packages={"installed": {"containerd.io": "1", "runc": "1"}}
)


def test_what_the_role_has_installed_goes() -> None:
    assert docker_removal(host(), NOTED) == {
        "packages": OWN,
        "repositories": FILES,
        "certificates": CERTIFICATES,
        "kept": "",
        "ours": True,
    }


@pytest.mark.parametrize(
    ("noted", "installed"),
    [
        ([], OWN),
        (["before", "before/docker.io", "packages/docker-ce"], ["docker-ce"]),
        # Somebody has put another in its place.
        (NOTED, ["docker-ce", "containerd.io"]),
        # The role could install none, and somebody did it by hand.
        (["before", "repositories/docker"], ["docker-ce"]),
    ],
)
def test_an_engine_that_is_not_the_roles_stays(noted: list[str], installed: list[str]) -> None:
    taken = docker_removal(host(packages={"installed": dict.fromkeys(installed, "1")}), noted)
    assert (taken["packages"], taken["repositories"], taken["ours"]) == ([], [], False)
    assert taken["kept"] == "which this collection has not installed"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"running": {"services": [], "containers": ["db"]}}, "which runs the containers db"),
        (
            {"engine": {"version": "", "installed": "26.1.5", "root": ""}},
            "which does not answer, so that nobody knows what it holds",
        ),
    ],
)
def test_an_engine_that_holds_something_stays_with_its_repository(changes: dict[str, Any], why: str) -> None:
    taken = docker_removal(host(**changes), NOTED)
    assert (taken["packages"], taken["repositories"], taken["kept"]) == ([], [], why)
    assert taken["certificates"] == CERTIFICATES


def test_of_a_host_without_an_engine_nothing_of_others_goes() -> None:
    taken = docker_removal(BARE, [])
    assert taken == {"packages": [], "repositories": [], "certificates": [], "kept": "", "ours": False}


def test_a_removal_that_was_interrupted_goes_on() -> None:
    rest = {**BARE, "packages": {"installed": dict.fromkeys(["containerd", "runc"], "1")}}
    taken = docker_removal(rest, NOTED)
    assert (taken["packages"], taken["repositories"], taken["ours"]) == (["containerd"], FILES, True)


@pytest.mark.parametrize("name", ["../../passwd", "-rf", "a b", ""])
def test_a_name_that_is_none_becomes_no_path(name: str) -> None:
    assert docker_removal(host(), ["before", f"certificates/{name}"])["certificates"] == []


def test_what_is_new_is_noted() -> None:
    installed = dict.fromkeys(["zstd", "runc", "docker.io"], "1")
    assert new_packages(installed, ["runc"], ["docker.io", "containerd", "runc"]) == ["docker.io"]


def test_images_are_the_roles_by_label_and_name() -> None:
    lines = [
        '["my-ddp-trainer:1","my-ddp-trainer:latest","10.0.0.1:5000/my-ddp-trainer:1"]\tmy-ddp-trainer',
        '["company/x:1"]\tmy-ddp-trainer',
        '["other/my-ddp-trainer:1"]\tmy-ddp-trainer',
        '["named:2","python:3.13"]\t',
        '["job-image:3"]\tjob-image',
        "null\tmy-ddp-trainer",
        '["--force:1"]\t--force',
    ]
    assert own_images(lines, "named", "10.0.0.1:5000") == [
        "my-ddp-trainer:1",
        "my-ddp-trainer:latest",
        "10.0.0.1:5000/my-ddp-trainer:1",
        "named:2",
        "job-image:3",
    ]


def test_apt_says_what_it_would_remove() -> None:
    said = "Reading package lists...\nRemv docker.io [26.1.5]\nRemv libc6:amd64 [2.36] [x]\nPurg tini [0.19]\nInst a\n"
    assert apt_removals(said) == ["docker.io", "libc6:amd64", "tini"]


def said(needed: dict[str, Any], measured: list[str], volumes: list[str], check: bool = False) -> str:
    return what_is_left(docker_removal(host(), NOTED), needed, measured, volumes, "host1", check)


def test_it_is_said_what_is_left_and_how_much() -> None:
    told = said({"rc": 0}, ["312\t/var/lib/docker", "1\t/var/lib/containerd"], ["a_snapshots"])
    assert told == (
        "host1: docker.io, docker-cli, containerd, nvidia-container-toolkit are removed; left are /var/lib/docker (312 MB), "
        "/var/lib/containerd (1 MB), with the volumes a_snapshots (teardown_volumes=true removes those of the jobs)."
    )
    assert said({"rc": 0}, [], []).endswith("are removed; nothing is left.")
    assert "would be removed; left would be" in said({"rc": 0}, ["9\t/var/lib/docker"], [], check=True)


def test_an_engine_that_others_need_stays_with_the_reason() -> None:
    told = said({"rc": 1, "stderr_lines": ["cri-tools depends on containerd."]}, ["312\t/var/lib/docker"], [])
    assert told.startswith(
        "host1: the engine stays, which other packages need (cri-tools depends on containerd); left are "
    )


def test_the_roles_list_has_every_package_of_an_engine() -> None:
    listed = yaml.safe_load((ROOT / "roles/docker/vars/main.yml").read_text())["_docker_engine_packages"]
    own = {name for system in PLATFORMS.values() for names in [system.own, *system.later.values()] for name in names}
    assert set(listed) == {*ENGINES, *DOCKERS, *own}
