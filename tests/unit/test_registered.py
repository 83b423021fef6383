"""A task that is skipped registers that it was skipped, in place of what another task has registered under the same name."""

from __future__ import annotations

import importlib
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from by_path import ROOT

FILTERS = "ansible_collections.ddp.swarm.plugins.filter"
FILES = sorted(ROOT.glob("roles/*/tasks/**/*.yml"))


def tasks_of(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks_of(task.get(part, []))


def registered(tasks: list[dict[str, Any]]) -> Iterator[tuple[str, bool]]:
    """Each name, and whether its task may be skipped."""
    return ((task["register"], "when" in task) for task in tasks_of(tasks) if "register" in task)


def test_no_result_has_the_name_of_a_variable() -> None:
    """What a task registers wins over vars/main.yml and defaults/main.yml."""
    files = ROOT.glob("roles/*/[vd]*s/main.yml")
    variables = {name for file in files for name in re.findall(r"^(\w+):", file.read_text(), re.MULTILINE)}
    assert len(variables) > 100
    names = {name for file in FILES for name, _ in registered(yaml.safe_load(file.read_text()) or [])}
    assert not names & variables


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_task_that_only_fails_says_so_by_its_name(file: Path) -> None:
    """plugins/callback/phases.py tells by it that failing is what such a task is for."""
    for task in tasks_of(yaml.safe_load(file.read_text()) or []):
        if {"ansible.builtin.fail", "ansible.builtin.assert"} & set(task):
            assert re.match(r"(?:Refuse|Report|Check)\b", task["name"]), task["name"]


def yaml_texts() -> Iterator[str]:
    for pattern in ("*.yml", "*.j2"):
        for folder in ("roles", "playbooks", "molecule"):
            yield from (path.read_text() for path in (ROOT / folder).rglob(pattern))
    yield (ROOT / "site.yml").read_text()


def test_each_result_is_read() -> None:
    """But that of a task whose errors are ignored: ansible-lint wants one to be registered there."""
    texts = "\n".join(yaml_texts())
    names = {
        task["register"]
        for file in FILES
        for task in tasks_of(yaml.safe_load(file.read_text()) or [])
        if "register" in task and not task.get("ignore_errors")
    }
    assert not [name for name in names if len(re.findall(rf"\b{name}\b", texts)) < 2]


def test_each_filter_is_used() -> None:
    texts = "\n".join(yaml_texts())
    filters = {
        name
        for path in (ROOT / "plugins/filter").glob("*.py")
        for name in importlib.import_module(f"{FILTERS}.{path.stem}").FilterModule().filters()
    }
    assert len(filters) > 50
    assert not [name for name in filters if not re.search(rf"ddp\.swarm\.{name}\b", texts)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_result_is_lost_to_a_task_that_is_skipped(file: Path) -> None:
    found = defaultdict(list)
    for name, conditional in registered(yaml.safe_load(file.read_text()) or []):
        found[name].append(conditional)
    assert not [name for name, tasks in found.items() if any(tasks[1:])]
