"""A host that is gone for good, through playbooks/swarm.yml with stand-ins for the engine: what is forgotten, refused, and left alone."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from plays import HERE
from plays import play as play_tasks
from test_swarm_role import NODE, Engine

OTHER = "n2".zfill(25)
INVENTORY = {"swarm": {"children": {"managers": {"hosts": {"host1": HERE}}, "workers": {"hosts": {}}}}}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    yield Engine(tmp_path)


def knows(engine: Engine, state: str) -> None:
    """The manager's nodes: itself, and host2 in this state; empty for one that it has forgotten."""
    own = {"Role": "manager", "Availability": "active", "Labels": {"ddp_host": "host1", "ddp_rank": "0"}}
    nodes = [
        {
            "ID": NODE,
            "Spec": own,
            "Status": {"State": "ready", "Addr": "127.0.0.1"},
            "ManagerStatus": {"Leader": True, "Reachability": "reachable"},
            "Description": {"Hostname": "host1"},
        }
    ]
    if state:
        labels = {"ddp_host": "host2", "ddp_rank": "1"}
        spec = {"Role": "worker", "Availability": "active", "Labels": labels}
        nodes.append({"ID": OTHER, "Spec": spec, "Status": {"State": state}, "Description": {"Hostname": "host2"}})
    (engine.directory / "nodes.json").write_text(json.dumps(nodes))
    docker = engine.directory / "bin/docker"
    text = docker.read_text()
    words = f'echo "$@" >>{engine.directory}/asked\n'
    ids = f"{NODE} {OTHER}" if state else NODE
    docker.write_text(
        text.replace("#!/bin/sh\n", f"#!/bin/sh\n{words}", 1).replace(
            f'"node ls") echo {NODE};;', f'"node ls") printf "%s\\n" {ids};;'
        )
    )


def play(engine: Engine, *options: str) -> tuple[subprocess.CompletedProcess[str], str]:
    done = engine.play("swarm.yml", *options, training_without="host2")
    return done, " ".join((done.stdout + done.stderr).split())


def asked(engine: Engine) -> str:
    return (engine.directory / "asked").read_text()


def test_it_is_forgotten_and_never_asked(engine: Engine) -> None:
    knows(engine, "down")
    done, said = play(engine, "--check")
    assert done.returncode == 0, said
    assert "host2 is Down and leaves the swarm. It does not answer: should it come back" in said
    assert "host2 : ok=" not in said
    assert "node rm" not in asked(engine)
    done, said = play(engine)
    assert f"node rm --force {OTHER}" in asked(engine), said


def test_one_that_is_there_is_refused_and_nothing_changes(engine: Engine) -> None:
    knows(engine, "ready")
    done, said = play(engine)
    assert done.returncode != 0
    assert "host2 is not gone: the swarm has it as Ready" in said
    assert "node rm" not in asked(engine)
    assert "node update" not in asked(engine)


def test_where_it_is_forgotten_already_there_is_nothing_to_say(engine: Engine) -> None:
    knows(engine, "")
    done, said = play(engine, "--check")
    assert done.returncode == 0, said
    assert "leaves the swarm" not in said
    assert "None of" not in said


def test_wrong_names_are_refused_by_the_sites_first_play(engine: Engine) -> None:
    for wrong, why in (("host7", "training_without names host7"), ("host1", "training_without names every manager")):
        done = engine.play("../site.yml", training_without=wrong)
        assert done.returncode != 0
        assert why in " ".join(done.stdout.split())
    assert not (engine.directory / "asked").exists()


def test_ranks_that_move_are_refused_also_where_no_manager_knows_more_nodes(tmp_path: Path) -> None:
    jobs = {"ansible.builtin.include_role": {"name": "swarm", "tasks_from": "gather/jobs"}}
    for moved in ([], ["job_node1 runs on host2."]):
        done = play_tasks(tmp_path, [{**jobs, "vars": {"_swarm_ask": "", "_swarm_moved": moved}}], inventory=INVENTORY)
        assert (done.returncode != 0) == bool(moved), done.stdout
        assert ("job_node1 runs on host2." in done.stdout) == bool(moved)
        assert "Empty hostname" not in done.stdout
