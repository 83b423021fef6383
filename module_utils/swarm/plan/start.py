"""Which host begins: a new swarm, one whose managers are lost, or one whose first manager has another address."""

from __future__ import annotations

from ...docker.info import other_release
from ..cluster import Cluster, Settings, Steps, join_names


def start_swarm(cluster: Cluster, hosts: dict[str, Steps], settings: Settings) -> tuple[str, str, list[str]]:
    """No manager can change a swarm: who starts or saves one, how, and what speaks against it."""
    first = cluster.managers[0]
    if any(steps.unlock for steps in hosts.values()):
        # One thing after the other: what else is wrong shows once managers are unlocked.
        postpone(hosts)
        return first, "", []
    headless = cluster.headless()
    if headless:
        return save_swarm(cluster, hosts, settings, headless)
    if first not in cluster.seen:
        why = cluster.unreachable.get(first, "it was not asked")
        return first, "", [f"No manager can be asked for the swarm: {first} does not answer ({why})."]
    if other_release(cluster.seen[first]["error"]):
        return first, "", []  # It is refused as each such host is.
    silent = [host for host in cluster.managers[1:] if not cluster.answers(host)]
    if silent and not settings.rebuild and not settings.check:
        refusal = (
            f"{first} is in no swarm, and no answer comes from {join_names(silent)}, which may lead one: bring that back, take it "
            "out of the inventory, or form a new swarm with swarm_rebuild=true."
        )
        return first, "", [refusal]
    if not cluster.answers(first) and not settings.check:
        refusal = (
            f"{first} is to lead the swarm and has no Docker engine that answers ({cluster.seen[first]['error']}): run "
            "playbooks/docker.yml."
        )
        return first, "", [refusal]
    state, steps = cluster.swarm(first)["state"], hosts.get(first, Steps())
    if state not in ("", "inactive") and not steps.leave:
        return (
            first,
            "",
            [steps.refusal or f"{first} is to lead the swarm, and is in another one (its state is {state})."],
        )
    steps.join = ""
    if not steps.leave:
        steps.sentence = f"{first} is in no swarm: it starts one."
    return first, "init", []


def postpone(hosts: dict[str, Steps]) -> None:
    """Nobody leaves or joins for now."""
    for steps in hosts.values():
        steps.join, steps.leave, steps.forget = "", False, []


def save_swarm(
    cluster: Cluster, hosts: dict[str, Steps], settings: Settings, headless: list[str]
) -> tuple[str, str, list[str]]:
    """The quorum is lost: one manager may go on alone, and nobody else's word is taken for it."""
    saviour = headless[0]
    others = [host for host in cluster.managers if host not in headless]
    why = f"The swarm has lost its quorum: {join_names(headless)} {'finds' if len(headless) == 1 else 'find'} no majority of managers"
    why += f", and no help comes from {join_names(others)}" if others else ""
    asleep = [host for host in others if host in cluster.seen and not cluster.answers(host)]
    if settings.check and (len(headless) + len(asleep)) * 2 > len(cluster.managers):
        postpone(hosts)
        for host in asleep:
            steps = hosts.setdefault(host, Steps())
            steps.sentence = (
                f"{why}. The engine on {host} comes first: whether the swarm is led again then, only a run without --check "
                "shows."
            )
        return saviour, "later", []
    if settings.force_new_cluster:
        sentence = (
            f"{why}. {saviour} goes on as the only manager, with all that it knows, and the others join it again."
        )
        hosts.setdefault(saviour, Steps()).sentence = sentence
        return saviour, "force", []
    refusal = (
        f"{why}. Bring the engines of enough managers back and run this again: that alone repairs it. If they are gone for "
        f"good, swarm_force_new_cluster=true lets {saviour} go on as the only manager (docker swarm init "
        "--force-new-cluster) with its nodes, labels, networks and services; what the others agreed on without it is lost."
    )
    return saviour, "", [refusal]


def renumber_lead(cluster: Cluster, hosts: dict[str, Steps]) -> str:
    """The lead's own address has changed: alone it starts anew from what it knows, else it joins again through another."""
    lead = cluster.lead
    old, new = cluster.swarm(lead)["address"], cluster.wanted(lead).get("address")
    if lead not in hosts or not new or not old or new == old or hosts[lead].refusal:
        return ""
    others = [node for node in cluster.nodes if node["reachability"] and node["id"] != cluster.swarm(lead)["node_id"]]
    steps = hosts[lead]
    if not others:
        steps.sentence = (
            f"{lead} is known to the swarm by {old}, and its address is {new}: as the only manager it starts its swarm anew from what "
            "it knows, under the new address."
        )
        return "force"
    second = next((host for host in cluster.managers if host != lead and cluster.swarm(host)["quorum"]), "")
    if not second or not cluster.quorum_without([steps.node_id]):
        steps.refusal = (
            f"{lead} is known to the swarm by {old}, and its address is {new}; it cannot leave and join again, because too few other "
            "managers answer. Bring them back first."
        )
        return ""
    cluster.lead = second
    steps.sentence = (
        f"{lead} is known to the swarm by {old}, and its address is {new}: it leaves and joins again as a manager."
    )
    steps.leave, steps.join, steps.settle, steps.forget = True, "manager", {}, [*steps.forget, steps.node_id]
    return ""
