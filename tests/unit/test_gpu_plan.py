"""How many GPUs a rank reserves and how many processes it starts, by what the hosts offer and what is asked for."""

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter import gpu_plan as plugin
from ansible_collections.ddp.swarm.plugins.module_utils.swarm.node import count_resources


def plan(offers: list[int], gpus: Any = "auto", processes: Any = 1, backend: str = "auto") -> dict[str, Any]:
    # The order of swarm's nodes is not that of the ranks.
    nodes = [
        {"labels": {"ddp_rank": str(rank)}, "resources": {"NVIDIA-GPU": count} if count else {"FPGA": 1}}
        for rank, count in enumerate(offers)
    ]
    hosts = [f"host{rank + 1}" for rank in range(len(offers))]
    found: dict[str, Any] = plugin.gpu_plan(
        [{"labels": {}, "resources": {}}, *reversed(nodes)], hosts, gpus, processes, backend
    )
    return found


@pytest.mark.parametrize(
    ("asked", "gpus", "processes"),
    [
        ({"offers": [2, 4]}, [1, 1], [1, 1]),
        ({"offers": [2, 4], "processes": "auto"}, [2, 4], [2, 4]),
        ({"offers": [2, 4], "processes": "gpu", "backend": "nccl"}, [2, 4], [2, 4]),
        ({"offers": [2, 4], "processes": "2"}, [2, 2], ["2", "2"]),
        ({"offers": [2, 4], "processes": "auto", "backend": "gloo"}, [0, 0], ["auto", "auto"]),
        ({"offers": [2, 4], "processes": "cpu"}, [0, 0], ["cpu", "cpu"]),
        ({"offers": [2, 4], "gpus": 2}, [2, 2], [1, 1]),
        ({"offers": [2, 4], "gpus": "1", "processes": "auto"}, [1, 1], [1, 1]),
        ({"offers": [2, 4], "gpus": 0, "processes": "auto"}, [0, 0], ["auto", "auto"]),
        ({"offers": [0, 0], "processes": "auto"}, [0, 0], ["auto", "auto"]),
        # GPUs that are given to tasks in another way than ours are the preflight's to judge.
        ({"offers": [0, 0], "backend": "nccl"}, [0, 0], [1, 1]),
        ({"offers": [2, 2], "gpus": 1, "backend": "gloo"}, [1, 1], [1, 1]),
    ],
)
def test_plan(asked: dict[str, Any], gpus: list[int], processes: list[Any]) -> None:
    found = plan(**asked)
    assert found["refused"] == found["note"] == ""
    assert [rank["gpus"] for rank in found["ranks"]] == gpus
    assert [rank["processes"] for rank in found["ranks"]] == processes


def test_a_host_without_gpus() -> None:
    found = plan([2, 0], processes="auto")
    assert [rank["gpus"] for rank in found["ranks"]] == [0, 0]
    assert [rank["spared"] for rank in found["ranks"]] == [True, False]
    assert found["note"].startswith("host2 offers no GPU to swarm")
    assert found["refused"] == ""
    assert [rank["spared"] for rank in plan([1, 0])["ranks"]] == [True, False]
    assert plan([2, 0], backend="gloo")["note"] == ""
    for asked in ({"backend": "nccl"}, {"processes": "gpu"}):
        assert plan([2, 0], **asked)["refused"].startswith("host2 offers no GPU to swarm")


def test_more_than_there_is() -> None:
    assert plan([2, 4], processes=3)["refused"].startswith("training_nproc_per_node is 3, and host1 offers 2 GPU(s)")
    assert plan([2, 0], gpus=1)["refused"].startswith("training_gpus is 1, and host2 offers 0 GPU(s)")


def test_before_there_is_a_swarm() -> None:
    found: dict[str, Any] = plugin.gpu_plan([], ["host1", "host2"], "auto", 1, "auto")
    assert found == {"ranks": [{"gpus": 0, "spared": False, "processes": 1}] * 2, "note": "", "refused": ""}


def test_what_a_node_offers_is_counted_by_kind() -> None:
    named = [{"NamedResourceSpec": {"Kind": "NVIDIA-GPU", "Value": f"GPU-{number}"}} for number in range(3)]
    assert count_resources([*named, {"DiscreteResourceSpec": {"Kind": "SSD", "Value": 2}}]) == {
        "NVIDIA-GPU": 3,
        "SSD": 2,
    }
    assert count_resources([]) == {}


def looked_at(gpus: list[str], value: Any = None, before: Any = None, **settings: Any) -> dict[str, Any]:
    return {
        "docker_host_info": {"gpus": {"gpus": gpus}, "settings": {"value": value, "before_gpus": before}},
        **settings,
    }


OWN = {"node-generic-resources": ["NVIDIA-GPU=a", "NVIDIA-GPU=b", "FPGA=1"]}


@pytest.mark.parametrize(
    ("known", "count"),
    [
        (looked_at(["a", "b"]), 2),
        (looked_at(["a", "b"], docker_gpu=False), 0),
        (looked_at(["a", "b"], docker_gpu_uuids=["a"]), 1),
        (looked_at([], OWN), 2),
        (looked_at([], {"node-generic-resources": ["NVIDIA-GPU=4"]}), 4),
        # The settings are the role's, and what they said before is not.
        (looked_at([], OWN, {}), 0),
        (looked_at([], docker_daemon_options=OWN), 2),
    ],
)
def test_what_a_host_is_to_offer(known: dict[str, Any], count: int) -> None:
    assert plugin.gpus_to_come(["host1"], {"host1": known}) == [
        {"labels": {"ddp_rank": "0"}, "resources": {"NVIDIA-GPU": count}}
    ]


def test_where_one_host_is_not_known_nothing_is() -> None:
    for other in ({}, {"host2": {}}, {"host2": {"docker_host_info": {"unreachable": True}}}):
        assert plugin.gpus_to_come(["host1", "host2"], {"host1": looked_at([]), **other}) == []
