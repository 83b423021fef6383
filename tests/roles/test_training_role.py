"""What the role training asks docker, as Ansible renders it. Docker is a stand-in that writes down how it was called."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from by_path import ROOT
from plays import HERE, of_role, play
from test_hostile_results import HONEST, Host


def test_volumes_are_listed_with_their_stack(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin" / "docker"
    docker.write_text(
        f"#!/bin/sh\nprintf '%s\\n' \"$@\" >{tmp_path}/called\nprintf 'demo_a\\tdemo\\ntheirs\\tshop\\n'\n"
    )
    docker.chmod(0o755)
    tasks = [
        *of_role("training", "volumes/ask"),
        {"ansible.builtin.debug": {"msg": "found {{ _training_volumes_of_jobs | to_json }}"}},
    ]
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    done = play(tmp_path, tasks, environment={"PATH": path}, training_stack="demo")
    assert 'found ["demo_a"]' in done.stdout, done.stdout
    called = (tmp_path / "called").read_text().splitlines()
    assert called == ["volume", "ls", "--format", r'{{.Name}}\t{{.Label "com.docker.stack.namespace"}}']


@pytest.mark.parametrize(
    ("settings", "own"),
    [({}, True), ({"training_script": "train.py"}, False), ({"training_command": "python3 training_code.py"}, False)],
)
def test_what_the_own_trainer_alone_gets(tmp_path: Path, settings: dict[str, str], own: bool) -> None:
    """A command starts what it says, whatever training_script is."""
    said = {
        "ansible.builtin.debug": {
            "msg": "so: {{ 'nothing left' in training_progress_pattern }} {{ training_snapshots }}"
        }
    }
    groups = {
        "managers": {"hosts": {"host1": HERE}},
        "workers": {},
        "swarm": {"children": {"managers": {}, "workers": {}}},
    }
    done = play(tmp_path, [*of_role("training", "validate"), said], groups, image_ref="a:1", **settings)
    assert f"so: {own} {'rank0' if own else 'shared'}" in done.stdout, done.stdout


def test_a_command_is_told_on_the_controller_and_decides_nothing(tmp_path: Path) -> None:
    """The event comes on its standard input; its words, which may hold a token, are in no output."""
    command = tmp_path / "tell.sh"
    command.write_text(f'#!/bin/sh\ncat >{tmp_path}/event; echo "$1" >{tmp_path}/word; exit ${{2:-0}}\n')
    command.chmod(0o755)
    tell = {"ansible.builtin.include_role": {"name": "training", "tasks_from": "tell"}}
    event = {"training_event": {"event": "failed", "text": "one\ntwo"}}
    for words, rc in (("'a S3CR3T'", 0), ("'a S3CR3T' 4", 4)):
        done = play(
            tmp_path,
            [{**tell, "vars": event}],
            options=("-vvv",),
            training_stack="demo",
            training_notify=f"{command} {words}",
        )
        assert done.returncode == 0, done.stdout
        assert json.loads((tmp_path / "event").read_text()) == {"event": "failed", "text": "one\ntwo", "job": "demo"}
        assert (tmp_path / "word").read_text() == "a S3CR3T\n"
        assert (f"ended with exit code {rc}" in " ".join(done.stdout.split())) == bool(rc)
        assert "S3CR3T" not in done.stdout
    done = play(tmp_path, [{**tell, "vars": event}], training_stack="demo", training_notify=f"{tmp_path}/none")
    assert "nobody may have been told" in " ".join(done.stdout.split()), done.stdout
    assert done.returncode == 0
    (tmp_path / "event").unlink()
    for nobody in ("", "https://hooks.example.org/S3CR3T"):
        done = play(tmp_path, [{**tell, "vars": event}], training_stack="demo", training_notify=nobody)
        assert done.returncode == 0
        assert "nobody may" not in done.stdout
    assert not (tmp_path / "event").exists()


FAILED = "2026-01-02T03:04:05.5Z Traceback (most recent call last):\n2026-01-02T03:04:05.6Z ValueError: the data are not here\n"
FAILED += "2026-01-02T03:04:06.1Z E0102 torch: failed (exitcode: 1) local_rank: 0\n"
KILLED = "1767323043.5 host1 kernel: Out of memory: Killed process 4711 (python) total-vm:9kB"


def test_a_failure_is_told_with_what_its_host_says_of_the_moment(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    programs = {
        "docker": f"if [ $1 = ps ]; then echo 0123456789ab; else printf '%b' '{FAILED}' >&2; fi",
        "journalctl": f"echo $@ >>{tmp_path}/asked; [ $1 = --dmesg ] || exit 0; echo '{KILLED}'",
    }
    for name, script in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    deployed = {"failures": ["node0"], "msg": "the training failed"}
    told = play(
        tmp_path,
        [*of_role("training", "start/failure")],
        environment={"PATH": path},
        training_hosts=["host1"],
        _training_deployed=deployed,
    )
    said = " ".join(told.stdout.split())
    assert "ValueError: the data are not here" in said, told.stdout
    assert (
        "What host1 says of that moment: 2026-01-02T03:04:03Z the kernel killed 4711 (python) for its memory (Out of memory:"
        in said
    )
    assert "--since=@1767322925 --until=@1767323075" in (tmp_path / "asked").read_text()


def test_a_failed_run_is_collected(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.put(HONEST)
    failed = {"failures": ["node0"], "msg": "the training failed"}
    asked = {"training_hosts": ["host1"], "training_collect": ["snapshot.pt"]}
    run = host.play("start/failure", _training_deployed=failed, **asked)
    assert run.returncode == 2
    assert host.collected()["snapshot.pt"] == HONEST["snapshot.pt"]
    assert f"Logs of host1: {host.artifacts}\n" in run.stdout, run.stdout
    assert re.search(r"Report: .*ansible-playbook \S*playbooks/report.yml ", run.stdout), run.stdout
    # A wait that has run out leaves the job alone.
    run = host.play("start/failure", 1, _training_deployed={**failed, "timed_out": True}, **asked)
    assert "Logs of" not in run.stdout
    # What hinders it hides nothing.
    host.artifacts.with_name("file").write_text("in the way")
    run = host.play(
        "start/failure",
        2,
        _training_deployed=failed,
        **{**asked, "training_artifacts_dir": f"{host.artifacts.parent}/file"},
    )
    assert "could not be fetched; this does it again:" in " ".join(run.stdout.split()), run.stdout
    assert "the training failed" in run.stdout


RULE = (
    "{{ 'within ' ~ _training_begins.within ~ ' s' if _training_begins.within else 'waits for <' ~ _training_begins.pattern.split()[:1] | join ~ '>' }}"
    " for {{ _training_begins.period }} s"
)


def said_at_the_end(directory: Path, environment: Any = None, **variables: Any) -> str:
    """The words of the role's last tasks, which say how the job stands."""
    last = yaml.safe_load((ROOT / "roles/training/tasks/main.yml").read_text())[-2:]
    tell = {"ansible.builtin.include_role": {"name": "training", "tasks_from": "tell", "public": True}}
    tasks = [
        {**tell, "vars": {"training_event": {}}},
        *last,
        {"ansible.builtin.debug": {"msg": RULE}},
    ]
    given = {"training_notify": "", "training_hosts": ["host1"], "training_pending": True, **variables}
    inventory = {"managers": {"hosts": {"host1": HERE}}}
    artifacts = str(directory / "none")
    done = play(directory, tasks, inventory, environment=environment, training_artifacts_dir=artifacts, **given)
    assert done.returncode == 0, done.stdout
    return " ".join(done.stdout.split())


