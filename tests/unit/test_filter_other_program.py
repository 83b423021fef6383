"""A job's name, used for another program: its results would be taken for those of that one."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.ddp.swarm.plugins.filter.other_program import other_program, program_of

LAUNCHED = ["python3", "/ddp-launcher", "--rank=0", "--", "torchrun", "--nnodes=2", "--", "train.py", "--epochs", "3"]


def stack(command: Any, volume: str = "mine_snapshots") -> str:
    return yaml.safe_dump({"volumes": {"snapshots": {"name": volume}}, "services": {"node0": {"command": command}}})


def other(text: str, script: str = "training_code.py", command: Any = "") -> str:
    return other_program(text, "mine", {"training_script": script, "training_command": command})


@pytest.mark.parametrize(
    ("command", "program"),
    [
        (LAUNCHED, "train.py"),
        (["sh", "-c", "read", "sh", "KEY", "key", "--", "accelerate", "launch", "fit.py"], "fit.py"),
        (["python", "-m", "package.main", "run.py"], "package.main"),
        (["deepspeed", "program"], ""),
        ([], ""),
    ],
)
def test_the_program_of_a_command(command: list[str], program: str) -> None:
    assert program_of(command) == program


def test_another_script_is_named() -> None:
    assert other(stack(LAUNCHED)) == "train.py"
    assert other(stack(LAUNCHED), command="accelerate launch --x 1 fit.py") == "train.py"
    assert other(stack(LAUNCHED), script="train.py") == ""
    assert other(stack(LAUNCHED), command=["accelerate", "launch", "train.py"]) == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "services: {}",
        stack(None),
        stack(["deepspeed", "program"]),
        stack(LAUNCHED, volume="other_snapshots"),
    ],
)
def test_where_nobody_knows_nothing_is_said(text: str) -> None:
    assert other(text) == ""
