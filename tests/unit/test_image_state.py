"""What a host tells of its images, and which of them may go. Docker is a stand-in; tests/image sees the same on hosts."""

import hashlib
import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.image.state import state, surplus
from ansible_collections.ddp.swarm.plugins.module_utils.names import OWN_LABEL
from ansible_collections.ddp.swarm.plugins.modules import host_info, image_state
from docker_stand_in import StandIn, Told, run


def image(number: int, *tags: str, label: str | None = "trainer") -> dict[str, Any]:
    created = f"2026-01-0{number}T00:00:00Z"
    return {
        "Id": f"sha256:{number}",
        "Created": created,
        "RepoTags": list(tags),
        "Config": {"Labels": label and {OWN_LABEL: label}},
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


# What is said, without a process for each question.


def told(info: dict[str, Any] | None = None, keep: int = 0, images: Any = None, **answers: Any) -> dict[str, Any]:
    usual = {"image ls": "sha256:1\nsha256:2\nsha256:1\n", "container ls": ""}
    docker = Told({**usual, "image inspect": [] if images is None else images, **answers})
    return {**state(docker, {**ENGINE, **(info or {})}, "trainer:c", OTHERS, keep), "asked": docker.asked}


def bare(**other: Any) -> dict[str, Any]:
    """An image without names and layers, as one is that was replaced by another build."""
    return {
        "Id": "sha256:9",
        "Created": "2026",
        "Size": 5,
        "RepoTags": None,
        "RepoDigests": None,
        "Config": None,
        "RootFS": {},
        **other,
    }


def test_each_image_is_asked_for_once() -> None:
    asked = told()["asked"]
    assert ("image", "inspect", "sha256:1", "sha256:2") in asked
    assert "image inspect" not in [" ".join(call[:2]) for call in told(**{"image ls": ""})["asked"]]


def test_an_image_may_go_while_others_are_looked_at() -> None:
    assert told(**{"image inspect": ("No such image", 1)})["id"] == ""


def test_an_image_without_names_is_none_of_ours() -> None:
    found = told(keep=1, images=[bare(), bare(Config={"Labels": None}), bare(RootFS={"Layers": None})])
    assert (found["id"], found["size"], found["others"], found["digests"]) == ("", 0, [], {})
    assert (found["latest"], found["surplus"], found["chains"]) == (False, [], [])


def test_others_are_found_by_tag_and_by_digest() -> None:
    digest = "base@sha256:" + "7" * 64
    images = [bare(RepoTags=["base:1"], RepoDigests=[digest]), bare(RepoTags=["trainer:c", "trainer:latest"])]
    found = told(images=images)
    assert (found["others"], found["digests"]) == (["base:1"], {"base:1": digest})
    assert (found["id"], found["size"], found["latest"]) == ("sha256:9", 5, True)
    docker = Told({"image ls": "sha256:1", "image inspect": images})
    assert state(docker, ENGINE, "trainer:c", [digest], 0)["others"] == [digest]


def test_an_engine_that_does_not_answer(look: Any) -> None:
    assert look({"ServerVersion": ""})["problem"] == "the engine does not answer"
    found = look({"ServerVersion": None, "ServerErrors": ["no route", "no socket"]})
    assert (found["problem"], found["engine"]) == ("no route; no socket", "")


@pytest.mark.parametrize(
    ("swarm", "said", "services"),
    [
        (None, "a:1\n", []),
        ({"NodeID": ""}, "a:1\n", []),
        ({"NodeID": "n", "ControlAvailable": False}, "a:1\n", None),
        ({"NodeID": "n", "ControlAvailable": True}, "a:1\nb:1\n", ["a:1", "b:1"]),
        ({"NodeID": "n", "ControlAvailable": True}, "", []),
        ({"NodeID": "n", "ControlAvailable": True}, ("no leader", 1), None),
    ],
)
def test_images_of_services(swarm: Any, said: Any, services: list[str] | None) -> None:
    found = told({"Swarm": swarm}, keep=1, **{"service ls": said})
    assert found["services"] == services
    # They are of no interest where nothing is removed.
    assert told({"Swarm": swarm}, keep=0, **{"service ls": said})["services"] == []


def test_containers_are_looked_at_only_where_something_is_surplus() -> None:
    images = [{**bare(), **image(number, f"trainer:{letter}")} for number, letter in ((1, "a"), (2, "b"), (3, "c"))]
    containers = {"container ls": "k1\nk2\n", "container inspect": "sha256:1\n"}
    found = told(keep=1, images=images, **containers)
    assert found["surplus"] == ["trainer:b"]
    assert ("container", "inspect", "--format", "{{.Image}}", "k1", "k2") in found["asked"]
    # One may be gone by then.
    assert told(keep=1, images=images, **{**containers, "container inspect": ("gone", 1)})["surplus"] == [
        "trainer:a",
        "trainer:b",
    ]
    assert [call for call in told(keep=1, images=images)["asked"] if call[:2] == ("container", "inspect")] == []
    assert [call for call in told(keep=3, images=images, **containers)["asked"] if call[0] == "container"] == []


@pytest.mark.parametrize(("keep", "removed"), [(1, ["a", "b", "c"]), (2, ["a", "b"]), (4, []), (5, [])])
def test_as_many_stay_as_are_to_be_kept_with_the_one_that_is_wanted(keep: int, removed: list[str]) -> None:
    images = [image(number, f"trainer:{letter}") for number, letter in ((3, "c"), (1, "a"), (2, "b"))]
    assert list(surplus(images, "trainer:new", [], keep)) == [f"trainer:{letter}" for letter in removed]


def test_those_that_are_old_go_as_well() -> None:
    """But for the wanted one, and however many are to be kept."""
    images = [image(number, f"trainer:{letter}") for number, letter in ((3, "c"), (1, "a"), (2, "b"))]
    days = (datetime.now(UTC) - datetime.fromisoformat(images[2]["Created"][:10] + "T00:00:00+00:00")).days
    assert list(surplus(images, "trainer:c", [], 4, days - 1)) == ["trainer:a", "trainer:b"]
    assert list(surplus(images, "trainer:c", [], 2, days - 1)) == ["trainer:a", "trainer:b"]
    assert list(surplus(images, "trainer:c", [], 0, days - 1)) == ["trainer:a", "trainer:b"]
    assert list(surplus(images, "trainer:c", [], 4, days + 1000)) == []
    assert list(surplus(images, "trainer:c", [], 0, 0)) == []


def test_room_is_counted_in_mebibytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free={"/": 5 << 20}[path] - 1))
    assert told()["free_mb"] == 4


