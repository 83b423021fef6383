"""What people see of a playbook, of playbooks that are really run."""

import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import ansible_runner
import pytest
from ansible_collections.ddp.swarm.plugins.callback.phases import next_wait
from ansible_collections.ddp.swarm.plugins.plugin_utils import progress
from ctrl_c import press_until_it_ends

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
LONG = "Follow: ssh -p 2222 -i /keys/mine me@machine.example sudo docker service logs -f " + "long" * 30 + "_node0"
NOTHING = {"name": "Ask", "ansible.builtin.command": "true", "changed_when": False}
CHANGE = {"name": "Create it", "ansible.builtin.command": "true"}
FAIL = {
    "name": "Refuse that",
    "ansible.builtin.assert": {"that": False, "fail_msg": "It is wrong. Mend it.", "quiet": True},
}


class Player:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def command(self, *plays: list[Any], options: tuple[str, ...] = (), hosts: str = "host1,") -> list[str]:
        names = ["First", "Second", "Third", "Fourth", "Fifth", "Sixth"]
        written = [
            {"name": name, "hosts": "all", "gather_facts": False, "tasks": tasks} for name, tasks in zip(names, plays)
        ]
        (self.directory / "play.json").write_text(json.dumps(written))
        here = f"ansible_python_interpreter={sys.executable}"
        play = str(self.directory / "play.json")
        return [str(BIN / "ansible-playbook"), "-i", hosts, "-c", "local", "-e", here, play, *options]

    def environment(self, **more: str) -> dict[str, str]:
        own = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "DDP_HEARTBEAT": "0", "NO_COLOR": "1", **more}
        kept = {name: value for name, value in os.environ.items() if name != "ANSIBLE_STDOUT_CALLBACK"}
        return {**kept, **own}

    def run(self, *plays: list[Any], options: tuple[str, ...] = (), hosts: str = "host1,", **more: str) -> str:
        command = self.command(*plays, options=options, hosts=hosts)
        done = subprocess.run(command, env=self.environment(**more), capture_output=True, text=True, check=False)
        return steady(done.stdout + done.stderr)

    def on_terminal(self, columns: int, *plays: list[Any], **more: str) -> str:
        ours, theirs = pty.openpty()
        subprocess.run(["stty", "cols", str(columns)], stdin=theirs, check=True)
        read: list[bytes] = []

        def reads() -> None:
            try:
                while piece := os.read(ours, 65536):
                    read.append(piece)
            except OSError:  # nobody writes any more
                pass

        reader = threading.Thread(target=reads)
        reader.start()
        subprocess.run(
            self.command(*plays), env=self.environment(**more), stdin=theirs, stdout=theirs, stderr=theirs, check=False
        )
        os.close(theirs)
        reader.join()
        os.close(ours)
        return steady(b"".join(read).decode().replace("\r\n", "\n"))


def steady(text: str) -> str:
    """Without what depends on how fast the machine is."""
    return re.sub(r"^Time: .*$", "Time", re.sub(r" \(\d+ s\)", "", text), flags=re.MULTILINE)


@pytest.fixture
def player(tmp_path: Path) -> Player:
    return Player(tmp_path)


CHANGED = f"First\n  host1: Create it\n  {LONG}\n  and two\nSecond: nothing to change\n\nChanged: host1 1\nTime\n"
MIXED: list[list[Any]] = [
    [NOTHING, CHANGE, {"ansible.builtin.debug": {"msg": [LONG, "and two"]}, "run_once": True}],
    [NOTHING],
]


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_at_any_width_a_message_is_one_line(columns: int, player: Player) -> None:
    assert player.on_terminal(columns, *MIXED) == CHANGED


def test_without_a_terminal(player: Player) -> None:
    assert player.run(*MIXED) == CHANGED


def test_colours_on_a_terminal(player: Player) -> None:
    shown = player.on_terminal(80, *MIXED, NO_COLOR="", TERM="xterm")
    assert "\x1b[" in shown
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == CHANGED


def test_nothing_to_do_fits_on_a_screen(player: Player) -> None:
    shown = player.run(*[[NOTHING] * 5] * 6, hosts="host1,host2,host3")
    assert len(shown.splitlines()) <= 24
    assert "nothing to change" in shown


def test_a_failure_comes_last(player: Player) -> None:
    assert player.run([CHANGE], [NOTHING, FAIL]) == (
        "First\n  host1: Create it\nSecond\n  host1: Refuse that\n\nChanged: host1 1\nTime\n\n"
        "Second, host1: Refuse that:\n  It is wrong. Mend it.\nAnsible's whole output: the same command with -v\n"
    )


