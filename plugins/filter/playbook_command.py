"""Filter: the command for a playbook of the project, ready to be typed where the one that runs was typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..module_utils.typed import near, program, typed
from .project import TREE, installed


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
    for name, value in variables.items():
        words += ["-e", f"{name}={value}"]
    return typed(words, Path(project))


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"playbook_command": playbook_command}
