"""A stack whose tasks are ended in order, so that it can be collected before it is removed."""

from ansible_collections.ddp.swarm.plugins.module_utils.stack.live import NOWHERE
from swarm_stand_in.fixtures import definition


def states(swarm, service):
    return [task["Status"]["State"] for task in swarm.swarm.tasks_of(service) if task.get("NodeID")]


def test_every_task_ends_and_keeps_its_container(swarm, call):
    call(compose=[definition()], wait_for="running")
    predicted = call(state="stopped", check=True)
    assert states(swarm, "demo_node0") == ["running"]
    made = call(state="stopped")
    assert made["changed"]
    assert made["actions"] == predicted["actions"] == ["stop node0 on host1", "stop node1 on host1"]
    assert (states(swarm, "demo_node0"), states(swarm, "demo_node1")) == (["shutdown"], ["shutdown"])
    assert sorted(swarm.services) == ["demo_node0", "demo_node1"]
    again = call(state="stopped")
    assert (again["changed"], again["actions"]) == (False, [])
    assert call(state="absent")["changed"]


def test_no_node_can_take_the_tasks(swarm, call):
    call(compose=[definition()], wait_for="running")
    call(state="stopped")
    for service in swarm.services.values():
        assert NOWHERE in service["Spec"]["TaskTemplate"]["Placement"]["Constraints"]


def test_a_task_that_does_not_end_is_named(swarm, call):
    call(compose=[definition()], wait_for="running")
    swarm.stubborn = True
    made = call(state="stopped", wait_timeout=5)
    assert made["failed"]
    assert made["msg"] == "Stack demo has not stopped after 5 s: node0 on host1, node1 on host1 still runs"


def test_a_host_that_does_not_answer_is_no_reason_to_wait(swarm, call):
    call(compose=[definition()], wait_for="running")
    swarm.stubborn = True
    swarm.swarm.node("host1")["Status"]["State"] = "down"
    made = call(state="stopped")
    assert "node0 on host1 cannot be told to stop: its host does not answer" in str(made["warnings"])


def test_a_task_that_is_killed_is_named(swarm, call):
    call(compose=[definition(stop_grace_period="40s")], wait_for="running")
    swarm.stop_codes = {"demo_node0": 143}
    made = call(state="stopped")
    warned = str(made["warnings"])
    assert "node1 on host1 was killed: it had not ended 40 s after SIGTERM (stop_grace_period)" in warned
    assert "node0" not in warned


def test_a_stack_that_is_not_there_has_nothing_to_stop(call):
    assert call(state="stopped")["changed"] is False


def test_a_stopped_stack_goes_on_as_it_was_deployed(swarm, call):
    call(compose=[definition()], wait_for="running")
    call(state="stopped")
    asked = call(compose=[definition()], check=True)
    assert not asked["running"]
    assert call(state="resumed", check=True)["actions"] == ["resume node0", "resume node1"]
    made = call(state="resumed")
    assert made["changed"]
    assert made["actions"] == ["resume node0", "resume node1"]
    assert call(state="resumed")["changed"] is False
    again = call(compose=[definition()], wait_for="running")
    assert (again["changed"], again["state"]["converged"]) == (False, True)


def test_services_that_were_scaled_down_go_on_too(swarm, call):
    call(compose=[definition()], wait_for="running")
    for name in ("demo_node0", "demo_node1"):
        swarm.swarm.edit(name, lambda spec: spec["Mode"]["Replicated"].update(Replicas=0))
    assert call(state="resumed")["actions"] == ["resume node0", "resume node1"]
    assert call(compose=[definition()], wait_for="running")["state"]["converged"]
