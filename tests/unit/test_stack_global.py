"""Services with a task on each node, some of which are down, drained or not meant."""

import copy

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.stack.nodes import is_eligible
from ansible_collections.ddp.swarm.plugins.modules import swarm_stack_info
from swarm_stand_in.fixtures import definition


def stack(mode="global", constraints=("node.platform.os == linux",), **deploy):
    compose = definition()
    agent = copy.deepcopy(compose["services"]["node0"])
    agent["deploy"] = {"mode": mode, "placement": {"constraints": list(constraints)}, **deploy}
    return {"services": {**compose["services"], "agent": agent}}


def agent_of(result):
    return next(service for service in result["services"] if service["name"] == "agent")


NOWHERE = ["node.labels.gpu == true"]


@pytest.mark.parametrize("mode", ["global", "global-job"])
def test_without_any_eligible_node_there_is_nothing_to_wait_for(swarm, call, mode):
    made = call(compose=[stack(mode, NOWHERE)], wait_for="running")
    assert not made.get("failed"), made["msg"]
    assert (agent_of(made)["wanted"], agent_of(made)["running"], made["state"]["converged"]) == (0, 0, True)
    assert "service agent is global, and no node is up and fulfils node.labels.gpu == true" in str(made["warnings"])


def test_where_a_node_is_eligible_its_task_is_waited_for(swarm, call):
    """Also while swarm has not made it yet."""
    swarm.swarm.node("host1")["Spec"]["Labels"]["gpu"] = "true"
    made = call(compose=[stack(constraints=["node.labels.gpu == true"])], wait_for="running")
    assert not made.get("failed"), made["msg"]
    assert (agent_of(made)["wanted"], agent_of(made)["running"]) == (1, 1)
    assert "warnings" not in made


@pytest.mark.parametrize("state", ["running", "orphaned"])
def test_a_node_that_went_down_is_not_waited_for(swarm, call, state):
    call(compose=[stack(constraints=[])], wait_for="running")
    swarm.swarm.node("host1")["Status"]["State"] = "down"
    for task in swarm.swarm.tasks.values():
        if task["ServiceName"] == "demo_agent" and task["NodeID"] == swarm.swarm.node("host1")["ID"]:
            # As swarm does it: nothing will end it until the node comes back.
            task["DesiredState"], task["Status"]["State"] = "shutdown", state
    made = call(compose=[stack(constraints=[])])
    assert made["actions"] == []
    assert (agent_of(made)["wanted"], agent_of(made)["running"], agent_of(made)["converged"]) == (1, 1, True)


def test_an_old_task_on_a_paused_node_is_not_waited_for(swarm, call):
    call(compose=[stack(constraints=[])], wait_for="running")
    swarm.swarm.node("host1")["Spec"]["Availability"] = "pause"
    changed = stack(constraints=[])
    changed["services"]["agent"]["image"] = "agent:2"
    made = call(compose=[changed], wait_for="running")
    assert not made.get("failed"), made["msg"]
    assert (agent_of(made)["wanted"], agent_of(made)["running"], agent_of(made)["converged"]) == (1, 1, True)
    tasks = {
        task["image"]: task["state"] for task in made["tasks"] if task["service"] == "agent" and task["node"] == "host1"
    }
    assert tasks == {"trainer:1": "running"}


def test_a_service_on_paused_nodes_alone_has_nothing_to_wait_for(swarm, call):
    swarm.swarm.node("host1")["Spec"]["Availability"] = "pause"
    made = call(compose=[stack(constraints=["node.role == worker"])], wait_for="none")
    assert "service agent is global, and no node is up and fulfils" in str(made.get("warnings"))


def test_a_stopped_service_has_not_reached_anything(swarm, call):
    call(compose=[stack(constraints=[])], wait_for="running")
    call(state="stopped")
    made = call(swarm_stack_info)
    assert (agent_of(made)["wanted"], made["converged"], made["complete"]) == (1, False, False)


NODE = {
    "ID": "n1",
    "Spec": {"Role": "worker", "Availability": "active", "Labels": {"Zone": "a"}},
    "Description": {
        "Hostname": "Host1",
        "Platform": {"OS": "linux", "Architecture": "x86_64"},
        "Engine": {"Labels": {"disk": "ssd"}},
    },
    "Status": {"State": "ready", "Addr": "192.0.2.1"},
}


@pytest.mark.parametrize(
    ("constraints", "changes", "eligible"),
    [
        ([], {}, True),
        ([], {"Status": {"State": "down"}}, False),
        ([], {"Status": {"State": "unknown"}}, True),
        ([], {"Spec": {"Availability": "drain"}}, False),
        ([], {"Spec": {"Availability": "pause"}}, False),
        (["node.role==WORKER", "node.hostname == host1"], {}, True),
        (["node.role != worker"], {}, False),
        (["node.labels.Zone == A"], {}, True),
        (["node.labels.zone == a"], {}, False),
        (["node.labels.other != x"], {}, True),
        (["Node.Platform.OS == linux", "node.platform.arch==x86_64"], {}, True),
        (["engine.labels.disk == hdd"], {}, False),
        (["node.ip != 192.0.2.1"], {}, False),
        (["something else"], {}, True),
    ],
)
def test_which_nodes_are_eligible(constraints, changes, eligible):
    assert is_eligible({**NODE, **changes}, constraints) == eligible
