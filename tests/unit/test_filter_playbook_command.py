"""The command for another playbook: with those options of the run that count there, and without a secret."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from ansible import context
from ansible.utils.context_objects import CLIArgs
from ansible_collections.ddp.swarm.plugins.filter.playbook_command import playbook_command, run_options
from by_path import ROOT


def words(*given: str, **variables: str) -> list[str]:
    return run_options(given, frozenset(variables))[1::2]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("training_artifacts_dir=/srv/mine", ["training_artifacts_dir=/srv/mine"]),
        ("training_wait_for=complete training_results_dir=/out", ["training_results_dir=/out"]),
        ("training_fresh=true", []),
        ("docker_version=26 image_base=python:3.11 swarm_rejoin=true", []),
        # What is none of ours may be in the inventory's templates, or be Ansible's own.
        ("ansible_user=me run=7", ["ansible_user=me", "run=7"]),
        ("training_without='host1 host2'", ['{"training_without": "host1 host2"}']),
        ('{"training_collect": ["a.pt", "b c"], "training_args": "5 5"}', ['{"training_collect": ["a.pt", "b c"]}']),
        ("{training_keep_runs: 5}", ["{training_keep_runs: 5}"]),
        ("{training_keep_runs: 5, _training_x: 1}", ['{"training_keep_runs": 5}']),
        ('{"training_fresh": true}', []),
        ("@settings.yml", ["@settings.yml"]),
        # These are about this run, or about whom it tells.
        ("notify=https://hooks.example/T0/abc all=true", []),
        ("[1, 2]", []),
        ("{broken", []),
        ("", []),
    ],
)
def test_the_options_that_count(given: str, kept: list[str]) -> None:
    assert words(given) == kept


def test_what_is_said_anyway_is_not_said_twice() -> None:
    assert words("training_stack=mine run=7", '{"training_stack": "mine"}', training_stack="mine") == ["run=7"]


def test_a_file_of_settings_is_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert words(f"@{tmp_path}/my settings.yml", "@/elsewhere/x.yml") == ["@my settings.yml", "@/elsewhere/x.yml"]


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ("ansible_become_password=geheimnis", '{"api_key": "geheimnis", "run": 7}', "run=7")
    monkeypatch.setattr(context, "CLIARGS", CLIArgs({"extra_vars": given}))
    said = playbook_command("playbooks/collect.yml", str(ROOT), ["host1,"], training_stack="mine")
    assert "geheimnis" not in said
    assert "run" in said


def test_what_is_printed_can_be_typed(tmp_path: Path) -> None:
    """As a shell reads it, Ansible gets the settings of the run."""
    asks = {"hosts": "localhost", "gather_facts": False, "tasks": [
        {"ansible.builtin.debug": {"msg": "{{ 'playbooks/show.yml' | ddp.swarm.playbook_command(playbook_dir, ['localhost,'], training_stack='a b') }}"}},
    ]}  # fmt: skip
    shows = {"hosts": "localhost", "gather_facts": False, "tasks": [
        {"ansible.builtin.debug": {"msg": "{{ [training_stack, training_collect, note, training_fresh | default('no')] | to_json }}"}},
    ]}  # fmt: skip
    (tmp_path / "playbooks").mkdir()
    for name, play in (("ask.yml", asks), ("playbooks/show.yml", shows)):
        (tmp_path / name).write_text(json.dumps([play]))
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_STDOUT_CALLBACK": "ddp.swarm.phases",
        "NO_COLOR": "1",
    }
    given = [
        "-e", '{"training_collect": ["it\'s.pt", "$(b)"], "training_fresh": true}', "-e", "note='a \"b\"'", "-e", "training_stack=other",
    ]  # fmt: skip
    ansible = str(Path(sys.executable).parent / "ansible-playbook")
    run = [ansible, "-i", "localhost,", "ask.yml", *given]
    said = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False).stdout
    typed = next((line.strip() for line in said.splitlines() if "show.yml" in line), "")
    assert typed, said
    assert "training_fresh" not in typed
    done = subprocess.run(
        ["bash", "-c", typed], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(next(line for line in done.stdout.splitlines() if line.endswith("]")).partition(": ")[2]) == [
        "a b", ["it's.pt", "$(b)"], 'a "b"', "no",
    ], typed  # fmt: skip
    assert shlex.split(typed)
