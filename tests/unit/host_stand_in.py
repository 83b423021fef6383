"""What the modules that look at a host ask of Ansible, in the place of AnsibleModule."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Host:
    """What the modules ask of Ansible. `commands` are those that there are, with the exit code and the output of each."""

    def __init__(self, **commands: Any) -> None:
        self.commands = {name.replace("_", "-"): said for name, said in commands.items()}
        self.asked: list[list[str]] = []

    def get_bin_path(self, name: str) -> str | None:
        if isinstance(self.commands.get(name), Path):
            return str(self.commands[name])
        return f"/usr/bin/{name}" if name in self.commands else None

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        self.asked.append(command)
        name = Path(command[0]).name
        if name not in self.commands:
            return 127, "", "not found"
        code, out = self.commands[name]
        return code, out, ""
