"""What the role training asks docker, as Ansible renders it. Docker is a stand-in that writes down how it was called."""

import os
from pathlib import Path

from plays import of_role, play


def test_volumes_are_listed_with_their_stack(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin" / "docker"
    docker.write_text(
        f"#!/bin/sh\nprintf '%s\\n' \"$@\" >{tmp_path}/called\nprintf 'demo_a\\tdemo\\ndemo_x_a\\tdemo_x\\n'\n"
    )
    docker.chmod(0o755)
    tasks = [
        *of_role("training", "volumes"),
        {"ansible.builtin.debug": {"msg": "found {{ _training_volumes | to_json }}"}},
    ]
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    done = play(tmp_path, tasks, environment={"PATH": path}, training_stack="demo")
    assert 'found ["demo_a"]' in done.stdout, done.stdout
    called = (tmp_path / "called").read_text().splitlines()
    assert called[:2] == ["volume", "ls"]
    assert called[-2:] == ["--format", r'{{.Name}}\t{{.Label "com.docker.stack.namespace"}}']
