#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: what stands between the hosts as they are and the swarm that the inventory asks for."""

from __future__ import annotations

DOCUMENTATION = r"""
module: swarm_diagnosis
short_description: Compare the hosts' swarm with the inventory's
description:
  - Reads what M(ansible.legacy.swarm_node_info) saw on the hosts, asks nobody, and changes nothing. Runs on the controller.
  - Says for each host in a sentence what is wrong with it, and which steps repair it.
  - A step that could cost somebody something is refused, with the variable that allows it.
  - With O(remove) it plans how hosts leave the swarm instead.
author:
  - ddp-swarm contributors (@ddp-swarm)
options:
  managers:
    description:
      - Hosts that are to be managers, in the inventory's order. The first initialises the swarm.
    type: list
    elements: str
    required: true
  workers:
    description:
      - Hosts that are to be workers.
    type: list
    elements: str
    default: []
  seen:
    description:
      - What M(ansible.legacy.swarm_node_info) returned, by host. Only a host whose C(wanted) is not empty is repaired.
      - C(wanted) holds C(address) (the address to advertise), C(availability), C(rank) (an integer, or -1 for none).
    type: dict
    required: true
  unreachable:
    description:
      - Why a host could not be asked, by host.
    type: dict
    default: {}
  addresses:
    description:
      - Addresses of the inventory's hosts, by host.
    type: dict
    default: {}
  network:
    description:
      - Name of the overlay network, for messages.
    type: str
    default: ddp-net
  waited:
    description:
      - What is still in the making has been waited for. Otherwise it is only named in RV(wait_for).
    type: bool
    default: false
  rejoin:
    description:
      - Let a host leave a swarm that is not the inventory's.
    type: bool
    default: false
  rebuild:
    description:
      - Let hosts leave a swarm that the inventory's managers have lost, and form a new one.
    type: bool
    default: false
  force_new_cluster:
    description:
      - Let one manager go on alone with what it knows, where too few managers are left to change the swarm.
    type: bool
    default: false
  disturb_training:
    description:
      - Take steps that end swarm tasks which run on the host.
    type: bool
    default: false
  unlock_key:
    description:
      - A key is at hand for managers that are locked.
    type: bool
    default: false
  remove:
    description:
      - Hosts that are to leave. A host that the inventory no longer has is known by the name of its node.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Compare the swarm with the inventory
  swarm_diagnosis:
    managers: [host1]
    workers: [host2]
    seen: "{{ {'host1': seen_on_host1, 'host2': seen_on_host2} }}"
  register: plan
  delegate_to: localhost
"""

RETURN = r"""
lead:
  description: The host through which the swarm is changed, which is its first manager that can, or is about to be.
  returned: always
  type: str
lead_address:
  description: The lead's address in the swarm.
  returned: always
  type: str
start:
  description: How the lead gets a swarm, which is C(init), C(force) (anew from what it knows), C(later) (in check mode, if engines
    that would be started bring its quorum back), or empty when it has one.
  returned: always
  type: str
hosts:
  description:
    - By host, C(sentence) (what is wrong and what is done about it), C(refusal) (why nothing may be done), C(node_id),
      C(repairs) (the first of the following steps are to be taken), the steps C(unlock), C(leave), C(forget) (identifiers of its former nodes) and C(join) (manager or worker), then C(settle)
      (options of community.docker.docker_node) and C(demote).
  returned: without O(remove)
  type: dict
repairs:
  description: Some host has to leave, join or be unlocked, or the lead has to start the swarm. Ask again afterwards.
  returned: without O(remove)
  type: bool
wait_for:
  description: Identifiers of nodes that are not Ready though their engine answers. Ask again with these.
  returned: without O(remove)
  type: list
  elements: str
strangers:
  description: Nodes that no host of the inventory is, and that hold a rank.
  returned: without O(remove)
  type: list
  elements: dict
removals:
  description: The nodes to remove, in order, with C(name), C(id), C(manager), C(up), C(present) and C(sentence).
  returned: with O(remove)
  type: list
  elements: dict
refusals:
  description: Every reason why nothing may be done.
  returned: always
  type: list
  elements: str
"""

from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.basic import AnsibleModule

RANK = "ddp_rank"
# Tells which host of the inventory a node is, also when that host does not answer or has been installed anew.
NAME = "ddp_host"


@dataclass
class Settings:
    network: str = "ddp-net"
    waited: bool = False
    rejoin: bool = False
    rebuild: bool = False
    force_new_cluster: bool = False
    disturb_training: bool = False
    unlock_key: bool = False
    check: bool = False


@dataclass
class Steps:
    """What is to be done about one host."""

    sentence: str = ""
    refusal: str = ""
    node_id: str = ""
    unlock: bool = False
    leave: bool = False
    forget: list[str] = field(default_factory=list)
    join: str = ""
    settle: dict[str, Any] = field(default_factory=dict)
    demote: bool = False
    wait: bool = False

    @property
    def repairs(self) -> bool:
        return not self.refusal and bool(self.unlock or self.leave or self.forget or self.join)


