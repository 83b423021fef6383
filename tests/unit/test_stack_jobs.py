"""The jobs of a swarm, as their tasks have it."""

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.docker.cli import DockerCli
from ansible_collections.ddp.swarm.plugins.module_utils.names import RESULTS_LABEL
from ansible_collections.ddp.swarm.plugins.module_utils.stack.jobs import planned, read_jobs
from swarm_stand_in.fixtures import definition


def jobs(swarm, *names, lines=False, pattern="", most=0):
    swarm.swarm.settle(120)
    docker = DockerCli(type("Module", (), {"params": {}, "get_bin_path": lambda self, name: f"/bin/{name}"})())
    return read_jobs(docker, list(names), lines, pattern, most)


def test_a_swarm_without_a_job(swarm):
    assert jobs(swarm) == []


def test_a_job_that_runs(swarm, call):
    call(compose=[definition()], wait_for="running")
    (job,) = jobs(swarm)
    assert (job["name"], job["state"], job["busy"], job["restarts"]) == ("demo", "running", True, 0)
    assert job["ended"] == ""
    assert [(rank["rank"], rank["host"], rank["state"]) for rank in job["ranks"]] == [
        (0, "host1", "running"),
        (1, "host1", "running"),
    ]
    assert (job["image"], job["launched"]) == ("trainer:1", False)
    assert jobs(swarm, "another") == []


def test_whether_the_launcher_starts_its_ranks(swarm, call):
    compose = definition()
    compose["services"]["node0"]["command"] = ["python3", "/ddp-launcher", "--rank=0", "--", "torchrun"]
    call(compose=[compose], wait_for="running")
    assert jobs(swarm)[0]["launched"]


def test_what_it_was_started_with_says_a_label_of_its_containers(swarm, call):
    compose = definition()
    compose["services"]["node0"]["labels"] = {RESULTS_LABEL: '{"directory": "/a$$b"}'}
    call(compose=[compose], wait_for="running")
    assert jobs(swarm)[0]["results"] == '{"directory": "/a$b"}'


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


def test_of_a_node_that_is_down_it_is_said_that_nothing_is_heard(swarm, call):
    call(compose=[definition()], wait_for="running")
    assert [rank["error"] for rank in jobs(swarm)[0]["ranks"]] == ["", ""]
    node = swarm.swarm.node("host1")
    node["Status"]["State"] = "down"
    swarm.outcomes = {}
    docker = DockerCli(type("Module", (), {"params": {}, "get_bin_path": lambda self, name: f"/bin/{name}"})())
    ranks = read_jobs(docker, [], False)[0]["ranks"]
    assert [rank["error"] for rank in ranks] == [
        "the node is down: nothing is heard of it, and this is what was known last"
    ] * 2


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
    first = "[launcher] rank 1 has made its first step (all_reduce has ended)"
    swarm.log("demo_node1.1", "2025-01-01T00:00:01Z begin", f"2025-01-01T00:00:02Z {first}")
    assert jobs(swarm, lines=True)[0]["ranks"][1]["last"] == "begin"


def torchrun(second, *says):
    """What a rank that fails writes: its error, and torchrun's banner."""
    texts = ["[rank0]: Traceback (most recent call last):", *says, "failed (exitcode: 1) local_rank: 0", "=" * 60]
    return [f"!2025-01-01T00:00:{second:02d}.{number}Z {text}" for number, text in enumerate(texts)]