@pytest.mark.parametrize(
    "name", ["Report that the wait has run out", "Refuse a host without an engine", "Refuse", "report why"]
)
def test_a_report_that_was_made_has_not_failed(name: str, player: Player) -> None:
    """The task fails so that the run ends; what its name says was done."""
    shown = player.run([{"name": name, "ansible.builtin.fail": {"msg": "It goes on."}}])
    assert f"First\n  host1: {name}\n" in shown
    assert f"\nFirst, host1: {name}:\n  It goes on.\n" in shown


@pytest.mark.parametrize(
    "task",
    [
        {"name": "Check the archives", "ansible.builtin.fail": {"msg": "It is wrong."}},
        {"name": "Report the state", "ansible.builtin.command": "false"},
        {"name": "Reporters", "ansible.builtin.fail": {"msg": "It is wrong."}},
    ],
    ids=lambda task: task["name"],
)
def test_what_was_not_done_has_failed(task: dict[str, Any], player: Player) -> None:
    shown = player.run([task])
    assert f"First\n  host1: {task['name']}: failed\n" in shown
    assert f"\nFirst, host1: {task['name']} failed:\n" in shown


def test_hosts_that_fail_alike_are_one(player: Player) -> None:
    shown = player.run([FAIL], hosts="host1,host2")
    assert shown.count("It is wrong") == 1
    assert "First, host1: Refuse that (as on host2):" in shown


def build(*reasons: str) -> dict[str, Any]:
    """A task whose message on each host is the end of a long log."""
    log = "".join(f"\n  #{number} step" for number in range(30))
    said = {f"host{number}": f"docker build failed:{log}\n  {reason}" for number, reason in enumerate(reasons, 1)}
    return {"name": "Build", "ansible.builtin.fail": {"msg": "{{ said[inventory_hostname] }}"}, "vars": {"said": said}}


def test_of_hosts_that_fail_differently_the_reason_is_shown(player: Player) -> None:
    """It stands at the end of what a build wrote."""
    shown = player.run([build("No space left on device", "Could not resolve host")], hosts="host1,host2")
    for reason in ("No space left on device", "Could not resolve host"):
        assert f"docker build failed:\n  ...\n    #27 step\n    #28 step\n    #29 step\n    {reason}\n" in shown


def test_what_only_names_the_host_or_a_container_is_alike(player: Player) -> None:
    reasons = [f"no route from host{n}, container {str(n) * 12}" for n in (1, 2)]
    shown = player.run([build(*reasons)], hosts="host1,host2")
    assert "First, host1: Build failed (as on host2):" in shown
    assert shown.count("no route from") == 1
    assert shown.count("step") > 10
    shown = player.run([build("host1 does not answer", "host1 does not answer")], hosts="host1,host2")
    assert shown.count("host1 does not answer") == 1
    # A host that says something of another one does not say it of itself.
    shown = player.run([build("host1 does not answer", "host2 and host1")], hosts="host1,host2")
    assert "as on" not in shown


@pytest.mark.parametrize("options", [("--tags", "trainig"), ("--skip-tags", "change,other")])
def test_tags_that_choose_no_task(options: tuple[str, ...], player: Player) -> None:
    tagged = [[{**NOTHING, "tags": "always"}], [{**CHANGE, "tags": "change"}], [{**NOTHING, "tags": "other"}]]
    shown = player.run(*tagged, options=options)
    assert shown == (
        "First: nothing to change\n\n"
        f"No task was chosen by {' '.join(options)}, so nothing was looked at. --list-tags names the tags that there are.\nTime\n"
    )


def test_a_tag_that_is_misspelt_beside_one_that_is_not(player: Player) -> None:
    inner = {"block": [{**NOTHING, "tags": "deep"}], "tags": "outer"}
    tagged = [[{**CHANGE, "tags": "change"}, inner], [{**NOTHING, "tags": "other"}]]
    shown = player.run(*tagged, options=("--tags", "other,trainign,deep,outer"))
    assert "No task has the tag trainign. --list-tags names the tags that there are.\n" in shown
    assert "There is nothing to change." in shown
    assert "No task has" not in player.run(*tagged, options=("--tags", "other,deep"))


