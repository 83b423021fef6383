"""Playbooks in tests of hosts: what a run that fails says, and one that was interrupted. The playbooks run on this machine alone."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import labs
import pytest

PLAYBOOK = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.command: {command}
"""


@pytest.fixture
def lab(tmp_path: Path) -> labs.Lab:
    made = labs.Lab("none")
    made.directory = tmp_path
    made.artifacts = tmp_path / "artifacts"
    return made


def playbook(tmp_path: Path, command: str) -> str:
    path = tmp_path / "play.yml"
    path.write_text(PLAYBOOK.format(command=command))
    return str(path)


def test_a_run_that_fails_says_why(lab: labs.Lab, tmp_path: Path) -> None:
    run = lab.play(playbook(tmp_path, "/bin/false"), inventory="localhost,")
    assert run.rc != 0
    assert "non-zero return code" in run.failure()


def test_a_run_that_ends_without_a_task_says_its_last_words(lab: labs.Lab, tmp_path: Path) -> None:
    run = lab.play(str(tmp_path / "no-such.yml"), inventory="localhost,")
    assert run.rc != 0
    assert "no-such.yml" in run.failure()


def test_an_interrupted_run_is_no_failure(lab: labs.Lab, tmp_path: Path) -> None:
    """As Ctrl-C, or the end of the time that a suite was given."""
    began = time.monotonic()
    late = threading.Timer(8, os.kill, (os.getpid(), signal.SIGINT))
    late.start()
    with pytest.raises(KeyboardInterrupt):
        lab.play(playbook(tmp_path, "sleep 300"), inventory="localhost,")
    late.join()
    assert time.monotonic() < began + 200
