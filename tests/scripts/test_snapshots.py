"""A script whose ranks all load the same path if it is there, unchanged: it goes on after each loss, from one step on all."""

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from labs import ROOT, Lab, Play
from waiting import until

EVERY = 100  # steps between two saves, of 20 ms and a little each
SAME_PATH: dict[str, Any] = {
    "training_stack": "same",
    "training_dir": str(ROOT / "tests/scripts/same_path"),
    "training_script": "train.py",
    "training_args": f"--steps 1000000 --save_every {EVERY}",
    "training_started_pattern": r"starts at step|step \d+: loss",
    "training_max_restarts": 20,
    "training_snapshots": "shared",
    "training_collect": ["out"],
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("snapshots", lab_releases={"host2": "bookworm"}).running("docker", "swarm") as lab:
        yield lab


@pytest.fixture(scope="module")
def play(lab: Lab) -> Play:
    return lab.play


def logs(lab: Lab, rank: int) -> str:
    """Of all containers of a rank that are still there, the oldest first."""
    script = f"for c in $(docker ps -aq --filter label=com.docker.swarm.service.name=same_node{rank} | tac); do docker logs $c 2>&1; done"
    return lab.on(f"host{rank + 1}", "sh", "-c", script)


def starts(lab: Lab) -> list[list[int]]:
    """For each rank the steps at which it started, in order."""
    return [[int(n) for n in re.findall(rf"rank {rank} starts at step (\d+)", logs(lab, rank))] for rank in (0, 1)]


def step(lab: Lab) -> int:
    return max(map(int, re.findall(r"step (\d+): loss", logs(lab, 0))), default=0)


def kept(lab: Lab) -> bool:
    return bool(
        lab.on("host2", "sh", "-c", "ls -d /var/lib/docker/volumes/same_snapshots/_data/.ddp-launcher/copy/*:* || true")
    )


def saved_twice(lab: Lab) -> None:
    now = step(lab)
    until(lambda: step(lab) > now + 2 * EVERY + 10)


def resumed(lab: Lab, before: list[list[int]]) -> int:
    """Waits until both ranks have started anew, and train. Returns the step that both went on from."""

    def alike() -> bool:
        now = starts(lab)
        return all(len(n) > len(b) for n, b in zip(now, before, strict=True)) and now[0][-1] == now[1][-1]

    until(alike)
    began = starts(lab)[0][-1]
    until(
        lambda: any(int(n) > began for n in re.findall(r"step (\d+): loss", logs(lab, 0).split("starts at step")[-1]))
    )
    return began


def test_the_first_start(play: Play, lab: Lab) -> None:
    for playbook in ("image", "training"):
        run = play(f"playbooks/{playbook}.yml", **SAME_PATH)
        assert run.rc == 0, run.stdout[-4000:]
    assert "secret" not in run.stdout
    assert starts(lab) == [[0], [0]]
    again = play("playbooks/training.yml", **SAME_PATH)
    assert again.rc == 0, again.stdout[-4000:]
    assert again.changed() == []


def test_a_rank_is_killed(lab: Lab) -> None:
    saved_twice(lab)
    before, reached = starts(lab), step(lab)
    when = time.monotonic()
    lab.on("host2", "sh", "-c", "kill -9 $(pgrep -f '[p]ython -u train.py')")
    began = resumed(lab, before)
    print(f"trains again {time.monotonic() - when:.1f} s after a rank was killed")
    assert reached - EVERY - 10 <= began <= reached + EVERY


def test_rank_0_loses_its_volume_while_it_trains(lab: Lab) -> None:
    saved_twice(lab)
    assert kept(lab)
    before, reached = starts(lab), step(lab)
    container = lab.on("host1", "docker", "ps", "-q", "--filter", "name=same_node0").strip()
    lab.on(
        "host1",
        "sh",
        "-c",
        f"docker kill {container}; find /var/lib/docker/volumes/same_snapshots/_data -mindepth 1 -delete",
    )
    began = resumed(lab, before)
    assert reached - 2 * EVERY - 10 <= began <= reached + EVERY
    assert "rank 0 goes on from what rank 1 kept" in logs(lab, 0)


@pytest.mark.parametrize("rank", [1, 0])
def test_a_host_is_installed_anew(play: Play, lab: Lab, rank: int) -> None:
    saved_twice(lab)
    reached = step(lab)
    lab.on("host1", "docker", "stack", "rm", "same")
    host = f"host{rank + 1}"
    until(lambda: lab.on(host, "sh", "-c", "docker volume rm same_snapshots >/dev/null 2>&1 && echo gone || true"))
    run = play("playbooks/training.yml", **SAME_PATH)
    assert run.rc == 0, run.stdout[-4000:]
    began = until(lambda: all(starts(lab)) and starts(lab))
    assert began[0] == began[1]
    assert reached - EVERY - 10 <= began[0][0] <= reached + 2 * EVERY


def test_the_job_ends_well(play: Play, lab: Lab) -> None:
    reached = step(lab)
    done = {**SAME_PATH, "training_args": f"--steps {reached + 1000} --save_every {EVERY}", "training_replace": True}
    run = play("playbooks/training.yml", **done, training_wait_for="complete")
    assert run.rc == 0, run.stdout[-4000:]
    for rank in (0, 1):
        assert f"rank {rank} ends at step {reached + 1000}, alike: True" in logs(lab, rank)
    assert (lab.artifacts / "out/ckpt.pt").exists()
    assert lab.on("host1", "docker", "secret", "ls", "--format", "{{.Name}}").split() == ["same.launcher"]
    lab.on("host1", "docker", "stack", "rm", "same")
    assert lab.on("host1", "docker", "secret", "ls", "--quiet").split() == []
