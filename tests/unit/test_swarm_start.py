"""Who starts or saves a swarm, through whom it is changed, and what speaks against it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.swarm.cluster import Cluster
from ansible_collections.ddp.swarm.plugins.modules import swarm_diagnosis
from docker_stand_in import run
from swarm_as_seen import PAIR, TRIO, Seen, address, bare, gone, headless, judge, node, swarm

FIVE = ([f"host{number}" for number in range(1, 6)], [])


def new(shape: Any) -> Seen:
    seen = swarm(*shape)
    for host in seen:
        bare(seen, host)
        seen[host]["nodes"] = []
    return seen


def test_the_first_manager_starts_the_swarm() -> None:
    plan = judge(new(TRIO), *TRIO)
    assert (plan["lead"], plan["start"], plan["lead_address"], plan["repairs"]) == ("host1", "init", "192.0.2.1", True)
    assert plan["hosts"]["host1"]["sentence"] == "host1 is in no swarm: it starts one."
    assert [steps["join"] for steps in plan["hosts"].values()] == ["", "manager", "manager", "worker"]


def test_who_starts_or_joins_by_an_unexpected_address_says_so() -> None:
    seen = new(PAIR)
    for host in seen:
        seen[host]["wanted"]["why"] = f"by {host}'s second card"
    hosts = judge(seen, *PAIR)["hosts"]
    assert hosts["host1"]["sentence"] == "host1 is in no swarm: it starts one. It takes part by host1's second card."
    assert hosts["host2"]["sentence"].endswith("joins as a worker. It takes part by host2's second card.")
    seen = swarm(*PAIR)
    seen["host2"]["wanted"]["why"] = "by its second card"
    assert judge(seen, *PAIR)["hosts"]["host2"]["sentence"] == ""


HAS = {"data_path_port": 4789, "default_addr_pool": ["10.0.0.0/8"], "subnet_size": 24}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, ""),
        (HAS, ""),
        ({"data_path_port": 7777}, "swarm_data_path_port asks for 7777, and the swarm of host1 has 4789"),
        (
            {"default_addr_pool": ["10.20.0.0/16", "10.30.0.0/16"]},
            "swarm_default_addr_pool asks for 10.20.0.0/16, 10.30.0.0/16, and the swarm of host1 has 10.0.0.0/8",
        ),
        ({"subnet_size": 25}, "swarm_default_addr_pool_mask_length asks for 25, and the swarm of host1 has 24"),
    ],
    ids=["nothing", "the same", "port", "pool", "size"],
)
def test_what_a_swarm_has_from_its_beginning(asked: Any, said: str) -> None:
    seen = swarm(*PAIR)
    seen["host1"]["swarm"].update(HAS)
    rest = " from its beginning: take it down and form it anew (playbooks/teardown.yml, then playbooks/swarm.yml), or take the variable out."
    assert judge(seen, *PAIR, **asked)["refusals"] == ([said + rest] if said else [])
    # One that is to be formed gets what is asked for.
    assert judge(new(PAIR), *PAIR, **asked)["refusals"] == []
    seen["host1"]["swarm"].update(dict.fromkeys(HAS))
    assert judge(seen, *PAIR, **asked)["refusals"] == []


def test_a_swarm_is_started_even_where_nothing_else_is_repaired() -> None:
    shape = (["host1"], [])
    plan = judge(new(shape), *shape)
    assert (plan["repairs"], plan["hosts"]["host1"]["repairs"]) == (True, False)


def test_a_first_manager_of_another_swarm_leaves_it_before_it_starts_one() -> None:
    seen = new(PAIR)
    seen["host1"]["swarm"].update(state="active", cluster="theirs", node_id="other", remotes=["198.51.100.1"])
    plan = judge(seen, *PAIR)
    assert (plan["lead"], plan["start"]) == ("host1", "")
    assert plan["refusals"] == [plan["hosts"]["host1"]["refusal"]]
    plan = judge(seen, *PAIR, rejoin=True)
    steps = plan["hosts"]["host1"]
    assert (plan["start"], plan["refusals"], steps["leave"], steps["join"]) == ("init", [], True, "")
    assert steps["sentence"].endswith("It leaves that swarm and joins as a manager.")


def test_a_first_manager_that_waits_for_another_swarm_does_not_start_one() -> None:
    """It was made a worker of a swarm whose managers are locked."""
    seen = swarm(*TRIO)
    seen["host1"].update(nodes=[])
    seen["host1"]["swarm"].update(manager=False, quorum=False)
    for host in ("host2", "host3"):
        seen[host]["nodes"] = []
        seen[host]["swarm"].update(state="locked", manager=False, quorum=False)
    plan = judge(seen, *TRIO)
    assert plan["refusals"][0] == "host1 is to lead the swarm, and is in another one (its state is active)."
    assert "host2 is locked" in plan["refusals"][1]
    assert plan["start"] == ""


@pytest.mark.parametrize(
    ("unreachable", "why"), [({"host1": "no route"}, "no route"), ({"host9": "no route"}, "it was not asked")]
)
def test_without_a_first_manager_nobody_starts_a_swarm(unreachable: dict[str, str], why: str) -> None:
    seen = new(PAIR)
    del seen["host1"]
    plan = judge(seen, *PAIR, unreachable=unreachable, rebuild=True)
    assert plan["refusals"] == [f"No manager can be asked for the swarm: host1 does not answer ({why})."]
    assert (plan["lead"], plan["start"], plan["lead_address"]) == ("host1", "", "")


def test_a_first_manager_without_an_engine_starts_none_and_is_foretold_in_check_mode() -> None:
    seen = new(PAIR)
    seen["host1"].update(engine="", error="no docker", swarm={})
    plan = judge(seen, *PAIR)
    assert plan["refusals"][0] == (
        "host1 is to lead the swarm and has no Docker engine that answers (no docker): run playbooks/docker.yml."
    )
    assert (plan["lead"], plan["start"]) == ("host1", "")
    plan = judge(seen, *PAIR, check=True)
    assert (plan["start"], plan["refusals"]) == ("init", [])


@pytest.mark.parametrize(
    ("away", "engineless", "named"),
    [
        (["host2"], [], "host2"),
        ([], ["host3"], "host3"),
        (["host2"], ["host3"], "host2 and host3"),
        # A worker leads no swarm.
        (["host4"], [], ""),
        ([], ["host4"], ""),
    ],
)
def test_a_manager_that_does_not_answer_may_lead_a_swarm(away: list[str], engineless: list[str], named: str) -> None:
    seen = new(TRIO)
    for host in away:
        del seen[host]
    for host in engineless:
        seen[host].update(engine="", error="no docker", wanted={})
    silent = dict.fromkeys(away, "no route")
    plan = judge(seen, *TRIO, unreachable=silent)
    refusal = (
        f"host1 is in no swarm, and no answer comes from {named}, which may lead one: bring that back, take it out of the inventory, or "
        "form a new swarm with swarm_rebuild=true."
    )
    assert (plan["lead"], plan["refusals"]) == ("host1", [refusal] if named else [])
    assert plan["start"] == ("" if named else "init")
    for allowed in ("rebuild", "check"):
        plan = judge(seen, *TRIO, unreachable=silent, **{allowed: True})
        assert (plan["start"], plan["refusals"]) == ("init", [])


def test_what_else_is_wrong_shows_once_managers_are_unlocked() -> None:
    seen = swarm(*TRIO)
    for host in ("host1", "host2"):
        seen[host]["nodes"] = []
        seen[host]["swarm"].update(state="locked", manager=False, quorum=False)
    bare(seen, "host3")
    seen["host4"]["swarm"].update(cluster="theirs", node_id="other", remotes=["198.51.100.1"])
    plan = judge(seen, *TRIO, unlock_key=True, rejoin=True)
    assert (plan["lead"], plan["start"], plan["refusals"], plan["repairs"]) == ("host1", "", [], True)
    for host in ("host3", "host4"):
        steps = plan["hosts"][host]
        assert (steps["repairs"], steps["join"], steps["leave"], steps["forget"]) == (False, "", False, [])


# A lost quorum.


def lost(*here: str, engineless: tuple[str, ...] = (), shape: Any = TRIO) -> tuple[Seen, dict[str, str]]:
    """These managers find no majority; others have no engine, and the rest does not answer."""
    seen = swarm(*shape)
    headless(seen, *here)
    for host in engineless:
        seen[host].update(engine="", error="no docker", nodes=[], swarm={})
    away = [host for host in shape[0] if host not in here + engineless]
    for host in away:
        del seen[host]
    return seen, dict.fromkeys(away, "no route")


FIRST = "The swarm has lost its quorum: host1 finds no majority of managers, and no help comes from host2 and host3."
REPAIR = (
    "Bring the engines of enough managers back and run this again: that alone repairs it. If they are gone for good, "
    "swarm_force_new_cluster=true lets {0} go on as the only manager (docker swarm init --force-new-cluster) with its nodes, labels, "
    "networks and services; what the others agreed on without it is lost."
)


def test_a_lost_quorum_is_told_with_what_brings_it_back() -> None:
    seen, away = lost("host1")
    plan = judge(seen, *TRIO, unreachable=away)
    assert plan["refusals"] == [f"{FIRST} {REPAIR.format('host1')}"]
    assert (plan["lead"], plan["start"], plan["lead_address"]) == ("host1", "", "192.0.2.1")
    seen, away = lost("host2", "host3")
    assert judge(seen, *TRIO, unreachable=away)["refusals"] == [
        "The swarm has lost its quorum: host2 and host3 find no majority of managers, and no help comes from host1. "
        + REPAIR.format("host2")
    ]
    seen, _ = lost("host1", "host2", "host3")
    assert "find no majority of managers. Bring" in judge(seen, *TRIO)["refusals"][0]


def test_one_manager_goes_on_alone_if_that_is_allowed() -> None:
    seen, away = lost("host2", "host3")
    plan = judge(seen, *TRIO, unreachable=away, force_new_cluster=True)
    assert (plan["lead"], plan["start"], plan["lead_address"], plan["refusals"]) == ("host2", "force", "192.0.2.2", [])
    assert plan["hosts"]["host2"]["sentence"] == (
        "The swarm has lost its quorum: host2 and host3 find no majority of managers, and no help comes from host1. host2 goes on as the "
        "only manager, with all that it knows, and the others join it again."
    )
    # Also where only day-2 work is done.
    seen["host2"]["wanted"] = {}
    plan = judge(seen, *TRIO, unreachable=away, force_new_cluster=True)
    assert "goes on as the only manager" in plan["hosts"]["host2"]["sentence"]


@pytest.mark.parametrize(
    ("shape", "here", "engineless", "later"),
    [
        (TRIO, ["host1"], ["host2"], True),
        (TRIO, ["host1"], [], False),
        (TRIO, ["host1"], ["host2", "host3"], True),
        # Half of them is no majority.
        ((["host1", "host2", "host3", "host4"], []), ["host1"], ["host2"], False),
        (FIVE, ["host1", "host2"], ["host3"], True),
        (FIVE, ["host1"], ["host3"], False),
    ],
)
def test_check_mode_tells_whether_engines_that_would_be_started_may_bring_it_back(
    shape: Any, here: list[str], engineless: list[str], later: bool
) -> None:
    seen, away = lost(*here, engineless=tuple(engineless), shape=shape)
    seen["host1"]["wanted"] = {}
    for host in engineless[1:]:
        seen[host]["wanted"] = {}
    plan = judge(seen, *shape, unreachable=away, check=True)
    assert (plan["lead"], plan["start"], bool(plan["refusals"])) == ("host1", "later" if later else "", not later)
    # Without check mode, engines that are down are no help.
    assert judge(seen, *shape, unreachable=away)["start"] == ""
    if later:
        assert not any(steps["repairs"] for steps in plan["hosts"].values())
        for host in engineless:
            said = plan["hosts"][host]["sentence"]
            assert said.startswith("The swarm has lost its quorum: ")
            assert said.endswith(
                f". The engine on {host} comes first: whether the swarm is led again then, only a run without --check shows."
            )


# The lead's address has changed.


def test_the_only_manager_starts_anew_under_its_new_address() -> None:
    seen = swarm(*PAIR)
    seen["host1"]["wanted"]["address"] = "192.0.2.99"
    plan = judge(seen, *PAIR)
    assert plan["hosts"]["host1"]["sentence"] == (
        "host1 is known to the swarm by 192.0.2.1, and its address is 192.0.2.99: as the only manager it starts its swarm anew from what it "
        "knows, under the new address."
    )
    assert (plan["start"], plan["lead"], plan["hosts"]["host1"]["leave"]) == ("force", "host1", False)


def test_one_of_several_managers_joins_again_through_another() -> None:
    seen = swarm(*TRIO)
    seen["host1"]["wanted"].update(address="192.0.2.99", rank=7)
    seen["host2"]["nodes"].append(node("host1", id="old"))
    seen["host1"]["nodes"] = seen["host2"]["nodes"]
    plan = judge(seen, *TRIO)
    steps = plan["hosts"]["host1"]
    assert steps["sentence"] == (
        "host1 is known to the swarm by 192.0.2.1, and its address is 192.0.2.99: it leaves and joins again as a manager."
    )
    assert (steps["leave"], steps["join"], steps["forget"], steps["settle"]) == (
        True,
        "manager",
        ["old", "id-host1"],
        {},
    )
    assert (plan["lead"], plan["lead_address"], plan["start"]) == ("host2", "192.0.2.2", "")


@pytest.mark.parametrize("why", ["nothing is wanted", "no address is wanted", "it has none", "the same", "a job runs"])
def test_a_lead_stays_where_it_is(why: str) -> None:
    seen = swarm(*PAIR)
    lead = seen["host1"]
    if why == "nothing is wanted":
        lead["wanted"] = {}
    else:
        lead["wanted"]["address"] = {"no address is wanted": "", "the same": "192.0.2.1"}.get(why, "192.0.2.99")
    if why == "it has none":
        lead["swarm"]["address"] = ""
    if why == "a job runs":
        lead["wanted"]["rank"], lead["services"] = 7, ["job"]
    plan = judge(seen, *PAIR)
    assert (plan["lead"], plan["start"], plan["repairs"]) == ("host1", "", False)


def test_a_lead_leaves_only_through_a_manager_of_the_inventory() -> None:
    seen = swarm(["host1", "host4"], ["host2"])
    seen["host1"]["wanted"]["address"] = "192.0.2.99"
    plan = judge(seen, ["host1"], ["host2"])
    (refusal,) = plan["refusals"]
    assert refusal == (
        "host1 is known to the swarm by 192.0.2.1, and its address is 192.0.2.99; it cannot leave and join again, because too few other "
        "managers answer. Bring them back first."
    )
    assert (plan["lead"], plan["start"], plan["hosts"]["host1"]["leave"]) == ("host1", "", False)


# Managers that become workers, and the quorum.


@pytest.mark.parametrize(
    ("lost", "demoted", "refused"),
    [
        ([], ["host5"], False),
        ([], ["host4", "host5"], False),
        (["host4"], ["host5"], False),
        # Two of four would be left.
        (["host3", "host4"], ["host5"], True),
        (["host4"], ["host2", "host3"], False),
        (["host4", "host5"], ["host2", "host3"], True),
    ],
)
def test_managers_become_workers_while_a_majority_is_left(lost: list[str], demoted: list[str], refused: bool) -> None:
    seen = swarm(*FIVE)
    for host in lost:
        gone(seen, host)
    managers = [host for host in FIVE[0] if host not in demoted]
    plan = judge(seen, managers, demoted, unreachable=dict.fromkeys(lost, "no route"))
    names = " and ".join(demoted)
    refusal = (
        f"The swarm would lose its quorum if {names} became a worker: too few managers would be left that answer. Bring the other managers "
        "back first."
    )
    assert plan["refusals"] == ([refusal] if refused else [])


def test_the_lead_may_be_a_host_that_is_to_be_a_worker() -> None:
    """Its node bears its name, so its swarm is the inventory's."""
    plan = judge(swarm(["host2"], ["host1"]), ["host1"], ["host2"])
    assert plan["lead"] == "host2"
    assert plan["hosts"]["host1"]["settle"] == {"role": "manager"}