@pytest.mark.parametrize(("complete", "words"), [(True, "demo has finished on"), (False, "demo trains on")])
def test_a_job_that_has_ended_does_not_train(complete: bool, words: str, tmp_path: Path) -> None:
    """One that ends while its start is waited for, as where nothing is left to train."""
    deployed = {"changed": True, "state": {"complete": complete}}
    said = said_at_the_end(tmp_path, training_stack="demo", _training_deployed=deployed, _training_compared={})
    assert f"{words} host1." in said
    assert ("Follow:" in said) != complete


@pytest.mark.parametrize(
    ("wait_for", "deployed", "words"),
    [
        ("started", {"changed": True, "state": {}}, "demo trains on host1. It goes on from its snapshot at epoch 4."),
        ("complete", {"changed": False, "state": {"complete": True}}, "demo has finished on host1. It went on from its snapshot at epoch 4."),
        # What runs as it was asked for is not looked into.
        ("started", {"changed": False, "state": {}}, "demo trains on host1."),
        ("none", {"changed": True, "state": {}}, "demo is deployed on host1."),
    ],
)  # fmt: skip
def test_a_job_that_goes_on_says_from_where(
    wait_for: str, deployed: dict[str, Any], words: str, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin" / "docker"
    docker.write_text(
        f'#!/bin/sh\necho "$@" >{tmp_path}/called\n'
        "echo '[GPU0] resuming from snapshot at epoch 4 | samples of it already seen: 0'\n"
    )
    docker.chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    tasks = [
        {"service": "node1", "id": "other"},
        {"service": "node0", "id": "newest"},
        {"service": "node0", "id": "old"},
    ]
    said = said_at_the_end(
        tmp_path,
        {"PATH": path},
        training_stack="demo",
        training_wait_for=wait_for,
        _training_deployed={**deployed, "tasks": tasks},
        _training_compared={},
    )
    assert words in said
    assert ("on from" in said) == ("on from" in words)
    if "snapshot" in words:
        assert (tmp_path / "called").read_text() == "service logs --raw --tail 2000 newest\n"
    else:
        assert not (tmp_path / "called").exists()


def test_what_is_to_be_typed_after_a_run_has_its_settings(tmp_path: Path) -> None:
    """Each command stands at the end of its line."""
    deployed = {"changed": True, "state": {}}
    given = {"training_collect": ["model.pt"], "training_args": "5 5", "training_stack": "demo"}
    said = said_at_the_end(tmp_path, _training_deployed=deployed, _training_compared={}, **given)
    results = said.partition("Results: ")[2].partition(" for ")[0]
    assert re.match(r"(?:ANSIBLE_CONFIG=\S+ )?\S*ansible-playbook \S*playbooks/collect.yml -i \S+ -e ", results), said
    assert "training_collect" in results
    assert "-e training_stack=demo" in results
    assert "training_args" not in said
    assert "with the -e" not in said


@pytest.mark.parametrize(
    ("settings", "rule"),
    [({}, "waits for <epoch> for 3 s"), ({"training_script": "own.py"}, "within 30 s for 3 s"),
     ({"training_command": "python own.py"}, "within 30 s for 3 s"),
     ({"training_script": "own.py", "training_started_pattern": ""}, "waits for <> for 30 s"),
     ({"training_script": "own.py", "training_started_pattern": "loss"}, "waits for <loss> for 3 s")],
)  # fmt: skip
def test_what_is_waited_for_at_a_start(settings: dict[str, str], rule: str, tmp_path: Path) -> None:
    said = said_at_the_end(tmp_path, training_stack="demo", _training_deployed={}, _training_compared={}, **settings)
    assert rule in said


@pytest.mark.parametrize(
    ("unready", "settings", "words", "why"),
    [
        ([], {}, "demo trains on host1.", ""),
        (["node0"], {}, "demo runs on host1.", "Whether it trains is not known: no first step was seen of rank 0 (host1)"),
        ([], {"training_started_pattern": ""}, "demo runs on host1.", "training_started_pattern is empty."),
        (["node0"], {"training_wait_for": "none"}, "demo is deployed on host1.", ""),
    ],
)  # fmt: skip
def test_trains_is_said_of_what_does(
    unready: list[str], settings: dict[str, str], words: str, why: str, tmp_path: Path
) -> None:
    deployed = {"changed": True, "state": {}, "unready": unready}
    given = {"training_stack": "demo", "training_script": "own.py", "_training_compared": {}, **settings}
    said = said_at_the_end(tmp_path, _training_deployed=deployed, **given)
    assert words in said
    assert ("not known" in said) == bool(why)
    assert why in said


def test_a_job_that_never_ran_here_has_no_other_program(tmp_path: Path) -> None:
    """Nothing was ever collected: there is no stack.yml to look into."""
    tell = {"ansible.builtin.include_role": {"name": "training", "tasks_from": "tell", "public": True}}
    tasks = [
        {**tell, "vars": {"training_event": {}}},
        {"ansible.builtin.debug": {"msg": "other <{{ _training_other_program }}>"}},
    ]
    given = {"training_notify": "", "training_stack": "demo", "_training_compared": {}}
    done = play(tmp_path, tasks, training_artifacts_dir=str(tmp_path / "none"), **given)
    assert "other <>" in done.stdout, done.stdout


def test_check_mode_refuses_what_a_run_would(tmp_path: Path) -> None:
    """Else it says what would change where nothing would."""
    start = {"name": "training", "tasks_from": "start/deploy"}
    way = {"refusal": "demo is training, and the image differs.", "ends": ""}
    known = {"training_pending": True, "training_way": way, "_training_compared": {}, "_training_finished": True}
    done = play(
        tmp_path, [{"ansible.builtin.include_role": start}], options=("--check",), training_stack="demo", **known
    )
    assert done.returncode != 0, done.stdout
    assert f"{way['refusal']} Run with --check --diff to see more." in done.stdout
    site = (ROOT / "playbooks/validate.yml").read_text()
    assert "when: training_way.refusal | default('') | length > 0\n" in site
