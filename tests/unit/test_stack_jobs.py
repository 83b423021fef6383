"""The jobs of a swarm, as their tasks have it."""

from ansible_collections.ddp.swarm.plugins.module_utils.docker.cli import DockerCli
from ansible_collections.ddp.swarm.plugins.module_utils.stack.jobs import read_jobs
from swarm_stand_in.fixtures import definition


def jobs(swarm, *names, lines=False, pattern=""):
    swarm.swarm.settle(120)
    docker = DockerCli(type("Module", (), {"params": {}, "get_bin_path": lambda self, name: f"/bin/{name}"})())
    return read_jobs(docker, list(names), lines, pattern)


def test_a_swarm_without_a_job(swarm):
    assert jobs(swarm) == []


def test_a_job_that_runs(swarm, call):
    call(compose=[definition()], wait_for="running")
    (job,) = jobs(swarm)
    assert (job["name"], job["state"], job["busy"], job["restarts"]) == ("demo", "running", True, 0)
    assert [(rank["rank"], rank["host"], rank["state"]) for rank in job["ranks"]] == [
        (0, "host1", "running"),
        (1, "host1", "running"),
    ]
    assert jobs(swarm, "another") == []


def test_the_name_of_the_inventory_and_a_host_that_was_installed_anew(swarm, call):
    node = swarm.swarm.node("host1")
    node["Spec"]["Labels"].update(ddp_host="gpu-box")
    call(compose=[definition()], wait_for="running")
    assert [rank["host"] for rank in jobs(swarm)[0]["ranks"]] == ["gpu-box", "gpu-box"]
    # The node of the task is forgotten, and another has its rank.
    other = swarm.swarm.node("host2")
    other["Spec"]["Labels"].update(ddp_host="gpu-box", ddp_rank="1")
    for task in swarm.swarm.tasks_of("demo_node1"):
        task["NodeID"] = "41epelliz0000000000000000"
    assert jobs(swarm)[0]["ranks"][1]["host"] == "gpu-box"


def test_stopped_and_failed_and_complete_are_told_apart(swarm, call):
    call(compose=[definition()], wait_for="running")
    call(state="stopped")
    (job,) = jobs(swarm)
    assert (job["state"], job["busy"]) == ("stopped", False)
    call(state="absent")
    swarm.outcomes = {"demo_node0": ("complete", 0, ""), "demo_node1": ("complete", 0, "")}
    once = {"deploy": {"restart_policy": {"condition": "none"}}}
    compose = definition()
    for service in compose["services"].values():
        service["deploy"].update(once["deploy"])
    call(compose=[compose])
    assert jobs(swarm)[0]["state"] == "complete"
    call(state="absent")
    swarm.outcomes = {"demo_node1": ("failed", 1, "task: non-zero exit (1)")}
    call(compose=[compose])
    (job,) = jobs(swarm)
    assert (job["state"], job["busy"]) == ("failed", True)
    assert (job["ranks"][1]["exit_code"], job["ranks"][1]["failed"]) == (1, True)


def test_of_a_progress_bar_the_last_state_is_what_a_rank_wrote_last(swarm, call):
    call(compose=[definition()], wait_for="running")
    swarm.log("demo_node0.1", "2025-01-01T00:00:01Z begin", "!2025-01-01T00:00:02Z loss 2\rloss 1\r 50%| loading\r")
    swarm.log("demo_node1.1", "2025-01-01T00:00:01Z \x1b[1mend\x1b[0m", "2025-01-01T00:00:02Z  ")
    (job,) = jobs(swarm, lines=True, pattern="^loss")
    assert [rank["last"] for rank in job["ranks"]] == [" 50%| loading", "end"]
    assert job["progress"] == "loss 1"