def test_a_worker_that_says_it_can_lead_is_not_believed() -> None:
    """It knows the swarm's identifier, as each member does, and lists more nodes than there are."""
    seen = swarm(*TRIO)
    lie = [
        node(f"x{number}", labels={"ddp_host": "host4"}, role="manager", reachability="reachable")
        for number in range(9)
    ]
    seen["host4"]["swarm"].update(manager=True, quorum=True)
    seen["host4"]["nodes"] = [*seen["host1"]["nodes"], *lie]
    assert judge(seen, *TRIO)["lead"] == "host1"
    # Nor while the managers have lost their quorum.
    for host in TRIO[0]:
        headless(seen, host)
    assert judge(seen, *TRIO)["lead"] != "host4"
    # Nor when they are new, and it is all that there is.
    for host in TRIO[0]:
        bare(seen, host)
    assert judge(seen, *TRIO)["lead"] != "host4"


@pytest.mark.parametrize(
    ("cluster", "remotes", "addresses", "lead"),
    [
        ("ours", ["192.0.2.2"], {}, "host2"),
        ("ours", ["192.0.2.2"], {"host2": "192.0.2.2"}, "host2"),
        ("ours", ["192.0.2.2"], {"host2": "box.example.org"}, "host2"),
        ("ours", ["192.0.2.2"], {"host2": "192.0.2.77"}, ""),
        ("ours", ["192.0.2.9"], {}, ""),
        ("theirs", ["192.0.2.2"], {}, ""),
    ],
)
def test_a_worker_leads_if_the_managers_know_it_as_their_manager(
    cluster: str, remotes: list[str], addresses: dict[str, str], lead: str
) -> None:
    seen = swarm(["host2"], ["host1"])
    seen["host1"]["swarm"].update(cluster=cluster, remotes=remotes)
    assert Cluster(["host1"], ["host2"], seen, {}, addresses).lead == lead