def test_of_a_job_that_failed_who_was_first_and_of_what(swarm, call):
    once = {"deploy": {"restart_policy": {"condition": "none"}}}
    compose = definition()
    for service in compose["services"].values():
        service["deploy"].update(once["deploy"])
    swarm.outcomes = {f"demo_node{rank}": ("failed", 1, "task: non-zero exit (1)") for rank in range(2)}
    call(compose=[compose])
    swarm.log("demo_node0.1", *torchrun(5, "[rank0]: RuntimeError: Connection closed by peer"))
    swarm.log("demo_node1.1", *torchrun(4, '  File "/app/train.py"', "ValueError: the data are not here"))
    (job,) = jobs(swarm, lines=True, most=3)
    assert job["failure"] == {
        "rank": 1,
        "host": "host1",
        "time": "2025-01-01T00:00:04.000Z",
        "error": "ValueError: the data are not here",
    }
    # Of each rank its own, in place of the banner.
    assert [rank["last"] for rank in job["ranks"]] == [
        "RuntimeError: Connection closed by peer",
        "ValueError: the data are not here",
    ]
    assert len(job["ranks"][0]["lines"]) == 3
    assert job["ended"] == max(rank["since"] for rank in job["ranks"])
    assert jobs(swarm)[0]["failure"] is None, "nobody asked for lines"
    swarm.log("demo_node0.1", "2025-01-01T00:00:01Z begin")
    swarm.log("demo_node1.1")
    (job,) = jobs(swarm, lines=True)
    assert (job["failure"], job["ranks"][0]["last"]) == (None, "begin")


def test_of_incidents_the_last_one_counts(swarm, call):
    """Rank 1 failed twice, rank 0 in the first incident and before it."""
    compose = definition()
    for service in compose["services"].values():
        service["deploy"].update({"restart_policy": {"condition": "on-failure", "max_attempts": 1}})
    swarm.outcomes = {f"demo_node{rank}": ("failed", 1, "task: non-zero exit (1)") for rank in range(2)}
    call(compose=[compose])
    swarm.swarm.settle(120)
    tasks = {rank: swarm.swarm.tasks_of(f"demo_node{rank}") for rank in range(2)}
    assert [len(found) for found in tasks.values()] == [2, 2]
    newest = {rank: max(found, key=lambda task: task["CreatedAt"])["ID"] for rank, found in tasks.items()}
    oldest = {rank: min(found, key=lambda task: task["CreatedAt"])["ID"] for rank, found in tasks.items()}
    swarm.log(oldest[0], *torchrun(1, "MemoryError"))
    swarm.log(oldest[1], *torchrun(2, "EOFError"))
    swarm.log(newest[1], *torchrun(9, "ValueError: x"))
    swarm.log(newest[0], *torchrun(11, "OSError: y"))
    (job,) = jobs(swarm, lines=True)
    assert (job["failure"]["rank"], job["failure"]["error"]) == (1, "ValueError: x")
    # All ranks are started again together: that is one.
    assert (job["restarts"], [rank["restarts"] for rank in job["ranks"]]) == (1, [1, 1])


def test_the_history_of_a_rank_has_times_and_each_state_of_a_bar(swarm, call):
    call(compose=[definition()], wait_for="running")
    swarm.log("demo_node0.1", "2025-01-01T00:00:01Z begin", "2025-01-01T00:00:02Z  ", "!2025-01-01T00:00:03Z a\rb\r")
    (job,) = jobs(swarm, most=2)
    assert job["ranks"][0]["lines"] == [
        {"time": "2025-01-01T00:00:03.000000000Z", "text": "a"},
        {"time": "2025-01-01T00:00:03.000000000Z", "text": "b"},
    ]
    assert job["ranks"][1]["lines"] == []
    assert jobs(swarm)[0]["ranks"][0]["lines"] == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("torchrun --nnodes 2 training_code.py 10 2 --batch_size 32", {"epochs": 10}),
        ("python /app/training_code.py 7 1", {"epochs": 7}),
        ("python train.py --num_train_epochs 3 --max-steps=500 --save_steps 5", {"epochs": 3, "steps": 500}),
        ("python train.py --epochs three --warmup_steps 9 training_code.py", {}),
        ("python train.py --epochs", {}),
        ("", {}),
    ],
)
def test_what_a_command_asks_for(words, told):
    assert planned(words.split()) == told
