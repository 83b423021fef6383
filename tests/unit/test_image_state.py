"""What a host tells of its images, and which of them may go. Docker is a stand-in; tests/image sees the same on hosts."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.image_layers import LABEL
from ansible_collections.ddp.swarm.plugins.modules import image_state
from ansible_collections.ddp.swarm.plugins.modules.image_state import surplus
from docker_stand_in import StandIn, run


def image(number: int, *tags: str, label: str | None = "trainer") -> dict[str, Any]:
    created = f"2026-01-0{number}T00:00:00Z"
    return {
        "Id": f"sha256:{number}",
        "Created": created,
        "RepoTags": list(tags),
        "Config": {"Labels": label and {LABEL: label}},
    }


IMAGES = [
    image(3, "trainer:c"),
    image(1, "trainer:a", "mine:a"),
    image(2, "trainer:b", "trainer:latest"),
    image(4, "trainer:theirs", label=None),
    image(5, "wheels:old", label="wheels"),
    image(6, "wheels:new", label="wheels"),
    image(7, "base:1", label=None),
]
OTHERS = ["wheels:new", "base:1"]


def test_the_last_built_stay_with_the_one_that_is_there() -> None:
    assert list(surplus(IMAGES, "trainer:c", OTHERS, 2)) == ["trainer:a", "wheels:old"]
    assert list(surplus(IMAGES, "trainer:c", OTHERS, 1)) == ["trainer:a", "trainer:b", "wheels:old"]


def test_one_that_is_yet_to_come_counts() -> None:
    assert list(surplus(IMAGES, "trainer:d", OTHERS, 3)) == ["trainer:a", "wheels:old"]


def test_an_old_one_that_is_wanted_again_stays() -> None:
    assert list(surplus(IMAGES, "trainer:a", OTHERS, 1)) == ["trainer:b", "trainer:c", "wheels:old"]


def test_nothing_goes_below_the_number() -> None:
    assert list(surplus(IMAGES, "trainer:c", [], 9)) == []


# The module as a whole.

DIFF_IDS = ["sha256:" + "1" * 64, "sha256:" + "2" * 64]
# OCI image specification, config.md, Layer ChainID.
CHAIN = "sha256:" + hashlib.sha256(" ".join(DIFF_IDS).encode()).hexdigest()
ENGINE = {"ServerVersion": "26.1.5", "Architecture": "x86_64", "DockerRootDir": "/", "DriverStatus": []}
MANAGER = {"Swarm": {"NodeID": "n", "ControlAvailable": True}}
WORKER = {"Swarm": {"NodeID": "n", "ControlAvailable": False}}


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return StandIn(tmp_path / "docker", monkeypatch)


@pytest.fixture
def look(docker: StandIn, capsys: pytest.CaptureFixture[str]) -> Any:
    """Looks at an engine that has the images above, with what `info` changes in it."""

    def look_at(info: dict[str, Any], answers: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
        images = [
            {**found, "Size": 1, "RepoDigests": [], "RootFS": {"Layers": DIFF_IDS}, "Config": found["Config"]}
            for found in IMAGES
        ]
        images[6]["RepoDigests"] = ["base@sha256:" + "7" * 64, "mirror/base@sha256:" + "7" * 64]
        usual = {
            "image ls": "sha256:1",
            "image inspect": json.dumps(images),
            "container ls": "",
            "image rm": "",
            "image tag": "",
        }
        docker.answer({"info": json.dumps({**ENGINE, **info}), **usual, **(answers or {})})
        return run(image_state, capsys, **{"ref": "trainer:c", "others": OTHERS, **params})

    return look_at


def removed(docker: StandIn) -> list[str]:
    return [tag for call in docker.calls("image", "rm") for tag in call["argv"][2:]]


def test_what_an_engine_has(look: Any) -> None:
    found = look({})
    assert (found["id"], found["size"], found["engine"], found["latest"]) == ("sha256:3", 1, "26.1.5", False)
    assert found["others"] == ["wheels:new", "base:1"]
    assert found["digests"] == {"base:1": "base@sha256:" + "7" * 64}
    assert found["chains"] == sorted([DIFF_IDS[0], CHAIN])
    assert (found["surplus"], found["services"], found["changed"]) == ([], [], False)


def test_an_engine_with_containerd_tells_no_layers(look: Any) -> None:
    assert look({"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]})["chains"] == []


def test_no_engine_is_no_failure(docker: StandIn, look: Any) -> None:
    found = look({}, {"info": ("Cannot connect\x1b[2J to the Docker daemon", 1)})
    assert (found["engine"], found["problem"]) == ("", "docker info: Cannot connect to the Docker daemon")
    assert not found.get("failed")
    assert look({"ServerVersion": "", "ServerErrors": ["no route", "no socket"]})["problem"] == "no route; no socket"


def test_old_images_go(docker: StandIn, look: Any) -> None:
    found = look({}, keep=1, tidy=True)
    assert found["removed"] == removed(docker) == ["trainer:a", "trainer:b", "wheels:old"]
    assert found["changed"] is True


def test_check_mode_only_says_so(docker: StandIn, look: Any) -> None:
    found = look({}, keep=1, tidy=True, _ansible_check_mode=True)
    assert found["removed"] == ["trainer:a", "trainer:b", "wheels:old"]
    assert found["changed"] is True
    assert removed(docker) == []
    assert docker.calls("image", "tag") == []


def test_an_image_of_a_container_stays(docker: StandIn, look: Any) -> None:
    look({}, {"container ls": "c1\n", "container inspect": "sha256:1\n"}, keep=1, tidy=True)
    (asked,) = docker.calls("container", "ls")
    assert "--all" in asked["argv"]
    assert removed(docker) == ["trainer:b", "wheels:old"]


def test_an_image_of_a_service_stays(docker: StandIn, look: Any) -> None:
    found = look(MANAGER, {"service ls": "trainer:b\nother:1\n"}, keep=1, tidy=True)
    assert found["services"] == ["trainer:b", "other:1"]
    assert removed(docker) == ["trainer:a", "wheels:old"]


@pytest.mark.parametrize("info", [WORKER, MANAGER])
def test_what_services_name_may_be_unknown(info: Any, docker: StandIn, look: Any) -> None:
    """On a worker, and on a manager of a swarm without a leader: then nothing goes, unless somebody else knows."""
    found = look(info, {"service ls": ("The swarm does not have a leader", 1)}, keep=1, tidy=True)
    assert found["services"] is None
    assert found["surplus"] == ["trainer:a", "trainer:b", "wheels:old"]
    assert found["removed"] == removed(docker) == []
    look(info, {"service ls": ("The swarm does not have a leader", 1)}, keep=1, tidy=True, services=["trainer:a"])
    assert removed(docker) == ["trainer:b", "wheels:old"]


def test_what_is_gone_meanwhile_is_no_failure(look: Any) -> None:
    gone = ("Error response from daemon: No such image: trainer:a", 1)
    assert "failed" not in look({}, {"image rm": gone}, keep=1, tidy=True)
    assert "in use" in look({}, {"image rm": ("image is in use", 1)}, keep=1, tidy=True)["msg"]


def test_latest_follows(docker: StandIn, look: Any) -> None:
    assert look({}, tidy=True)["changed"] is True
    (tagged,) = docker.calls("image", "tag")
    assert tagged["argv"] == ["image", "tag", "trainer:c", "trainer:latest"]
    assert look({}, tidy=True, ref="trainer:b")["changed"] is False
    assert look({}, tidy=True, ref="trainer:gone")["changed"] is False


@pytest.mark.parametrize("check", [True, False])
def test_leftovers_go(check: bool, look: Any, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "layer.part").write_text("half")
    assert look({}, work=str(work))["left"] is True
    found = look({}, work=str(work), tidy=True, ref="trainer:b", _ansible_check_mode=check)
    assert (found["left"], found["changed"]) == (True, True)
    assert work.exists() is check


def test_a_link_is_no_leftover(look: Any, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    work = tmp_path / "work"
    work.symlink_to(tmp_path / "precious")
    found = look({}, work=str(work), tidy=True, ref="trainer:b")
    assert (found["left"], found["changed"]) == (False, False)
    assert (tmp_path / "precious").exists()


@pytest.mark.parametrize(
    ("info", "builder"),
    [
        ({"ClientInfo": {"Plugins": [{"Name": "buildx"}]}}, "buildkit"),
        ({"ClientInfo": {"Plugins": [{"Name": "buildx", "Err": "broken"}]}}, "classic"),
        ({"ClientInfo": {"Plugins": None}}, "classic"),
        ({"ServerVersion": "22.0.0"}, "buildkit"),
        ({"ServerVersion": "23.0.0"}, "classic"),
    ],
)
def test_builder(info: Any, builder: str, look: Any) -> None:
    assert look(info)["builder"] == builder
