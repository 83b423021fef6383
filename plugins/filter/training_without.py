"""Filters: what stays of a list of hosts without those that are gone for good (training_without), and why these cannot be left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.utils.vars import load_extra_vars

VARIABLE = "training_without"


def host_names(named: Any) -> list[str]:
    """The hosts of a text such as "host2" or "host2, host3"."""
    return [name.strip() for name in str(named).split(",") if name.strip()]


def without(hosts: Iterable[str], named: Any) -> list[str]:
    """The others, in their order."""
    gone = host_names(named)
    return [host for host in hosts if host not in gone]


def without_refusals(named: Any, groups: Mapping[str, list[str]], typed: Iterable[str] | None = None) -> list[str]:
    """Sentences about what training_without names. `typed` are the names of the variables that came with -e."""
    gone = host_names(named)
    hosts, managers = list(groups.get("swarm") or []), list(groups.get("managers") or [])
    if not gone or not hosts:
        return []
    unknown = [name for name in gone if name not in hosts]
    if unknown:
        why = (
            f"{VARIABLE} names {' and '.join(unknown)}, and the inventory's group 'swarm' has {', '.join(hosts)}. Correct the name; a host "
            "that is out of the inventory already need not be named."
        )
        return [why]
    if VARIABLE not in (load_extra_vars(DataLoader()) if typed is None else typed):
        return [f"{VARIABLE} counts on the command line alone: say -e {VARIABLE}={','.join(gone)}."]
    if not without(hosts, named):
        return [f"{VARIABLE} names every host of the inventory, and nobody is left to train."]
    if not without(managers, named):
        why = (
            f"{VARIABLE} names every manager, and a swarm without one cannot be led any more. Take {' and '.join(gone)} out of the inventory, move "
            f"one of {', '.join(without(hosts, named))} into 'managers', and run site.yml -e swarm_rejoin=true: a new swarm is formed, and the "
            "volumes with snapshots stay."
        )
        return [why]
    return []


def play_hosts(groups: Mapping[str, list[str]], named: Any) -> str:
    """The pattern of a play's hosts. Where the names are refused it is all of them: without any, a play would end without a word."""
    if not host_names(named) or without_refusals(named, groups):
        return "swarm"
    return ",".join(["swarm", *(f"!{name}" for name in host_names(named))])


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "host_names": host_names,
            "without": without,
            "play_hosts": play_hosts,
            "without_refusals": without_refusals,
        }
