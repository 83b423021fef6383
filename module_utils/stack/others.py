"""Who else uses what a plan takes down: swarm removes no network that anything is attached to."""

from __future__ import annotations

import json

from ..docker.cli import ANSWER_TIMEOUT, DockerCli
from .live import ACTIVE_STATES, Live, inspect_all
from .plan import Plan, attached
from .wait import StackFailure

TAKE_OFF = "stop it, or take it off the network (docker network disconnect NETWORK CONTAINER on that host)"


def spare_others(docker: DockerCli, stack: str, plan: Plan, live: Live) -> None:
    """Refuse to begin what cannot end, before the stack's own services are taken down for it."""
    networks = plan.recreated_networks + plan.obsolete_networks
    if not networks:
        return
    found = inspect_all(
        docker, "service", docker.run("service", "ls", "--quiet", timeout=ANSWER_TIMEOUT).stdout.split()
    )
    others = {item["Spec"]["Name"]: item for item in found if item["Spec"]["Name"] not in live.services}
    removed = f"Stack {stack} cannot be deployed: {', '.join(networks)} must be removed, and"
    users = attached(others, live, networks)
    if users:
        raise StackFailure(
            f"{removed} {', '.join(users)} of another stack uses it: remove that first, or make it a network of its own that "
            "both name as external"
        )
    containers = attached_containers(docker, networks)
    if containers:
        raise StackFailure(
            f"{removed} {', '.join(containers)}, which no service made, uses it: {TAKE_OFF}, and call again"
        )


def attached_containers(docker: DockerCli, networks: list[str]) -> list[str]:
    """Containers of no service that are on one of the networks, on whichever node: "container NAME on HOST".

    Swarm has a task for each, of the runtime attachment, that no list shows without being asked for it.
    """
    hosts = {row["ID"]: row["Hostname"] for row in docker.json_lines("node", "ls")}
    # Without --quiet, docker 20.10 to 28 crash on such a task.
    listed = ("node", "ps", "--quiet", "--no-trunc", "--filter", "runtime=attachment", *hosts)
    ids: set[str] = set()
    found = {}
    for task in inspect_all(docker, "task", docker.run(*listed, timeout=ANSWER_TIMEOUT).stdout.split()):
        ended = not {task.get("DesiredState"), (task.get("Status") or {}).get("State")} <= ACTIVE_STATES
        for attachment in [] if ended else task.get("NetworksAttachments") or []:
            network = attachment.get("Network") or {}
            if (network.get("Spec") or {}).get("Name") in networks:
                ids.add(str(network.get("ID")))
                container = ((task.get("Spec") or {}).get("NetworkAttachmentSpec") or {}).get("ContainerID", "")
                addresses = [address.partition("/")[0] for address in attachment.get("Addresses") or []]
                found[str(container)] = (addresses, hosts[task["NodeID"]])
    names = _names_by_address(docker, ids) if found else {}
    return sorted(
        f"container {next((names[each] for each in addresses if each in names), container[:12])} on {host}"
        for container, (addresses, host) in found.items()
    )


def _names_by_address(docker: DockerCli, ids: set[str]) -> dict[str, str]:
    """Names of the containers of all nodes. Docker knows them where this node has a container on the network, too."""
    said = docker.run("network", "inspect", "--verbose", *sorted(ids), check=False, timeout=ANSWER_TIMEOUT).stdout
    try:
        found = json.loads(said or "[]")
    except (ValueError, RecursionError):
        return {}
    services = [service for network in found for service in (network.get("Services") or {}).values()]
    return {task["EndpointIP"]: task["Name"] for service in services for task in service.get("Tasks") or []}