class Cluster:
    """The inventory, and what was seen of it."""

    def __init__(
        self,
        managers: list[str],
        workers: list[str],
        seen: dict[str, dict[str, Any]],
        unreachable: dict[str, str],
        addresses: dict[str, str],
    ) -> None:
        self.managers = managers
        self.names = managers + workers
        self.seen = seen
        self.unreachable = unreachable
        self.addresses = addresses
        self.lead = self._choose_lead()
        self.nodes: list[dict[str, Any]] = seen[self.lead]["nodes"] if self.lead else []
        self.id = self.swarm(self.lead)["cluster"] if self.lead else ""

    def swarm(self, host: str) -> dict[str, Any]:
        empty = {"state": "", "error": "", "node_id": "", "address": "", "manager": False, "quorum": False}
        return {**empty, "cluster": "", "remotes": [], **(self.seen.get(host, {}).get("swarm") or {})}

    def wanted(self, host: str) -> dict[str, Any]:
        wanted: dict[str, Any] = self.seen.get(host, {}).get("wanted") or {}
        return wanted

    def address(self, host: str) -> str:
        return str(self.wanted(host).get("address") or self.addresses.get(host, ""))

    def answers(self, host: str) -> bool:
        return bool(self.seen.get(host, {}).get("engine"))

    def headless(self) -> list[str]:
        """Managers that cannot change their swarm."""
        return [host for host in self.managers if self.swarm(host)["manager"] and not self.swarm(host)["quorum"]]

    def node(self, node_id: str) -> dict[str, Any] | None:
        return next((node for node in self.nodes if node_id and node["id"] == node_id), None)

    def live_ids(self) -> set[str]:
        return {self.swarm(host)["node_id"] for host in self.names if self.swarm(host)["node_id"]}

    def former_nodes(self, host: str) -> list[dict[str, Any]]:
        """Nodes that this host, which was seen, was before it was installed anew or left.

        One that bears its name is its own, also while the swarm has not noticed yet that it is gone.
        """
        return [
            node
            for node in self.nodes
            if node["id"] not in self.live_ids()
            and (
                node["labels"].get(NAME) == host
                or (NAME not in node["labels"] and node["status"] == "down" and node["address"] == self.address(host))
            )
        ]

    def manager_addresses(self) -> set[str]:
        known = {self.addresses.get(host, "") for host in self.managers}
        known |= {self.address(host) for host in self.managers}
        known |= {self.swarm(host)["address"] for host in self.managers}
        return known - {""}

    def quorum_without(self, gone: list[str]) -> bool:
        """Whether managers stay able to change the swarm while these nodes are demoted, one after the other."""
        managers = {node["id"]: node["reachability"] == "reachable" for node in self.nodes if node["reachability"]}
        for node_id in sorted(gone, key=lambda node_id: managers.get(node_id, False)):
            if node_id in managers:
                del managers[node_id]
                if sum(managers.values()) * 2 <= len(managers):
                    return False
        return True

    def _choose_lead(self) -> str:
        """The first manager that can change the swarm in which most of the inventory's hosts are."""
        able = [host for host in self.names if self.swarm(host)["quorum"] and self._is_ours(host)]
        ids = {self.swarm(host)["node_id"] for host in self.names}

        def members(host: str) -> int:
            return sum(
                node["status"] == "ready" and (node["id"] in ids or node["labels"].get(NAME) in self.names)
                for node in self.seen[host]["nodes"]
            )

        return max(able, key=members, default="")

    def _is_ours(self, host: str) -> bool:
        """A host that is to be a worker may lead a swarm of its own, which is not to be taken for the inventory's."""
        own = next((node for node in self.seen[host]["nodes"] if node["id"] == self.swarm(host)["node_id"]), None)
        return host in self.managers or (own is not None and own["labels"].get(NAME) == host)


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
    refusals += network_refusals(cluster, settings)
    return {
        "lead": lead,
        "lead_address": cluster.address(lead) if start else cluster.swarm(lead)["address"],
        "start": start,
        "hosts": {host: {**vars(steps), "repairs": steps.repairs} for host, steps in hosts.items()},
        "repairs": bool(start) or any(steps.repairs for steps in hosts.values()),
        "wait_for": [steps.node_id for steps in hosts.values() if steps.wait],
        "strangers": strangers(cluster),
        "refusals": list(dict.fromkeys(refusals)),
    }


def diagnose_host(cluster: Cluster, host: str, settings: Settings) -> Steps:
    seen, swarm = cluster.seen[host], cluster.swarm(host)
    role = "manager" if host in cluster.managers else "worker"
    former = [node["id"] for node in cluster.former_nodes(host)]
    if not seen["engine"]:
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
        elif NAME in labels:
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
    loses_rank = node["labels"].get(RANK) and (RANK in labels or unlabel)
    if loses_rank or settle.get("availability") == "drain":
        return refuse_disturbance(cluster, host, steps, settings)
    return steps