# What is said beside the hosts.


@pytest.mark.parametrize(
    ("network", "wrong"),
    [
        (("overlay", "swarm"), False),
        (("bridge", "local"), True),
        (("overlay", "local"), True),
        (("bridge", "swarm"), True),
    ],
)
def test_a_network_of_the_same_name_is_refused(network: tuple[str, str], wrong: bool) -> None:
    seen = swarm(*PAIR)
    seen["host1"]["networks"] = [
        {"name": "ddp-net", "driver": "overlay", "scope": "swarm"},
        {"name": "bridge", "driver": "bridge", "scope": "local"},
        dict(zip(("name", "driver", "scope"), ("ddp-net", *network), strict=True)),
    ]
    refusal = (
        f"host1 has a network ddp-net that is no overlay but a {network[0]} network of its own: remove or rename it, or set swarm_network to "
        "another name."
    )
    assert judge(seen, *PAIR)["refusals"] == ([refusal] if wrong else [])


def test_refusals_of_hosts_come_in_order_and_each_but_once() -> None:
    seen = swarm(["host1"], ["host2", "host3"])
    for host in ("host2", "host3"):
        seen[host]["wanted"]["rank"] = 7
        seen[host]["services"] = ["job"]
    seen["host1"]["networks"] = [{"name": "ddp-net", "driver": "bridge", "scope": "local"}] * 2
    said = judge(seen, ["host1"], ["host2", "host3"])["refusals"]
    assert [sentence.split()[0] for sentence in said] == ["host2", "host3", "host1"]


