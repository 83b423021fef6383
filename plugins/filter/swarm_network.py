"""Filter: whether the overlay network is there as it is asked for."""

from typing import Any

from ..module_utils.swarm.network import asked, differences


def network_is_as_asked(networks: list[dict[str, Any]], subnet: str, mtu: Any) -> bool:
    """`networks` are those of swarm_node_info, `subnet` and `mtu` swarm_network_subnet and swarm_network_mtu."""
    return len(networks) == 1 and not differences(networks[0], asked(subnet, int(mtu)))


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"network_is_as_asked": network_is_as_asked}
