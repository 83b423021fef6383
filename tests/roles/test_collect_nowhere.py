"""playbooks/collect.yml for a job that there is not. Docker is a stand-in that has no service, and the volumes that it is told."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from by_path import ROOT
from plays import HERE


def collect(directory: Path, services: str, volumes: str) -> subprocess.CompletedProcess[str]:
    docker = directory / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(
        "#!/bin/sh\n"
        f"case $1$2 in servicels) printf '{services}';; volumels) printf '{volumes}';; *) echo no >&2; exit 1;; esac\n"
    )
    docker.chmod(0o755)
    groups = {"managers": {"hosts": {"host1": HERE}}, "workers": {"hosts": {"host2": HERE}}}
    (directory / "hosts.json").write_text(json.dumps({"swarm": {"children": groups}}))
    given = {"training_stack": "nosuch", "training_artifacts_dir": str(directory / "artifacts" / "nosuch")}
    command = [
        Path(sys.executable).parent / "ansible-playbook",
        "playbooks/collect.yml",
        "-i",
        directory / "hosts.json",
    ]
    return subprocess.run(
        [*command, "-e", json.dumps(given)],
        cwd=ROOT,
        env={
            **os.environ,
            "PATH": f"{docker.parent}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "NO_COLOR": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_is_collected_of_a_job_that_is_nowhere(tmp_path: Path) -> None:
    done = collect(tmp_path, "", "other_snapshots\\nnosuchelse\\n")
    said = " ".join(done.stdout.split())
    assert done.returncode == 2, said
    assert (
        "There is no job nosuch in the swarm, and no volume of it on any host, so there is nothing to collect." in said
    )
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize(("services", "volumes"), [("abc\\n", ""), ("", "nosuch_snapshots\\n")])
def test_what_is_there_is_asked_for(services: str, volumes: str, tmp_path: Path) -> None:
    done = collect(tmp_path, services, volumes)
    assert "There is no job" not in done.stdout
    assert (tmp_path / "artifacts" / "nosuch").is_dir(), done.stdout
