"""Ctrl-C while a job is followed: what goes on, and what to type next."""

import subprocess
import time
from pathlib import Path

from ctrl_c import press_until_it_ends
from test_phases import Player


def test_who_leaves_a_job_learns_that_it_goes_on(tmp_path: Path) -> None:
    player, asked = Player(tmp_path), tmp_path / "asked"
    (tmp_path / "docker").write_text(f"#!/bin/sh\ntouch {asked}\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    follow = {"stack": "{{ job }}", "interval": 60}
    process = subprocess.Popen(
        player.command([{"name": "Follow", "ddp.swarm.training_follow": follow}], options=("-e", "job=demo")),
        env=player.environment(PATH=f"{tmp_path}:{player.environment()['PATH']}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    while not asked.exists():
        assert process.poll() is None
        time.sleep(0.05)
    said = press_until_it_ends(process)
    assert "The job demo goes on by itself.\n" in said
    for word, playbook in (("Follow", "follow"), ("End", "stop")):
        (line,) = [line for line in said.splitlines() if line.startswith(f"{word}: ")]
        assert f"playbooks/{playbook}.yml" in line
        assert line.endswith("-e training_stack=demo")
        assert "-i host1," in line
    assert "The same command" not in said
