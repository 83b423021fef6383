"""Jobs that are stopped, replaced and started over, and hosts and jobs that a run does not know. Each rank is a shell."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from labs import Lab, Run
from python_image import import_python

IMAGE = "rank:1"
# In place of torchrun. It counts, goes on from the number on its volume, and says at SIGTERM where it is.
TORCHRUN = r"""#!/bin/sh
trap 'echo "saved at $n"; exit 143' TERM
n=$(cat /snapshots/n 2>/dev/null || echo 0); echo "resumed at $n with $WORDS"
case "$*" in *--node_rank=1*) rank=1;; *) rank=0;; esac
while :; do
  n=$((n+1)); echo $n >/snapshots/n
  if [ "$FAILS" = "$rank" ] && [ "$n" -gt "${AFTER:-2}" ]; then exit 3; fi
  sleep 1 & wait $!
done
"""


def import_ranks(lab: Lab) -> None:
    for host in lab.hosts:
        import_python(lab, host, IMAGE, TORCHRUN)


def play(lab: Lab, playbook: str, words: str = "one", stack: str = "simple-training", **variables: Any) -> Run:
    """A playbook with what the job is made of; artifacts lie apart by job."""
    own = {
        "image_ref": IMAGE,
        "training_stack": stack,
        "training_script": "rank.sh",
        "training_collect": ["n"],
        "training_env": {"WORDS": words, **variables.pop("env", {})},
        "training_artifacts_dir": f"{lab.artifacts}/{{{{ training_stack }}}}",
        "preflight_artifacts_dir": f"{lab.artifacts}/{{{{ training_stack }}}}",
    }
    return lab.play(f"playbooks/{playbook}.yml", **{**own, **variables})


def stacks(lab: Lab) -> list[str]:
    return lab.on("host1", "docker", "stack", "ls", "--format", "{{.Name}}").split()


def log(lab: Lab, rank: int, stack: str = "simple-training") -> str:
    return (lab.artifacts / stack / f"node{rank}.log").read_text()


def tasks(run: Run) -> list[str]:
    return [event["event_data"]["task"] for event in run.events if event["event"] == "runner_on_ok"]


@pytest.fixture
def jobs(lab: Lab) -> Iterator[Lab]:
    import_ranks(lab)
    yield lab
    for stack in stacks(lab):
        lab.on("host1", "docker", "stack", "rm", stack)
    for host in lab.hosts:
        gone = "for i in $(seq 60); do docker volume prune --force --all >/dev/null 2>&1 || docker volume prune --force >/dev/null; "
        gone += 'test -z "$(docker volume ls -q)" && exit; sleep 1; done; exit 1'
        lab.on(host, "sh", "-c", gone)


def test_rows_37_and_38_a_job_is_replaced_from_every_door_and_leftovers_are_removed(jobs: Lab) -> None:
    run = play(jobs, "training")
    assert run.rc == 0, run.failure()
    for playbook in ("training", "preflight"):
        run = play(jobs, playbook, words="two")
        assert run.rc != 0
        assert "what you ask for differs from what runs: the " in run.failure()
        assert "training_replace=true ends it in order first" in run.failure()
        assert "docker stack rm" not in run.failure()
        assert run.changed() == []
    # The check's probes start when the old tasks are gone; what they said at their end is there.
    run = play(jobs, "preflight", words="two", training_replace=True)
    done = tasks(run)
    removed = next(
        place for place, task in enumerate(done) if task.startswith("Keep the volumes, and remove the stack")
    )
    assert removed < done.index("Deploy the stack with a probe in place of the training")
    assert stacks(jobs) == []
    assert "saved at" in log(jobs, 0)
    assert "saved at" in log(jobs, 1)
    # As from the other door.
    assert play(jobs, "training", words="two").rc == 0
    run = play(jobs, "training", words="three", training_replace=True)
    assert run.rc == 0, run.failure()
    assert "with two" in log(jobs, 1)
    # A run whose rank 1 fails while rank 0 goes on.
    run = play(jobs, "training", words="four", training_replace=True, training_max_restarts=0, env={"FAILS": "1"})
    assert run.rc != 0 or "running" in jobs.on("host1", "docker", "stack", "ps", "simple-training").lower()
    left = jobs.on("host1", "sh", "-c", "for i in $(seq 30); do docker stack ps simple-training | grep -q Failed && break; sleep 1; done; "
                   "docker stack ps simple-training")  # fmt: skip
    assert "Failed" in left
    run = play(jobs, "training", words="five")
    assert run.rc == 0, run.failure()
    assert (
        "What an earlier run of simple-training left is removed first: node1 has failed, and node0 still runs."
        in run.said()
    )
    # Only this run's lines (row 45).
    assert play(jobs, "collect", words="five").rc == 0
    assert "with five" in log(jobs, 0)
    assert "with four" not in log(jobs, 0)


def test_a_job_is_stopped_and_goes_on(jobs: Lab) -> None:
    assert play(jobs, "training").rc == 0
    told = play(jobs, "stop")
    assert told.rc == 0, told.failure()
    assert stacks(jobs) == []
    assert "saved at" in log(jobs, 1)
    again = play(jobs, "stop")
    assert (again.rc, again.changed()) == (0, []), again.failure()
    assert "There is no job simple-training in the swarm" in again.said()
    assert play(jobs, "training").rc == 0
    assert play(jobs, "collect").rc == 0
    assert "resumed at 0" not in log(jobs, 0)


def test_row_42_a_rank_that_dies_after_15_seconds_never_trains(jobs: Lab) -> None:
    for _time in range(2):
        run = play(jobs, "training", env={"FAILS": "1", "AFTER": "15"}, training_max_restarts=0)
        assert run.rc != 0
        assert "simple-training_node1 on host2 failed with exit code 3" in run.failure()
        assert "simple-training trains" not in run.said()


def test_row_44_training_that_takes_longer_than_the_wait(jobs: Lab) -> None:
    run = play(jobs, "training", training_wait_for="complete", training_wait_timeout=15)
    assert run.rc != 0
    said = " ".join(run.failure().split())
    assert said.startswith(
        "simple-training has not finished after 15 s (training_wait_timeout). The job goes on by itself."
    )
    assert "playbooks/follow.yml" in said
    assert "running" in jobs.on("host1", "docker", "stack", "ps", "simple-training").lower()
    # One that is waited for in vain to start, too.
    run = play(jobs, "training", training_started_pattern="never", training_wait_timeout=15)
    assert "is not running after 15 s" in run.failure()
    assert "The job goes on by itself." in run.failure()
    assert play(jobs, "stop").rc == 0


def alone(lab: Lab) -> str:
    """The lab's inventory without host2."""
    content = yaml.safe_load(lab.inventory.read_text())
    content["all"]["children"]["swarm"]["children"]["workers"]["hosts"] = {}
    path = lab.directory / "alone.yml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_row_36_an_inventory_that_lacks_a_host_of_the_running_job(jobs: Lab) -> None:
    assert play(jobs, "training").rc == 0
    for playbook in ("site.yml", "playbooks/swarm.yml"):
        run = jobs.play(playbook, inventory=alone(jobs))
        assert run.rc != 0
        assert run.failure().startswith("simple-training (running) has ranks on host2, which the inventory's groups")
        assert run.changed() == []
    # What is refused in the end is refused by the first play.
    run = play(jobs, "../site", words="two", training_script="training_code.py")
    assert "what you ask for differs from what runs: the " in run.failure()
    assert run.changed() == []
    label = jobs.on("host1", "docker", "node", "inspect", "host2", "--format", "{{json .Spec.Labels}}")
    assert json.loads(label)["ddp_rank"] == "1"
    assert play(jobs, "stop").rc == 0


