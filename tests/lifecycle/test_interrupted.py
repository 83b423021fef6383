"""A run that is interrupted at any moment leaves nothing that the next run does not put right."""

import os
import random
import signal
import subprocess
import time

import pytest
from conftest import Shape, note
from labs import ROOT, Lab

ROUNDS = 10


@pytest.fixture(scope="module")
def shape(lab: Lab) -> Shape:
    shape = Shape(lab, ["host1", "host2", "host3"], ["host4"])
    shape.have()
    return shape


def undo(shape: Shape, number: int) -> None:
    """Back to hosts that are in no swarm; every third round, one of them lacks Docker as well."""
    assert shape.play("playbooks/teardown.yml", teardown_collect=False, swarm_disturb_training=True).rc == 0
    for host in shape.hosts:
        shape.lab.on(host, "rm", "-f", "/etc/docker/daemon.json")
    if number % 3 == 0:
        shape.lab.on("host4", "apt-get", "purge", "-qq", "-y", "docker.io", timeout=300)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_interrupted_at_a_random_moment(shape: Shape, number: int) -> None:
    undo(shape, number)
    chance = random.Random(number)
    blow = [signal.SIGINT, signal.SIGKILL][number % 2]
    moment = chance.uniform(2, 45)
    options = {"docker_daemon_options": {"log-opts": {"max-size": f"{number + 1}m"}}}
    process = subprocess.Popen(
        [
            "ansible-playbook", "--inventory", str(shape.inventory), "site.yml", "--tags", "docker,swarm",
            "--extra-vars", str(options).replace("'", '"'),
        ],
        cwd=ROOT, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "default"}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    time.sleep(moment)
    os.killpg(process.pid, blow)
    output = process.communicate(timeout=60)[0]
    tasks = [line.split("[")[1].split("]")[0] for line in output.splitlines() if line.startswith("TASK [")]
    start = time.monotonic()
    run = shape.cluster(**options)
    seconds = time.monotonic() - start
    assert run.rc == 0, run.stdout[-4000:]
    shape.is_whole()
    assert f'max-size": "{number + 1}m' in shape.lab.on("host1", "cat", "/etc/docker/daemon.json")
    again = shape.cluster(**options)
    assert (again.rc, again.changed()) == (0, [])
    at = tasks[-1] if tasks else "the start"
    note(
        shape.lab,
        f"| {blow.name} after {moment:.0f} s, in '{at}' | `site.yml` | converges | {sum(run.stats['changed'].values())} | {seconds:.0f} |",
    )
