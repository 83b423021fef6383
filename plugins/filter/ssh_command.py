"""Filters: the command by which a person reaches a host as Ansible does."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

HERE = ("local", "ansible.builtin.local")


def ssh_command(variables: Mapping[str, Any], host: str, command: str = "") -> str:
    """`variables` are those of the host in the inventory, `command` is what it is to run as root; without it, ssh opens a shell.

    What ~/.ssh/config says, ssh finds by itself.
    """

    def said(*names: str) -> str:
        return first_said(variables, *names)

    root = as_root(said, command) if command else ""
    # sudo may ask for a password.
    reached = shlex.join(ssh_words(variables, host, ["-t"] if root != command else []))
    return f"{reached} {root}".strip()


def no_answer(variables: Mapping[str, Any], host: str, why: str) -> str:
    """What is to be said of a host that could not be reached; `why` is what Ansible says of it."""
    return (
        f"{host} ({first_said(variables, 'ansible_host', 'ansible_ssh_host') or host}) does not answer over SSH: {connection_trouble(why)}. "
        f"Check its address in the inventory, that it is switched on, and that '{ssh_command(variables, host)}' works from here."
    )


def connection_trouble(why: str) -> str:
    """Without Ansible's own words before those of ssh."""
    return why.strip().removeprefix("Task failed: ").removeprefix("Failed to connect to the host via ssh: ").rstrip(".")


def first_said(variables: Mapping[str, Any], *names: str) -> str:
    return next((str(variables[name]) for name in names if variables.get(name) not in (None, "")), "")


def ssh_words(variables: Mapping[str, Any], host: str, options: Sequence[str] = ()) -> list[str]:
    """ssh with its options, and where it leads. None for this machine, which needs no ssh."""

    def said(*names: str) -> str:
        return first_said(variables, *names)

    if said("ansible_connection") in HERE:
        return []
    user, address = said("ansible_user", "ansible_ssh_user"), said("ansible_host", "ansible_ssh_host") or host
    port, key = (
        said("ansible_port", "ansible_ssh_port"),
        said("ansible_ssh_private_key_file", "ansible_private_key_file"),
    )
    given = [
        *options,
        *(["-p", port] if port not in ("", "22") else []),
        *(["-i", key] if key else []),
        *(part for name in ("ansible_ssh_common_args", "ansible_ssh_extra_args") for part in shlex.split(said(name))),
    ]
    return ["ssh", *given, f"{user}@{address}" if user else address]


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
        return {"ssh_command": ssh_command, "ssh_words": ssh_words}
