"""Filter: which machines are called as a rank is."""

from typing import Any

from ..module_utils.names import RANK


def machines_called_like_ranks(nodes: list[dict[str, Any]], hosts: list[str]) -> list[int]:
    """The ranks whose machine has the name of any rank, as swarm knows it: node0, node1.example.org.

    A container's /etc/hosts gives its own host name precedence over the name server, so rank 0 on a machine called node1 would find itself
    where it looks for rank 1. `nodes` are those of swarm_node_info; the one whose label ddp_rank is r is the machine of hosts[r].
    """
    names = {f"node{rank}" for rank in range(len(hosts))}
    called = {str(node["labels"].get(RANK)): str(node["hostname"]).split(".")[0].lower() for node in nodes}
    return [rank for rank in range(len(hosts)) if called.get(str(rank)) in names]


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"machines_called_like_ranks": machines_called_like_ranks}
