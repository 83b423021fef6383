"""Filters for names that become part of a command or a path: what is none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from ansible.errors import AnsibleError
from jinja2 import Undefined, UndefinedError, pass_context
from jinja2.runtime import Context

from ..module_utils import names
from ..module_utils.masking import mask
from .training_data import data_sets

CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
# A part of a path between its slashes.
PART = rf"(?!\.\.(?:/|\Z))[^/{CONTROL}]{{1,255}}"
PLAIN = r"(?!\.\.(?:/|\Z))[\w.+@:,=~%-]{1,255}"
HOST = r"[0-9A-Za-z_:][0-9A-Za-z_.:@-]{0,252}"
WORDS = r"[0-9A-Za-z](?:[0-9A-Za-z._-]*[0-9A-Za-z])?"
REGISTRY = rf"(?:{WORDS}|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?"
RELATIVE = "a relative path without '..' and control characters, and without '-' at its beginning"

# Kinds beside those of module_utils/names.py, which only users name. For each its pattern, and the words for it.
KINDS: dict[str, tuple[str, str]] = {
    # An IPv6 address may be one.
    "inventory host": (HOST, "the name of a host has letters, digits, '_', '.', ':', '@' and '-', and no '-' at its beginning"),
    "hosts": (rf" *{HOST}(?: *, *{HOST})* *,? *", "it is the name of a host, or several with ',' between them"),
    "secret": (names.NAME, f"the name of a secret has {names.NAME_WORDS}"),
    "environment variable": (r"[A-Za-z_][0-9A-Za-z_]{0,253}", "a variable's name has letters, digits and '_', and no digit first"),
    "registry": (rf"(?!.{{256}}){REGISTRY}(?:/{WORDS})*", "a registry is HOST[:PORT][/PATH], without https:// and '/' at its end"),
    "reference": (
        rf"(?!.{{256}}){REGISTRY}(?:/{WORDS})*(?::[\w][\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?",
        "an image is NAME[:TAG], with the registry's HOST[:PORT]/ before it if it has one",
    ),
    # docker_users and lab_user: useradd's, those of directories with domains too.
    "user": (r"[0-9A-Za-z_][0-9A-Za-z_.@\\-]{0,252}\$?", "a user's name has letters, digits, '_', '.', '@', '\\' and '-', and no '-' at its beginning"),
    "version": (r"[0-9A-Za-z][0-9A-Za-z.+:~*-]{0,127}", "the version of a package has letters, digits and '.+:~*-', and begins with a letter or a digit"),
    # It goes to a shell while the image is built. What ends with '-' apt would remove.
    "package": (
        r"[0-9a-z][0-9a-z+.-]{0,126}[0-9a-z+](?::[0-9a-z]{1,16})?(?:=[0-9][0-9A-Za-z.+:~-]{0,127})?",
        "a Debian package's name has small letters, digits and '+.-', and may be followed by = and a version",
    ),
    "CUDA": (r"[0-9]{1,3}(?:\.[0-9]{1,3})?", "a version of CUDA is two numbers, such as 12.8"),
    "address": (r"""[a-z][a-z0-9+.-]{0,30}:(?!.{1000})[^\s"'<>\\^`{|}\x00-\x20\x7f-\U0010ffff]+""", "an address is such as https://host/path, without blanks"),
    # It goes to a shell while the image is built, if it is a volume's.
    "directory": (rf"/(?:{PLAIN}(?:/+{PLAIN})*/?)?", "a directory is an absolute path without '..', and has letters, digits and '_.-+@:,=~%'"),
    "source": (rf"/(?:{PART}(?:/+{PART})*/?)?", "a directory of the host is an absolute path without '..' and control characters"),
    # That of a plugin may have the registry's name before it and a tag behind it.
    "driver": (rf"(?!.{{256}}){WORDS}(?::[0-9]{{1,5}})?(?:/{WORDS})*(?::[\w][\w.-]{{0,127}})?", "a volume driver is local, or the name of a plugin"),
    "driver option": (r"[0-9A-Za-z][\w.-]{0,252}", "the name of an option has letters, digits and '_.-'"),
    "script": (rf"(?!-){PART}(?:/+{PART})*", f"the script is {RELATIVE}, from training_dir"),
    "pattern": (rf"(?!-){PART}(?:/+{PART})*/?", f"what is fetched is {RELATIVE}, from training_results_dir"),
    "file": (rf"(?!-)(?:[^/{CONTROL}]{{0,255}}/+)*[^/{CONTROL}]{{1,255}}", "a file is a path without control characters, and without '-' at its beginning"),
    "lab": (names.NAME, f"the name of a lab has {names.NAME_WORDS}"),
    **names.KINDS,
}  # fmt: skip