def test_row_31_a_teardown_knows_every_job(jobs: Lab) -> None:
    names = ["simple-training", "second", "third"]
    for name in names:
        run = play(jobs, "training", words=name, stack=name)
        assert run.rc == 0, run.failure()
    networks = jobs.on("host1", "docker", "network", "ls", "--format", "{{.Name}}").split()
    assert {"ddp-net", "second-net", "third-net"} <= set(networks)
    # Each is known, by its ranks and the hosts' names (row 35), and what it wrote last is its own.
    run = play(jobs, "status")
    assert run.rc == 0, run.failure()
    assert run.changed() == []
    told = json.loads((jobs.artifacts / "status.json").read_text())
    assert [(job["name"], job["state"]) for job in told["jobs"]] == [(name, "running") for name in sorted(names)]
    for job in told["jobs"]:
        assert [rank["host"] for rank in job["ranks"]] == ["host1", "host2"]
        assert job["ranks"][1]["last"] == f"resumed at 0 with {job['name']}"
    # All are stopped, collected and resumed by a playbook that stops an engine.
    refused = play(jobs, "backup", backup="three", backup_dir=str(jobs.directory / "backups"))
    assert "swarm_disturb_training=true" in refused.failure()
    run = play(jobs, "backup", backup="three", backup_dir=str(jobs.directory / "backups"), swarm_disturb_training=True)
    assert run.rc == 0, run.failure()
    for name in names:
        assert "saved at" in log(jobs, 1, name)
    assert play(jobs, "status").rc == 0
    told = json.loads((jobs.artifacts / "status.json").read_text())
    assert [job["state"] for job in told["jobs"]] == ["running"] * 3
    run = play(jobs, "teardown")
    assert run.rc != 0
    assert run.failure().startswith("second, simple-training, third run in the swarm, and would be ended.")
    assert run.changed() == []
    places = f"{jobs.artifacts}/{{{{ training_stack }}}}"
    run = jobs.play(
        "playbooks/teardown.yml", swarm_disturb_training=True, training_artifacts_dir=places, training_collect=["n"]
    )
    assert run.rc == 0, run.failure()
    for name in names:
        for rank in (0, 1):
            assert f"with {name}" in log(jobs, rank, name)
            assert "saved at" in log(jobs, rank, name)
    jobs.run("swarm")