def wanted_labels(wanted: dict[str, Any], host: str, node: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """The labels that the node lacks, and those that it must not have."""
    rank = int(wanted.get("rank", -1))
    labels = {NAME: host, **({RANK: str(rank)} if rank >= 0 else {})}
    missing = {name: value for name, value in labels.items() if node["labels"].get(name) != value}
    return missing, [RANK] if rank < 0 and RANK in node["labels"] else []


def refuse_disturbance(cluster: Cluster, host: str, steps: Steps, settings: Settings) -> Steps:
    services = cluster.seen[host].get("services") or []
    if services and not settings.disturb_training:
        steps.refusal = f"{steps.sentence} {in_the_way(services)}"
    return steps


def in_the_way(services: list[str]) -> str:
    return (
        f"But {join_names(services)} runs there and would be ended: wait until it is done, or say "
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


def diagnose_locked(cluster: Cluster, host: str, settings: Settings) -> Steps:
    if cluster.lead or settings.unlock_key:
        return Steps(sentence=f"{host} is locked since its engine started (autolock): it is unlocked.", unlock=True)
    return Steps(
        refusal=f"{host} is locked since its engine started (autolock), and no other manager is there to ask for the key: set "
        "swarm_unlock_key to what 'docker swarm unlock-key' said before."
    )


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
    why = f"The swarm has lost its quorum: {join_names(headless)} finds no majority of managers"
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


def strangers(cluster: Cluster) -> list[dict[str, str]]:
    """Nodes of no host of the inventory that hold a rank, which is another's now. Unnamed ones count if all were asked."""
    ids, complete = cluster.live_ids(), all(host in cluster.seen for host in cluster.names)
    known = {cluster.address(host) for host in cluster.names}
    found = []
    for node in cluster.nodes:
        named = node["labels"].get(NAME)
        ours = named in cluster.names if named else not complete or node["address"] in known
        if RANK in node["labels"] and node["id"] not in ids and not ours:
            name = named or node["hostname"]
            found.append(
                {
                    "id": node["id"],
                    "sentence": f"{name} is in the swarm and not in the inventory: it keeps no rank. It leaves with "
                    f"playbooks/remove.yml -e host={name}",
                }
            )
    return found


def network_refusals(cluster: Cluster, settings: Settings) -> list[str]:
    networks = cluster.seen[cluster.lead].get("networks") or [] if cluster.lead else []
    wrong = [network for network in networks if (network["driver"], network["scope"]) != ("overlay", "swarm")]
    return [
        f"{cluster.lead} has a network {settings.network} that is no overlay but a {network['driver']} network of its own: remove or "
        "rename it, or set swarm_network to another name."
        for network in wrong
    ]


def plan_removal(cluster: Cluster, remove: list[str], settings: Settings) -> dict[str, Any]:
    """How hosts leave: those that are up are drained first, managers are demoted, and quorum is never broken."""
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
        if not nodes and name not in cluster.names:
            known = [node["labels"].get(NAME) or node["hostname"] for node in cluster.nodes]
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


def removal(cluster: Cluster, name: str, node: dict[str, Any]) -> dict[str, Any]:
    up, manager = node["status"] == "ready", node["role"] == "manager"
    steps = [*(["is drained"] if up else ["is Down"]), *(["becomes a worker"] if manager else []), "leaves the swarm"]
    sentence = f"{name} {join_names(steps)}."
    if not cluster.swarm(name)["state"]:
        sentence += " It does not answer: should it come back, run 'docker swarm leave --force' on it."
    own = node["id"] == cluster.swarm(name)["node_id"]
    return {"name": name, "id": node["id"], "manager": manager, "up": up, "present": own, "sentence": sentence}


def nodes_of(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    """The nodes that a host is or was: by its own account, by their label, else by a host name that only one node has."""
    own = cluster.swarm(name)["node_id"]
    found = [node for node in cluster.nodes if node["id"] == own or node["labels"].get(NAME) == name]
    hostnames = [node for node in cluster.nodes if node["hostname"] == name and NAME not in node["labels"]]
    return found or (hostnames if len(hostnames) == 1 else [])


def join_names(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


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


def main() -> None:
    switches = ("waited", "rejoin", "rebuild", "force_new_cluster", "disturb_training", "unlock_key")
    module = AnsibleModule(
        argument_spec=dict(
            managers={"type": "list", "elements": "str", "required": True},
            workers={"type": "list", "elements": "str", "default": []},
            seen={"type": "dict", "required": True},
            unreachable={"type": "dict", "default": {}},
            addresses={"type": "dict", "default": {}},
            network={"type": "str", "default": "ddp-net"},
            remove={"type": "list", "elements": "str", "default": []},
            **{name: {"type": "bool", "default": False} for name in switches},
        ),
        supports_check_mode=True,
    )
    params = module.params
    settings = Settings(network=params["network"], check=module.check_mode, **{name: params[name] for name in switches})
    cluster = Cluster(params["managers"], params["workers"], params["seen"], params["unreachable"], params["addresses"])
    for warning in unwise(params["managers"]):
        module.warn(warning)
    if params["remove"]:
        module.exit_json(changed=False, **plan_removal(cluster, params["remove"], settings))
    module.exit_json(changed=False, **diagnose(cluster, settings))


if __name__ == "__main__":
    main()
