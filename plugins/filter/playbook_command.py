"""Filter: the command for a playbook of the project, ready to be typed where the one that runs was typed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from ansible import context
from ansible.parsing.splitter import parse_kv

from ..module_utils.typed import near, program, typed, variable
from .project import TREE, installed
from .settings import PREFIXES, SWITCHES

# Of our settings those by which a playbook finds a job that runs, and what it has written.
LATER = frozenset([
    "training_artifacts_dir", "training_board_files", "training_collect", "training_collect_from_each", "training_collect_max_mb",
    "training_hosts", "training_keep_days", "training_keep_runs", "training_log_max_mb", "training_mounts", "training_progress_pattern",
    "training_results_dir", "training_stack", "training_without",
])  # fmt: skip
# These are about the run itself, or may hold a secret that no name tells of.
NOT_LATER = frozenset(["host", "notify", "notify_stall_minutes", *SWITCHES])


def playbook_command(playbook: str, project: str, inventories: list[str], tree: Path = TREE, **variables: str) -> str:
    """`playbook` is its path in the project, `inventories` are sources as Ansible knows them, `variables` go with -e."""
    if installed(tree):
        # By its full name, and with the configuration of whoever has installed it.
        project, place = str(Path.cwd()), f"ddp.swarm.{Path(playbook).stem}"
    else:
        place = near(Path(project) / playbook)
    words = [program() or "ansible-playbook", place]
    for source in inventories:
        words += ["-i", source if "," in source else near(Path(source))]
    words += run_options(context.CLIARGS.get("extra_vars") or (), frozenset(variables))
    for name, value in variables.items():
        words += variable(name, value)
    return typed(words, Path(project))


def run_options(given: Iterable[str], said: frozenset[str] = frozenset()) -> list[str]:
    """Of the options -e of this run those that count for a playbook that comes after it, without the names in `said`."""
    words = []
    for text in map(str.strip, given):
        if text.startswith("@"):
            words += ["-e", f"@{near(Path(text[1:]))}"]
        elif text.startswith(("{", "[")):
            values = mapping(text)
            kept = {name: value for name, value in values.items() if counts_later(str(name), said)}
            words += ["-e", text if kept == values else json.dumps(kept)] if kept else []
        else:
            for name, value in parse_kv(text).items():
                words += variable(name, value) if counts_later(name, said) else []
    return words


def mapping(text: str) -> dict[Any, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def counts_later(name: str, said: frozenset[str]) -> bool:
    """What is none of our settings may stand in the inventory's templates, or be Ansible's own."""
    if name in said or name in NOT_LATER or name.startswith("_"):
        return False
    return name in LATER or not name.startswith(PREFIXES)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"playbook_command": playbook_command}
