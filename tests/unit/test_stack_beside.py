"""A second run of the module beside the first, as where a play runs it on each manager."""

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.stack import apply
from swarm_stand_in.fixtures import definition


def with_content(kind):
    compose = definition(**{f"{kind}s": ["c"]})
    return {**compose, f"{kind}s": {"c": {"content": "text"}}}


@pytest.mark.parametrize("kind", ["config", "secret"])
def test_it_has_made_a_content(swarm, call, monkeypatch, kind):
    """After this one has looked for it."""
    call(compose=[with_content(kind)])
    (name,) = [name for name in getattr(swarm, f"{kind}s") if "_c_" in name]
    seen = iter([{}])
    real = apply.list_objects
    monkeypatch.setattr(apply, "list_objects", lambda *words: next(seen, None) or real(*words))
    swarm.run("service rm demo_node1")
    made = call(compose=[with_content(kind)])
    assert not made.get("failed"), made["msg"]
    assert name in getattr(swarm, f"{kind}s")


@pytest.mark.parametrize("kind", ["config", "secret"])
def test_a_content_of_that_name_which_is_somebody_elses(swarm, call, kind):
    call(compose=[with_content(kind)])
    (name,) = [name for name in getattr(swarm, f"{kind}s") if "_c_" in name]
    call(state="absent")
    swarm.run(f"{kind} create {name} -", stdin="forged")
    made = call(compose=[with_content(kind)])
    assert made["msg"].startswith(
        f"docker {kind} create {name}: Error response from daemon: rpc error: code = AlreadyExists"
    )
    swarm.run(f"{kind} rm {name}")


@pytest.mark.parametrize("engine", ["20.10.24", "26.1.5"])
def test_it_has_made_a_network_or_a_service(swarm, call, engine):
    swarm.engine = engine
    said = "network with name demo_default already exists"
    swarm.refusals = {"stack deploy": [said]} if engine != "20.10.24" else {}
    assert not call(compose=[definition()]).get("failed")
    assert not call(compose=[definition()])["changed"]


def test_a_name_that_stays_taken(swarm, call):
    swarm.refusals = {"stack deploy": ["x already exists", "x already exists"]}
    made = call(compose=[definition()])
    assert made["msg"] == "docker stack deploy: Error response from daemon: x already exists"
    assert swarm.count("stack", "deploy") == 2


def test_it_has_written_its_record(swarm, call):
    """Between this one's removal of the old record and its own."""
    call(compose=[definition()])
    swarm.refusals = {"config rm": ["it is written meanwhile"]}
    made = call(compose=[definition(image="trainer:2")])
    assert not made.get("failed"), made["msg"]
    assert not call(compose=[definition(image="trainer:2")])["changed"]


@pytest.mark.parametrize(("said", "failed"), [("service demo_node1 not found", False), ("internal", True)])
def test_it_has_removed_a_service(swarm, call, said, failed):
    call(compose=[definition()])
    compose = definition()
    del compose["services"]["node1"]
    swarm.refusals = {"service rm": [said]}
    made = call(compose=[compose])
    assert made.get("msg", "") == (f"docker service rm: Error response from daemon: {said}" if failed else "")
