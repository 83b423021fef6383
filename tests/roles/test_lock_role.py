"""The role lock as Ansible plays it, on this machine: two runs at once, one that is killed, one whose lease is broken."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from by_path import ROOT
from ctrl_c import press_until_it_ends
from plays import HERE
from waiting import until

NO_SWARM = (
    "#!/bin/sh\n# Stand-in for docker: a host in no swarm.\necho 'This node is not a swarm manager.' >&2\nexit 1\n"
)


class Controllers:
    """Runs of playbooks against one host."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.lease = directory, directory / "run" / "lease.json"
        self.started: list[subprocess.Popen[str]] = []
        (directory / "docker").write_text(NO_SWARM)
        (directory / "docker").chmod(0o755)

    def start(
        self, name: str, *options: str, after: Any = (), hosts: Any = None, **variables: Any
    ) -> subprocess.Popen[str]:
        take = {"ansible.builtin.include_role": {"name": "lock"}}
        wait = {
            "ansible.builtin.wait_for": {"path": str(self.directory / f"{name}-may-end"), "timeout": 60, "sleep": 1}
        }
        marks = {"ansible.builtin.file": {"path": str(self.directory / f"{name}-works"), "state": "touch"}}
        playbook = self.directory / f"{name}.yml"
        play = {"hosts": "all", "gather_facts": False, "tasks": [take, marks, take, *after, wait]}
        playbook.write_text(json.dumps([play]))
        inventory = self.directory / f"{name}.json"
        inventory.write_text(json.dumps({"managers": {"hosts": hosts or {"host1": HERE}}}))
        variables = {"_lock_path": str(self.lease), **variables}
        process = subprocess.Popen(
            [
                Path(sys.executable).parent / "ansible-playbook",
                playbook,
                "-i",
                inventory,
                "-e",
                json.dumps(variables),
                *options,
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "NO_COLOR": "1",
                "ANSIBLE_STDOUT_CALLBACK": "ddp.swarm.phases",
                "PATH": f"{self.directory}:{os.environ['PATH']}",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def until(self, name: str, seconds: float = 40) -> None:
        """Until a run has the lease and works."""
        until(lambda: (self.directory / f"{name}-works").exists(), seconds)

    def works(self, name: str) -> bool:
        return (self.directory / f"{name}-works").exists()

    def end(self, name: str) -> None:
        (self.directory / f"{name}-may-end").touch()

    def free(self) -> bool:
        return not self.lease.exists()


@pytest.fixture
def controllers(tmp_path: Path) -> Iterator[Controllers]:
    both = Controllers(tmp_path)
    yield both
    for process in both.started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_the_second_run_waits_for_the_first_and_says_for_whom(controllers: Controllers) -> None:
    first = controllers.start("first")
    controllers.until("first")
    second = controllers.start("second")
    until(lambda: len(list(controllers.directory.glob("run/*"))) > 0, 5)
    time.sleep(8)
    assert not controllers.works("second")
    controllers.end("first")
    assert first.communicate(timeout=30)[0]
    controllers.until("second")
    controllers.end("second")
    said = second.communicate(timeout=30)[0]
    assert "has run first.yml on these hosts since" in said
    assert "This run waits until that is done, 600 s at most (lock_timeout)." in said
    assert (first.returncode, second.returncode) == (0, 0), said
    until(controllers.free, 5)


def test_a_run_that_has_waited_long_enough_ends_with_the_sentence(controllers: Controllers) -> None:
    controllers.start("first")
    controllers.until("first")
    second = controllers.start("second", lock_timeout=0)
    said = " ".join(second.communicate(timeout=40)[0].split())
    assert second.returncode != 0
    assert "has run first.yml on these hosts since" in said
    assert "wait longer with lock_timeout=SECONDS" in said
    assert not controllers.works("second")


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_interrupted_gives_it_back(controllers: Controllers, blow: signal.Signals) -> None:
    first = controllers.start("first")
    controllers.until("first")
    if blow == signal.SIGINT:
        press_until_it_ends(first)
    else:
        os.killpg(first.pid, blow)
        first.communicate(timeout=30)
    until(controllers.free, 15)


def test_a_controller_that_is_gone_loses_it_after_its_expiry(controllers: Controllers) -> None:
    controllers.lease.parent.mkdir()
    now = time.time()
    gone = {"id": "gone", "who": "anna@laptop", "what": "site.yml", "since": now - 100, "until": now + 8}
    controllers.lease.write_text(json.dumps(gone))
    run = controllers.start("run")
    controllers.until("run")
    assert time.time() >= now + 8
    controllers.end("run")
    said = run.communicate(timeout=30)[0]
    assert "The lease of anna@laptop, who ran site.yml since" in said
    assert "is taken over (no sign of life since then" in said


def test_it_is_renewed_while_one_task_takes_longer_than_the_expiry(controllers: Controllers) -> None:
    controllers.start("first", lock_expiry=10)
    controllers.until("first")
    time.sleep(14)
    second = controllers.start("second", lock_timeout=2)
    assert "has run first.yml" in second.communicate(timeout=40)[0]
    assert not controllers.works("second")


def test_a_broken_lease_ends_the_run_that_had_it(controllers: Controllers) -> None:
    first = controllers.start("first", lock_expiry=10)
    controllers.until("first")
    second = controllers.start("second", lock_break=True)
    controllers.until("second")
    said = first.communicate(timeout=20)[0]
    assert first.returncode != 0
    assert "has taken the lease of these hosts from this run, for second.yml" in said
    controllers.end("second")
    told = second.communicate(timeout=30)[0]
    assert "is taken over (lock_break=true: that run ends)" in told
    assert second.returncode == 0
    until(controllers.free, 5)


def test_check_mode_takes_none_and_waits_for_none(controllers: Controllers) -> None:
    controllers.start("first")
    controllers.until("first")
    second = controllers.start("second", "--check")
    assert second.communicate(timeout=40)[0]
    assert second.returncode == 0


def test_a_run_that_only_reads_from_here_on_lets_others_in(controllers: Controllers) -> None:
    release = {"ansible.builtin.include_role": {"name": "lock", "tasks_from": "release"}}
    mark = {"ansible.builtin.file": {"path": str(controllers.directory / "follows-works"), "state": "touch"}}
    first = controllers.start("first", after=[release, mark])
    controllers.until("follows")
    assert controllers.free()
    controllers.start("second")
    controllers.until("second")
    time.sleep(2)
    controllers.end("first")
    assert first.communicate(timeout=30)[0]
    time.sleep(2)
    assert not controllers.free(), "the lease is the second run's"


def test_a_manager_that_does_not_answer_is_passed_over(controllers: Controllers, tmp_path: Path) -> None:
    (tmp_path / "ssh").write_text("#!/bin/sh\nexit 255\n")
    (tmp_path / "ssh").chmod(0o755)
    dead = {"ansible_connection": "ssh", "ansible_ssh_executable": str(tmp_path / "ssh"), "ansible_host": "192.0.2.1"}
    hosts = {"dead": dead, "host1": HERE}
    run = controllers.start("run", "--limit", "host1", hosts=hosts)
    controllers.until("run")
    assert not controllers.free()
    controllers.end("run")
    assert run.communicate(timeout=30)[0]
    assert run.returncode == 0


def test_nothing_of_a_run_is_left_on_the_controller(controllers: Controllers, tmp_path: Path) -> None:
    temporary = tmp_path / "local"
    for number, blow in enumerate([None, signal.SIGKILL]):
        os.environ["ANSIBLE_LOCAL_TEMP"] = str(temporary)
        try:
            run = controllers.start(f"run{number}")
        finally:
            del os.environ["ANSIBLE_LOCAL_TEMP"]
        controllers.until(f"run{number}")
        if blow:
            os.killpg(run.pid, blow)
        controllers.end(f"run{number}")
        run.communicate(timeout=30)
        until(controllers.free, 10)
        until(lambda: not list(temporary.iterdir()), 10)