def test_a_phase_that_tags_leave_out_is_not_said_to_be_fine(player: Player) -> None:
    tagged = [[{**NOTHING, "tags": "one"}], [{**NOTHING, "tags": "two"}]]
    assert (
        player.run(*tagged, options=("--tags", "two"))
        == "Second: nothing to change\n\nThere is nothing to change.\nTime\n"
    )
    assert player.run(*tagged, options=("--skip-tags", "two")) == (
        "First: nothing to change\n\nThere is nothing to change.\nTime\n"
    )
    always = [[{**NOTHING, "tags": "always"}]]
    assert "There is nothing to change." in player.run(*always, options=("--tags", "always"))


def test_a_rescued_failure_is_none_at_the_end(player: Player) -> None:
    shown = player.run([{"block": [FAIL], "rescue": [{"ansible.builtin.debug": {"msg": "Another way."}}]}])
    assert "It is wrong" not in shown
    assert "host1: Refuse that\n  host1: Another way.\n" in shown


def test_an_ignored_failure_says_why_in_a_line(player: Player) -> None:
    shown = player.run([{**FAIL, "ignore_errors": True}])
    assert "host1: Refuse that, and go on all the same: It is wrong. Mend it.\n" in shown
    assert "There is nothing to change." in shown


def test_a_host_that_cannot_be_reached(player: Player, tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\nexit 255\n")
    ssh.chmod(0o755)
    dead = {**NOTHING, "vars": {"ansible_connection": "ssh", "ansible_ssh_executable": str(ssh)}}
    passed_over = {**dead, "name": "Try", "ignore_unreachable": True}
    shown = player.run([passed_over, passed_over, dead])
    assert shown.count("host1: Try: could not be reached, and is left at that: ") == 1
    assert "First, host1: Ask could not be reached:\n  host1 (host1) does not answer over SSH: " in shown
    assert (
        "Check its address in the inventory, that it is switched on, and that 'ssh host1' works from here.\n" in shown
    )
    assert "Task failed" not in shown


@pytest.mark.parametrize("options", [(), ("-v",), ("--check",)])
def test_who_interrupts_a_run_learns_that_it_can_be_run_again(
    player: Player, options: tuple[str, ...], tmp_path: Path
) -> None:
    # With -v a task's banner comes with its first result.
    begun = tmp_path / "begun"
    slow = {**NOTHING, "ansible.builtin.command": f"sh -c 'touch {begun}; sleep 60'", "check_mode": False}
    process = subprocess.Popen(
        player.command([slow], options=options),
        env=player.environment(DDP_HEARTBEAT="0.2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    while not begun.exists():
        assert process.poll() is None
        time.sleep(0.05)
    said = press_until_it_ends(process)
    assert ("The same command goes on from what is done." in said) == ("--check" not in options)


def test_arguments_that_a_role_refuses_are_one_sentence(player: Player) -> None:
    options = {f"option{number}": {"type": "str", "description": "long " * 50} for number in range(50)}
    check = {"argument_spec": {"wanted": {"type": "int", "required": True}, **options}, "provided_arguments": {}}
    shown = player.run([{"name": "Check", "ansible.builtin.validate_argument_spec": check}])
    assert "missing required arguments: wanted" in shown
    assert len(shown.splitlines()) <= 10


def test_no_log_hides_what_was_said(player: Player) -> None:
    secret = [{"ansible.builtin.command": "sh -c 'echo s3cr3t; exit 1'", "no_log": True, "name": "Log in"}]
    shown = player.run(secret)
    assert "s3cr3t" not in shown
    assert "host1: Log in: failed" in shown


def test_a_message_without_a_word_is_none(player: Player) -> None:
    quiet = [{"ansible.builtin.debug": {"msg": empty}} for empty in ("", [], ["", " "])]
    assert player.run([*quiet, CHANGE]).startswith("First\n  host1: Create it\n")


def test_loops_and_items(player: Player) -> None:
    loops = [
        {**CHANGE, "loop": [1, 2]},
        {"ansible.builtin.debug": {"msg": "item {{ item }}"}, "loop": [1, 2], "run_once": True},
    ]
    assert player.run(loops).startswith("First\n  host1: Create it\n  item 1\n  item 2\n\n")


def test_what_would_change_is_shown_with_its_difference(player: Player, tmp_path: Path) -> None:
    copy = {
        "name": "Write it",
        "ansible.builtin.copy": {"content": "new\n", "dest": str(tmp_path / "out"), "mode": "0600"},
    }
    shown = player.run([copy], options=("--check", "--diff"))
    assert "+new" in shown
    assert "Would change: host1 1" in shown
    assert not (tmp_path / "out").exists()


STREAMS = """from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        Display().display("  epoch 1")
        Display().display("  epoch 2")
        return super().run(tmp, task_vars)
"""


def test_what_a_task_streams_is_under_its_own_phase(player: Player) -> None:
    """As the actions training_follow and swarm_lease do."""
    (player.directory / "action_plugins").mkdir()
    (player.directory / "action_plugins/stream.py").write_text(STREAMS)
    shown = player.run([CHANGE], [NOTHING, {"name": "Follow", "stream": {}}, CHANGE], [NOTHING])
    assert shown.startswith(
        "First\n  host1: Create it\nSecond\n  epoch 1\n  epoch 2\n  host1: Create it\nThird: nothing to change\n"
    )


def test_limit(player: Player) -> None:
    shown = player.run([CHANGE], hosts="host1,host2", options=("--limit", "host2"))
    assert ("host2: Create it" in shown, "host1" in shown) == (True, False)


@pytest.mark.parametrize(("options", "more"), [(("-v",), {}), ((), {"ANSIBLE_STDOUT_CALLBACK": "default"})])
def test_all_can_be_had(options: tuple[str, ...], more: dict[str, str], player: Player) -> None:
    shown = player.run([CHANGE], options=options, **more)
    assert "TASK [Create it]" in shown
    assert "PLAY RECAP" in shown


def test_a_task_that_takes_long_is_named(player: Player) -> None:
    shown = player.run([{**NOTHING, "ansible.builtin.command": "sleep 3", "name": "Build"}], DDP_HEARTBEAT="0.2")
    assert "First\n  ... Build: waits for host1\n" in shown


@pytest.mark.parametrize("first", [1.0, 15.0, 30.0])
def test_for_ten_minutes_no_silence_is_longer_than_30_seconds(first: float) -> None:
    """An image is built in minutes, a training is waited for in hours."""
    beats, wait = [0.0], first
    while beats[-1] < 7200:
        beats.append(beats[-1] + wait)
        wait = next_wait(wait, beats[-1])
    silences = [(began, ended - began) for began, ended in pairwise(beats)]
    assert max(length for began, length in silences if began < 600) <= 30
    assert max(length for _began, length in silences) == 300
    assert len(beats) < 60


def test_a_heartbeat_that_was_set_longer_stays_so() -> None:
    assert (next_wait(120.0, 120.0), next_wait(120.0, 700.0), next_wait(400.0, 5000.0)) == (120.0, 240.0, 400.0)


def test_a_task_that_takes_longer_is_named_again(player: Player) -> None:
    shown = player.run([{**NOTHING, "ansible.builtin.command": "sleep 4", "name": "Build"}], DDP_HEARTBEAT="0.5")
    assert shown.count("... Build: waits for host1\n") >= 2


def test_what_is_waited_for_is_named(player: Player) -> None:
    slow = {
        **NOTHING,
        "name": "Build",
        "ansible.builtin.command": "sleep {{ 8 if inventory_hostname == 'host2' else 0 }}",
    }
    shown = player.run([slow], hosts="host1,host2", DDP_HEARTBEAT="1.5")
    assert "  ... Build: waits for host2\n" in shown
    hosts = "".join(f"host{number}," for number in range(7))
    shown = player.run(
        [{**NOTHING, "ansible.builtin.command": "sleep 5", "name": "Build"}],
        hosts=hosts,
        options=("--forks", "7"),
        DDP_HEARTBEAT="1.5",
    )
    assert "... Build: waits for host0, host1, host2, host3 and 3 more\n" in shown


def test_tries_are_counted(player: Player) -> None:
    wait = {
        "name": "Wait",
        "ansible.builtin.command": "true",
        "register": "it",
        "until": "false",
        "retries": 3,
        "delay": 1,
        "ignore_errors": True,
    }
    assert re.search(r"\.\.\. Wait: waits for host1, \d of 4 tries\n", player.run([wait], DDP_HEARTBEAT="1"))


def test_a_host_for_which_another_one_does_it_is_named(player: Player) -> None:
    shown = player.run([{**CHANGE, "delegate_to": "host1"}], hosts="host1,host2")
    assert sorted(shown.splitlines()[1:3]) == ["  host1: Create it", "  host2 (on host1): Create it"]
    assert "Changed: host1 2" in shown
    shown = player.run([{**CHANGE, "delegate_to": "host2", "run_once": True}], hosts="host1,host2")
    assert shown.startswith("First\n  host2: Create it\n")
    # By a variable; of a loop Ansible does not tell where it was.
    shown = player.run([{**CHANGE, "delegate_to": "{{ groups.all[1] }}", "run_once": True}], hosts="host1,host2")
    assert shown.startswith("First\n  host2: Create it\n")
    turns = {**CHANGE, "delegate_to": "{{ item }}", "run_once": True}
    assert "{{" not in player.run([{**turns, "loop": ["host1", "host2"]}], hosts="host1,host2")


@pytest.mark.parametrize("guard", ["ddp.swarm.terminal_guard", "ansible.posix.timer"])
def test_a_terminal_obeys_no_container(guard: str, player: Player) -> None:
    said = r"said \033]52;c;Y2xpcGJvYXJk\007 \033[2J end"
    tasks = [
        {"ansible.builtin.command": {"argv": ["printf", said]}, "register": "host", "changed_when": False},
        {"ansible.builtin.debug": {"msg": "{{ host.stdout }}"}},
        {"ansible.builtin.fail": {"msg": "{{ host.stdout }}"}, "ignore_errors": True},
        {"ansible.builtin.fail": {"msg": "{{ host.stdout }}"}},
    ]
    shown = player.run(tasks, ANSIBLE_CALLBACKS_ENABLED=guard)
    assert shown.count("said") == 3
    assert re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown) == []


def test_under_ansible_runner_messages_are_in_what_is_printed(player: Player, tmp_path: Path) -> None:
    command = player.command(*MIXED)
    (tmp_path / "runner").mkdir()
    run = ansible_runner.run(
        private_data_dir=str(tmp_path / "runner"), playbook=command[-1], inventory="host1,", quiet=True,
        extravars={"ansible_connection": "local", "ansible_python_interpreter": sys.executable},
        envvars={**player.environment(), "ANSIBLE_STDOUT_CALLBACK": "ddp.swarm.phases", "PATH": f"{BIN}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert run.rc == 0
    assert LONG in run.stdout.read()
    assert "runner_on_ok" in {event["event"] for event in run.events}


# A stand-in for docker: it takes its time for each step, as a build does.
BUILDER = """#!/bin/sh
cat >/dev/null
for step in '#5 [1/3] FROM python:3.13' '#6 [2/3] RUN --mount=type=cache,target=/root/.cache pip install torch' '#7 [3/3] COPY . /app' \\
  '#8 [4/3] LABEL a=b'; do echo "$step"; sleep 4; done
"""


def test_a_build_shows_each_step_as_it_begins(player: Player, tmp_path: Path) -> None:
    program = tmp_path / "bin/docker"
    program.parent.mkdir()
    program.write_text(BUILDER)
    program.chmod(0o755)
    (tmp_path / "context.tar").touch()
    build = {"tags": ["trainer:1"], "context": str(tmp_path / "context.tar"), "builder": "buildkit"}
    shown = player.run(
        [{"name": "Build", "ddp.swarm.image_build": build}],
        hosts="host1,host2",
        DDP_HEARTBEAT="100",
        PATH=f"{program.parent}:{os.environ['PATH']}",
    )
    for host in ("host1", "host2"):
        told = re.findall(rf"(?m)^  \.\.\. {host}: (.*)$", shown)
        assert told[-2:] == ["[2/3] RUN pip install torch", "[3/3] COPY . /app"]
        assert f"\n  {host}: Build\n" in shown
    assert shown.startswith("First\n  ... host")


@pytest.mark.parametrize("builder", ["buildkit", "classic"])
def test_a_build_that_fails_has_no_word_of_progress_too_many(builder: str, player: Player, tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\ncat >/dev/null\necho no such base\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "context.tar").touch()
    build = {"tags": ["trainer:1"], "context": str(tmp_path / "context.tar"), "builder": builder}
    shown = player.run(
        [{"name": "Build", "ddp.swarm.image_build": build}],
        DDP_HEARTBEAT="100",
        PATH=f"{tmp_path}:{os.environ['PATH']}",
    )
    assert "..." not in shown
    assert "no such base" in shown


def test_a_large_file_tells_how_much_of_it_has_arrived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the action plugins note it and the callback reads it."""
    monkeypatch.setattr(progress, "EVERY", 0.05)
    monkeypatch.setattr("ansible.constants.DEFAULT_LOCAL_TMP", str(tmp_path))
    sizes = iter([0, 1, 2])

    def look() -> str:
        return f"{next(sizes)} of 2 MB sent"

    with progress.watched({"inventory_hostname": "a/../b"}, look):
        deadline = time.monotonic() + 10
        while progress.noted().get("a/../b") != {"text": "2 of 2 MB sent", "step": False}:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert progress.noted() == {}
