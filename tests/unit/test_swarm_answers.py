"""What hosts say of themselves, and others are told."""

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter import swarm_answers

A, B, C = ("a".zfill(25), "b".zfill(25), "c".zfill(25))
ANSWER = {"engine": "26", "root": "/var/lib/docker", "swarm": {"node_id": "", "address": "10.0.0.1"}, "nodes": [{"id": C}]}  # fmt: skip


def test_answers_of_engines_pass() -> None:
    def problems(seen: Any) -> list[str]:
        return swarm_answers.swarm_answer_problems(seen, ["host1"])

    bare = {"engine": "", "root": "", "swarm": {}, "nodes": []}
    gone = {"unreachable": True, "msg": "no route"}
    away = {**ANSWER, "swarm": {"node_id": "", "address": ""}}
    six = {**ANSWER, "swarm": {"node_id": A, "address": "fe80::1%eth0"}}
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
        ({"swarm": {"node_id": "self"}}, "'self'"),
        ({"swarm": {"node_id": "host2"}}, "'host2'"),
        ({"swarm": {"node_id": "a" * 26}}, f"'{'a' * 26}'"),
        ({"swarm": {"address": "-h"}}, "'-h'"),
        ({"swarm": {"address": "%eth0"}}, "'%eth0'"),
        ({"nodes": [{"id": A}, {"id": "B"}, {"id": "C"}]}, "'B'"),
        ({"nodes": [{}]}, "None"),
        ({"nodes": ["a"]}, "['a']"),
        ({"nodes": [{"id": A}, "b"]}, f"[{{'id': '{A}'}}, 'b']"),
        ({"nodes": "a"}, "'a'"),
        ({"root": "../x"}, "'../x'"),
        ({"root": "/x\x1b[2J"}, r"'/x\x1b[2J'"),
        ({"root": 1}, "1"),
        ({"root": "x" * 200}, f"'{'x' * 99}"),
    ],
    ids=str,
)
def test_answers_that_no_engine_gives(change: dict[str, Any], shown: str) -> None:
    assert swarm_answers.swarm_answer_problems(
        {"host1": ANSWER, "host2": {**ANSWER, **change}, "host3": ANSWER}, ["host1"]
    ) == [
        f"host2 does not answer as an engine does: it says {shown}. Look at 'docker info' and 'docker node ls' there."
    ]


def test_each_host_that_answers_so_is_told() -> None:
    odd = {**ANSWER, "root": "x"}
    said = swarm_answers.swarm_answer_problems({"host1": odd, "host2": ANSWER, "host3": odd}, ["host1"])
    assert [sentence.split()[0] for sentence in said] == ["host1", "host3"]


def own(node_id: str, *nodes: tuple[str, str]) -> dict[str, Any]:
    """The answer of a host that says it is this node, and, as a manager, of which host's name each node bears."""
    listed = [{"id": name, "labels": {"ddp_host": host} if host else None} for name, host in nodes]
    return {**ANSWER, "swarm": {"node_id": node_id, "address": ""}, "nodes": listed}


def test_one_node_is_one_host() -> None:
    said = swarm_answers.swarm_answer_problems({"host1": own(A), "host2": own(B), "host3": own(B)}, ["host1"])
    assert len(said) == 1
    assert said[0].startswith(
        f"host2 and host3 both say that they are the node {B}: one is a copy of the other, or lies."
    )


def test_a_host_does_not_speak_for_another_that_is_silent() -> None:
    seen = {
        "host1": own(A, (A, "host1"), (B, "host2"), (C, "host3")),
        "host2": own(C, (C, "host1")),
        "host3": {"unreachable": True, "msg": "no route"},
    }
    (said,) = swarm_answers.swarm_answer_problems(seen, ["host1"])
    assert said.startswith(f"host2 says that it is the node {C}, which host1 knows as that of host3.")
    assert f"docker node update --label-rm ddp_host {C}' on host1" in said


@pytest.mark.parametrize("name", ["host2", "", "host9"])
def test_a_node_that_bears_the_hosts_name_or_nobodys(name: str) -> None:
    """host9 is not in the inventory: the host was called so before. Only what managers list counts."""
    seen = {"host1": own(A, (A, "host1"), (B, name)), "host2": own(B, (A, "host2")), "host3": own("")}
    assert swarm_answers.swarm_answer_problems(seen, ["host1"]) == []


def test_what_is_asked_of_a_host_it_does_not_say_itself() -> None:
    seen = {"host1": {**ANSWER, "wanted": {"rank": 0}}, "host2": {**ANSWER, "wanted": {"rank": 0}}, "host3": ANSWER}
    asked = {"host1": {"rank": 1, "advertise_addr": "10.0.0.7"}, "host3": {"rank": 2, "advertise_addr": "10.0.0.3"}}
    wanted = swarm_answers.with_wanted(seen, asked)
    assert {host: answer["wanted"] for host, answer in wanted.items()} == {
        "host1": {**asked["host1"], "address": "10.0.0.7", "why": "", "problem": ""},
        "host2": {},
        "host3": {**asked["host3"], "address": "10.0.0.3", "why": "", "problem": ""},
    }
    assert wanted["host1"]["root"] == "/var/lib/docker"


