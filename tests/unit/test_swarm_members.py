"""What is said and done about one host: in the swarm, in it no more, in another one, or locked."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.swarm.cluster import Cluster, Settings
from ansible_collections.ddp.swarm.plugins.module_utils.swarm.plan.hosts import diagnose_stranded
from swarm_as_seen import PAIR, TRIO, Seen, address, bare, headless, judge, node, swarm

DISTURBS = "But {} runs there and would be ended: wait for the end, or say swarm_disturb_training=true"


def done(seen: Seen, host: str = "host2", shape: Any = PAIR, **settings: bool) -> Any:
    return judge(seen, *shape, **settings)["hosts"][host]


def labels(missing: dict[str, str] | None, unwanted: list[str] | None = None) -> dict[str, Any]:
    return {"labels": missing, "labels_to_remove": unwanted}


@pytest.mark.parametrize(
    ("has", "wanted", "sentence", "settle"),
    [
        ({}, {}, "", {}),
        ({}, {"rank": 5}, "host2 gets rank 5 in place of 1.", labels({"ddp_rank": "5"})),
        ({"labels": {"ddp_host": "host2"}}, {}, "host2 gets rank 1.", labels({"ddp_rank": "1"})),
        ({"labels": {"ddp_host": "host2"}}, {"rank": 0}, "host2 gets rank 0.", labels({"ddp_rank": "0"})),
        ({"labels": {}}, {}, "host2 gets rank 1.", labels({"ddp_host": "host2", "ddp_rank": "1"})),
        ({"labels": {"ddp_rank": "1"}}, {}, "host2's node gets its name as a label.", labels({"ddp_host": "host2"})),
        ({}, {"rank": -1}, "host2 keeps no rank.", labels(None, ["ddp_rank"])),
        ({"labels": {"ddp_host": "host2"}}, {"rank": -1}, "", {}),
        ({"labels": {"ddp_rank": "1"}}, {"rank": -1}, "host2's node gets its name as a label. host2 keeps no rank.",
         labels({"ddp_host": "host2"}, ["ddp_rank"])),
        ({"availability": "drain"}, {}, "host2 is set to drain, and becomes active.", {"availability": "active"}),
        ({"availability": "drain"}, {"availability": ""}, "", {}),
        ({"availability": "drain"}, {"rank": 5},
         "host2 gets rank 5 in place of 1. host2 is set to drain, and becomes active.",
         {**labels({"ddp_rank": "5"}), "availability": "active"}),
    ],
)  # fmt: skip
def test_a_member_gets_what_it_lacks(
    has: dict[str, Any], wanted: dict[str, Any], sentence: str, settle: dict[str, Any]
) -> None:
    seen = swarm(*PAIR)
    seen["host1"]["nodes"][1].update(has)
    seen["host2"]["wanted"].update(wanted)
    steps = done(seen)
    assert (steps["sentence"], steps["settle"]) == (sentence, settle)
    assert (steps["node_id"], steps["repairs"], steps["refusal"], steps["demote"]) == ("id-host2", False, "", False)


EXPIRED = "error while validating Root CA Certificate: x509: certificate has expired or is not yet valid"


def test_an_engine_that_cannot_take_its_place_is_not_told_to_leave() -> None:
    """As after months in which it was switched off. Nobody else can lead the swarm."""
    seen = swarm(*PAIR)
    seen["host1"].update(root="/srv/docker", nodes=[])
    seen["host1"]["swarm"].update(state="error", error=EXPIRED, node_id="", manager=False, quorum=False, cluster="")
    plan = judge(seen, *PAIR)
    said = plan["hosts"]["host1"]["refusal"]
    assert said.startswith(
        f"host1's engine cannot take up its place in the swarm ({EXPIRED}). What it knows of the swarm is still in /srv/docker/swarm:"
    )
    assert "-in /srv/docker/swarm/certificates/swarm-node.crt'), set its clock back" in said
    assert "swarm_rejoin" not in said
    assert "playbooks/restore.yml" in said
    assert plan["refusals"][0] == said
    assert (plan["start"], plan["hosts"]["host1"]["leave"]) == ("", False)
    seen["host1"]["swarm"]["error"] = ""
    assert "(it does not say why)" in judge(seen, *PAIR)["refusals"][0]
    steps = judge(seen, *PAIR, rebuild=True)["hosts"]["host1"]
    assert (steps["leave"], steps["refusal"], steps["join"]) == (True, "", "")
    assert "It leaves that swarm" in steps["sentence"]


def test_an_engine_that_cannot_take_its_place_joins_again_where_another_leads() -> None:
    seen = swarm(*PAIR)
    seen["host2"]["swarm"].update(state="error", error=EXPIRED, node_id="", cluster="")
    steps = done(seen)
    assert (steps["leave"], steps["join"], steps["forget"]) == (True, "worker", ["id-host2"])
    assert EXPIRED in steps["sentence"]


def test_whether_something_is_to_be_settled() -> None:
    assert judge(swarm(*PAIR), *PAIR)["settles"] is False
    seen = swarm(*PAIR)
    seen["host2"]["wanted"]["rank"] = 5
    assert judge(seen, *PAIR)["settles"] is True
    seen = swarm(["host1", "host2", "host3"], [])
    assert judge(seen, ["host1", "host2"], ["host3"])["settles"] is True
    # A stranger with a rank.
    seen = swarm(["host1"], ["host2"])
    del seen["host2"]
    assert judge(seen, ["host1"], [])["settles"] is True


def test_a_host_of_which_no_rank_is_said_keeps_none() -> None:
    seen = swarm(*PAIR)
    del seen["host2"]["wanted"]["rank"]
    assert done(seen)["sentence"] == "host2 keeps no rank."


def test_a_role_that_changes_is_told() -> None:
    seen = swarm(*TRIO)
    plan = judge(seen, ["host1", "host2", "host4"], ["host3"])
    risen, fallen = plan["hosts"]["host4"], plan["hosts"]["host3"]
    assert (risen["sentence"], risen["settle"]) == ("host4 is a worker, and becomes a manager.", {"role": "manager"})
    assert (fallen["sentence"], fallen["settle"]) == ("host3 is a manager, and becomes a worker.", {})
    assert (risen["demote"], fallen["demote"], plan["refusals"]) == (False, True, [])


def test_a_host_of_which_nothing_is_wanted_is_left_alone() -> None:
    seen = swarm(*PAIR)
    bare(seen, "host2")
    seen["host2"]["wanted"] = {}
    plan = judge(seen, *PAIR)
    assert (list(plan["hosts"]), plan["repairs"]) == (["host1"], False)


@pytest.mark.parametrize(
    ("services", "wanted", "has", "disturbed"),
    [
        ([], {"rank": 5}, {}, False),
        (["job"], {"rank": 5}, {}, True),
        (["job"], {"rank": -1}, {}, True),
        (["job"], {"availability": "drain"}, {}, True),
        (["job"], {"availability": "pause"}, {}, False),
        (["job"], {}, {"labels": {"ddp_rank": "1"}}, False),
        (["job"], {}, {"labels": {"ddp_host": "host2"}}, False),
    ],
)
def test_a_job_is_in_the_way_of_what_would_end_it(
    services: list[str], wanted: dict[str, Any], has: dict[str, Any], disturbed: bool
) -> None:
    seen = swarm(*PAIR)
    seen["host1"]["nodes"][1].update(has)
    seen["host2"]["wanted"].update(wanted)
    seen["host2"]["services"] = services
    steps = done(seen)
    refusal = f"{steps['sentence']} {DISTURBS.format('job')} (a job goes on from its snapshot)."
    assert steps["refusal"] == (refusal if disturbed else "")
    assert done(seen, disturb_training=True)["refusal"] == ""


def test_all_jobs_that_are_in_the_way_are_named() -> None:
    seen = swarm(*PAIR)
    seen["host2"]["wanted"]["rank"] = 5
    seen["host2"]["services"] = ["a", "b", "c"]
    assert "But a, b and c run there" in done(seen)["refusal"]


# The nodes that a host was before.


@pytest.mark.parametrize(
    ("other", "forgotten"),
    [
        ({"labels": {"ddp_host": "host2"}, "status": "down"}, True),
        ({"labels": {"ddp_host": "host2"}, "address": "192.0.2.77"}, True),
        ({"labels": {"ddp_host": "host9"}, "status": "down"}, False),
        ({"labels": {}, "status": "down"}, True),
        ({"labels": {}}, False),
        ({"labels": {}, "status": "down", "address": "192.0.2.77"}, False),
        # Somebody says that it is this node.
        ({"labels": {"ddp_host": "host2"}, "id": "id-host1"}, False),
    ],
)
def test_a_former_node_is_known_by_its_name_or_down_at_the_hosts_address(
    other: dict[str, Any], forgotten: bool
) -> None:
    seen = swarm(*PAIR)
    seen["host1"]["nodes"].append({**node("host2", id="old"), **other})
    steps = done(seen)
    assert steps["forget"] == (["old"] if forgotten else [])
    assert steps["sentence"] == ("host2 has a former node in the swarm, which goes." if forgotten else "")
    assert steps["repairs"] is forgotten
    # A node that it lists no more does not count.
    seen["host1"]["nodes"][1:2] = []
    bare(seen, "host2")
    seen["host1"]["nodes"][-1] = {**node("host2", id="old"), **other}
    steps = done(seen)
    assert (steps["join"], steps["forget"]) == ("worker", ["old"] if forgotten else [])
    why = "was installed anew or left the swarm: its former node goes" if forgotten else "is in no swarm"
    assert steps["sentence"] == f"host2 {why}, and it joins as a worker."


def test_the_address_of_the_inventory_counts_where_none_is_wanted() -> None:
    seen = swarm(*PAIR)
    seen["host2"]["wanted"].pop("address")
    seen["host1"]["nodes"].append(node("host2", id="old", labels={}, status="down"))
    assert done(seen)["forget"] == ["old"]


# A host whose address has changed.


def moved(shape: Any, host: str, **wanted: Any) -> Seen:
    seen = swarm(*shape)
    seen[host]["wanted"].update(address="192.0.2.99", **wanted)
    return seen


@pytest.mark.parametrize(("shape", "host", "role"), [(PAIR, "host2", "worker"), (TRIO, "host2", "manager")])
def test_a_host_whose_address_has_changed_joins_again(shape: Any, host: str, role: str) -> None:
    seen = moved(shape, host, rank=7)
    steps = done(seen, host, shape)
    assert steps["sentence"] == (
        f"{host} is known to the swarm by {address(host)}, and its address is 192.0.2.99: it leaves and joins again as a {role}."
    )
    assert (steps["leave"], steps["join"], steps["forget"]) == (True, role, [f"id-{host}"])
    # Its rank is looked at when it is back.
    assert steps["settle"] == {}
    seen["host1"]["nodes"].append(node(host, id="old"))
    assert done(seen, host, shape)["forget"] == ["old", f"id-{host}"]
    seen[host]["services"] = ["job"]
    refusal = done(seen, host, shape)["refusal"]
    assert refusal == f"{steps['sentence']} {DISTURBS.format('job')} (a job goes on from its snapshot)."
    assert not done(seen, host, shape)["repairs"]


@pytest.mark.parametrize("unknown", ["wanted", "swarm"])
def test_an_address_that_is_not_known_has_not_changed(unknown: str) -> None:
    seen = moved(PAIR, "host2")
    seen["host2"][unknown]["address"] = ""
    assert done(seen)["sentence"] == ""


# In the swarm by its own account alone.

AGAIN = "it leaves and joins again as a worker."


@pytest.mark.parametrize(
    ("own", "listed", "sentence", "forgotten"),
    [
        ({}, {"status": "down"}, f"host2 stays Down in the swarm though its engine runs: {AGAIN}", ["id-host2"]),
        ({"error": "no certificate"}, {"status": "down"},
         f"host2 stays Down in the swarm though its engine runs (no certificate): {AGAIN}", ["id-host2"]),
        ({"cluster": ""}, {"status": "unknown"},
         f"host2 stays Unknown in the swarm though its engine runs: {AGAIN}", ["id-host2"]),
        ({"state": "error"}, {}, f"host2 stays Ready in the swarm though its engine runs: {AGAIN}", ["id-host2"]),
        ({"manager": True}, {}, f"host2 stays Ready in the swarm though its engine runs: {AGAIN}", ["id-host2"]),
        ({}, {"id": "another", "labels": {}},
         f"host2 is no longer among the swarm's nodes, though it believes so: {AGAIN}", []),
    ],
)  # fmt: skip
def test_a_lapsed_host_joins_again_once_it_has_been_waited_for(
    own: dict[str, Any], listed: dict[str, Any], sentence: str, forgotten: list[str]
) -> None:
    seen = swarm(*PAIR)
    seen["host2"]["swarm"].update(own)
    seen["host1"]["nodes"][1].update(listed)
    plan = judge(seen, *PAIR)
    assert (plan["wait_for"], plan["repairs"], plan["hosts"]["host2"]["sentence"]) == (["id-host2"], False, "")
    plan = judge(seen, *PAIR, waited=True)
    steps = plan["hosts"]["host2"]
    assert (steps["sentence"], steps["forget"], steps["node_id"]) == (sentence, forgotten, "id-host2")
    assert (steps["leave"], steps["join"], plan["wait_for"], plan["repairs"]) == (True, "worker", [], True)


def test_a_manager_that_finds_no_leader_while_another_leads_joins_again() -> None:
    seen = swarm(*TRIO)
    headless(seen, "host2")
    steps = done(seen, "host2", TRIO, waited=True)
    assert (steps["leave"], steps["join"], steps["forget"]) == (True, "manager", ["id-host2"])
    assert "(rpc error: the swarm does not have a leader)" in steps["sentence"]


def test_a_join_that_was_never_let_in_is_not_waited_for() -> None:
    seen = swarm(*PAIR)
    seen["host2"]["swarm"].update(state="pending", node_id="", cluster="")
    seen["host1"]["nodes"][1].update(labels={"ddp_host": "host2"}, id="old")
    steps = done(seen)
    assert steps["sentence"] == f"host2 began to join a swarm and was never let in: {AGAIN}"
    assert (steps["leave"], steps["join"], steps["forget"], steps["node_id"]) == (True, "worker", ["old"], "")


# In another swarm.

KEPT = "(images and volumes stay, services and networks of that swarm are lost to it)."


def stranded(managers: list[str], **own: Any) -> Seen:
    """The last host is in a swarm whose managers are at these addresses."""
    seen = swarm(*PAIR)
    seen["host2"]["swarm"].update(cluster="theirs", node_id="other", remotes=managers, **own)
    seen["host1"]["nodes"][1]["status"] = "down"
    return seen


@pytest.mark.parametrize(
    ("managers", "own", "why"),
    [
        (["198.51.100.1", "198.51.100.2"], {}, ", whose managers are at 198.51.100.1, 198.51.100.2"),
        ([address("host2")], {"manager": True, "quorum": True}, ", of which it is a manager"),
        ([address("host2")], {}, ", of which it is a manager"),
        ([address("host1"), address("host2")], {"manager": True}, f", whose managers are at {address('host1')}"),
        # An address that is not known is nobody's.
        ([""], {}, ", whose managers are at "),
    ],
)
def test_a_host_leaves_another_swarm_only_if_that_is_allowed(
    managers: list[str], own: dict[str, Any], why: str
) -> None:
    seen = stranded(managers, **own)
    seen["host1"]["wanted"].pop("address")
    assert done(seen)["refusal"] == (
        f"host2 is in another swarm{why}. Let it leave that swarm and join this one with swarm_rejoin=true {KEPT}"
    )
    assert done(seen, rebuild=True)["refusal"] != ""
    steps = done(seen, rejoin=True)
    assert (steps["refusal"], steps["leave"], steps["join"], steps["forget"]) == ("", True, "worker", ["id-host2"])
    assert steps["sentence"] == f"host2 is in another swarm{why}. It leaves that swarm and joins as a worker."


def test_a_host_whose_managers_were_installed_anew_leaves_them_only_if_that_is_allowed() -> None:
    seen = stranded([address("host1"), "198.51.100.1"])
    why = "host2 belongs to the swarm that host1 led before it was installed anew or left: nobody can lead that one any more"
    assert done(seen)["refusal"] == (
        f"{why}. Let it leave that swarm and join this one with swarm_rebuild=true, or restore it with playbooks/restore.yml {KEPT}"
    )
    assert done(seen, rejoin=True)["refusal"] != ""
    steps = done(seen, rebuild=True)
    assert (steps["refusal"], steps["leave"], steps["join"], steps["forget"]) == ("", True, "worker", ["id-host2"])
    assert steps["sentence"] == f"{why}. It leaves that swarm and joins as a worker."


@pytest.mark.parametrize(
    ("inventory", "wanted", "own", "named"),
    [
        ("203.0.113.5", "192.0.2.1", "192.0.2.1", "host1"),
        ("192.0.2.1", "203.0.113.5", "192.0.2.1", "host1"),
        ("192.0.2.1", "192.0.2.1", "203.0.113.5", "203.0.113.5"),
    ],
)
def test_a_former_manager_is_known_by_any_of_its_addresses(inventory: str, wanted: str, own: str, named: str) -> None:
    seen = stranded(["203.0.113.5"])
    seen["host1"]["wanted"]["address"], seen["host1"]["swarm"]["address"] = wanted, own
    cluster = Cluster(*PAIR, seen, {}, {"host1": inventory})
    said = diagnose_stranded(cluster, "host2", Settings()).refusal
    assert said.startswith(f"host2 belongs to the swarm that {named} led before")


def test_all_former_managers_are_named() -> None:
    seen = swarm(*TRIO)
    seen["host4"]["swarm"].update(cluster="theirs", node_id="other", remotes=[address("host1"), address("host3")])
    assert "the swarm that host1, host3 led before" in done(seen, "host4", TRIO)["refusal"]


@pytest.mark.parametrize("asleep", ["headless", "locked"])
def test_a_member_waits_for_its_managers_to_lead_again(asleep: str) -> None:
    seen = swarm(*TRIO)
    headless(seen, *TRIO[0])
    if asleep == "locked":
        for host in TRIO[0]:
            seen[host]["swarm"].update(state="locked", manager=False)
    steps = done(seen, "host4", TRIO)
    assert (steps["node_id"], steps["sentence"], steps["refusal"], steps["repairs"]) == ("id-host4", "", "", False)
    # One of another swarm does not.
    seen["host4"]["swarm"].update(cluster="theirs", remotes=["198.51.100.1"])
    assert done(seen, "host4", TRIO)["refusal"].startswith(
        "host4 is in another swarm, whose managers are at 198.51.100.1."
    )


# Without an engine, and locked.


def test_a_host_without_an_engine_is_told_with_what_it_said() -> None:
    seen = swarm(*TRIO)
    for host in ("host3", "host4"):
        bare(seen, host)
        seen[host].update(engine="", error="no docker")
    steps = done(seen, "host4", TRIO)
    assert steps["refusal"] == (
        "host4 has no Docker engine that answers (no docker): playbooks/docker.yml installs and starts it, or says why it does not start."
    )
    for host, role in (("host3", "manager"), ("host4", "worker")):
        steps = done(seen, host, TRIO, check=True)
        assert steps["sentence"] == f"{host} has no Docker engine that answers: it gets one, and joins as a {role}."
        assert (steps["join"], steps["refusal"]) == (role, "")


def test_a_locked_manager_is_unlocked_and_nothing_else() -> None:
    seen = swarm(*TRIO)
    seen["host2"]["swarm"].update(state="locked", manager=False, quorum=False)
    steps = done(seen, "host2", TRIO)
    assert steps["sentence"] == "host2 is locked since its engine started (autolock): it is unlocked."
    assert (steps["unlock"], steps["repairs"], steps["leave"], steps["join"]) == (True, True, False, "")


def test_a_key_that_nobody_can_be_asked_for_has_to_be_given() -> None:
    seen = swarm(["host1"], [])
    seen["host1"]["swarm"].update(state="locked", manager=False, quorum=False)
    seen["host1"]["nodes"] = []
    assert done(seen, "host1", (["host1"], []))["refusal"] == (
        "host1 is locked since its engine started (autolock), and no other manager is there to ask for the key: set swarm_unlock_key to what "
        "'docker swarm unlock-key' said before."
    )


@pytest.mark.parametrize("check", [False, True])
def test_a_docker_command_that_does_not_fit_its_engine_is_no_missing_engine(check: bool) -> None:
    seen = swarm(*PAIR)
    for host in ("host1", "host2"):
        old = "client version 1.41 is too old. Minimum supported API version is 1.44"
        seen[host].update(engine="", error=f"Error response from daemon: {old}", swarm={})
    refusals = judge(seen, *PAIR, check=check)["refusals"]
    assert [said.split(" (")[0] for said in refusals] == [
        "host1 has a docker command that is too old for its engine",
        "host2 has a docker command that is too old for its engine",
    ]
