"""What GPUs change in a daemon.json, and that it is undone to the letter."""

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
