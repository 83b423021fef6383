"""Filter: whether the overlay network is there as it is asked for."""

from typing import Any

from ..module_utils.swarm.network import asked, differences


def network_is_as_asked(networks: list[dict[str, Any]], name: str, subnet: str, mtu: Any) -> bool:
    """`networks` are those of swarm_node_info, the others swarm_network, swarm_network_subnet and swarm_network_mtu."""
    called = [network for network in networks if network["name"] == name]
    return len(called) == 1 and not differences(called[0], asked(subnet, int(mtu)))


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"network_is_as_asked": network_is_as_asked}