def problem(what: str, kind: str, value: object) -> str:
    """A sentence about a value that is no name of this kind; empty for what is one."""
    if isinstance(value, (dict, list, tuple)) or not isinstance(value, (str, int, float)):
        return f"{what} is no text: {KINDS[kind][1]}"
    text = str(value)
    if kind in names.KINDS:
        return names.refusal(kind, what, text)
    # An address may hold a password.
    return "" if re.fullmatch(KINDS[kind][0], text) else f"{what} is {names.shown(mask(text))}: {KINDS[kind][1]}"


def mount_problems(variable: str, mount: object) -> Iterator[str]:
    if not isinstance(mount, dict):
        yield f"An entry of {variable} is no mount in the long form, which has type, source and target"
        return
    if mount.get("type") in ("volume", "bind") and mount.get("source"):
        kind = "volume" if mount["type"] == "volume" else "source"
        yield problem(f"The source of a mount in {variable}", kind, mount["source"])
    yield problem(f"The target of a mount in {variable}", "directory", mount.get("target"))
    yield from driver_problems(variable, mount)


def dataset_problems(variable: str, entry: dict[str, str]) -> Iterator[str]:
    yield problem(f"An entry of {variable}", "source", entry["path"])
    yield problem(f"What an entry of {variable} has on the controller", "file", entry["controller"])


def driver_problems(variable: str, mount: dict[str, Any]) -> Iterator[str]:
    """Values of options may hold a password, so they are not shown."""
    if not {"driver", "driver_opts"} & set(mount):
        return
    if mount.get("type") != "volume" or not mount.get("source"):
        yield f"A mount in {variable} has a driver or driver_opts, which only one of type volume with a source can have"
    if mount.get("driver") is not None:
        yield problem(f"The driver of a mount in {variable}", "driver", mount["driver"])
    options = mount.get("driver_opts") or {}
    if not isinstance(options, dict):
        yield f"The driver_opts of a mount in {variable} are no mapping, such as {{type: nfs, o: 'addr=10.0.0.5,rw', device: ':/srv/data'}}"
        return
    for name, value in options.items():
        yield problem(f"An option in driver_opts of a mount in {variable}", "driver option", name)
        if not isinstance(value, (str, int, float)) or re.search(f"[{CONTROL}]", str(value)):
            yield f"The option {names.shown(str(name))} in driver_opts of a mount in {variable} is no text without control characters"


def problems(variable: str, held: str | dict[str, str], value: Any) -> list[str]:
    """Sentences about a variable. `held` is a kind, or {each: kind} of a list, {keys: kind} of a mapping, {unless_empty: kind}."""
    if value is None:
        return []
    shape, kind = next(iter(held.items())) if isinstance(held, dict) else ("", held)
    if shape == "unless_empty" and value == "":
        return []
    # Values that have another shape may be secrets in the wrong place, so they are not shown.
    if shape == "keys" and not isinstance(value, dict):
        return [f"{variable} is no mapping"]
    if shape == "each" and isinstance(value, dict):
        return [f"{variable} is no list"]
    said: Iterable[str]
    if kind == "dataset":
        said = [sentence for entry in data_sets(value) for sentence in dataset_problems(variable, entry)]
    elif kind == "mount":
        said = [sentence for mount in value for sentence in mount_problems(variable, mount)]
    elif shape == "keys":
        said = [problem(f"A key of {variable}", kind, key) for key in value]
    elif shape == "each":
        entries = value if isinstance(value, (list, tuple)) else [value]
        said = [problem(f"An entry of {variable}", kind, entry) for entry in entries]
    else:
        said = [problem(variable, kind, value)]
        if kind == "stack" and not said[0] and not names.is_name("stack", str(value) + names.CHECK):
            why = f"it has {52 - len(names.CHECK)} characters at most, for the preflight adds {names.CHECK}"
            said = [f"{variable} is {names.shown(str(value))}: {why}"]
    return list(dict.fromkeys(filter(None, said)))


@pass_context
def name_refusals(context: Context, held: dict[str, str | dict[str, str]], hosts: list[str]) -> list[str]:
    """Sentences about those of the variables that are set, as the play has them and as each of the hosts has them.

    One that is made of what only a role knows is passed over: it is the role's.
    """
    said = [problem("A host of the inventory", "inventory host", host) for host in hosts]
    # Once for each host: Ansible puts its variables together anew at each look.
    theirs = {host: context.resolve("hostvars")[host] for host in hosts}
    for variable, what in held.items():
        own = value_of(context.resolve, variable)
        said += problems(variable, what, own)
        # The values in a mapping are not computed for the sake of its keys: of secrets, a person may be asked.
        if not (isinstance(what, dict) and "keys" in what):
            for host, variables in theirs.items():
                if (value := value_of(variables.get, variable)) != own:
                    said += problems(f"{variable} of {host}", what, value)
    return list(dict.fromkeys(filter(None, said)))


def value_of(look_up: Any, variable: str) -> Any:
    try:
        value = look_up(variable)
        return None if isinstance(value, Undefined) else value
    except (AnsibleError, UndefinedError):
        return None


def is_name(value: object, kind: str) -> bool:
    return names.is_name(kind, value)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"is_name": is_name, "name_refusals": name_refusals}
