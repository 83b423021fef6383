"""What each host has to do to be a member of the swarm as it is wanted."""

from __future__ import annotations

from typing import Any

from ...docker.info import other_release
from ...names import HOST, RANK
from ..cluster import Cluster, Settings, Steps, join_names
from .start import renumber_lead, start_swarm


def diagnose(cluster: Cluster, settings: Settings) -> dict[str, Any]:
    hosts = {host: diagnose_host(cluster, host, settings) for host in cluster.names if cluster.wanted(host)}
    lead, start = cluster.lead, ""
    if not lead:
        lead, start, refusals = start_swarm(cluster, hosts, settings)
    else:
        start, refusals = renumber_lead(cluster, hosts), []
        lead = cluster.lead
    demoted = [steps.node_id for steps in hosts.values() if steps.demote]
    if demoted and not cluster.quorum_without(demoted):
        refusals.append(
            f"The swarm would lose its quorum if {join_names([h for h, s in hosts.items() if s.demote])} became a worker: too few "
            "managers would be left that answer. Bring the other managers back first."
        )
    refusals += [steps.refusal for steps in hosts.values() if steps.refusal]
    refusals += network_refusals(cluster, settings) + settled_otherwise(cluster, settings)
    for host, steps in hosts.items():
        why = cluster.wanted(host).get("why")
        if why and (steps.join or (start and host == lead)):
            steps.sentence += f" It takes part {why}."
    return {
        "lead": lead,
        "lead_address": cluster.address(lead) if start else cluster.swarm(lead)["address"],
        "start": start,
        "hosts": {host: {**vars(steps), "repairs": steps.repairs} for host, steps in hosts.items()},
        "repairs": bool(start) or any(steps.repairs for steps in hosts.values()),
        "settles": any(steps.settle or steps.demote for steps in hosts.values()) or bool(strangers(cluster)),
        "wait_for": [steps.node_id for steps in hosts.values() if steps.wait],
        "strangers": strangers(cluster),
        "ends": ending(cluster, hosts),
        "refusals": list(dict.fromkeys(refusals)),
    }


def ending(cluster: Cluster, hosts: dict[str, Steps]) -> list[str]:
    """Where the steps end tasks, or let an engine forget those that have ended."""
    drained = [host for host, steps in hosts.items() if steps.settle.get("availability") == "drain"]
    return [
        *(host for host, steps in hosts.items() if not steps.refusal and (steps.leave or loses_rank(cluster, steps))),
        *drained,
        *(stranger["name"] for stranger in strangers(cluster)),
    ]


def loses_rank(cluster: Cluster, steps: Steps) -> bool:
    node = cluster.node(steps.node_id) if steps.settle else None
    changed = [*(steps.settle.get("labels") or {}), *(steps.settle.get("labels_to_remove") or [])]
    return bool(node and node["labels"].get(RANK) and RANK in changed)


def diagnose_host(cluster: Cluster, host: str, settings: Settings) -> Steps:
    seen, swarm = cluster.seen[host], cluster.swarm(host)
    role = "manager" if host in cluster.managers else "worker"
    former = [node["id"] for node in cluster.former_nodes(host)]
    if not seen["engine"]:
        if other := other_release(seen["error"]):
            return Steps(refusal=f"{host} has {other}.")
        if settings.check:
            return Steps(
                sentence=f"{host} has no Docker engine that answers: it gets one, and joins as a {role}.", join=role
            )
        return Steps(
            refusal=f"{host} has no Docker engine that answers ({seen['error']}): playbooks/docker.yml installs and starts it, "
            "or says why it does not start."
        )
    if swarm["state"] == "inactive":
        why = f"{host} is in no swarm"
        if former:
            why = f"{host} was installed anew or left the swarm: its former node goes"
        return Steps(sentence=f"{why}, and it joins as a {role}.", join=role, forget=former)
    if swarm["state"] == "locked":
        return diagnose_locked(cluster, host, settings)
    if not cluster.lead:
        return diagnose_stranded(cluster, host, settings)
    node = cluster.node(swarm["node_id"])
    healthy = node is not None and node["status"] == "ready" and swarm["manager"] == swarm["quorum"]
    if node and healthy and swarm["state"] == "active":
        return diagnose_member(cluster, host, node, former, settings)
    if cluster.id == swarm["cluster"] or node or not swarm["node_id"]:
        return diagnose_lapsed(cluster, host, node, former, settings)
    return diagnose_stranded(cluster, host, settings)