# The module.


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Any:
    """What the module answers of the first of three managers, without a swarm, beside one that is silent."""
    seen = new(TRIO)
    del seen["host2"]
    usual = {"managers": TRIO[0], "workers": TRIO[1], "seen": seen, "unreachable": {"host2": "no route"}}
    return lambda **params: run(swarm_diagnosis, capsys, **{**usual, **params})


def test_the_module_says_what_it_found_and_changes_nothing(ask: Any) -> None:
    said = ask()
    assert said["changed"] is False
    assert "no answer comes from host2" in said["refusals"][0]
    assert list(said["hosts"]) == ["host1", "host3", "host4"]


@pytest.mark.parametrize("switch", [{"rebuild": True}, {"engines_come": True}, {"_ansible_check_mode": True}])
def test_the_module_takes_switches_and_check_mode(switch: dict[str, bool], ask: Any) -> None:
    assert (ask(**switch)["start"], ask(**switch)["refusals"]) == ("init", [])


@pytest.mark.parametrize("missing", ["managers", "seen"])
def test_the_module_needs_the_inventory_and_what_was_seen(missing: str, ask: Any) -> None:
    assert ask(**{missing: None})["msg"] == f"missing required arguments: {missing}"


def test_the_module_plans_a_removal_if_hosts_are_to_leave(ask: Any) -> None:
    seen = swarm(*TRIO)
    said = ask(seen=seen, remove=["host4"])
    assert (said["changed"], said["lead"], [entry["id"] for entry in said["removals"]]) == (
        False,
        "host1",
        ["id-host4"],
    )
    assert "hosts" not in said


