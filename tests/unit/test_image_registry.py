"""What goes to a registry and comes from one. Docker is a stand-in; tests/image has real registries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.modules import image_pull, image_push, registry_login
from docker_stand_in import StandIn, run

REMOTE = "192.0.2.1:5000/trainer:1f3a"
DIGEST = "python@sha256:" + "7" * 64
PASSWORD = "c0rrect-h0rse"


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return StandIn(tmp_path / "docker", monkeypatch)


def image(id: str = "sha256:aa", digests: list[str] | None = None) -> str:
    return json.dumps([{"Id": id, "RepoDigests": digests}])


def has(docker: StandIn, *names: str, **answers: Any) -> None:
    """Before the pull the host has the image by these names; afterwards it is sha256:aa."""
    told: dict[str, Any] = {f"image inspect --format {{{{.Id}}}} {name}": "sha256:aa\n" for name in names}
    told["image inspect --format"] = ("No such image", 1)
    docker.answer({**told, "image inspect": image(digests=[DIGEST]), "pull": "", "tag": "", "rmi": "", **answers})


def changing(docker: StandIn) -> list[str]:
    return [" ".join(call["argv"]) for call in docker.calls() if call["argv"][0] != "image"]


def test_a_pulled_image_has_the_names_of_the_host_alone(docker: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    has(docker)
    result = run(image_pull, capsys, name=REMOTE, tags=["trainer:1f3a", "trainer:latest"])
    assert (result["changed"], result["image"]) == (True, {"id": "sha256:aa", "digests": [DIGEST]})
    assert changing(docker) == [
        f"pull --quiet {REMOTE}",
        f"tag {REMOTE} trainer:1f3a",
        f"tag {REMOTE} trainer:latest",
        f"rmi {REMOTE}",
    ]


@pytest.mark.parametrize(("name", "tags"), [(DIGEST, ["python:3.11"]), ("python:3.11", [])])
def test_a_digest_and_an_only_name_stay(
    name: str, tags: list[str], docker: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    has(docker)
    assert run(image_pull, capsys, name=name, tags=tags)["changed"]
    assert changing(docker) == [f"pull --quiet {name}", *(f"tag {name} {tag}" for tag in tags)]


@pytest.mark.parametrize(
    ("names", "changed"), [(["a:1", "a:latest"], False), (["a:1"], True), ([], True)], ids=["both", "one", "none"]
)
def test_what_the_host_had_is_no_change(
    names: list[str], changed: bool, docker: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    has(docker, *names)
    assert run(image_pull, capsys, name=REMOTE, tags=["a:1", "a:latest"])["changed"] is changed


def test_an_image_of_no_registry_has_no_digests(docker: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    docker.answer({"image inspect --format": "sha256:aa", "image inspect": image(), "pull": ""})
    result = run(image_pull, capsys, name="python:3.11")
    assert (result["changed"], result["image"]["digests"]) == (False, [])


def test_a_pull_that_fails_says_what_the_registry_says(docker: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    has(docker, pull=("Error response from daemon: manifest for trainer not found: manifest unknown", 1))
    result = run(image_pull, capsys, name=REMOTE)
    assert result["failed"]
    assert result["msg"].startswith("docker pull: Error response from daemon: manifest for trainer not found")
    assert result["missing"]
    assert "image" not in result


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        ("manifest unknown: manifest unknown", True),
        ("name unknown: repository name not known to registry", True),
        ("pull access denied for x, repository does not exist or may require 'docker login'", True),
        ("manifest for x:1 not found", True),
        ("Get https://192.0.2.1:5000/v2/: dial tcp 192.0.2.1:5000: connect: connection refused", False),
        ("x509: certificate signed by unknown authority", False),
        ("unauthorized: authentication required", False),
    ],
)
def test_an_image_that_is_missing_is_told_from_a_registry_that_fails(
    said: str, missing: bool, docker: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    has(docker, pull=(f"Error response from daemon: {said}", 1))
    assert run(image_pull, capsys, name=REMOTE)["missing"] is missing


def test_a_pushed_image_has_the_registrys_name_no_longer(docker: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    docker.answer({"tag": "", "push": "", "rmi": ""})
    assert run(image_push, capsys, name="trainer:1f3a", remote=REMOTE)["changed"]
    assert changing(docker) == [f"tag trainer:1f3a {REMOTE}", f"push --quiet {REMOTE}", f"rmi {REMOTE}"]


def test_nor_has_one_that_could_not_be_pushed(docker: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    docker.answer({"tag": "", "push": ("denied: requested access to the resource is denied", 1), "rmi": ("", 1)})
    assert "docker push: denied" in run(image_push, capsys, name="trainer:1f3a", remote=REMOTE)["msg"]
    assert changing(docker)[-1] == f"rmi {REMOTE}"


def login(capsys: pytest.CaptureFixture[str], directory: Path, password: str = PASSWORD) -> dict[str, Any]:
    return run(registry_login, capsys, registry="r.example", username="me", password=password, directory=str(directory))


def test_a_password_goes_through_standard_input(
    docker: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", "/root/.docker")  # put back afterwards
    docker.answer({"login": "Login Succeeded"})
    result = login(capsys, tmp_path / "login")
    assert result["changed"]
    (call,) = docker.calls("login")
    assert call["argv"] == ["login", "--username", "me", "--password-stdin", "r.example"]
    assert (call["stdin"], call["env"]["DOCKER_CONFIG"]) == (PASSWORD.encode(), str(tmp_path / "login"))
    assert (tmp_path / "login").stat().st_mode & 0o777 == 0o700
    assert PASSWORD not in json.dumps(result) + json.dumps(call["argv"]) + json.dumps(call["env"])


@pytest.mark.parametrize("password", [PASSWORD, "abc"])
def test_a_password_that_is_refused_is_not_told(
    password: str, docker: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", "/root/.docker")
    docker.answer({"login": (f"unauthorized: not with {password} !", 1)})
    result = login(capsys, tmp_path, password)
    assert "docker login: unauthorized" in result["msg"]
    assert password not in result["msg"]