def diagnose_member(cluster: Cluster, host: str, node: dict[str, Any], former: list[str], settings: Settings) -> Steps:
    """A node that is Ready: its place in the swarm may still be wrong."""
    swarm, wanted = cluster.swarm(host), cluster.wanted(host)
    role = "manager" if host in cluster.managers else "worker"
    steps = Steps(node_id=node["id"], forget=former)
    found = [f"{host} has a former node in the swarm, which goes"] if former else []
    moved = wanted.get("address") and swarm["address"] and wanted["address"] != swarm["address"]
    if moved and host != cluster.lead:
        steps.sentence = (
            f"{host} is known to the swarm by {swarm['address']}, and its address is {wanted['address']}: it leaves and joins again "
            f"as a {role}."
        )
        steps.leave, steps.join, steps.forget = True, role, [*former, node["id"]]
        return refuse_disturbance(cluster, host, steps, settings)
    labels, unlabel = wanted_labels(wanted, host, node)
    settle: dict[str, Any] = {}
    if labels or unlabel:
        settle.update(labels=labels or None, labels_to_remove=unlabel or None)
        if RANK in labels:
            had = node["labels"].get(RANK)
            found.append(f"{host} gets rank {labels[RANK]}" + (f" in place of {had}" if had else ""))
        elif HOST in labels:
            found.append(f"{host}'s node gets its name as a label")
        if unlabel:
            found.append(f"{host} keeps no rank")
    if wanted.get("availability") and wanted["availability"] != node["availability"]:
        settle["availability"] = wanted["availability"]
        found.append(f"{host} is set to {node['availability']}, and becomes {wanted['availability']}")
    if role == "manager" and node["role"] == "worker":
        settle["role"] = role
        found.append(f"{host} is a worker, and becomes a manager")
    if role == "worker" and node["role"] == "manager":
        steps.demote = True
        found.append(f"{host} is a manager, and becomes a worker")
    steps.settle = settle
    steps.sentence = ". ".join(found) + "." if found else ""
    if loses_rank(cluster, steps) or settle.get("availability") == "drain":
        return refuse_disturbance(cluster, host, steps, settings)
    return steps


