"""What GPUs change in a daemon.json, and that it is undone to the letter."""

import json
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter import gpu_settings as plugin

gpu_places, with_gpus, without_gpus = plugin.gpu_places, plugin.with_gpus, plugin.without_gpus

NVIDIA = {"path": "nvidia-container-runtime"}
BY_HAND = {
    "default-runtime": "nvidia",
    "runtimes": {"nvidia": {"path": "/usr/bin/nvidia-container-runtime"}, "crun": {"path": "/usr/bin/crun"}},
    "node-generic-resources": ["NVIDIA-GPU=GPU-7af7a99b", "FPGA=card0"],
}
FOUND: list[dict[str, Any]] = [
    {},
    {"log-opts": {"max-size": "10m"}},
    {"default-runtime": "crun", "runtimes": {"crun": {"path": "/usr/bin/crun"}}},
    {"node-generic-resources": ["FPGA=card0"]},
    BY_HAND,
]


@pytest.mark.parametrize("found", FOUND)
def test_undone_to_the_letter(found: dict[str, Any]) -> None:
    before = gpu_places(found)
    offered = with_gpus(without_gpus(found, before), ["GPU-1", "GPU-2"], {})
    assert offered["default-runtime"] == "nvidia"
    assert [entry for entry in offered["node-generic-resources"] if "GPU" in entry] == [
        "NVIDIA-GPU=GPU-1",
        "NVIDIA-GPU=GPU-2",
    ]
    assert with_gpus(without_gpus(offered, before), ["GPU-1", "GPU-2"], {}) == offered
    undone = without_gpus(offered, before)
    assert {**undone, "node-generic-resources": sorted(undone.get("node-generic-resources", []))} == {
        **found,
        "node-generic-resources": sorted(found.get("node-generic-resources", [])),
    }


def test_what_is_the_users_stays() -> None:
    offered = with_gpus(BY_HAND, ["GPU-1"], {})
    assert offered["runtimes"] == BY_HAND["runtimes"]
    assert offered["node-generic-resources"] == ["FPGA=card0", "NVIDIA-GPU=GPU-1"]
    assert with_gpus({}, ["GPU-1"], {}) == {
        "default-runtime": "nvidia",
        "runtimes": {"nvidia": NVIDIA},
        "node-generic-resources": ["NVIDIA-GPU=GPU-1"],
    }
    assert with_gpus({"default-runtime": "crun"}, ["GPU-1"], {"default-runtime": "crun"})["default-runtime"] == "crun"


def test_what_changed_meanwhile_stays() -> None:
    offered = with_gpus({}, ["GPU-1"], {}) | {"default-runtime": "crun", "debug": True}
    assert without_gpus(offered, {}) == {"default-runtime": "crun", "debug": True}


def test_no_gpus_change_nothing() -> None:
    for found in FOUND:
        assert with_gpus(found, [], {}) == found


@pytest.mark.parametrize(
    ("settings", "places"),
    [
        ({}, {}),
        ({"debug": True}, {}),
        ({"default-runtime": "crun"}, {"default-runtime": "crun"}),
        ({"runtimes": {"crun": {"path": "x"}}}, {}),
        ({"runtimes": {"crun": {"path": "x"}, "nvidia": {"path": "y"}}}, {"runtimes": {"nvidia": {"path": "y"}}}),
        ({"node-generic-resources": ["FPGA=card0"]}, {}),
        (
            {"node-generic-resources": ["FPGA=card0", "NVIDIA-GPU=a"], "default-runtime": "nvidia"},
            {"default-runtime": "nvidia", "node-generic-resources": ["NVIDIA-GPU=a"]},
        ),
    ],
)
def test_what_the_settings_say_where_gpus_are_written(settings: dict[str, Any], places: dict[str, Any]) -> None:
    assert gpu_places(settings) == places


@pytest.mark.parametrize(
    ("settings", "before", "left"),
    [
        ({}, {}, {}),
        ({"debug": True}, {}, {"debug": True}),
        ({"default-runtime": "nvidia"}, {}, {}),
        ({"default-runtime": "nvidia"}, {"default-runtime": "crun"}, {"default-runtime": "crun"}),
        ({"default-runtime": "runc"}, {"default-runtime": "crun"}, {"default-runtime": "runc"}),
        ({"runtimes": {"nvidia": NVIDIA}}, {}, {}),
        ({"runtimes": {"nvidia": NVIDIA, "crun": {"path": "x"}}}, {}, {"runtimes": {"crun": {"path": "x"}}}),
        (
            {"runtimes": {"nvidia": NVIDIA}},
            {"runtimes": {"nvidia": {"path": "y"}}},
            {"runtimes": {"nvidia": {"path": "y"}}},
        ),
        ({"node-generic-resources": ["NVIDIA-GPU=a"]}, {}, {}),
        (
            {"node-generic-resources": ["NVIDIA-GPU=a", "FPGA=card0"]},
            {"node-generic-resources": ["NVIDIA-GPU=b"]},
            {"node-generic-resources": ["FPGA=card0", "NVIDIA-GPU=b"]},
        ),
    ],
)
def test_what_is_left_without_gpus(settings: dict[str, Any], before: dict[str, Any], left: dict[str, Any]) -> None:
    given = json.dumps([settings, before])
    assert without_gpus(settings, before) == left
    assert json.dumps([settings, before]) == given


def test_a_runtime_that_is_chosen_in_the_options_is_kept() -> None:
    settings = {"node-generic-resources": ["FPGA=card0", "NVIDIA-GPU=old"]}
    given = json.dumps(settings)
    assert with_gpus(settings, ["a", "b"], {"default-runtime": "runc"}) == {
        "runtimes": {"nvidia": NVIDIA},
        "node-generic-resources": ["FPGA=card0", "NVIDIA-GPU=a", "NVIDIA-GPU=b"],
    }
    assert json.dumps(settings) == given


def test_the_filters_have_their_names() -> None:
    filters = plugin.FilterModule().filters()
    assert filters == {"gpu_places": gpu_places, "with_gpus": with_gpus, "without_gpus": without_gpus}
