"""A job that is watched without a terminal."""

import queue
from typing import Any, cast

import pytest
from rich.console import Console

from console import watch
from console.look import Look


class Looks:
    """A looker whose looks are all there already."""

    def __init__(self, *states: str) -> None:
        self.seen: queue.Queue[Look] = queue.Queue()
        for second, state in enumerate(states):
            job: dict[str, Any] = {"name": "simple-training", "state": state, "since": "2027-01-15T08:00:00Z"}
            job |= {"restarts": 0, "planned": {}, "ranks": []}
            self.seen.put(Look(at=f"2027-01-15T08:01:{second:02}Z", jobs=[job]))


def seen(capsys: pytest.CaptureFixture[str], *states: str) -> list[str]:
    watch.in_lines(Console(), cast("watch.Looker", Looks(*states)), as_json=False)
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("Nothing")]


def test_while_nothing_is_new_that_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is silent for long looks dead, and services that run programs end these."""
    again = ["running", "running", "running", "complete"]
    assert seen(capsys, *again) == []
    monkeypatch.setattr(watch, "SILENCE", 0.0)
    assert seen(capsys, *again) == ["Nothing new for 0s."] * 2
