"""Filter: the command by which a person reaches a host as Ansible does."""

import shlex
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

HERE = ("local", "ansible.builtin.local")


def ssh_command(variables: Mapping[str, Any], host: str, command: str = "") -> str:
    """`variables` are those of the host in the inventory, `command` is what it is to run as root; without it, ssh opens a shell.

    What ~/.ssh/config says, ssh finds by itself.
    """

    def said(*names: str) -> str:
        return next((str(variables[name]) for name in names if variables.get(name) not in (None, "")), "")

    root = as_root(said, command) if command else ""
    if said("ansible_connection") in HERE:
        return root
    user, address = said("ansible_user", "ansible_ssh_user"), said("ansible_host", "ansible_ssh_host") or host
    port, key = (
        said("ansible_port", "ansible_ssh_port"),
        said("ansible_ssh_private_key_file", "ansible_private_key_file"),
    )
    options = [
        # sudo may ask for a password.
        *(["-t"] if root != command else []),
        *(["-p", port] if port not in ("", "22") else []),
        *(["-i", key] if key else []),
        *(part for name in ("ansible_ssh_common_args", "ansible_ssh_extra_args") for part in shlex.split(said(name))),
    ]
    reached = shlex.join(["ssh", *options, f"{user}@{address}" if user else address])
    return f"{reached} {root}".strip()


def as_root(said: Any, command: str) -> str:
    """`said` gives the value of the first of some variables that is set."""
    if said("ansible_user", "ansible_ssh_user") == "root" or not boolean(
        said("ansible_become") or "true", strict=False
    ):
        return command
    method, user = said("ansible_become_method").rpartition(".")[2] or "sudo", said("ansible_become_user")
    if method == "su":
        # Once for the shell here, once for the one there.
        return f"su -c {shlex.quote(chr(34) + command + chr(34))}"
    return " ".join([method, *(["-u", shlex.quote(user)] if user not in ("", "root") else []), command])


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"ssh_command": ssh_command}
