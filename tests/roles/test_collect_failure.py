"""The role training collects from a host whose rank has failed. Docker and journalctl are stand-ins; what they say is made up, in their words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_hostile_results import Host

CONTAINER = "0123456789ab" + "0" * 52
DOCKER_STAND_IN = """#!/bin/sh
case "$*" in
    "ps --all"*) echo {container}; exit ;;
    "inspect --format"*) echo "2026-01-02T03:04:00Z,exited,{code},2026-01-02T03:05:00Z"; exit ;;
    "logs "*) cat {log}; exit ;;
esac
exec {docker} "$@"
"""
JOURNALCTL_STAND_IN = """#!/bin/sh
echo "$*" >> {asked}
echo "1767323050.1 host1 kernel: Out of memory: Killed process 7 (python) total-vm:9kB"
"""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def with_container(host: Host, code: int, *texts: str) -> Path:
    """One that has ended; returns what the journal was asked."""
    log, docker, asked = host.directory / "log", host.directory / "bin" / "docker", host.directory / "asked"
    log.write_text("".join(f"2026-01-02T03:04:50Z {text}\n" for text in texts))
    docker.rename(docker.with_name("docker-without-containers"))
    docker.write_text(
        DOCKER_STAND_IN.format(
            container=CONTAINER, code=code, log=log, docker=docker.with_name("docker-without-containers")
        )
    )
    docker.chmod(0o755)
    journalctl = host.directory / "bin" / "journalctl"
    journalctl.write_text(JOURNALCTL_STAND_IN.format(asked=asked))
    journalctl.chmod(0o755)
    asked.touch()
    return asked


def test_the_host_of_a_rank_that_failed_is_asked_once(host: Host) -> None:
    asked = with_container(
        host, 1, "Traceback (most recent call last):", "E0102 03:04:50.5 1 torch/api.py:1] failed (exitcode: -9)"
    )
    done = host.play("collect")
    assert done.returncode == 0, done.stdout + done.stderr
    note = json.loads((host.artifacts / ".ddp-swarm/logs/moment.node0.json").read_text())[CONTAINER[:12]]
    assert (note["at"], note["why"], abs(note["offset"]) < 1) == ("2026-01-02T03:04:50", "", True)
    assert note["events"][0]["what"] == "the kernel killed 7 (python) for its memory"
    assert "--since=@1767322970" in asked.read_text()
    before = asked.read_text()
    assert host.play("collect").returncode == 0
    assert asked.read_text() == before


def test_of_a_good_run_no_host_is_asked(host: Host) -> None:
    asked = with_container(host, 0, "step 1")
    done = host.play("collect")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (host.artifacts / ".ddp-swarm/logs/ended.node0.json").exists()
    assert asked.read_text() == ""
    assert "Compare the host's clock" not in done.stdout
