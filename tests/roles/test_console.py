"""./ddp, run for real on this machine, with stand-ins for docker and its swarm: what it shows, tells programs, and how it ends."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from by_path import ROOT
from console_schema import JOBS, RESULT
from console_site import Site

EPOCHS = tuple(
    f"[GPU0] epoch {epoch} | loss: {2 / (epoch + 1):.6f} | held-out loss: 0.75 | samples/s: {400 + epoch}"
    for epoch in range(12)
)
DONE, FAILED = ("complete", 0, ""), ("failed", 1, "task: non-zero exit (1)")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def told(text: str, schema: dict[str, Any]) -> Any:
    value = json.loads(text)
    jsonschema.validate(value, schema)
    return value


def test_a_program_reads_the_jobs(site: Site) -> None:
    site.start("simple-training", lines=EPOCHS)
    done = site.ddp("status", "--json")
    assert done.returncode == 3, done.stderr
    status = told(done.stdout, JOBS)
    assert (status["state"], status["command"]) == ("running", "status")
    (job,) = status["jobs"]
    assert [(rank["rank"], rank["host"], rank["state"]) for rank in job["ranks"]] == [
        (0, "host1", "running"),
        (1, "host1", "running"),
    ]
    assert (job["ranks"][0]["loss"], job["ranks"][0]["samples_per_s"]) == (
        job["ranks"][0]["losses"][-1],
        pytest.approx(410, abs=11),
    )
    assert job["ranks"][0]["held_out_loss"] == 0.75
    assert job["ranks"][1]["loss"] is None


def test_a_person_reads_them(site: Site) -> None:
    banner = (
        "Traceback (most recent call last):",
        "ValueError: no data",
        "failed (exitcode: 1) local_rank: 0",
        "=" * 60,
    )
    site.start("simple-training", FAILED, DONE, lines=(*EPOCHS, *banner))
    site.start("other", DONE, DONE)
    done = site.ddp("status")
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("other: complete, ended ")
    assert any(line.startswith("simple-training: failed") for line in lines)
    assert "node0: task: non-zero exit (1)" in lines
    assert "Failed first: rank 0 on host1: ValueError: no data" in lines
    assert "Whole log: 'ddp collect simple-training'." in lines
    assert "=====" not in done.stdout
    jobs = {job["name"]: job for job in told(site.ddp("status", "--json").stdout, JOBS)["jobs"]}
    assert (jobs["simple-training"]["failure"]["error"], jobs["other"]["failure"]) == ("ValueError: no data", None)
    assert "\x1b" not in done.stdout
    assert max(map(len, lines)) <= 100
    # The command is beside it, and can be typed: here with the configuration that Ansible would not find.
    assert re.search(r"^\$ \S*ansible-playbook playbooks/status.yml -i \S+/hosts.json -e ", done.stderr, re.MULTILINE)


def test_from_another_directory_what_is_printed_can_be_typed(site: Site) -> None:
    done = site.ddp("status", cwd=site.directory)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "No job is in the swarm: 'ddp up' starts one."
    assert "Nodes: host0 (leader), host1" in done.stdout
    typed = done.stderr.splitlines()[0].removeprefix("$ ")
    again = subprocess.run(
        typed, shell=True, cwd=site.directory, env=site.environment(), capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert "No job is in the swarm." in again.stdout


def test_a_typo_in_a_jobs_name_is_one_sentence(site: Site) -> None:
    site.start("simple-training")
    for command in (["status", "simple-trianing"], ["watch", "simple-trianing"], ["logs", "simple-trianing"]):
        done = site.ddp(*command)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.splitlines()[1:] == [
            "There is no job simple-trianing in the swarm, which has simple-training. Did you mean simple-training?"
        ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["status", "-i", "nowhere.yml"],
            "There is no inventory nowhere.yml: name a file or directory that exists with -i.",
        ),
        (["up", "-i", "nowhere.yml", "--json"], "There is no inventory nowhere.yml"),
        (
            ["up", "-i", "localhost,", "-e", "@none.yml"],
            "There is no file none.yml, of which -e @none.yml is to read variables",
        ),
        (["stop", "job", "--all"], "--all stops every job: leave the name out, or --all."),
        (["demo", "-i", "localhost,"], "The demo makes an inventory of its own: leave -i out."),
        (
            ["watch", "--ansible=-K"],
            "-K asks for a password, which this command cannot: name a file with --become-password-file",
        ),
        (["status", "--check"], "--check writes nothing down, so there is nothing to show: leave it out."),
        (["stauts"], "No such command 'stauts'."),
        (["logs", "--lines", "0"], "Invalid value for '--lines'"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(words: list[str], said: str, site: Site) -> None:
    done = site.ddp(*words)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_host_that_is_not_in_the_inventory(site: Site) -> None:
    done = site.ddp("status", "--limit", "hots1")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "--limit hots1 names no host of the inventory."
    assert "Traceback" not in done.stderr
    # The terminal of a playbook that somebody waits for is Ansible's own.
    done = site.ddp("collect", "--limit", "hots1")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "--limit hots1 names no host of the inventory."
    assert "ERROR" not in done.stdout + done.stderr


def test_hosts_that_do_not_answer(site: Site) -> None:
    hosts = {"managers": {"hosts": {"lost.invalid": {"ansible_ssh_executable": "/bin/false"}}}}
    inventory = site.directory / "lost.json"
    inventory.write_text(json.dumps({"swarm": {"children": hosts}}))
    done = site.ddp("watch", "-i", str(inventory))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) <= 4
    assert "lost.invalid" in done.stderr or "Failed to connect" in done.stderr


def test_without_a_terminal_watch_tells_what_is_new_until_the_end(site: Site) -> None:
    site.start("simple-training", ("complete", 0, "", 3), ("complete", 0, "", 3), lines=EPOCHS)
    done = site.ddp("watch", "--interval", "1")
    assert done.returncode == 0, done.stderr
    assert "simple-training: complete" in done.stdout
    assert "\x1b" not in done.stdout


def test_watch_for_programs_is_a_document_for_each_look(site: Site) -> None:
    site.start("simple-training", FAILED, DONE)
    done = site.ddp("watch", "--json", "--interval", "1")
    assert done.returncode == 1, done.stderr
    assert [told(line, JOBS)["state"] for line in done.stdout.splitlines()][-1] == "failed"


def test_logs(site: Site) -> None:
    site.start("simple-training", lines=("one", "two\x1b]0;title\x07", "three"))
    done = site.ddp("logs", "--rank", "0", "-n", "3")
    assert done.returncode == 3, done.stderr
    assert set(done.stdout.splitlines()) <= {"one", "two", "three"}
    lines = [json.loads(line) for line in site.ddp("logs", "--json").stdout.splitlines()]
    assert {(line["job"], line["rank"]) for line in lines} == {("simple-training", 0)}
    assert all(sorted(line) == ["job", "rank", "text", "time"] for line in lines)
    done = site.ddp("logs", "--rank", "7")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        "simple-training has no rank 7; its ranks are 0 to 1.",
    )
    site.start("other")
    done = site.ddp("logs")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, "Of which job? The swarm has other, simple-training.")


def test_a_result_for_programs(site: Site) -> None:
    done = site.ddp("report", "nothing", "--json")
    assert done.returncode == 1, done.stderr
    result = told(done.stdout, RESULT)
    assert (result["command"], result["state"]) == ("report", "failed")
    assert "There are no artifacts of nothing in" in result["message"]
    assert result["failures"][0]["host"] == "localhost"


class Terminal:
    """./ddp on a terminal of this size, that of pty.openpty()."""

    def __init__(self, site: Site, columns: int, rows: int, *words: str, **more: str) -> None:
        ours, theirs = pty.openpty()
        subprocess.run(["stty", "cols", str(columns), "rows", str(rows)], stdin=theirs, check=True)
        environment = {**site.environment(), "TERM": "xterm", "LANG": "C.UTF-8"}
        environment.pop("COLUMNS")
        environment |= more
        self.read: list[bytes] = []
        self.process = subprocess.Popen(
            [str(ROOT / "ddp"), *words, "-i", str(site.inventory)],
            cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.ours = ours
        self.reader = threading.Thread(target=self.reads, args=(ours,))
        self.reader.start()

    def reads(self, ours: int) -> None:
        try:
            while piece := os.read(ours, 65536):
                self.read.append(piece)
        except OSError:  # nobody writes any more
            pass

    def resize(self, columns: int, rows: int) -> None:
        subprocess.run(["stty", "cols", str(columns), "rows", str(rows)], stdin=self.ours, check=True)

    @property
    def text(self) -> str:
        return b"".join(self.read).decode(errors="replace")

    def waits_for(self, words: str, seconds: float = 300) -> None:
        deadline = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < deadline, self.text[-3000:]
            assert self.process.poll() is None, self.text[-3000:]
            time.sleep(0.1)

    def ends(self) -> int:
        try:
            return self.process.wait(timeout=300)
        finally:
            self.process.kill()
            self.reader.join()


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 50), (40, 24)])
def test_ctrl_c_leaves_and_the_job_goes_on(columns: int, rows: int, site: Site) -> None:
    site.start("simple-training", lines=EPOCHS)
    terminal = Terminal(site, columns, rows, "watch", "--interval", "1")
    terminal.waits_for("Ctrl-C leaves")
    os.kill(terminal.process.pid, signal.SIGINT)
    assert terminal.ends() == 3
    assert "The jobs go on. 'ddp watch' shows them again, 'ddp stop' ends one." in " ".join(terminal.text.split())
    assert "Traceback" not in terminal.text
    # The screen of before is back.
    assert terminal.text.rindex("\x1b[?1049l") > terminal.text.rindex("\x1b[?1049h")
    assert site.ddp("status").returncode == 3


def test_a_terminal_that_is_resized(site: Site) -> None:
    """Also where a shell has exported the size that it had."""
    site.start("simple-training", lines=EPOCHS)
    terminal = Terminal(site, 40, 24, "watch", "--interval", "1", COLUMNS="40", LINES="24")
    terminal.waits_for("Seen ")
    assert "samples/s" not in terminal.text
    terminal.resize(200, 50)
    terminal.waits_for("samples/s")
    os.kill(terminal.process.pid, signal.SIGINT)
    assert terminal.ends() == 3


def test_a_lost_connection_is_said_and_found_again(site: Site) -> None:
    site.start("simple-training", lines=EPOCHS)
    terminal = Terminal(site, 200, 50, "watch", "--interval", "1")
    terminal.waits_for("Ctrl-C leaves")
    docker = site.directory / "docker"
    whole = docker.read_text()
    docker.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2; exit 1\n")
    terminal.waits_for("No connection for ")
    # What was seen before stays.
    assert "simple-training" in terminal.text[terminal.text.rindex("No connection for ") - 2000 :]
    docker.write_text(whole)
    seen = len(terminal.text)
    deadline = time.monotonic() + 300
    while "Seen " not in terminal.text[seen:]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.kill(terminal.process.pid, signal.SIGINT)
    assert terminal.ends() == 3


@pytest.mark.parametrize(
    "more", [{"TERM": "dumb"}, {"NO_COLOR": "1"}, {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}]
)
def test_terminals_that_can_do_less(more: dict[str, str], site: Site) -> None:
    site.start("simple-training", DONE, DONE, lines=EPOCHS)
    terminal = Terminal(site, 80, 24, "watch", "--interval", "1", **more)
    assert terminal.ends() == 0, terminal.text
    assert "simple-training: complete" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.text)
    colours = re.findall(r"\x1b\[(?:3\d|9\d)[0-9;]*m", terminal.text)
    assert colours == [] or "LC_ALL" in more
    assert "LC_ALL" not in more or terminal.text.isascii()
    assert "TERM" not in more or "\x1b" not in terminal.text


def test_every_subcommand_has_help_with_an_example(site: Site) -> None:
    listed = site.ddp("--help").stdout.partition("Commands:")[2]
    names = re.findall(r"^  ([a-z]+) ", listed, re.MULTILINE)
    assert names == [
        "up",
        "preflight",
        "status",
        "watch",
        "logs",
        "diagnose",
        "stop",
        "collect",
        "report",
        "board",
        "monitoring",
        "down",
        "demo",
    ]
    for name in names:
        shown = subprocess.run(
            [sys.executable, str(ROOT / "ddp"), name, "--help"],
            env=site.environment(COLUMNS="80"),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert re.search(rf"Example: ddp {name}", shown), shown
        assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, site: Site) -> None:
    quiet = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    script = site.ddp("--show-completion", shell, **quiet).stdout
    assert "_DDP_COMPLETE" in script
    words = {
        "bash": {"COMP_WORDS": "ddp sta", "COMP_CWORD": "1"},
        "zsh": {"_TYPER_COMPLETE_ARGS": "ddp sta"},
        "fish": {"_TYPER_COMPLETE_ARGS": "ddp sta", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    done = site.ddp("--none", _DDP_COMPLETE=f"complete_{shell}", **words)
    assert "status" in done.stdout
    assert "stop" not in done.stdout


def test_a_job_that_is_not_there_cannot_be_stopped(site: Site) -> None:
    site.start("mine")
    done = site.ddp("stop", "mina")
    assert done.returncode == 2, done.stdout
    assert "There is no job mina in the swarm, which has mine. Did you mean mine?" in done.stderr


def test_the_preflight_of_one_job_on_one_host(site: Site) -> None:
    """Its plays alone: what they do is seen in tests/faults."""
    said = site.ddp("preflight", "other", "--limit", "host1", "--ansible=--list-tasks")
    assert said.returncode == 0, said.stdout + said.stderr
    shown = said.stdout + said.stderr
    assert "playbooks/preflight.yml" in shown
    assert "--limit host1" in shown
    assert "-e training_stack=other" in shown
    assert "preflight : " in shown
