"""Filters: which hosts answer about their swarm as no engine does, and what is asked of each beside its answer.

What they say becomes part of commands, some of them on other hosts.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..module_utils.names import HOST, KINDS, job_and_rank
from ..module_utils.swarm.node import settled
from .swarm_addresses import swarm_addresses
from .training_without import host_names

# Not known yet, it is empty. A host name or "self" would be one for docker.
ID = rf"(?:{KINDS['node ID'][0]})?"
ADDRESS = r"(?:[0-9A-Za-z:][0-9A-Za-z.:%_-]{0,254})?"
DIRECTORY = r"(?:/[^\x00-\x1f\x7f-\x9f]*)?"
Seen = dict[str, dict[str, Any]]
Variables = Mapping[str, Mapping[str, Any]]


def swarm_answer_problems(seen: Seen, managers: list[str]) -> list[str]:
    """A sentence for each host, from what all of them answered to the module swarm_node_info; `managers` are those of the inventory."""
    odd = {host: list(odd_values(answer)) for host, answer in seen.items()}
    said = [
        f"{host} does not answer as an engine does: it says {ascii(values[0])[:100]}. Look at 'docker info' and 'docker node ls' there."
        for host, values in odd.items()
        if values
    ]
    return said or [*claimed_twice(seen), *claimed_of_another(seen, managers)]


def odd_values(seen: dict[str, Any]) -> Iterator[Any]:
    swarm, nodes = seen.get("swarm") or {}, seen.get("nodes") or []
    if not isinstance(swarm, dict) or not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        yield swarm if not isinstance(swarm, dict) else nodes
        return
    said = [(DIRECTORY, seen.get("root", "")), (ID, swarm.get("node_id", "")), (ADDRESS, swarm.get("address", ""))]
    for pattern, value in [*said, *((ID, node.get("id")) for node in nodes)]:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            yield value


def own_ids(seen: Seen) -> dict[str, str]:
    """By host, the node that it says it is."""
    return {
        host: answer["swarm"]["node_id"] for host, answer in seen.items() if (answer.get("swarm") or {}).get("node_id")
    }


def claimed_twice(seen: Seen) -> Iterator[str]:
    hosts_of: dict[str, list[str]] = {}
    for host, node_id in own_ids(seen).items():
        hosts_of.setdefault(node_id, []).append(host)
    for node_id, hosts in hosts_of.items():
        if len(hosts) > 1:
            yield (
                f"{' and '.join(hosts)} both say that they are the node {node_id}: one is a copy of the other, or lies. Let the copy leave its "
                "swarm ('docker swarm leave --force' there), and run this again."
            )


def claimed_of_another(seen: Seen, managers: list[str]) -> Iterator[str]:
    """A node bears the name of its host as a label, which managers alone can set."""
    ids = own_ids(seen)
    for manager in managers:
        for node in (seen.get(manager) or {}).get("nodes") or []:
            named = (node.get("labels") or {}).get(HOST)
            for host, node_id in ids.items():
                if node_id == node["id"] and named in seen and named != host:
                    yield (
                        f"{host} says that it is the node {node_id}, which {manager} knows as that of {named}. Find out which of them it is; if the "
                        f"two have changed names, say 'docker node update --label-rm {HOST} {node_id}' on {manager}."
                    )


def swarm_look(info: Mapping[str, Any]) -> dict[str, Any]:
    """What the module host_info tells of a host, as the module swarm_node_info would tell it."""
    return {
        **info["swarm_node"],
        **info["running"],
        "addresses": info["addresses"],
        "engine": info["engine"]["version"],
        "error": info["engine"]["problem"],
        "root": info["engine"]["root"],
    }


def swarm_is_known(hosts: Iterable[str], hostvars: Variables) -> bool:
    """Whether host_info has told of the swarm on each of these hosts, with nothing in the making, and no role has changed anything since."""
    for host in hosts:
        known = hostvars[host]
        told = (known.get("docker_host_info") or {}).get("swarm_node") or {}
        if not told.get("swarm") or known.get("docker_changed") or known.get("swarm_changed") or not settled(told):
            return False
    return True


def swarm_answers(hosts: Iterable[str], hostvars: Variables) -> Seen:
    """By host, what it has answered to the role swarm, else what host_info told."""
    asked = {host: hostvars[host].get("_swarm_seen") or {} for host in hosts}
    return {
        host: seen if "swarm" in seen else swarm_look(hostvars[host]["docker_host_info"])
        for host, seen in asked.items()
    }


def swarm_leads(hosts: Iterable[str], hostvars: Variables) -> list[str]:
    """Those of the hosts that can change the swarm, by what host_info told."""
    return [host for host in hosts if hostvars[host]["docker_host_info"]["swarm_node"]["swarm"]["quorum"]]


def with_wanted(seen: Seen, wanted: dict[str, Any]) -> Seen:
    """The answers, each with what the inventory asks of its host, whatever the host says of that.

    `wanted` has for each host that is to be a member `advertise_addr`, `availability` and `rank`. Of the first, `address` is made, with `why`
    and `problem` (see the filter swarm_addresses). A host of which nothing is wanted is only asked for its swarm.
    """
    asked = {host: dict(wanted.get(host) or {}) for host in seen}
    chosen = swarm_addresses({host: address_hints(answer, asked[host]) for host, answer in seen.items()})
    return {
        host: {**answer, "wanted": {**asked[host], **chosen[host]} if asked[host] else {}}
        for host, answer in seen.items()
    }


def as_foreseen(seen: Seen, gone: Any, ended: list[str]) -> Seen:
    """The answers as they will be once the hosts `gone` are forgotten and the jobs `ended`."""
    forgotten = host_names(gone)

    def stays(service: str) -> bool:
        found = job_and_rank(service)
        return found is None or found[0] not in ended

    return {
        host: {
            **answer,
            "nodes": [
                node for node in answer.get("nodes") or [] if (node.get("labels") or {}).get(HOST) not in forgotten
            ],
            "services": [service for service in answer.get("services") or [] if stays(service)],
        }
        for host, answer in seen.items()
    }


def address_hints(answer: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    known = (answer.get("swarm") or {}).get("address", "")
    if not asked:
        return {"known": known}
    return {
        "asked": asked["advertise_addr"],
        "known": known,
        **{name: answer.get(name) for name in ("addresses", "engine")},
    }


def swarm_address_problems(seen: Seen) -> list[str]:
    """Why hosts have no address to take part by, of the answers with_wanted."""
    return [answer["wanted"]["problem"] for answer in seen.values() if answer["wanted"].get("problem")]


def foreign_containers(seen: Seen, hosts: list[str]) -> list[str]:
    """For each of these hosts that has some, which containers run on it that are not the swarm's."""
    found = {host: (seen.get(host) or {}).get("containers") or [] for host in hosts}
    return [f"{', '.join(names)} on {host}" for host, names in found.items() if names]


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "swarm_answer_problems": swarm_answer_problems,
            "swarm_address_problems": swarm_address_problems,
            "as_foreseen": as_foreseen,
            "foreign_containers": foreign_containers,
            "swarm_answers": swarm_answers,
            "swarm_is_known": swarm_is_known,
            "swarm_leads": swarm_leads,
            "swarm_look": swarm_look,
            "with_wanted": with_wanted,
        }