def wanted_labels(wanted: dict[str, Any], host: str, node: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """The labels that the node lacks, and those that it must not have."""
    rank = int(wanted.get("rank", -1))
    labels = {HOST: host, **({RANK: str(rank)} if rank >= 0 else {})}
    missing = {name: value for name, value in labels.items() if node["labels"].get(name) != value}
    return missing, [RANK] if rank < 0 and RANK in node["labels"] else []


def refuse_disturbance(cluster: Cluster, host: str, steps: Steps, settings: Settings) -> Steps:
    services = cluster.seen[host].get("services") or []
    if services and not settings.disturb_training:
        steps.refusal = f"{steps.sentence} {in_the_way(services)}"
    return steps


def in_the_way(services: list[str]) -> str:
    return (
        f"But {join_names(services)} {'runs' if len(services) == 1 else 'run'} there and would be ended: wait for the end, or say "
        "swarm_disturb_training=true (a job goes on from its snapshot)."
    )


def diagnose_lapsed(
    cluster: Cluster, host: str, node: dict[str, Any] | None, former: list[str], settings: Settings
) -> Steps:
    """A host that is in this swarm by its own account, and not, or not Ready, by the swarm's."""
    swarm = cluster.swarm(host)
    role = "manager" if host in cluster.managers else "worker"
    if not settings.waited and swarm["node_id"]:
        return Steps(node_id=swarm["node_id"], wait=True)
    if not swarm["node_id"]:
        why = f"{host} began to join a swarm and was never let in"
    elif node is None:
        why = f"{host} is no longer among the swarm's nodes, though it believes so"
    else:
        why = f"{host} stays {node['status'].capitalize()} in the swarm though its engine runs"
    why += f" ({swarm['error']})" if swarm["error"] else ""
    return Steps(
        sentence=f"{why}: it leaves and joins again as a {role}.",
        node_id=swarm["node_id"],
        leave=True,
        join=role,
        forget=[*former, *([node["id"]] if node else [])],
    )


def diagnose_stranded(cluster: Cluster, host: str, settings: Settings) -> Steps:
    """A host in a swarm that is not the one of the inventory's managers."""
    swarm = cluster.swarm(host)
    role = "manager" if host in cluster.managers else "worker"
    asleep = cluster.headless() + [
        manager for manager in cluster.managers if cluster.swarm(manager)["state"] == "locked"
    ]
    if not cluster.lead and swarm["cluster"] in [cluster.swarm(manager)["cluster"] for manager in asleep]:
        # It waits for that swarm to be led again.
        return Steps(node_id=swarm["node_id"])
    if swarm["state"] == "error":
        return diagnose_broken(cluster, host, settings)
    at = [address for address in swarm["remotes"] if address != swarm["address"]]
    if not swarm["manager"] and set(at) & cluster.manager_addresses():
        former = ", ".join(h for h in cluster.managers if {cluster.address(h), cluster.addresses.get(h)} & set(at))
        why = (
            f"{host} belongs to the swarm that {former or ', '.join(at)} led before it was installed anew or left: nobody can lead "
            "that one any more"
        )
        allowed, switch, undo = settings.rebuild, "swarm_rebuild=true", ", or restore it with playbooks/restore.yml"
    else:
        why = f"{host} is in another swarm" + (
            f", whose managers are at {', '.join(at)}" if at else ", of which it is a manager"
        )
        allowed, switch, undo = settings.rejoin, "swarm_rejoin=true", ""
    if allowed:
        gone = [node["id"] for node in cluster.former_nodes(host)]
        sentence = f"{why}. It leaves that swarm and joins as a {role}."
        return Steps(sentence=sentence, leave=True, join=role, forget=gone)
    return Steps(
        refusal=f"{why}. Let it leave that swarm and join this one with {switch}{undo} (images and volumes stay, services and networks "
        "of that swarm are lost to it)."
    )


def diagnose_broken(cluster: Cluster, host: str, settings: Settings) -> Steps:
    """The engine cannot take up its place in the swarm, and no other manager is there to take the host in anew."""
    folder = f"{cluster.seen[host].get('root') or '/var/lib/docker'}/swarm"
    role = "manager" if host in cluster.managers else "worker"
    why = f"{host}'s engine cannot take up its place in the swarm ({cluster.swarm(host)['error'] or 'it does not say why'})"
    if settings.rebuild:
        return Steps(sentence=f"{why}. It leaves that swarm and joins as a {role}.", leave=True, join=role)
    return Steps(
        refusal=f"{why}. What it knows of the swarm is still in {folder}: do not let it leave. Has its certificate expired while it was "
        f"switched off ('openssl x509 -noout -enddate -in {folder}/certificates/swarm-node.crt'), set its clock back to a day before, restart "
        "the engine, say 'docker swarm ca --rotate', and set the clock right: that keeps services and networks. Is a file there damaged, bring "
        "a backup back (playbooks/restore.yml). Only if neither can be done, give the swarm up with swarm_rebuild=true (images and volumes "
        "stay)."
    )


def diagnose_locked(cluster: Cluster, host: str, settings: Settings) -> Steps:
    if cluster.lead or settings.unlock_key:
        return Steps(sentence=f"{host} is locked since its engine started (autolock): it is unlocked.", unlock=True)
    return Steps(
        refusal=f"{host} is locked since its engine started (autolock), and no other manager is there to ask for the key: set "
        "swarm_unlock_key to what 'docker swarm unlock-key' said before."
    )


def strangers(cluster: Cluster) -> list[dict[str, str]]:
    """Nodes of no host of the inventory that hold a rank, which is another's now. Unnamed ones count if all were asked."""
    ids, complete = cluster.live_ids(), all(host in cluster.seen for host in cluster.names)
    known = {cluster.address(host) for host in cluster.names}
    found = []
    for node in cluster.nodes:
        named = node["labels"].get(HOST)
        ours = named in cluster.names if named else not complete or node["address"] in known
        if RANK in node["labels"] and node["id"] not in ids and not ours:
            name = named or node["hostname"]
            found.append(
                {
                    "id": node["id"],
                    "name": name,
                    "sentence": f"{name} is in the swarm and not in the inventory: it keeps no rank. It leaves with "
                    f"playbooks/remove.yml -e host={name}",
                }
            )
    return found


def network_refusals(cluster: Cluster, settings: Settings) -> list[str]:
    networks = cluster.seen[cluster.lead].get("networks") or [] if cluster.lead else []
    wrong = [
        network
        for network in networks
        if network["name"] == settings.network and (network["driver"], network["scope"]) != ("overlay", "swarm")
    ]
    return [
        f"{cluster.lead} has a network {settings.network} that is no overlay but a {network['driver']} network of its own: remove or "
        "rename it, or set swarm_network to another name."
        for network in wrong
    ]


def settled_otherwise(cluster: Cluster, settings: Settings) -> list[str]:
    """What is asked of a swarm that it has otherwise from its beginning; the engine changes none of it later."""
    swarm = cluster.swarm(cluster.lead) if cluster.lead else {}
    asked = {
        "swarm_data_path_port": ("data_path_port", settings.data_path_port),
        "swarm_default_addr_pool": ("default_addr_pool", settings.default_addr_pool),
        "swarm_default_addr_pool_mask_length": ("subnet_size", settings.subnet_size),
    }
    return [
        f"{variable} asks for {listed(value)}, and the swarm of {cluster.lead} has {listed(swarm[name])} from its beginning: take it down and "
        "form it anew (playbooks/teardown.yml, then playbooks/swarm.yml), or take the variable out."
        for variable, (name, value) in asked.items()
        if value and swarm.get(name) and swarm[name] != value
    ]


def listed(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def unwise(managers: list[str]) -> list[str]:
    """Numbers of managers that cost more than they give (docs.docker.com/engine/swarm/admin_guide, fault tolerance)."""
    size = len(managers)
    if size > 7:
        return [
            f"{size} managers have to agree on every change: more than 7 make a swarm slow, and no safer in practice."
        ]
    if size % 2 == 0:
        return [
            f"{size} managers survive the loss of {(size - 1) // 2}, as {size - 1} do: make it {size - 1} or {size + 1}."
        ]
    return []