def test_the_module_names_the_network_and_knows_the_addresses_of_the_inventory(ask: Any) -> None:
    seen = swarm(*TRIO)
    seen["host1"]["networks"] = [{"name": name, "driver": "bridge", "scope": "local"} for name in ("my-net", "ddp-net")]
    del seen["host4"]["wanted"]["address"]
    seen["host1"]["nodes"].append(node("host4", id="old", labels={}, status="down"))
    said = ask(seen=seen, network="my-net", addresses={"host4": address("host4")})
    assert "a network my-net that" in said["refusals"][0]
    assert said["hosts"]["host4"]["forget"] == ["old"]
    assert "a network ddp-net that" in ask(seen=seen)["refusals"][0]


@pytest.mark.parametrize(
    ("size", "warnings"),
    [
        (2, ["2 managers survive the loss of 0, as 1 do: make it 1 or 3."]),
        (3, []),
        (6, ["6 managers survive the loss of 2, as 5 do: make it 5 or 7."]),
        (7, []),
        (8, ["8 managers have to agree on every change: more than 7 make a swarm slow, and no safer in practice."]),
    ],
)
def test_the_module_warns_of_numbers_of_managers_that_are_unwise(
    size: int, warnings: list[str], ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(swarm_diagnosis.AnsibleModule, "warn", lambda _module, warning: warned.append(warning))
    ask(managers=[f"host{number}" for number in range(1, size + 1)], workers=[], seen={})
    assert warned == warnings
