"""Filter: which of the training's settings cannot be meant. Values of secrets are in no message."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .training_caches import KNOWN, results_volume, variables_of
from .training_command import words
from .training_data import data_refusals
from .training_mounts import driver_refusals
from .training_notify import notify_refusals
from .training_without import host_names

SOURCES = {"content", "file", "external"}
CHOICES = {
    "training_wait_for": ("started", "complete", "none"),
    "training_backend": ("auto", "nccl", "gloo"),
    "training_network_mode": ("overlay", "host"),
    "training_snapshots": ("none", "shared", "rank0"),
    "training_nccl_debug": ("VERSION", "WARN", "INFO", "TRACE"),
}


def training_refusals(settings: Mapping[str, Any], swarm: list[str]) -> list[str]:
    """A sentence for each. `settings` are variables by their names, `swarm` the hosts of the group swarm."""
    return [
        sentence
        for check in (
            processes,
            gpus,
            choices,
            times,
            patterns,
            ranks,
            secrets,
            secret_variables,
            caches,
            commands,
            driver_refusals,
            data_refusals,
            notify_refusals,
        )
        if (sentence := check(settings, swarm))
    ]


def processes(settings: Mapping[str, Any], _swarm: list[str]) -> str:
    number = settings["training_nproc_per_node"]
    if at_least_one(number) or number in ("auto", "gpu", "cpu"):
        return ""
    return (
        f"training_nproc_per_node is {number}: it is the number of processes on each machine, 1 or more, or one of torchrun's words auto, gpu "
        "and cpu."
    )


def gpus(settings: Mapping[str, Any], _swarm: list[str]) -> str:
    number = settings["training_gpus"]
    if re.fullmatch("auto|[0-9]+", str(number)):
        return ""
    return f"training_gpus is '{number}': it is auto, or the number of GPUs that each rank reserves, 0 or more."


def choices(settings: Mapping[str, Any], _swarm: list[str]) -> str:
    wrong = {name: words for name, words in CHOICES.items() if settings[name] not in words}
    return " ".join(
        f"{name} is '{settings[name]}': it is {', '.join(words[:-1])} or {words[-1]}." for name, words in wrong.items()
    )


def times(settings: Mapping[str, Any], _swarm: list[str]) -> str:
    wrong = {
        name: settings[name]
        for name, fits in (("training_rendezvous_timeout", at_least_one), ("training_collective_timeout", above_zero))
        if not fits(settings[name])
    }
    return " ".join(f"{name} is {value}: it is a number of seconds, 1 or more." for name, value in wrong.items())


def patterns(settings: Mapping[str, Any], _swarm: list[str]) -> str:
    said = []
    for name in ("training_started_pattern", "training_progress_pattern"):
        try:
            re.compile(str(settings[name]))
        except re.error as error:
            said.append(f"{name} is '{settings[name]}', no regular expression of Python: {error}.")
    return " ".join(said)


def ranks(settings: Mapping[str, Any], swarm: list[str]) -> str:
    strangers = [host for host in settings["training_hosts"] if host not in swarm]
    gone = [host for host in host_names(settings["training_without"]) if host in settings["training_hosts"]]
    if gone:
        return f"training_hosts and training_without both name {', '.join(gone)}: take it out of training_hosts."
    return f"training_hosts names {', '.join(strangers)}, which the group 'swarm' does not hold." if strangers else ""


def secrets(settings: Mapping[str, Any], _swarm: list[str]) -> str:
    given = settings["training_secrets"]
    wrong = malformed_secrets(given)
    if isinstance(given, Mapping) and not wrong:
        return ""
    return (
        "training_secrets is a mapping of names to secrets, each with one of {content: ...}, {file: ...} and {external: true}; "
        f"{'these have none or several: ' + ', '.join(wrong) if isinstance(given, Mapping) else 'it is a text'}. "
        "Write, for example, training_secrets: {token: {content: ...}}."
    )


def secret_variables(settings: Mapping[str, Any], _swarm: list[str]) -> str:
    """What stands in the place of a secret's name may be the secret: it is not shown."""
    given, known = settings["training_secret_env"], settings["training_secrets"]
    if not isinstance(given, Mapping):
        return "training_secret_env is a mapping of environment variables to names of secrets, such as training_secret_env: {API_KEY: token}."
    known = known if isinstance(known, Mapping) else {}
    strange = [str(name) for name, secret in given.items() if str(secret) not in {str(key) for key in known}]
    twice = sorted(set(map(str, given)) & set(map(str, settings["training_env"] or {})))
    said = []
    if strange:
        said.append(
            f"training_secret_env has for {', '.join(strange)} no name of a secret in training_secrets, which has "
            f"{', '.join(map(str, known)) or 'none'}. Write, for example, training_secrets: {{token: {{content: ...}}}} and "
            "training_secret_env: {API_KEY: token}."
        )
    if twice:
        said.append(f"training_env and training_secret_env both set {', '.join(twice)}: leave one of them out.")
    return " ".join(said)


def caches(settings: Mapping[str, Any], _swarm: list[str]) -> str:
    given, where = settings["training_caches"], str(settings["training_results_dir"])
    if variables_of(given) is None:
        return (
            "training_caches is no list and neither true nor false: it is a list of the variables that name a cache's directory, such as "
            f"[{', '.join(KNOWN)}], which are those of true."
        )
    if given and isinstance(given, (list, tuple)) and not results_volume(settings["training_mounts"], where):
        return (
            f"training_caches has a list, and training_mounts has no volume at training_results_dir ({where}) that could hold them: mount one "
            "there, or give the directories in training_env."
        )
    return ""


def commands(settings: Mapping[str, Any], _swarm: list[str]) -> str:
    said = []
    for name in ("training_args", "training_command", "training_torchrun_args"):
        value = settings[name]
        if isinstance(value, Mapping):
            said.append(f"{name} is a mapping: it is a list of words, or a text.")
            continue
        try:
            words(value)
        except ValueError:
            said.append(
                f"{name} has a quote that nothing closes: close it, write \\ before it, or write {name} as a list of words."
            )
    return " ".join(said)


def malformed_secrets(given: Any) -> list[str]:
    """Names whose value is not a mapping with exactly one of content, file and external."""
    if not isinstance(given, Mapping):
        return []
    return [
        str(name)
        for name, secret in given.items()
        if not isinstance(secret, Mapping) or len(SOURCES & {key for key in secret if secret[key] is not False}) != 1
    ]


def at_least_one(value: Any) -> bool:
    return str(value).isdecimal() and int(value) >= 1


def above_zero(value: Any) -> bool:
    try:
        return 0 < float(value) < float("inf")
    except (TypeError, ValueError):
        return False


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"training_refusals": training_refusals}
