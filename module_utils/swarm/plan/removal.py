"""In what order nodes leave, and how."""

from __future__ import annotations

from typing import Any

from ...names import HOST
from ..cluster import Cluster, Settings, join_names, nodes_of
from .hosts import in_the_way


def plan_removal(cluster: Cluster, remove: list[str], settings: Settings) -> dict[str, Any]:
    """How hosts leave: those that are up are drained first, managers are demoted, and quorum is never broken.

    With `settings.gone` they are gone for good: none of them may be up, and where there is no swarm yet there is nothing to leave.
    """
    if not cluster.lead and settings.gone and not any(cluster.swarm(host)["node_id"] for host in cluster.managers):
        return {"lead": "", "removals": [], "refusals": []}
    if not cluster.lead:
        why = "; ".join(
            f"{host}: {cluster.unreachable[host]}" for host in cluster.managers if host in cluster.unreachable
        )
        refusal = (
            f"No manager that answers can change the swarm{f' ({why})' if why else ''}: there is none, or it has lost its "
            "quorum. playbooks/swarm.yml says which."
        )
        return {"lead": "", "removals": [], "refusals": [refusal]}
    removals, refusals = [], []
    for name in remove:
        nodes = nodes_of(cluster, name)
        if settings.gone:
            refusals += [still_there(name) for node in nodes if node["status"] == "ready"]
        elif not nodes and name not in cluster.names:
            known = [node["labels"].get(HOST) or node["hostname"] for node in cluster.nodes]
            refusals.append(
                f"'{name}' is neither a host of the inventory nor a node of the swarm, whose nodes are {join_names(known)}."
            )
        services = cluster.seen.get(name, {}).get("services") or []
        if services and not settings.disturb_training:
            refusals.append(f"{name} is asked to leave. {in_the_way(services)}")
        removals += [removal(cluster, name, node) for node in nodes]
    gone = [entry["id"] for entry in removals]
    staying = [node for node in cluster.nodes if node["reachability"] and node["id"] not in gone]
    if not staying:
        refusals.append(
            f"{join_names(remove)} holds the last manager of the swarm: move another host into 'managers' and run "
            "playbooks/swarm.yml first, or take all down with playbooks/teardown.yml."
        )
    elif not cluster.quorum_without(gone):
        refusals.append(
            f"Without {join_names(remove)} the swarm would lose its quorum: of the managers that stay, too few answer. Bring "
            "them back first, or remove those that are Down."
        )
    lead = next((host for host in cluster.names if host not in remove and cluster.swarm(host)["quorum"]), cluster.lead)
    return {"lead": lead, "removals": removals, "refusals": refusals}


def still_there(name: str) -> str:
    return (
        f"{name} is not gone: the swarm has it as Ready, and notices within half a minute if a host is. If it is to train no more, let it leave "
        f"with playbooks/remove.yml -e host={name}, or name the others in training_hosts."
    )


def removal(cluster: Cluster, name: str, node: dict[str, Any]) -> dict[str, Any]:
    up, manager = node["status"] == "ready", node["role"] == "manager"
    steps = [*(["is drained"] if up else ["is Down"]), *(["becomes a worker"] if manager else []), "leaves the swarm"]
    sentence = f"{name} {join_names(steps)}."
    if not cluster.swarm(name)["state"]:
        sentence += " It does not answer: should it come back, run 'docker swarm leave --force' on it."
    own = node["id"] == cluster.swarm(name)["node_id"]
    return {"name": name, "id": node["id"], "manager": manager, "up": up, "present": own, "sentence": sentence}
