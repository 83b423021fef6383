"""Which host gives the training image to which."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.image_plan import (
    familiar,
    image_plan,
    image_settled,
    services_images,
)

BASE = "python:3.11-slim"
GOOD = "python@sha256:" + "a" * 64


def state(id: str = "", **more: Any) -> dict[str, Any]:
    return {"id": id, "chains": [], "zstd": True, "digests": {}, "surplus": [], "services": [], **more}


HAS, LACKS = state("sha256:1"), state()


@pytest.mark.parametrize(
    ("states", "outside", "source", "builds", "lacking", "receivers"),
    [
        ({"a": LACKS, "b": LACKS}, [], "a", True, ["a", "b"], ["b"]),
        ({"a": LACKS, "b": HAS, "c": LACKS}, [], "b", False, ["a", "c"], ["a", "c"]),
        ({"a": HAS, "b": HAS}, [], "a", False, [], []),
        ({"a": LACKS}, [{"item": "x", **LACKS}, {"item": "y", **HAS}], "y", False, ["a"], ["a"]),
        ({"a": LACKS}, [{"item": "x", **LACKS}], "a", True, ["a"], []),
        ({"a": LACKS}, [{"item": "x", "unreachable": True}], "a", True, ["a"], []),
        ({"a": LACKS, "b": HAS}, [{"item": "y", **HAS}], "b", False, ["a"], ["a"]),
        ({}, [], "", True, [], []),
    ],
)
def test_who_gives_it_to_whom(
    states: Any, outside: Any, source: str, builds: bool, lacking: list[str], receivers: list[str]
) -> None:
    plan = image_plan(states, outside, BASE)
    assert (plan["source"], plan["builds"]) == (source, builds)
    assert (plan["lacking"], plan["receivers"]) == (lacking, receivers)


def test_an_image_that_is_taken_as_it_is_comes_from_a_host_that_has_it() -> None:
    """Under its own name, for instance because it was made there by hand."""
    states = {"a": state(others=[]), "b": state(others=[BASE]), "c": state(others=[BASE])}
    plan = image_plan(states, [], BASE, finished=True)
    assert (plan["source"], plan["builds"], plan["receivers"]) == ("b", True, ["a", "c"])
    assert image_plan(states, [], BASE)["source"] == "a"
    assert image_plan({**states, "d": HAS}, [], BASE, finished=True)["source"] == "d"
    assert image_plan({"a": state(others=[])}, [], BASE, finished=True)["source"] == "a"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("python", "python:latest"),
        ("docker.io/python:3.11", "python:3.11"),
        ("docker.io/library/python", "python:latest"),
        ("index.docker.io/pytorch/pytorch:2.5", "pytorch/pytorch:2.5"),
        ("registry:5000/team/trainer", "registry:5000/team/trainer:latest"),
        ("nvcr.io/nvidia/pytorch:25.01-py3", "nvcr.io/nvidia/pytorch:25.01-py3"),
        (GOOD, GOOD),
        (f"registry:5000/{GOOD}", f"registry:5000/{GOOD}"),
        ("registry:5000/python:3.11@sha256:" + "a" * 64, f"registry:5000/{GOOD}"),
    ],
)
def test_names_as_the_engine_lists_them(name: str, known: str) -> None:
    assert familiar(name) == familiar(known) == known


@pytest.mark.parametrize(
    ("chains", "held"),
    [
        ([["1", "2", "3"], ["3", "2", "9"]], ["2", "3"]),
        ([["1", "2"]], ["1", "2"]),
        ([["1"], ["2"]], []),
        ([["1", "2"], ["1", "2"], ["2"]], ["2"]),
        ([], []),
    ],
)
def test_what_every_receiver_has_is_not_sent(chains: list[list[str]], held: list[str]) -> None:
    receivers = {f"b{number}": state(chains=has) for number, has in enumerate(chains)}
    assert image_plan({"a": state("sha256:1", chains=["7"]), **receivers}, [], BASE)["held"] == held


@pytest.mark.parametrize(
    ("states", "outside", "compress"),
    [
        ({"a": HAS, "b": LACKS}, [], True),
        ({"a": HAS, "b": {**LACKS, "zstd": False}}, [], False),
        ({"a": LACKS}, [{"item": "x", **HAS}], False),
        ({"a": LACKS}, [{"item": "x", **LACKS}], True),
    ],
)
def test_layers_are_compressed_where_all_can_read_them(states: Any, outside: Any, compress: bool) -> None:
    assert image_plan(states, outside, BASE)["compress"] is compress


@pytest.mark.parametrize(
    ("digest", "taken"),
    [
        (GOOD, [GOOD]),
        ("evil.example.com/python@sha256:" + "a" * 64, []),
        ("pythons@sha256:" + "a" * 64, []),
        ("python:3.11-slim", []),
        (GOOD + "a", []),
        (GOOD + "\n", []),
        ("python@sha256:" + "a" * 63, []),
    ],
)
def test_digests_of_the_base_image(digest: str, taken: list[str]) -> None:
    """What one host calls a digest, the others pull."""
    says = {"digests": {BASE: digest, "other:1": GOOD}}
    assert image_plan({"a": state(**says)}, [], BASE)["base_digests"] == taken
    assert image_plan({}, [{"item": "x", **says}], BASE)["base_digests"] == taken
    assert image_plan({}, [], BASE, {"image": {"digests": [digest]}})["base_digests"] == taken


def test_the_base_image_of_a_registry_with_a_port() -> None:
    base = "r.example:5000/python:3.11"
    good = "r.example:5000/python@sha256:" + "b" * 64
    assert image_plan({"a": state(digests={base: good})}, [], base)["base_digests"] == [good]
    skipped = {"changed": False, "skipped": True}
    assert image_plan({"a": state()}, [{"item": "x", "unreachable": True}], base, skipped)["base_digests"] == []


def test_an_image_too_many_on_any_host() -> None:
    assert image_plan({"a": HAS, "b": state("sha256:1", surplus=["t:0"])}, [], BASE)["surplus"] is True
    assert image_plan({"a": HAS, "b": HAS}, [], BASE)["surplus"] is False


WORKER = "Error response from daemon: This node is not a swarm manager."


@pytest.mark.parametrize(
    ("told", "asked", "images"),
    [
        ([["t:1"], None, ["t:2"]], None, ["t:1", "t:2"]),
        ([[]], None, []),
        ([None], None, None),
        ([None], {"rc": 0, "stdout_lines": ["t:3"], "stderr": ""}, ["t:3"]),
        ([None], {"rc": 1, "stdout_lines": [], "stderr": WORKER}, []),
        ([None], {"rc": 1, "stdout_lines": [], "stderr": "no leader"}, None),
        ([None], {"unreachable": True}, None),
        ([None], {"changed": False, "skipped": True}, None),
        ([["t:1"]], {"changed": False, "skipped": True}, ["t:1"]),
        ([], None, None),
    ],
)
def test_images_of_services(told: Any, asked: Any, images: Any) -> None:
    states = {f"h{number}": state(services=said) for number, said in enumerate(told)}
    assert services_images(states, asked) == images


SETTLED = {"ref": "trainer:a", "id": "sha256:1", "latest": True, "surplus": [], "left": False}


@pytest.mark.parametrize(
    ("seen", "changed", "settled"),
    [
        (SETTLED, False, True),
        (SETTLED, True, False),
        ({**SETTLED, "ref": "trainer:b"}, False, False),
        ({**SETTLED, "id": ""}, False, False),
        ({**SETTLED, "latest": False}, False, False),
        ({**SETTLED, "surplus": ["a"]}, False, False),
        ({**SETTLED, "left": True}, False, False),
        ({}, False, False),
    ],
)
def test_nothing_is_to_be_done_where_every_host_has_the_image(
    seen: dict[str, Any], changed: bool, settled: bool
) -> None:
    hosts: Any = {
        "a": {"image_ref": "trainer:a", "docker_host_info": {"image": SETTLED}},
        "b": {"image_ref": "trainer:a", "docker_host_info": {"image": seen}, "docker_changed": changed},
        "c": {"image_ref": "trainer:a"},
    }
    assert image_settled(["a", "b"], hosts) is settled
    assert image_settled(["a"], hosts) is True
    assert image_settled(["a", "c"], hosts) is False
