"""What swarm_stack recorded at the last deployment, and how it is read again."""

import json
from typing import Any

import pytest
from swarm_stand_in.fixtures import definition

RECORD = "demo.swarm-stack"
# As the version before this one wrote it: what docker was sent, which was half of what the user wrote.
OLD: dict[str, Any] = {
    "image": "trainer:1",
    "command": "run 'it all'",
    "environment": {"A": "1"},
    "ports": ["8080:80", 90],
    "volumes": ["/host:/data:ro", {"type": "tmpfs", "target": "/dev/shm", "tmpfs": {"size": 64}}],
    "networks": ["outer"],
    "init": True,
    "stop_grace_period": "90s",
    "tty": False,
    "deploy": {
        "resources": {"limits": {"memory": "512m"}},
        "restart_policy": {"condition": "on-failure", "max_attempts": 3, "window": "1h"},
        "placement": {"constraints": ["node.role == worker"]},
        "replicas": 1,
    },
}


def stack() -> dict[str, Any]:
    compose = definition(**{key: OLD[key] for key in OLD if key not in ("image", "environment")})
    return {**compose, "networks": {"outer": {"external": True, "name": "demo-elsewhere"}}}


def record(swarm, **changes):
    """Changes the record behind the module's back."""
    spec = swarm.configs[RECORD]["Spec"]
    spec["Data"] = json.dumps({**json.loads(spec["Data"]), **changes})


def test_a_record_of_the_version_before_is_understood(swarm, call):
    """A job that was deployed by it must not be taken for another."""
    call(compose=[stack()])
    first = json.loads(swarm.configs[RECORD]["Spec"]["Data"])["definition"]
    node0 = {**first["services"]["node0"], "networks": ["default"]}
    old = {
        "services": {"node0": node0, "node1": OLD},
        "networks": {"default": {}, "outer": {"external": True, "name": "demo-elsewhere"}},
        "volumes": {},
        "configs": {},
        "secrets": {},
    }
    del node0["networks"]
    record(swarm, format=1, definition=old)
    assert call(compose=[stack()])["actions"] == []
    old["services"]["node1"]["environment"] = {"A": "2"}
    record(swarm, format=1, definition=old)
    assert call(compose=[stack()])["actions"] == ["update service node1: environment.A"]


@pytest.mark.parametrize(
    "said",
    [
        "dial unix /var/run/docker.sock: connect: no such file or directory",
        "dial tcp: lookup manager: no such host",
        'context "there": context not found',
        "rpc error: code = Unavailable desc = the route was not found",
    ],
)
def test_a_record_that_cannot_be_read_now_is_not_taken_for_none(swarm, call, said):
    call(compose=[definition()])
    swarm.refusals = {"config inspect": [said]}
    made = call(compose=[definition()])
    assert made["failed"]
    assert said in made["msg"]
    assert made["actions"] == []


def test_a_record_is_written_again_when_that_fails(swarm, call):
    call(compose=[definition()])
    swarm.refusals = {"config create": ["rpc error: code = Unknown desc = try later"]}
    assert not call(compose=[definition(command=["other"])]).get("failed")
    swarm.refusals = {}
    assert call(compose=[definition(command=["other"])])["actions"] == []
