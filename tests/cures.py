"""Hints as cures: what a hint says in words that a program can follow, and nothing else, is done (see preflight/faults.py)."""

import re
import shlex
from typing import Any, NamedTuple

from labs import Lab

STEPS = re.compile(
    r"set (?P<variable>[a-z]\w+) to (?P<value>[^\s,;:()]+)"
    r"|run playbooks/(?P<playbook>\w+)\.yml(?: --limit (?P<limit>\w+))?"
    r"|run '(?P<command>[^']+)' on (?P<host>\w+)"
    r"|(?P<taken>[A-Z]\w+) is \S+ in training_env: take it out there"
)


class Step(NamedTuple):
    kind: str
    what: str
    where: str = ""


def steps_of(hint: str) -> list[Step]:
    """In their order. What stands after `, or` is another way."""
    found = []
    for match in STEPS.finditer(re.split(r", or ", hint)[0]):
        part = match.groupdict()
        if part["variable"]:
            found.append(Step("set", part["variable"], part["value"]))
        elif part["playbook"]:
            found.append(Step("play", part["playbook"], part["limit"] or ""))
        elif part["command"]:
            found.append(Step("run", part["command"], part["host"]))
        else:
            found.append(Step("take out", part["taken"]))
    return found


def follow(lab: Lab, findings: list[dict[str, Any]], settings: dict[str, Any]) -> dict[str, Any]:
    """Do what the hints of all findings say; return the settings for the next check."""
    settings = dict(settings)
    steps = list(dict.fromkeys(step for finding in findings for step in steps_of(finding["hint"])))
    assert steps, [finding["hint"] for finding in findings]
    for step in steps:
        if step.kind == "set":
            settings[step.what] = step.where
        elif step.kind == "take out":
            settings["training_env"] = {k: v for k, v in settings["training_env"].items() if k != step.what}
    for step in steps:
        if step.kind == "run":
            lab.on(step.where, *shlex.split(step.what))
        elif step.kind == "play":
            run = lab.play(f"playbooks/{step.what}.yml", limit=step.where or None, **settings)
            assert run.rc == 0, run.failure()
    return settings
