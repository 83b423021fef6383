"""Machines that are called as a rank is."""

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.rank_names import machines_called_like_ranks


def node(hostname: str, rank: int | None) -> dict[str, Any]:
    return {"hostname": hostname, "labels": {} if rank is None else {"ddp_rank": str(rank), "other": "node0"}}


@pytest.mark.parametrize(
    ("machines", "ranks"),
    [
        (["host1", "host2"], []),
        (["node1", "node2"], [0]),
        (["node0", "node1"], [0, 1]),
        (["node1", "node0"], [0, 1]),
        (["a", "Node0.example.org"], [1]),
        (["node00", "mynode1"], []),
        (["node", "node-1"], []),
        (["node.1", "0"], []),
    ],
)
def test_whose_machine_is_called_like_a_rank(machines: list[str], ranks: list[int]) -> None:
    nodes = [node(name, rank) for rank, name in enumerate(machines)]
    assert machines_called_like_ranks(nodes, machines) == ranks
    # In any order, beside nodes without a rank.
    assert machines_called_like_ranks([node("node0", None), *reversed(nodes)], machines) == ranks


def test_a_swarm_that_is_not_there_yet() -> None:
    assert machines_called_like_ranks([], ["a", "b"]) == []
