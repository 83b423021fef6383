"""Services in the modes replicated-job and global-job."""

import copy

import pytest
from swarm_stand_in.fixtures import definition


def stack(mode="replicated-job", replicas=2, **changes):
    compose = definition(**changes)
    job = copy.deepcopy(compose["services"]["node0"])
    job["deploy"] = {"mode": mode, "restart_policy": {"condition": "on-failure", "max_attempts": 2, "delay": "0s"}}
    if mode == "replicated-job":
        job["deploy"]["replicas"] = replicas
    return {"services": {**compose["services"], "job": job}}


@pytest.mark.parametrize("mode", ["replicated-job", "global-job"])
def test_a_job_is_done_when_each_of_its_tasks_is(swarm, call, mode):
    swarm.outcomes = {"demo_job": ("complete", 0, "")}
    made = call(compose=[stack(mode)], wait_for="running")
    assert not made.get("failed"), made["msg"]
    (job,) = [service for service in made["services"] if service["name"] == "job"]
    assert (job["wanted"], job["complete"], job["converged"]) == (2, 2, True)
    if mode == "replicated-job":
        assert sorted(task["slot"] for task in made["tasks"] if task["service"] == "job") == ["0", "1"]


def test_a_retry_on_another_node_is_not_the_end(swarm, call):
    """The first slot is 0, which JSON leaves out: a retry must not be taken for another place."""
    swarm.outcomes = {"demo_job": [("failed", 1, "task: non-zero exit (1)"), ("complete", 0, "")]}
    made = call(compose=[stack(replicas=1)], wait_for="running")
    assert not made.get("failed"), made["msg"]
    assert [task["state"] for task in made["tasks"] if task["service"] == "job"] == ["complete", "failed"]
    assert len({task["node"] for task in made["tasks"] if task["service"] == "job"}) == 2


def test_a_job_that_fails_for_good_ends_the_wait(swarm, call):
    swarm.outcomes = {"demo_job": ("failed", 3, "task: non-zero exit (3)")}
    made = call(compose=[stack(replicas=1)], wait_for="running")
    assert made["failed"]
    assert "demo_job" in made["msg"]
    assert made["failures"][0]["exit_code"] == 3


def test_a_change_runs_the_unchanged_jobs_again_and_says_so(swarm, call):
    swarm.outcomes = {"demo_job": ("complete", 0, "")}
    call(compose=[stack()], wait_for="running")
    assert call(compose=[stack()])["actions"] == []
    predicted = call(compose=[stack(command=["other"])], check=True)
    made = call(compose=[stack(command=["other"])])
    said = ["update service node1: command.0", "run service job again: docker runs each job of a stack that it deploys"]
    assert made["actions"] == predicted["actions"] == said
    assert swarm.service("job")["JobStatus"]["JobIteration"]["Index"] == 1
    assert call(compose=[stack(command=["other"])])["actions"] == []


def test_a_failed_job_is_run_again_once(swarm, call):
    swarm.outcomes = {"demo_job": ("failed", 3, "task: non-zero exit (3)")}
    call(compose=[stack(replicas=1)])
    made = call(compose=[stack(replicas=1, command=["other"])])
    assert made["actions"][1].startswith("restart service job: failed")
    assert len(made["actions"]) == 2
    assert swarm.service("job")["JobStatus"]["JobIteration"]["Index"] == 1
