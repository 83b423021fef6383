"""Filters: why nothing can be done with an inventory's groups, or with the settings that Ansible has read."""

import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.inventory.manager import split_host_pattern

from .project import installed
from .ssh_command import no_answer


def inventory_refusals(groups: dict[str, list[str]]) -> list[str]:
    """Sentences about the groups swarm, managers and workers; none where nobody is in the group swarm."""
    hosts, managers, workers = (list(groups.get(name) or []) for name in ("swarm", "managers", "workers"))
    if not hosts:
        return []
    if not managers:
        why = "The inventory's group 'managers' is empty: one machine has to lead the swarm."
        return [f"{why} Move one of {', '.join(hosts)} there."]
    said = [
        f"{host} is in 'managers' and in 'workers': leave it in one of them. A manager trains as well."
        for host in managers
        if host in workers
    ]
    lost = [host for host in hosts if host not in managers and host not in workers]
    if lost:
        said.append(
            f"{' and '.join(lost)} {'is' if len(lost) == 1 else 'are'} in the group 'swarm', but neither in 'managers' nor in 'workers': "
            f"write {'it' if len(lost) == 1 else 'each'} into one of them."
        )
    # One that is there for another purpose has a group of its own.
    loose = [
        host for host in groups.get("ungrouped") or [] if host not in hosts and host not in ("localhost", "127.0.0.1")
    ]
    if loose:
        said.append(
            f"{' and '.join(loose)} {'is' if len(loose) == 1 else 'are'} in the inventory and in none of its groups: write "
            f"{'it' if len(loose) == 1 else 'each'} into 'managers' or 'workers', or into a group of your own if it is not to train."
        )
    return said


def limit_refusals(limit: str, groups: Mapping[str, list[str]]) -> list[str]:
    """A sentence for each plain name of --limit that the inventory does not have: Ansible only warns, and goes on with the other hosts."""
    known = {*groups, *(host for hosts in groups.values() for host in hosts)}
    parts = [part.lstrip("!&") for part in split_host_pattern(limit)]
    return [
        f"--limit names {part}, which is neither a host nor a group of the inventory: correct the name."
        for part in parts
        if part not in known and re.fullmatch(r"[\w.:-]+", part)
    ]


def unreachable_refusals(hosts: list[str], hostvars: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for each of these hosts that `validate_reached` could not reach over SSH."""
    asked = {host: hostvars[host].get("validate_reached") or {} for host in hosts}
    return [
        no_answer(hostvars[host], host, str(told["msg"])) for host, told in asked.items() if told.get("unreachable")
    ]


def unsafe_settings(project: str, injected: bool) -> list[str]:
    """A sentence if what a host says of itself would take the place of settings (`injected`, Ansible's INJECT_FACTS_AS_VARS).

    The project's ansible.cfg says otherwise. Ansible takes none from a directory that everybody can write to, as those of Windows under WSL are
    (https://docs.ansible.com/ansible/latest/reference_appendices/config.html#cfg-in-world-writable-dir).
    """
    root = Path(project).resolve()
    if not injected:
        return []
    if installed(root):
        said = (
            "Ansible's inject_facts_as_vars is on, with which what a host says of itself takes the place of settings: write "
            "'inject_facts_as_vars = False' below [defaults] in your ansible.cfg, or set ANSIBLE_INJECT_FACT_VARS=False."
        )
        return [said]
    open_to_all = root.stat().st_mode & stat.S_IWOTH
    return [
        f"Ansible has not read the project's ansible.cfg, without which it is not safe: run ansible-playbook in {root}, or set "
        f"ANSIBLE_CONFIG={root}/ansible.cfg. "
        + (
            "Everybody can write to that directory, and of such a one Ansible reads it only if told so. "
            if open_to_all
            else ""
        )
        + "An ansible.cfg of your own has to say inject_facts_as_vars = False: otherwise what a host says of itself takes the place of settings."
    ]


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "inventory_refusals": inventory_refusals,
            "limit_refusals": limit_refusals,
            "unreachable_refusals": unreachable_refusals,
            "unsafe_settings": unsafe_settings,
        }
