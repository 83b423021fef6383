"""What a build of the training image is told, and what cannot be asked of it."""

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.image_request import (
    FilterModule,
    image_args,
    image_refusals,
    no_script,
    registry_serves,
)

ASKED: dict[str, Any] = {
    "finished": "",
    "packages": [],
    "dockerfile": "/job/Dockerfile",
    "text": "FROM x\n",
    "pattern": "/project/training/Dockerfile",
    "script": "/job/train.py",
    "script_is_there": True,
    "command": "",
}


def test_what_says_nothing_is_left_out() -> None:
    assert image_args("python:3.11") == {"BASE_IMAGE": "python:3.11"}
    assert image_args("", "", "", ["/snapshots"], [], "") == {"BASE_IMAGE": ""}


def test_all_of_it_is_said() -> None:
    said = image_args("b:1", "https://index.example/", 12.4, ["/a", "/b"], ["gcc", "g++", "gcc"], "wheels:1")
    assert said == {
        "BASE_IMAGE": "b:1",
        "PIP_EXTRA_INDEX_URL": "https://index.example/",
        "TORCH_CUDA": "12.4",
        "VOLUMES": "/a /b",
        "APT_PACKAGES": "g++ gcc",
        "WHEELS_IMAGE": "wheels:1",
    }


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"packages": ["gcc"]},
            "/job/Dockerfile does not mention APT_PACKAGES, so image_apt_packages would not be in the image",
        ),
        ({"packages": ["gcc"], "finished": "nv:1"}, "or build on that image with image_base=nv:1."),
        (
            {"script_is_there": False},
            "/job is no directory on this machine: set training_dir to the one that train.py (training_script) is in.",
        ),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], sentence: str) -> None:
    (said,) = image_refusals({**ASKED, **changes})
    assert sentence in said


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"packages": ["gcc"], "text": "ARG APT_PACKAGES\n"},
        {"script_is_there": False, "finished": "nv:1"},
        {"script_is_there": False, "command": "accelerate launch x.py"},
    ],
)
def test_what_can_be_is_not_refused(changes: dict[str, Any]) -> None:
    assert image_refusals({**ASKED, **changes}) == []


@pytest.mark.parametrize(
    ("answers", "serves"),
    [
        ([{"image": {}}, {"missing": True}], True),
        ([{"image": {}}], False),
        ([{"image": {}}, {"missing": False}], False),
        ([{"image": {}}, {"msg": "no route"}], False),
    ],
)
def test_a_registry_serves_if_every_host_has_heard_of_the_image(answers: list[dict[str, Any]], serves: bool) -> None:
    assert registry_serves(answers, ["host1", "host2"]) is serves


def test_the_filters() -> None:
    assert set(FilterModule().filters()) == {"image_args", "image_refusals", "registry_serves"}


def test_a_script_that_is_misspelt_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    said = no_script(tmp_path / "trian.py")
    assert said.startswith(f"{tmp_path}/trian.py cannot be found on this machine: set training_dir")
    assert said.endswith("Did you mean train.py?")
    assert no_script(tmp_path / "other").endswith("the name of a script in it.")
