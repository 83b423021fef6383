"""What hosts say of themselves, and others are told."""

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter import swarm_answers

ANSWER = {"engine": "26", "root": "/var/lib/docker", "swarm": {"node_id": "a1b2", "address": "10.0.0.1"}, "nodes": [{"id": "c3d4"}]}  # fmt: skip


def test_answers_of_engines_pass() -> None:
    problems = swarm_answers.swarm_answer_problems
    bare = {"engine": "", "root": "", "swarm": {}, "nodes": []}
    gone = {"unreachable": True, "msg": "no route"}
    away = {**ANSWER, "swarm": {"node_id": "", "address": ""}}
    six = {**ANSWER, "swarm": {"node_id": "a", "address": "fe80::1%eth0"}}
    nothing = {"swarm": None, "nodes": None}
    assert (
        problems({"host6": nothing, "host7": {**ANSWER, "root": "/"}, "host8": {**ANSWER, "nodes": [{"id": ""}]}}) == []
    )
    assert problems({"host1": ANSWER, "host2": bare, "host3": gone, "host4": away, "host5": six}) == []


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"swarm": {"node_id": "--help"}}, "'--help'"),
        ({"swarm": {"node_id": "a b"}}, "'a b'"),
        ({"swarm": {"node_id": ["a"]}}, "['a']"),
        ({"swarm": {"node_id": None}}, "None"),
        ({"swarm": {"node_id": "a\n"}}, r"'a\n'"),
        ({"swarm": {"address": "$(id)"}}, "'$(id)'"),
        ({"swarm": "text"}, "'text'"),
        ({"swarm": ["a"], "nodes": "b"}, "['a']"),
        ({"nodes": [{"id": "--force"}]}, "'--force'"),
        ({"nodes": [{"id": "a"}, {"id": "B"}, {"id": "C"}]}, "'B'"),
        ({"nodes": [{}]}, "None"),
        ({"nodes": ["a"]}, "['a']"),
        ({"nodes": [{"id": "a"}, "b"]}, "[{'id': 'a'}, 'b']"),
        ({"nodes": "a"}, "'a'"),
        ({"root": "../x"}, "'../x'"),
        ({"root": "/x\x1b[2J"}, r"'/x\x1b[2J'"),
        ({"root": 1}, "1"),
        ({"root": "x" * 200}, f"'{'x' * 99}"),
    ],
    ids=str,
)
def test_answers_that_no_engine_gives(change: dict[str, Any], shown: str) -> None:
    assert swarm_answers.swarm_answer_problems({"host1": ANSWER, "host2": {**ANSWER, **change}, "host3": ANSWER}) == [
        f"host2 does not answer as an engine does: it says {shown}. Look at 'docker info' and 'docker node ls' there."
    ]


def test_each_host_that_answers_so_is_told() -> None:
    odd = {**ANSWER, "root": "x"}
    said = swarm_answers.swarm_answer_problems({"host1": odd, "host2": ANSWER, "host3": odd})
    assert [sentence.split()[0] for sentence in said] == ["host1", "host3"]


def test_the_filter_has_its_name() -> None:
    assert swarm_answers.FilterModule().filters() == {"swarm_answer_problems": swarm_answers.swarm_answer_problems}
