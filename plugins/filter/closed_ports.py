"""Filter: which ports a host's firewall keeps closed that a swarm needs."""

from typing import Any

from ..module_utils.host.engine import among_others
from ..module_utils.names import DATA_PORT, GOSSIP_PORT, MANAGER_PORT


def closed_ports(host: dict[str, Any], manager: bool, mode: Any, hosts: int, data_path_port: Any = 0) -> list[str]:
    """Such as 7946/tcp. If `mode`, docker_firewall, is true, those that are not open for sure; if it is auto, those that are closed for sure.

    `host` is what host_info says, `hosts` how many there are, `data_path_port` is swarm_data_path_port.
    """
    firewall, wanted = host["firewall"], str(mode).lower()
    # Of a host that is in a swarm with others it is known that it works; one alone needs no port.
    nothing_to_name = firewall["unsure"] or among_others(host["engine"]) or hosts < 2
    if not firewall["name"] or wanted == "false" or (wanted != "true" and nothing_to_name):
        return []
    needed = [
        *([f"{MANAGER_PORT}/tcp"] if manager else []),
        f"{GOSSIP_PORT}/tcp",
        f"{GOSSIP_PORT}/udp",
        f"{int(data_path_port) or DATA_PORT}/udp",
    ]
    return [port for port in needed if port not in firewall["open"]]


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"closed_ports": closed_ports}
