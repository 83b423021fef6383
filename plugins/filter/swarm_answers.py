"""Filter: which hosts answer about their swarm as no engine does. What they say becomes part of commands, some of them on other hosts."""

import re
from collections.abc import Iterator
from typing import Any

# identity.NewID in moby/swarmkit: 25 digits to the base of 36. Not known yet, it is empty.
ID = r"[0-9a-z]{0,64}"
ADDRESS = r"[0-9A-Za-z.:%_-]{0,255}"
DIRECTORY = r"(?:/[^\x00-\x1f\x7f-\x9f]*)?"


def odd_values(seen: dict[str, Any]) -> Iterator[Any]:
    swarm, nodes = seen.get("swarm") or {}, seen.get("nodes") or []
    if not isinstance(swarm, dict) or not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        yield swarm if not isinstance(swarm, dict) else nodes
        return
    said = [(DIRECTORY, seen.get("root", "")), (ID, swarm.get("node_id", "")), (ADDRESS, swarm.get("address", ""))]
    for pattern, value in [*said, *((ID, node.get("id")) for node in nodes)]:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            yield value


def swarm_answer_problems(seen: dict[str, Any]) -> list[str]:
    """A sentence for each host, from what all of them answered to the module swarm_node_info."""
    odd = {host: list(odd_values(answer)) for host, answer in seen.items()}
    return [
        f"{host} does not answer as an engine does: it says {ascii(values[0])[:100]}. Look at 'docker info' and 'docker node ls' there."
        for host, values in odd.items()
        if values
    ]


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"swarm_answer_problems": swarm_answer_problems}
