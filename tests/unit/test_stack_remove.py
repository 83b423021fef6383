"""A stack that goes, and what of it stays."""

import json

import pytest
from swarm_stand_in.fixtures import definition


class TestAbsent:
    def test_removes_all_and_then_nothing(self, swarm, call):
        compose = definition(configs=[{"source": "c", "target": "/c"}], secrets=["s"])
        compose.update(configs={"c": {"content": "one"}}, secrets={"s": {"content": "geheimnis"}})
        call(compose=[compose])
        predicted = call(state="absent", check=True)
        assert swarm.services
        swarm.busy_networks = 2
        made = call(state="absent")
        assert made["changed"]
        assert made["actions"] == predicted["actions"]
        assert (swarm.services, swarm.configs, swarm.secrets) == ({}, {}, {})
        assert swarm.networks == {}
        assert not call(state="absent")["changed"]

    def test_names_what_is_left(self, swarm, call):
        call(compose=[definition()])
        swarm.busy_networks = 10_000
        result = call(state="absent")
        assert "left are network demo_default" in result["msg"]
        assert "in use by task" in result["msg"]

    def test_tasks_that_do_not_end(self, swarm, call):
        call(compose=[definition()])
        swarm.stubborn = True
        assert f"task {swarm.newest('demo_node1')['ID']} (running)" in call(state="absent")["msg"]

    def test_tasks_of_a_lost_node_do_not_hold_it_up(self, swarm, call):
        call(compose=[definition()])
        swarm.stubborn = True
        swarm.swarm.node("host1")["Status"]["State"] = "down"
        assert call(state="absent")["changed"]

    def two_hosts(self, swarm, call):
        """A task on each, and host2 is lost when both run."""
        swarm.swarm.node("host2")["Status"]["State"] = "ready"
        compose = definition()
        for name, service in compose["services"].items():
            host = {"node0": "host1", "node1": "host2"}[name]
            service["deploy"]["placement"]["constraints"] = [f"node.hostname == {host}"]
        assert call(compose=[compose], wait_for="running")["state"]["converged"]
        swarm.swarm.node("host2")["Status"]["State"] = "down"

    def test_those_of_a_host_that_is_there_are_waited_for(self, swarm, call):
        """Of two tasks one is lost; the other one takes its second to stop."""
        self.two_hosts(swarm, call)
        made = call(state="absent")
        assert made["changed"]
        assert "1 tasks are left to host2: not reachable now" in str(made["warnings"])
        (left,) = [task for task in swarm.swarm.tasks.values() if task["ServiceName"].startswith("demo_node")]
        assert swarm.swarm.hostname(left["NodeID"]) == "host2"

    def test_one_that_does_not_end_is_told_with_a_lost_one_beside_it(self, swarm, call):
        self.two_hosts(swarm, call)
        swarm.stubborn = True
        task = swarm.newest("demo_node0")["ID"]
        made = call(state="absent")
        assert made["failed"]
        assert f"task {task} (running)" in made["msg"]

    def test_it_returns_when_the_last_container_is_gone(self, swarm, call):
        """Swarm says that a stack is removed before it is."""
        call(compose=[definition()])
        tasks = {task["ID"] for task in swarm.swarm.tasks_of("demo_node0") + swarm.swarm.tasks_of("demo_node1")}
        began = swarm.clock.now
        assert call(state="absent", later=0)["changed"]
        assert not tasks & set(swarm.swarm.tasks)
        assert not [item for item in swarm.swarm.containers.values() if item["Task"] in tasks]
        assert swarm.clock.now - began >= 1

    @pytest.mark.parametrize("engine", ["20.10.24", "26.1.5", "28.5.1"])
    def test_nothing_is_taken_along(self, swarm, call, engine):
        """The other stack's name begins as this one's, and so do those of configs that belong to no stack."""
        swarm.engine = engine
        call(compose=[definition()])
        assert [
            action for action in call(state="absent")["actions"] if "demo_two" in action or "foreign" in action
        ] == []
        assert call(name="demo_two", state="absent", check=True)["actions"] == [
            "remove service demo_two_lost",
            "remove service demo_two_web",
            "remove network demo_two_own",
            "remove config demo_two_text_0123456789ab",
            "remove secret demo_two_text_0123456789ab",
        ]

    def test_a_network_of_it_that_another_stack_uses(self, swarm, call):
        call(compose=[definition()])
        other = {"services": {"front": {"image": "web:1", "networks": ["theirs"]}}}
        other["networks"] = {"theirs": {"external": True, "name": "demo_default"}}
        swarm.run("stack deploy --detach=true -c - web", stdin=json.dumps({"version": "3.9", **other}))
        made = call(state="absent")
        assert made["failed"]
        assert "left are network demo_default" in made["msg"]
        assert "is in use by service" in made["msg"]
