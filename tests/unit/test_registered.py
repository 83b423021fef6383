"""A task that is skipped registers that it was skipped, in place of what another task has registered under the same name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from by_path import ROOT

FILES = sorted(ROOT.glob("roles/*/tasks/**/*.yml"))


def registered(tasks: list[dict[str, Any]]) -> Iterator[tuple[str, bool]]:
    """Each name, and whether its task may be skipped."""
    for task in tasks:
        if "register" in task:
            yield task["register"], "when" in task
        for part in ("block", "rescue", "always"):
            yield from registered(task.get(part, []))


def test_no_result_has_the_name_of_a_variable() -> None:
    """What a task registers wins over vars/main.yml and defaults/main.yml."""
    files = ROOT.glob("roles/*/[vd]*s/main.yml")
    variables = {name for file in files for name in re.findall(r"^(\w+):", file.read_text(), re.MULTILINE)}
    assert len(variables) > 100
    names = {name for file in FILES for name, _ in registered(yaml.safe_load(file.read_text()) or [])}
    assert not names & variables


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_result_is_lost_to_a_task_that_is_skipped(file: Path) -> None:
    found = defaultdict(list)
    for name, conditional in registered(yaml.safe_load(file.read_text()) or []):
        found[name].append(conditional)
    assert not [name for name, tasks in found.items() if any(tasks[1:])]
