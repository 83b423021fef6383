"""The command that a subcommand stands for: which inventory, which playbook, and how a person types it."""

from __future__ import annotations

import json
import locale
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.ddp.swarm.plugins.module_utils.typed import near, program, variable

from . import ROOT

# The machines that inventory/hosts.yml has before anybody has written theirs.
EXAMPLE = {"machine1": "192.168.1.10", "machine2": "192.168.1.11"}
LAB = ROOT / ".lab" / "inventory.yml"
ASKING = ("-K", "--ask-become-pass", "-k", "--ask-pass", "-J", "--ask-vault-pass", "--ask-vault-password")

ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


class Usage(Exception):
    """What was typed cannot be done; the text is one sentence for whoever typed it."""


@dataclass(frozen=True)
class Settings:
    """What every subcommand takes. `more` goes to ansible-playbook as it is."""

    inventory: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    limit: str = ""
    check: bool = False
    verbose: int = 0
    json: bool = False
    more: tuple[str, ...] = field(default=())

    @property
    def asks(self) -> str:
        """The option among those for Ansible that makes it ask for a password; empty if none does."""
        return next((word for word in self.more if word in ASKING), "")


def is_example(path: Path) -> bool:
    """Whether an inventory still has the machines that it came with."""
    try:
        groups = (yaml.safe_load(path.read_text()) or {})["swarm"]["children"]
        hosts = {name: said for group in groups.values() for name, said in (group.get("hosts") or {}).items()}
        return {name: (said or {}).get("ansible_host") for name, said in hosts.items()} == EXAMPLE
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return False


def inventories(given: tuple[str, ...], root: Path = ROOT, lab: Path = LAB) -> list[str]:
    """What is given with -i, else none where $ANSIBLE_INVENTORY names it, else the project's, else the lab's.

    The project's counts once somebody has written machines of their own into it.
    """
    for path in given:
        if "," not in path and not Path(path).exists():
            raise Usage(f"There is no inventory {path}: name a file or directory that exists with -i.")
    if given:
        return list(given)
    if os.environ.get("ANSIBLE_INVENTORY"):
        return []
    own = root / "inventory"
    if not is_example(own / "hosts.yml"):
        if not own.exists():
            raise Usage(f"There is no inventory {own}: name one with -i.")
        return [near(own)]
    if lab.exists():
        return [near(lab)]
    raise Usage(
        f"{near(own / 'hosts.yml')} still has the example's machines: write yours there, name another inventory with -i, or see "
        "'ddp demo', which makes two hosts on this machine."
    )


def ansible_playbook() -> str:
    found = program()
    if not found:
        raise Usage(f"Ansible is not installed for {sys.executable}: run 'make .venv/.installed' in {ROOT}.")
    return found


def whole(text: str) -> str:
    """`NAME=VALUE` as Ansible takes it: it cuts a value at its blanks, other than in JSON. `A=1 B=2` are two, and stay that."""
    name, _equals, value = text.partition("=")
    rest = value.split()[1:]
    cut = (
        name.isidentifier()
        and rest
        and not set(value) & set("\"'")
        and not any(ASSIGNMENT.match(word) for word in rest)
    )
    return json.dumps({name: value}) if cut else text


def command(settings: Settings, playbook: str, inventory: list[str] | None = None, **variables: Any) -> list[str]:
    """The words that are run. `inventory` takes the place of what the settings say."""
    words = [ansible_playbook(), near(ROOT / playbook)]
    for path in inventories(settings.inventory) if inventory is None else inventory:
        words += ["-i", path]
    for name, value in variables.items():
        words += variable(name, value)
    for text in settings.extra:
        if text.startswith("@") and not Path(text[1:]).expanduser().is_file():
            raise Usage(f"There is no file {text[1:]}, of which -e {text} is to read variables: name one that exists.")
        words += ["-e", whole(text)]
    words += ["--limit", settings.limit] if settings.limit else []
    words += ["--check", "--diff"] if settings.check else []
    words += ["-" + "v" * settings.verbose] if settings.verbose else []
    return [*words, *settings.more]


def environment() -> dict[str, str]:
    """As Ansible needs it in any directory. A configuration that somebody names is theirs."""
    own = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    # Ansible refuses to run under any other encoding.
    spoken = {} if locale.getencoding().lower() == "utf-8" else {"LC_ALL": "C.UTF-8"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**own, **os.environ, **spoken, "PATH": path}
