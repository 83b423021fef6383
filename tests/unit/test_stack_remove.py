"""A stack that goes, and what of it stays."""

import json
from functools import partial
from types import SimpleNamespace

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.stack import remove
from ansible_collections.ddp.swarm.plugins.module_utils.stack.remove import Remains, wait_tasks_gone
from ansible_collections.ddp.swarm.plugins.module_utils.stack.wait import StackFailure
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

    def test_names_the_containers_on_its_network(self, swarm, call):
        call(compose=[{**definition(), "networks": {"default": {"attachable": True}}}])
        task = swarm.swarm.attach("host0", "mine", "demo_default")
        assert call(state="absent")["msg"] == (
            "Stack demo is not gone after 20 s: left are network demo_default. container mine on host0, which no service made, "
            "uses its network: stop it, or take it off the network (docker network disconnect NETWORK CONTAINER on that host)"
        )
        swarm.swarm.detach(task)
        assert not call(state="absent").get("failed")

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


class TestSteps:
    def test_the_difference_and_the_result(self, swarm, call):
        call(compose=[definition()])
        parts = "service demo_node0", "service demo_node1", "network demo_default", "config demo.swarm-stack"
        shown = "".join(f"  - {part}\n" for part in parts)
        predicted = call(state="absent", check=True)
        assert (predicted["running"], predicted["state"]["exists"], len(predicted["tasks"])) == (True, True, 2)
        made = call(state="absent")
        assert (made["running"], made["state"]["exists"], made["tasks"]) == (False, False, [])
        for result in (predicted, made):
            (diff,) = result["diff"]
            assert (diff["before_header"], diff["before"], diff["after"]) == ("stack demo", f"parts:\n{shown}", "")
            assert "warnings" not in result
        again = call(state="absent")
        assert "diff" not in again
        # Asked for: services, networks, configs, secrets; and nothing is removed.
        assert (again["calls"], again["actions"], again["changed"]) == (4, [], False)

    def test_a_removal_that_docker_refuses(self, swarm, call):
        """Its services stay until time is up, and with them their tasks."""
        call(compose=[definition()])
        swarm.refusals = {"stack rm": ["boom"]}
        began = swarm.clock.now
        made = call(state="absent", later=0)
        assert made["msg"].startswith("Stack demo is not gone after 20 s. Not all tasks have ended in time: task ")
        assert 20 <= swarm.clock.now - began < 25
        assert 20 < swarm.count("service", "ls") < 45

    def test_services_that_go_late(self, swarm, call, monkeypatch):
        slept = swarm.clock.sleep

        def late(seconds):
            slept(seconds)
            if swarm.clock.now > began + 5:
                for service in swarm.services.values():
                    swarm.swarm.remove_service(service)

        call(compose=[definition()])
        began = swarm.clock.now
        swarm.refusals = {"stack rm": ["boom"]}
        monkeypatch.setattr(swarm.clock, "sleep", late)
        made = call(state="absent", later=0)
        assert made["changed"]
        assert swarm.clock.now - began < 10

    @pytest.mark.parametrize("kind", ["network", "config", "secret"])
    def test_what_docker_leaves_is_removed_one_by_one(self, swarm, call, kind):
        compose = {**definition(configs=["c"], secrets=["t"]), "configs": {"c": {"content": "one"}}}
        call(compose=[{**compose, "secrets": {"t": {"content": "geheimnis"}}}])
        swarm.refusals = {f"{kind} rm": ["boom"]}
        remove, refused = swarm.docker.remove, iter([True, True])
        swarm.docker.remove = lambda what, name: (
            "boom\n" if what == kind and next(refused, False) else remove(what, name)
        )
        assert call(state="absent")["changed"]
        assert (swarm.networks, swarm.configs, swarm.secrets) == ({}, {}, {})
        assert swarm.count(kind, "rm") >= 2

    def test_what_is_left_is_named_by_its_kind(self):
        remains = Remains(
            services={"s": "1"},
            networks={"n2": "2", "n1": "3"},
            configs={"c": "4"},
            secrets={"t": "5"},
            containers=["x"],
        )
        assert remains
        assert [action.what for action in remains.removal()] == [
            "service s",
            "network n1",
            "network n2",
            "config c",
            "secret t",
            "container x",
        ]
        assert not Remains()

    @pytest.fixture
    def orphan(self, swarm, call):
        """A container of a task that swarm does not know, as one that ended before the swarm's state was replaced by a backup's."""
        call(compose=[definition()])
        about = {"Labels": {"com.docker.stack.namespace": "demo"}, "Node": swarm.swarm.node("host0")["ID"], "Task": ""}
        swarm.swarm.containers["c"] = {"ID": "c", "Name": "demo_x", **about}

    def test_a_container_that_swarm_has_forgotten_goes_with_it(self, swarm, call, orphan):
        assert call(state="absent", later=0)["changed"]
        assert "c" not in swarm.swarm.containers

    def test_a_container_that_stays_is_left(self, swarm, call, orphan):
        swarm.refusals["container rm"] = ["cannot remove container demo_x: container is running"] * 100
        began = swarm.clock.now
        made = call(state="absent", later=0)
        assert made["msg"] == (
            "Stack demo is not gone after 20 s: left are container demo_x. "
            "Error response from daemon: cannot remove container demo_x: container is running"
        )
        assert 20 <= swarm.clock.now - began < 25
        # Twice a second, but for what docker itself takes.
        assert 20 < swarm.count("ps") < 40


class TestTasks:
    @pytest.fixture
    def wait(self, swarm, monkeypatch):
        return partial(self.waited, swarm, monkeypatch)

    def waited(self, swarm, monkeypatch, deadline, *looks, nodes=()):
        """Each look finds these tasks of those that are asked for."""
        left, asked = list(looks), []

        def found(docker, kind, ids):
            assert kind == "task"
            asked.append(list(ids))
            now = left.pop(0) if len(left) > 1 else left[0]
            return [{"ID": key, "NodeID": node, "Status": {"State": "running"}} for key, node in now.items()]

        docker = SimpleNamespace(json_lines=lambda *_words: list(nodes))
        monkeypatch.setattr(remove, "inspect_all", found)
        return wait_tasks_gone(docker, ["a", "b"], swarm.clock.monotonic() + deadline), asked

    def test_those_that_are_left_are_asked_for_again(self, swarm, wait):
        assert wait(5, {"a": "n", "b": "n"}, {"b": "n"}, {}) == ([], [["a", "b"], ["a", "b"], ["b"]])
        assert swarm.clock.slept == [0.5, 0.5]

    def test_until_time_is_up(self, swarm, wait):
        with pytest.raises(StackFailure) as caught:
            wait(2, {"a": "n", "b": "n"})
        assert str(caught.value) == "Not all tasks have ended in time: task a (running), task b (running)"
        assert swarm.clock.slept == [0.5] * 5

    def test_lost_hosts_are_named_once(self, wait):
        nodes = [
            {"ID": "n1", "Hostname": "h1", "Status": "Down"},
            {"ID": "n2", "Hostname": "h2", "Status": "Unknown"},
            {"ID": "n3", "Hostname": "h3", "Status": "Ready"},
            {"ID": "n4", "Hostname": "h4"},
        ]
        warnings, asked = wait(2, {"a": "n2", "b": "n1", "c": "n2"}, nodes=nodes)
        assert warnings == ["3 tasks are left to h1, h2: not reachable now, they end when it comes back"]
        assert len(asked) == 1
        for reachable in ("n3", "n4"):
            with pytest.raises(StackFailure):
                wait(0, {"a": "n1", "b": reachable}, nodes=nodes)
