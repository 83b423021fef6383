"""What is read of a stack: in which order it comes, what is cut off, and what happens when docker does not answer."""

import random

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.docker.cli import DockerCli
from ansible_collections.ddp.swarm.plugins.module_utils.stack.explain import task_log
from ansible_collections.ddp.swarm.plugins.module_utils.stack.live import list_tasks
from ansible_collections.ddp.swarm.plugins.module_utils.stack.record import Record
from ansible_collections.ddp.swarm.plugins.modules import swarm_stack_info
from swarm_stand_in.fixtures import definition


class TestErrors:
    """Docker's complaints are no empty answers."""

    @pytest.mark.parametrize(
        ("command", "said"),
        [
            ("inspect", "rpc error: code = Unavailable desc = transport is closing"),
            ("stack ps", "rpc error: code = Unavailable desc = transport is closing"),
            ("network ls", "internal"),
            ("config inspect", "rpc error: code = Unavailable desc = transport is closing"),
        ],
    )
    def test_of_one_question(self, swarm, call, command, said):
        call(compose=[definition()])
        swarm.refusals = {command: [said]}
        made = call(compose=[definition(image="trainer:2")])
        assert made["failed"]
        assert not made["changed"]
        assert made["msg"] == f"docker {command}: Error response from daemon: {said}"
        assert swarm.service("node1")["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] == "trainer:1"

    @pytest.mark.parametrize("command", ["stack ps", "inspect", "network ls", "ps"])
    def test_of_a_removal(self, swarm, call, command):
        """Whoever takes a complaint for "nothing left" says that a stack is gone whose containers run."""
        call(compose=[definition()])
        swarm.stubborn = command != "ps"
        swarm.refusals = {command: ["boom"]}
        made = call(state="absent")
        assert made["failed"]
        assert made["msg"] == f"docker {command}: Error response from daemon: boom"

    @pytest.mark.parametrize("engine", ["20.10.24", "26.1.5", "28.5.1"])
    def test_there_is_no_record(self, swarm, call, engine):
        """The one complaint of `config inspect` that means what it says."""
        swarm.engine = engine
        assert call(compose=[definition()])["actions"][1:] == ["create service node0", "create service node1"]
        swarm.run("config rm demo.swarm-stack")
        assert call(compose=[definition()], check=True)["actions"] == ["adopt service node0", "adopt service node1"]

    @pytest.mark.parametrize("engine", ["20.10.24", "26.1.5", "28.5.1"])
    def test_tasks_that_go_while_they_are_waited_for(self, swarm, call, engine):
        swarm.engine = engine
        call(compose=[definition()])
        made = call(state="absent")
        assert made["changed"]
        assert swarm.swarm.of_stack("service", "demo") == {}

    def test_of_swarm_stack_info(self, swarm, call):
        call(compose=[definition()])
        for command in ("inspect", "stack ps"):
            swarm.refusals = {command: ["boom"]}
            assert call(swarm_stack_info)["msg"] == f"docker {command}: Error response from daemon: boom"

    def test_what_has_gone_meanwhile_is_no_error(self, swarm, call, monkeypatch):
        """The list is older than the look at each."""
        call(compose=[definition()])
        gone = swarm.newest("demo_node1")["ID"]

        def with_one_that_is_gone(docker, stack):
            rows = list_tasks(docker, stack)
            swarm.swarm.tasks.pop(gone, None)
            return rows

        monkeypatch.setattr(
            "ansible_collections.ddp.swarm.plugins.module_utils.stack.live.list_tasks", with_one_that_is_gone
        )
        info = call(swarm_stack_info)
        assert [task["service"] for task in info["tasks"]] == ["node0"]
        assert not info["converged"]

    @pytest.mark.parametrize(
        ("state", "command"),
        [
            *[("present", each) for each in ("service ls", "stack ps", "inspect", "network ls", "config inspect")],
            *[
                ("absent", each)
                for each in ("service ls", "network ls", "config ls", "secret ls", "stack ps", "ps", "inspect")
            ],
        ],
    )
    def test_a_swarm_that_never_answers(self, swarm, call, state, command):
        """The stand-in raises Hangs for a command that is waited for without a limit."""
        call(compose=[definition()])
        swarm.silent = (command,)
        began = swarm.clock.now
        made = call(compose=[definition()], state=state)
        assert made["failed"]
        assert "no quorum" in made["msg"] or f"docker {command}: no answer within 60 s" in made["msg"], made["msg"]
        assert swarm.clock.now - began < 120 + 70

    def test_a_swarm_that_never_tells_whose_a_network_is(self, swarm, call):
        """It is asked for the services of other stacks before anything is taken down."""
        call(compose=[definition()])
        swarm.silent = ("service ls --quiet",)
        made = call(compose=[{**definition(), "networks": {"default": {"attachable": True}}}])
        assert made["failed"]
        assert "no quorum" in made["msg"]
        assert "demo_node0" in swarm.services

    def test_an_engine_that_never_answers(self, swarm, call):
        swarm.silent = ("service ls", "info")
        assert "does not answer: docker info: no answer within 40 s" in call(swarm_stack_info)["msg"]

    def test_a_log_that_never_comes(self, swarm, call):
        swarm.outcomes = {"demo_node1": ("failed", 1, "boom")}
        call(compose=[definition()])
        swarm.silent = ("service logs",)
        (failure,) = call(swarm_stack_info, log_lines=5)["failures"]
        assert failure["log"] == ["(no log: docker service logs: no answer within 20 s)"]


class TestTasks:
    def test_the_order_of_docker_does_not_matter(self, swarm, call):
        """Newest first, in whatever order they were listed."""
        call(compose=[definition()])
        for _ in range(3):
            call(compose=[definition()], redeploy="always")
        seen = []
        for seed in range(5):
            swarm.swarm.random = random.Random(seed)
            info = call(swarm_stack_info)
            seen.append([task["id"] for task in info["tasks"]])
            created = [task["created_at"] for task in info["tasks"]]
            assert created == sorted(created, reverse=True)
        # Both services' tasks were made in the same moment.
        assert len({tuple(sorted(ids)) for ids in seen}) == 1
        assert len(seen[0]) == 8

    def test_exit_codes(self, swarm, call):
        """A container that has not ended has exit code 0 for docker, and none for us."""
        swarm.outcomes = {"demo_node0": ("complete", 0, "")}
        call(compose=[definition()])
        call(compose=[definition(image="trainer:2")])
        tasks = [(task["service"], task["state"], task["exit_code"]) for task in call(swarm_stack_info)["tasks"]]
        assert sorted(tasks, key=str) == [
            ("node0", "complete", 0),
            ("node1", "running", None),
            ("node1", "shutdown", 137),
        ]

    def test_identifiers_are_whole(self, swarm, call):
        call(compose=[definition()])
        assert [len(task["id"]) for task in call(swarm_stack_info)["tasks"]] == [25, 25]

    def test_another_stack_whose_name_begins_so_is_another_one(self, swarm, call):
        call(compose=[definition()])
        assert [service["full_name"] for service in call(swarm_stack_info)["services"]] == ["demo_node0", "demo_node1"]
        theirs = call(swarm_stack_info, name="demo_two")
        assert [service["name"] for service in theirs["services"]] == ["lost", "web"]

    def test_a_task_on_a_lost_node(self, swarm, call):
        theirs = call(swarm_stack_info, name="demo_two")
        assert {task["service"]: task["node"] for task in theirs["tasks"]} == {"lost": "host2", "web": "host0"}


class TestLogs:
    def log(self, swarm, lines):
        docker = DockerCli(type("Module", (), {"params": {}, "get_bin_path": lambda self, name: f"/bin/{name}"})())
        return task_log(docker, swarm.newest("demo_node1")["ID"], lines)

    def test_the_last_lines_of_both_streams_in_their_order(self, swarm, call):
        call(compose=[definition()])
        lines = [f"{'!' * (number % 2)}2025-01-01T10:00:{number:02}.5Z line {number}" for number in range(40)]
        swarm.log("demo_node1.1", *lines)
        assert self.log(swarm, 5) == [f"line {number}" for number in range(35, 40)]
        # And no more is fetched than is shown: a log may have millions.
        assert ("--tail", "5") in list(zip(swarm.calls[-1], swarm.calls[-1][1:], strict=False))
        assert self.log(swarm, 100) == [f"line {number}" for number in range(40)]

    def test_times_with_fewer_decimals_than_others(self, swarm, call):
        call(compose=[definition()])
        swarm.log("demo_node1.1", "2025-01-01T10:00:01Z a", "!2025-01-01T10:00:01.05Z b", "2025-01-01T10:00:01.5Z c")
        assert self.log(swarm, 5) == ["a", "b", "c"]

    def test_no_log(self, swarm, call):
        call(compose=[definition()])
        swarm.refusals = {"service logs": ["no log for you"]}
        assert self.log(swarm, 2) == ["(no log: Error response from daemon: no log for you)"]


def test_the_record_is_read_whole(swarm, call):
    """It holds more than a terminal's line, and characters of all kinds."""
    compose = definition(environment={"TEXT": "ä€𝄞" * 20_000, "A": "1"})
    call(compose=[compose])
    assert not call(compose=[compose])["changed"]
    record = Record.from_json(swarm.configs["demo.swarm-stack"]["Spec"]["Data"])
    assert record.definition["services"]["node1"]["environment"]["TEXT"] == "ä€𝄞" * 20_000