def test_what_is_gone_or_only_warned_of_is_no_failure() -> None:
    for code, said in ((1, "Error: No such image: a\n"), (1, ""), (0, "warned of")):
        image_state.remove(Told({"image rm": (said, code)}), ["a"])
    with pytest.raises(image_state.DockerError, match="^docker image rm: in use; too$"):
        image_state.remove(Told({"image rm": ("Error: No such image: a\nin use\ntoo", 1)}), ["a", "b"])


def test_a_host_without_an_engine_tells_of_itself(docker: StandIn, look: Any, tmp_path: Path) -> None:
    found = look({}, {"info": ("Cannot connect", 1)}, work=str(tmp_path))
    assert found == {
        "changed": False, "ref": "trainer:c", "id": "", "size": 0, "others": [], "digests": {}, "latest": False, "surplus": [], "services": [], "chains": [],
        "engine": "", "problem": "docker info: Cannot connect", "left": True, "architecture": os.uname().machine, "builder": "",
        "zstd": True, "free_mb": 0, "invocation": found["invocation"],
    }  # fmt: skip


@pytest.mark.parametrize("check", [True, False])
def test_what_is_tidied_up_is_told_as_a_difference(check: bool, look: Any, docker: StandIn, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    found = look({}, keep=2, work=str(tmp_path / "work"), tidy=True, _ansible_check_mode=check, _ansible_diff=True)
    assert found["diff"] == {
        "before": f"trainer:a\nwheels:old\n{tmp_path}/work\n",
        "after": "trainer:latest is trainer:c\n",
    }
    assert len(docker.calls("image", "rm")) == (0 if check else 1)


def test_there_may_be_nothing_to_tidy_up(look: Any, docker: StandIn) -> None:
    found = look({}, ref="trainer:b", keep=9, others=["wheels:old", "wheels:new"], tidy=True)
    assert (found["changed"], found["removed"], found["diff"]) == (False, [], {"before": "", "after": ""})
    assert docker.calls("image", "rm") == docker.calls("image", "tag") == []


def test_a_registrys_port_is_no_tag() -> None:
    place = "registry:5000/team"
    ours = f"{place}/trainer"
    images = [
        {**bare(), **image(number, *tags, label=label)}
        for number, tags, label in (
            (1, [f"{ours}:a"], ours),
            (2, [f"{place}/wheels:old"], f"{place}/wheels"),
            (3, [f"{ours}:c", f"{ours}:latest"], ours),
            (4, ["registry:5000/other:a"], "registry:5000/other"),
        )
    ]
    images[1] |= {"RepoDigests": [f"{place}/wheels@sha256:1"]}
    docker = Told({"image ls": "sha256:1", "image inspect": images, "container ls": ""})
    found = state(docker, ENGINE, f"{ours}:c", [f"{place}/wheels:new", f"{place}/wheels:old"], 1)
    assert (found["surplus"], found["latest"]) == ([f"{ours}:a"], True)
    assert found["digests"] == {f"{place}/wheels:old": f"{place}/wheels@sha256:1"}
    found = state(docker, ENGINE, f"{ours}:c", [f"{place}/wheels:new"], 1)
    assert found["surplus"] == [f"{ours}:a", f"{place}/wheels:old"]


def test_an_image_is_looked_for_where_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    docker = StandIn(tmp_path / "docker", monkeypatch)
    wanted = {"ref": "trainer:a", "others": [], "keep": 0, "work": str(tmp_path)}
    info = json.dumps({**ENGINE, "DockerRootDir": str(tmp_path)})
    docker.answer({"info": info, "ps": "", "image ls": ""})
    found = run(host_info, capsys, gpus=False, etc=str(tmp_path), image=wanted)["image"]
    assert (found["ref"], found["id"], found["engine"], found["left"]) == ("trainer:a", "", "26.1.5", True)
    docker.answer({"info": ("Cannot connect", 1)})
    found = run(host_info, capsys, gpus=False, etc=str(tmp_path), image=wanted)
    assert (found["image"]["problem"].startswith("docker info: Cannot"), found["swarm_node"]["swarm"]) == (True, {})
