"""What a user does with a job after its first run: more epochs, a look at it while it trains, another one in its place.

Before the planted faults (test_site_faults.py): one of them hides the disk from an engine, which trains no more after that.
"""

import json
import os

import pytest
from labs import Lab, Play, Run

SNAPSHOT = "--snapshot_path /snapshots/snapshot.pt"


def epochs(lab: Lab) -> list[int]:
    lines = (lab.artifacts / "metrics.jsonl").read_text().splitlines()
    return [row["epoch"] for row in map(json.loads, lines) if row["event"] == "epoch"]


@pytest.fixture
def train(play: Play) -> Play:
    def run(args: str, **settings: object) -> Run:
        return play("playbooks/training.yml", training_stack="runs", training_args=f"{args} {SNAPSHOT}", **settings)

    return run


@pytest.fixture(scope="module", autouse=True)
def ready(lab: Lab) -> None:
    lab.run("docker", "swarm", "image")


def test_more_epochs_go_on_where_the_last_run_ended(train: Play, lab: Lab) -> None:
    for total, first in ((2, 0), (3, 2)):
        run = train(f"{total} 1", training_wait_for="complete", training_fresh=first == 0)
        assert run.rc == 0, run.stdout[-4000:]
        assert f"[GPU1] epoch {first} |" in (lab.artifacts / "node1.log").read_text()
    assert epochs(lab) == [0, 1, 2]
    again = train("3 1", training_wait_for="complete")
    assert (again.rc, again.changed()) == (0, [])


def test_a_job_in_progress_is_collected_from_and_not_disturbed(train: Play, play: Play, lab: Lab) -> None:
    run = train("1000000 1000")
    assert run.rc == 0, run.stdout[-4000:]
    assert play("playbooks/collect.yml", training_stack="runs").rc == 0
    seen = len(epochs(lab))
    assert seen > 3
    assert play("playbooks/collect.yml", training_stack="runs").rc == 0
    assert len(epochs(lab)) > seen
    refused = train("7 1")
    assert refused.rc != 0
    assert "runs is training, and what you ask for differs from what runs" in refused.failure()
    assert "training_replace=true" in refused.failure()
    assert train("1000000 1000").changed() == []


def test_starting_over_keeps_the_old_run_and_takes_a_process_for_each_core(train: Play, lab: Lab) -> None:
    old = (lab.artifacts / ".ddp-swarm" / "run_id").read_text().strip()
    cores = os.cpu_count() or 1
    run = train(
        "2 1",
        training_wait_for="complete",
        training_fresh=True,
        training_replace=True,
        training_nproc_per_node="auto",
    )
    assert run.rc == 0, run.stdout[-4000:]
    assert epochs(lab) == [0, 1]
    assert f"weights are identical on all {2 * cores} ranks" in (lab.artifacts / "node0.log").read_text()
    assert (lab.artifacts / ".ddp-swarm" / "run_id").read_text().strip() != old
    assert (lab.artifacts / "runs" / old / "metrics.jsonl").exists()
    assert lab.on("host1", "ls", "/var/lib/docker/volumes/runs_snapshots/_data/runs").split() == [old]
