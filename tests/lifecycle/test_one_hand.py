"""Two people, one swarm: playbooks that are started at once end as if one had run after the other, or the second is refused by name."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from conftest import flat, start
from ctrl_c import press_until_it_ends
from labs import Lab, Run
from python_image import import_python

IMAGE = "rank:1"
FILE = "/run/ddp-swarm/lease.json"
# In place of torchrun: a rank that saves at SIGTERM.
TORCHRUN = """#!/bin/sh
trap 'echo saved; exit 143' TERM
while :; do echo loss; sleep 1 & wait $!; done
"""
CLUSTER = ("site.yml", {"options": "--tags docker,swarm"})
TRAINS = ("playbooks/training.yml", {})
STOPS = ("playbooks/stop.yml", {})
GOES = ("playbooks/teardown.yml", {"swarm_disturb_training": True, "teardown_collect": False})
# Started at once. Words of the refusals with which the second may end.
PAIRS: list[tuple[Any, Any, str]] = [
    (CLUSTER, CLUSTER, ""),
    (CLUSTER, CLUSTER, ""),
    (("playbooks/swarm.yml", {}), ("playbooks/docker.yml", {}), ""),
    (CLUSTER, GOES, ""),
    (CLUSTER, ("playbooks/swarm.yml", {}), ""),
    (CLUSTER, ("playbooks/rotate_tokens.yml", {}), ""),
    (("playbooks/swarm.yml", {"swarm_network": "other-net"}), CLUSTER, ""),
    (TRAINS, TRAINS, ""),
    (("playbooks/preflight.yml", {"preflight_enforce": False}), TRAINS, "is training"),
    (STOPS, TRAINS, ""),
    (TRAINS, STOPS, ""),
    (STOPS, STOPS, ""),
    (TRAINS, ("playbooks/backup.yml", {}), "swarm_disturb_training=true"),
    (TRAINS, ("playbooks/collect.yml", {}), ""),
    (STOPS, ("playbooks/backup.yml", {}), "swarm_disturb_training=true"),
    (("playbooks/backup.yml", {}), ("playbooks/swarm.yml", {}), ""),
    (CLUSTER, STOPS, ""),
    (GOES, GOES, ""),
    (CLUSTER, CLUSTER, ""),
    (GOES, CLUSTER, ""),
]


@pytest.fixture(scope="module")
def pair() -> Iterator[Lab]:
    with Lab("onehand").running() as lab:
        yield lab


def play(lab: Lab, playbook: str, **variables: Any) -> Run:
    own = {
        "image_ref": IMAGE,
        "training_started_pattern": "loss",
        "backup_dir": str(lab.directory / "backups"),
    }
    return lab.play(playbook, **{**own, **variables})


def at_once(lab: Lab, *runs: tuple[str, dict[str, Any]], apart: float) -> list[Run]:
    def start(number: int) -> Run:
        time.sleep(number * apart)
        playbook, variables = runs[number]
        return play(lab, playbook, **variables)

    with ThreadPoolExecutor(len(runs)) as pool:
        return list(pool.map(start, range(len(runs))))


def is_free(lab: Lab, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while lab.on(
        "host1", "sh", "-c", f"cat {FILE}; docker config ls --quiet --filter name=ddp-swarm-lease", check=False
    ):
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def have_ranks(lab: Lab) -> None:
    for host in lab.hosts:
        if lab.on(host, "sh", "-c", "docker version >/dev/null 2>&1 && echo answers", check=False):
            import_python(lab, host, IMAGE, TORCHRUN)


@pytest.mark.parametrize("number", range(len(PAIRS)))
def test_two_at_once(pair: Lab, number: int) -> None:
    first, second, refusal = PAIRS[number]
    have_ranks(pair)
    runs = at_once(pair, first, second, apart=random.Random(number).choice([0, 0.3, 1, 2]))
    for run in runs:
        refused = bool(refusal) and refusal in flat(run.failure())
        assert run.rc == 0 or refused, run.stdout[-5000:]
        assert "rpc error" not in run.stdout
    assert is_free(pair)


def test_afterwards_the_swarm_is_whole(pair: Lab) -> None:
    assert play(pair, "site.yml", options="--tags docker,swarm").rc == 0
    again = play(pair, "site.yml", options="--tags docker,swarm")
    assert (again.rc, again.changed()) == (0, [])
    rows = pair.on("host1", "docker", "node", "ls", "--format", "{{.Hostname}} {{.Status}}").split("\n")
    assert sorted(filter(None, rows)) == ["host1 Ready", "host2 Ready"]


def until_held(lab: Lab) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while not (text := lab.on("host1", "cat", FILE, check=False)):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    told: dict[str, Any] = json.loads(text)
    return told


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_a_controller_that_is_killed_lets_the_next_run_in(pair: Lab, blow: signal.Signals) -> None:
    # A run gives its lease back just after its end.
    assert is_free(pair)
    killed = start(pair, "site.yml", "--tags", "docker,swarm")
    until_held(pair)
    if blow == signal.SIGINT:
        press_until_it_ends(killed)
    else:
        os.killpg(killed.pid, blow)
        killed.communicate(timeout=60)
    began = time.monotonic()
    run = play(pair, "site.yml", options="--tags docker,swarm")
    assert run.rc == 0, run.stdout[-4000:]
    assert time.monotonic() - began < 120, "nobody waited for the expiry"


def stopped(words: str) -> set[int]:
    """All processes with these words in their command, stopped at once: none sees another go, or starts one more."""
    held: set[int] = set()
    while True:
        found = subprocess.run(["pgrep", "--full", "--", words], capture_output=True, text=True, check=False).stdout
        fresh = set(map(int, found.split())) - held
        if not fresh:
            return held
        for pid in fresh:
            os.kill(pid, signal.SIGSTOP)
        held |= fresh


def test_a_controller_that_is_gone_is_taken_over_from_after_its_expiry(pair: Lab) -> None:
    """The machine that ran it lost its power: nothing of the run is left that could give the lease back."""
    # A run gives its lease back just after its end.
    assert is_free(pair)
    gone = start(pair, "site.yml", "--tags", "docker,swarm", lock_expiry=30)
    lease = until_held(pair)
    for pid in stopped(str(pair.inventory)):
        os.kill(pid, signal.SIGKILL)
    gone.communicate(timeout=60)
    run = play(pair, "site.yml", options="--tags docker,swarm", lock_expiry=30)
    assert run.rc == 0, run.stdout[-4000:]
    assert f"The lease of {lease['who']}, who ran site.yml since" in flat(run.stdout)
    assert "is taken over" in flat(run.stdout)
    assert is_free(pair)


def test_a_second_manager_sees_the_lease_in_the_swarm(pair: Lab) -> None:
    """Another inventory, whose first manager is host2."""
    assert play(pair, "playbooks/swarm.yml").rc == 0
    assert is_free(pair)
    pair.on("host1", "docker", "node", "promote", "host2")
    label = {"id": "x", "who": "anna@laptop", "what": "site.yml", "since": time.time(), "until": time.time() + 600}
    pair.on(
        "host1", "sh", "-c", f"echo x | docker config create --label 'ddp.lease={json.dumps(label)}' ddp-swarm-lease -"
    )
    other = pair.directory / "other.yml"
    text = pair.inventory.read_text()
    other.write_text(text.replace("host1:", "hostX:").replace("host2:", "host1:").replace("hostX:", "host2:"))
    run = play(pair, "playbooks/rotate_tokens.yml", inventory=str(other), lock_timeout=0)
    assert run.rc != 0
    assert "anna@laptop has run site.yml on these hosts since" in flat(run.failure())
    run = play(pair, "playbooks/rotate_tokens.yml", inventory=str(other), lock_break=True)
    assert run.rc == 0, run.stdout[-4000:]
    pair.on("host1", "docker", "node", "demote", "host2")


def test_a_job_that_is_stopped_while_it_is_followed_is_not_started_again(pair: Lab) -> None:
    have_ranks(pair)
    follows = start(
        pair,
        "playbooks/training.yml",
        image_ref=IMAGE,
        training_wait_for="complete",
        training_artifacts_dir=str(pair.artifacts),
    )
    deadline = time.monotonic() + 90
    while "simple-training_node0" not in pair.on("host1", "docker", "ps", "--format", "{{.Names}}"):
        assert time.monotonic() < deadline
        time.sleep(1)
    assert is_free(pair), "who follows holds up nobody"
    assert play(pair, "playbooks/stop.yml").rc == 0
    said = flat(follows.communicate(timeout=120)[0])
    assert follows.returncode != 0
    assert "simple-training was stopped, changed or removed while this run followed it" in said
    assert pair.on("host1", "docker", "stack", "ls", "--format", "{{.Name}}").split() == []