def test_the_filters_have_their_names() -> None:
    asked = {"swarm_answers", "swarm_is_known", "swarm_leads", "swarm_look"}
    names = {"swarm_answer_problems", "swarm_address_problems", "as_foreseen", "foreign_containers", "with_wanted"}
    assert set(swarm_answers.FilterModule().filters()) == names | asked


def looked(state: str = "active", *, quorum: bool = True) -> dict[str, Any]:
    """Of host_info, what tells of the swarm."""
    swarm = {"state": state, "manager": True, "quorum": quorum} if state else {}
    return {
        "engine": {"version": "26.1.5", "problem": "", "root": "/srv"},
        "running": {"services": ["a"], "containers": ["b"]},
        "addresses": {"interfaces": {}, "default": ""},
        "swarm_node": {"swarm": swarm, "nodes": [], "networks": [], "jobs": [], "idle": []},
    }


KNOWN: dict[str, Any] = {"docker_host_info": looked()}


@pytest.mark.parametrize(
    ("variables", "known"),
    [
        (KNOWN, True),
        ({}, False),
        ({"docker_host_info": {"msg": "unreachable", "unreachable": True}}, False),
        ({"docker_host_info": looked("")}, False),
        ({"docker_host_info": looked("inactive", quorum=False)}, True),
        ({"docker_host_info": looked("pending")}, False),
        ({"docker_host_info": looked(quorum=False)}, False),
        ({**KNOWN, "docker_changed": True}, False),
        ({**KNOWN, "swarm_changed": True}, False),
    ],
)
def test_the_swarm_is_known_by_the_first_look_until_something_changes(variables: dict[str, Any], known: bool) -> None:
    hosts: Any = {"host1": KNOWN, "host2": variables}
    assert swarm_answers.swarm_is_known(["host1", "host2"], hosts) is known
    assert swarm_answers.swarm_is_known(["host1"], hosts) is True


def test_the_first_look_is_an_answer_like_one_that_was_asked_for() -> None:
    asked = {"swarm": {"state": "inactive"}, "engine": "20.10.24"}
    hosts: Any = {
        "host1": KNOWN,
        "host2": {**KNOWN, "_swarm_seen": asked},
        "host3": {**KNOWN, "_swarm_seen": {"skipped": True}},
    }
    seen = swarm_answers.swarm_answers(hosts, hosts)
    assert seen["host2"] == asked
    assert seen["host1"] == seen["host3"] == swarm_answers.swarm_look(KNOWN["docker_host_info"])
    assert set(seen["host1"]) == {
        "swarm", "nodes", "networks", "jobs", "idle", "services", "containers", "addresses", "engine", "error", "root",
    }  # fmt: skip
    assert (seen["host1"]["engine"], seen["host1"]["root"], seen["host1"]["services"]) == ("26.1.5", "/srv", ["a"])
    lost: Any = {"host0": {"docker_host_info": looked(quorum=False)}, **hosts}
    assert swarm_answers.swarm_leads(["host0", "host1"], lost) == ["host1"]


def test_a_host_without_an_address_is_told_unless_nothing_is_asked_of_it() -> None:
    lost = {"engine": "26.1.5", "addresses": {"interfaces": {}, "default": ""}, "swarm": {}}
    seen = swarm_answers.with_wanted({"host1": lost, "host2": lost}, {"host1": {"advertise_addr": ""}})
    assert [said.split(" (")[0] for said in swarm_answers.swarm_address_problems(seen)] == [
        "host1 tells no address in any network"
    ]


def test_containers_that_are_not_the_swarms() -> None:
    seen: Any = {"host1": {"containers": ["db", "web"]}, "host2": {"containers": []}, "host3": {"containers": ["x"]}}
    asked = ["host1", "host2", "host4"]
    assert swarm_answers.foreign_containers(seen, asked) == ["db, web on host1"]


def test_a_member_keeps_the_address_that_the_swarm_knows() -> None:
    has = {"interfaces": {"eth0": ["10.0.0.1/24"], "eth1": ["10.9.0.1/24"]}, "default": "10.0.0.1"}
    seen = {"host1": {**ANSWER, "addresses": has, "swarm": {"address": "10.9.0.1"}}}
    assert (
        swarm_answers.with_wanted(seen, {"host1": {"advertise_addr": ""}})["host1"]["wanted"]["address"] == "10.9.0.1"
    )


def test_what_is_gone_and_ended_in_order_is_no_reason_to_refuse() -> None:
    nodes = [{"id": A, "labels": {"ddp_host": "host1"}}, {"id": B, "labels": {"ddp_host": "host2"}}, {"id": C}]
    seen = {"host1": {"nodes": nodes, "services": ["one_node0", "two_node1", "web"]}, "host3": {"nodes": None}}
    foreseen = swarm_answers.as_foreseen(seen, "host2", ["two"])
    assert [node["id"] for node in foreseen["host1"]["nodes"]] == [A, C]
    assert foreseen["host1"]["services"] == ["one_node0", "web"]
    assert foreseen["host3"] == {"nodes": [], "services": []}
    assert swarm_answers.as_foreseen(seen, "", [])["host1"] == seen["host1"]
