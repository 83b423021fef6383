"""Filter: which settings are typed wrong. A name that is none of ours but looks like one, a value of the wrong type, a wrong choice.

What an inventory calls like our settings may be another project's: docker_edition is none of ours, and a role of others reads it. So a name
is refused in an inventory only if it is a slip of the hand away from one of ours. On the command line no other project reads along: there
each name that begins like ours has to be one. Where only we would begin a name so, one that nothing reads in an inventory is told in a
warning. `ddp_others` names what is another's all the same.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import BOOLEANS
from ansible.parsing.dataloader import DataLoader
from ansible.utils.display import Display
from ansible.utils.vars import load_extra_vars
from jinja2 import Undefined, UndefinedError, pass_context
from jinja2.runtime import Context

display = Display()
PREFIXES = ("docker_", "swarm_", "image_", "preflight_", "training_", "lab_", "lock_", "monitoring_", "teardown_")
# With which no other project's names begin that we know of.
OWN_PREFIXES = ("training_", "preflight_", "swarm_", "teardown_")
# Given to playbooks, or handed from one role to the next.
BESIDE = {
    "docker_upgradable", "image_ref", "swarm_backup_dir", "swarm_backup_name", "swarm_busy",
    "swarm_lead", "swarm_leaving", "swarm_touched", "training_backup_dir", "training_pending", "training_probe_archive",
    "training_probe_env", "training_probe_stack", "training_running", "training_spares_gpus", "docker_changed", "docker_checked",
    "docker_host_info", "docker_wanted", "image_wanted", "lock_wanted", "swarm_changed", "swarm_wanted", "training_checked", "training_wanted",
}  # fmt: skip
# True or false, given to playbooks.
SWITCHES = ("all", "teardown_all", "teardown_collect", "teardown_volumes")
# By analogy, on the command line: no playbook would see which job is meant, and take the default one.
ANALOGOUS = dict.fromkeys(
    [
        "stack",
        "stack_name",
        "job",
        "job_name",
        "jobs",
        "name",
        "training",
        "training_name",
        "training_job",
        "training_stack_name",
    ],
    "training_stack",
)
OTHERS = "ddp_others"
UNKNOWN = object()
# What argument_specs take for true or false, as text.
TRUTHS = {*map(str, BOOLEANS), "1.0", "0.0"}
# One that is written with a further letter or two behind its prefix is a slip only if it is long.
LONG = 8
WORDS = {
    "dict": "a mapping",
    "list": "a list",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "path": "a path",
}
SAMPLES = {
    "docker_ca_certificates": "[/etc/ssl/company.crt]",
    "docker_daemon_options": "{log-driver: local}",
    "docker_gpu_packages": "[packages/nvidia-container-toolkit.deb]",
    "docker_gpu_uuids": "[GPU-0a1b2c3d-0000-0000-0000-000000000000]",
    "docker_proxy": "{http: 'http://proxy:3128', https: 'http://proxy:3128', no_proxy: localhost}",
    "docker_users": "[alice]",
    "image_apt_packages": "[g++, ffmpeg]",
    "image_archived": "[{name: prom/prometheus:v3.5.0, archive: prometheus.tar, tag: 'ddp-monitoring-prometheus:1'}]",
    "image_ca_certificates": "[/etc/ssl/company.crt]",
    "image_proxy": "{http: 'http://proxy:3128', https: 'http://proxy:3128', no_proxy: localhost}",
    "image_volumes": "[/snapshots]",
    "lab_inventory_vars": "{training_nproc_per_node: 2}",
    "lab_packages": "[htop]",
    "lab_releases": "{host1: bookworm}",
    "monitoring_image_archives": "{prometheus: images/prometheus.tar}",
    "monitoring_parts": "[prometheus, node_exporter, ranks]",
    "swarm_default_addr_pool": "[10.20.0.0/16]",
    "swarm_rank_hosts": "[host1, host2]",
    "training_collect": "[snapshot.pt, metrics.jsonl]",
    "training_collect_from_each": "['metrics-rank*.jsonl']",
    "training_data": "[/srv/images]",
    "training_env": "{NCCL_DEBUG: WARN}",
    "training_hosts": "[host1, host2]",
    "training_logging": "{driver: local, options: {max-size: 20m}}",
    "training_mounts": "[{type: volume, source: snapshots, target: /snapshots}]",
    "training_secret_env": "{WANDB_API_KEY: token}",
    "training_secrets": "{token: {file: token.txt}}",
}


@cache
def described(roles: str) -> dict[str, dict[str, Any]]:
    """All settings that the roles describe, by their names, as argument_specs have them."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(Path(roles).glob("*/meta/argument_specs.yml")):
        specs = yaml.load(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        for entry in specs["argument_specs"].values():
            found.update(entry.get("options") or {})
    return found


def distance(one: str, other: str) -> int:
    """How many letters are added, left out, changed or swapped with their neighbour (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, above, row = row, before, [i]
        for j, mark in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != mark))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == mark:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]


def plain_name(name: str) -> str:
    return name.casefold().replace("-", "_")


def nearest(name: str, ours: Iterable[str]) -> str:
    """Which of our names is meant by this one, by a slip of the hand; empty if none."""
    plain = plain_name(name)
    prefix = next((prefix for prefix in PREFIXES if plain.startswith(prefix)), "")
    allowed = 2 if prefix and len(plain) - len(prefix) >= LONG else 1
    # A slip changes two letters of the set at most, which is counted much faster.
    alike = (own for own in ours if abs(len(own) - len(plain)) <= allowed and len({*plain} ^ {*own}) <= 2 * allowed)
    near = [(distance(plain, own), own) for own in alike]
    return min((found for found in near if found[0] <= allowed), default=(0, ""))[1]


def names_known(ours: Iterable[str]) -> set[str]:
    return {*ours, *(name for name in SWITCHES if name.startswith(PREFIXES))}


def strangers(names: Iterable[str], ours: Iterable[str], others: Iterable[str]) -> list[str]:
    """What is none of ours. What begins with '_' is private to roles, whose variables a play sees too."""
    return sorted(name for name in {*names} - names_known(ours) - {*others} - BESIDE if not name.startswith("_"))


def name_sentences(given: Iterable[str], typed: Iterable[str], ours: Iterable[str], others: Iterable[str]) -> list[str]:
    """A sentence for each name that is none of `ours` but was meant to be. `typed` are those of the command line, with -e."""
    known, typed = names_known(ours), set(typed)
    said = []
    for name in strangers({*given, *typed}, ours, others):
        meant = (ANALOGOUS.get(plain_name(name), "") if name in typed else "") or nearest(name, known)
        if meant:
            said.append(
                f"{name} is no setting: do you mean {meant}? If it belongs to another project, name it in {OTHERS}: [{name}]."
            )
        elif name in typed and name.startswith(PREFIXES):
            close = difflib.get_close_matches(name, sorted(known), 1, 0)
            said.append(f"{name} is no setting: the nearest is {close[0]}. {all_of(name)}")
    return said


def all_of(name: str) -> str:
    """Where all settings are listed whose names begin like this one."""
    role = plain_name(name).split("_")[0]
    return f"{'docs/playbooks.md' if role == 'teardown' else f'roles/{role}/README.md'} lists all."


def name_warnings(given: Iterable[str], typed: Iterable[str], ours: Iterable[str], others: Iterable[str]) -> list[str]:
    """A sentence for each name in an inventory that begins as only ours do and is none, where name_sentences has none for it."""
    known = names_known(ours)
    said = []
    for name in strangers({*given} - {*typed}, ours, others):
        plain = plain_name(name)
        if not plain.startswith(OWN_PREFIXES) or nearest(name, known):
            continue
        prefix = plain.partition("_")[0] + "_"
        close = difflib.get_close_matches(plain, sorted(own for own in known if own.startswith(prefix)), 2, 0)
        script = "A script's own options go into training_args. " if prefix == "training_" else ""
        said.append(
            f"{name} is no setting and is ignored. The nearest are {' and '.join(close)}: {all_of(name)} {script}"
            f"Remove it, or if it belongs to another project, name it in {OTHERS}: [{name}]."
        )
    return said


def type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, Sequence):
        return "a list"
    return "a number" if isinstance(value, (int, float)) else "empty"


def fits(value: Any, kind: str) -> bool:
    """Whether a value is of a type of argument_specs. Whatever comes with -e NAME=VALUE is a text, and so is a number in it."""
    if kind == "raw":
        return True
    if kind == "dict":
        return isinstance(value, Mapping)
    if kind == "list":
        return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    if isinstance(value, (Mapping, list, tuple)):
        return False
    if kind == "bool":
        return str(value).lower() in TRUTHS
    if kind in ("int", "float"):
        try:
            number = float(value)
        except (TypeError, ValueError):
            return False
        return not isinstance(value, bool) and (kind == "float" or number.is_integer())
    return True


def example(name: str, option: Mapping[str, Any]) -> str:
    default = option.get("default")
    if name in SAMPLES:
        return f"{name}: {SAMPLES[name]}"
    if isinstance(default, bool):
        return f"{name}: {str(default).lower()}"
    if default not in (None, ""):
        return f"{name}: {default}"
    return f"{name}: {({'int': '1', 'float': '1', 'bool': 'true'}).get(option.get('type', 'str'), 'text')}"


def value_sentence(what: str, name: str, option: Mapping[str, Any], value: Any) -> str:
    """What is wrong with a value; empty if nothing. A value of another type is not shown: it may be a secret in the wrong place."""
    kind = option.get("type", "str")
    if value is None and kind not in ("dict", "list"):
        return ""
    if not fits(value, kind):
        given = "written with nothing behind it" if value is None else type_of(value)
        by_hand = (
            " On the command line: -e '{\"" + name + "\": ...}', as JSON."
            if isinstance(value, str) and kind in ("dict", "list")
            else ""
        )
        return f"{what} is {given}, and it has to be {WORDS[kind]}, such as {example(name, option)}.{by_hand}"
    choices = option.get("choices")
    # Among them true and false are words, which YAML reads as more than that.
    if choices and value not in choices and str(value).lower() not in {"true", "false"} & set(choices):
        shown = str(value) if len(str(value)) <= 40 and str(value).isprintable() else "something else"
        return f"{what} is '{shown}': it is {', '.join(map(str, choices[:-1]))} or {choices[-1]}."
    if kind == "list" and option.get("elements") == "dict" and any(not isinstance(entry, Mapping) for entry in value):
        return f"An entry of {what} is {type_of(next(entry for entry in value if not isinstance(entry, Mapping)))}, and each has to be a mapping, such as {example(name, option)}."
    return ""


def held(look_up: Any, name: str) -> Any:
    """A variable's value; UNKNOWN for one that is not set, or made of what only a role knows: that one is the role's to judge."""
    try:
        value = look_up(name, UNKNOWN)
    except (AnsibleError, UndefinedError):
        return UNKNOWN
    return UNKNOWN if isinstance(value, Undefined) else value


@pass_context
def setting_refusals(context: Context, roles: str, hosts: list[str]) -> list[str]:
    """Sentences about what was given in the inventory and on the command line. `roles` is the directory of the roles."""

    def own(name: str, _default: object) -> Any:
        return context.resolve(name)

    ours = described(roles)
    views = {host: context.resolve("hostvars")[host] for host in hosts}
    given = {*context.get_all(), *(name for view in views.values() for name in view)}
    others = held(own, OTHERS)
    names = given, load_extra_vars(DataLoader()), ours, others if isinstance(others, (list, tuple)) else []
    for warning in name_warnings(*names):
        display.warning(warning)
    said = name_sentences(*names)
    for name in SWITCHES:
        value = held(own, name)
        if value is not UNKNOWN and not fits(value, "bool"):
            said.append(f"{name} is {type_of(value)} that is neither true nor false: say {name}=true or {name}=false.")
    for name in sorted(given & ours.keys()):
        here = held(own, name)
        found = {name: here}
        # Each look at a host's value may compute it: a secret may be asked from a person.
        if not ours[name].get("no_log"):
            found |= {f"{name} of {host}": held(view.get, name) for host, view in views.items()}
        for what, value in found.items():
            if value is not UNKNOWN and (what == name or here is UNKNOWN or value != here):
                said.append(value_sentence(what, name, ours[name], value))
    return list(dict.fromkeys(filter(None, said)))


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"setting_refusals": setting_refusals}
