"""Filter: whether a job that is to start would go on in the results of another program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from .training_command import words


def program_of(command: list[str]) -> str:
    """The script of a command, or the module after -m. Empty where it has neither."""
    for before, word in zip(["", *command], command):
        if word.endswith(".py") or before == "-m":
            return word
    return ""


def other_program(stack: str, name: str, settings: Mapping[str, Any]) -> str:
    """What the job ran last, if it is another program than these settings start; empty where it is the same, or nobody knows.

    `stack` is the stack file that collect.yml has written down, empty if there is none, `settings` are variables by their names.
    """
    try:
        read = yaml.safe_load(stack)
        volumes = [volume["name"] for volume in (read.get("volumes") or {}).values()]
        was = program_of([str(word) for word in read["services"]["node0"]["command"]])
    except (yaml.YAMLError, AttributeError, KeyError, TypeError):
        return ""
    # The directory may hold what was collected of a job of another name.
    if not any(str(volume).startswith(f"{name}_") for volume in volumes):
        return ""
    asked = program_of(words(settings["training_command"]) or [str(settings["training_script"])])
    return was if was and asked and was != asked else ""


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"other_program": other_program}
