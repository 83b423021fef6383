"""What is wrong with a swarm, what repairs it, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ddp.swarm.plugins.action.swarm_diagnosis import ActionModule
from ansible_collections.ddp.swarm.plugins.modules import swarm_diagnosis
from by_path import ROOT
from docker_stand_in import run
from jinja2.nativetypes import NativeEnvironment
from swarm_as_seen import PAIR, TRIO, address, bare, gone, headless, judge, node, remove, swarm


class Templar:
    """Of what an action plugin needs, to check its arguments: nothing is to be templated."""

    available_variables: Any = None

    def template(self, value: Any, **_options: Any) -> Any:
        return value


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("managers", [["host1"], ["host1", "host2"]], ids=["one manager", "two managers"])
def test_the_action_plugin_says_what_the_module_says(
    managers: list[str], check: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It spares the module a process of its own, on the controller."""
    seen = swarm(managers, [])
    arguments: Any = {"managers": managers, "seen": seen}
    task = SimpleNamespace(args=arguments, async_val=0, check_mode=check, action="swarm_diagnosis", no_log=False)
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/nowhere"))
    plugin = ActionModule(task, connection, None, None, Templar(), None)
    told = plugin.run(task_vars={})
    assert plugin._requires_connection is False
    warned: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, warning, **_options: warned.append(warning))
    as_module = run(swarm_diagnosis, capsys, _ansible_check_mode=check, **arguments)
    assert warned == told.pop("warnings")
    assert {name: as_module[name] for name in told} == told
    assert [warning.split(":")[0] for warning in warned] == (
        [] if managers == ["host1"] else ["2 managers survive the loss of 0, as 1 do"]
    )


def test_the_action_plugin_checks_its_arguments_and_takes_no_other_than_the_modules() -> None:
    task = SimpleNamespace(args={"seen": {}}, async_val=0, check_mode=False, action="swarm_diagnosis", no_log=False)
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/nowhere"))
    with pytest.raises(AnsibleActionFail, match="managers"):
        ActionModule(task, connection, None, None, Templar(), None).run(task_vars={})
    task.async_val = 10
    with pytest.raises(AnsibleActionFail, match="async"):
        ActionModule(task, connection, None, None, Templar(), None).run(task_vars={})


@pytest.mark.parametrize("shape", [(["host1"], []), PAIR, TRIO])
def test_nothing_is_done_to_a_healthy_swarm(shape: Any) -> None:
    plan = judge(swarm(*shape), *shape)
    assert (plan["refusals"], plan["repairs"], plan["start"], plan["wait_for"]) == ([], False, "", [])
    assert [steps["sentence"] for steps in plan["hosts"].values() if steps["sentence"] or steps["settle"]] == []


def test_bare_hosts_become_a_swarm() -> None:
    seen = swarm(*PAIR)
    for host in seen:
        bare(seen, host)
    plan = judge(seen, *PAIR)
    assert (plan["lead"], plan["start"], plan["lead_address"]) == ("host1", "init", "192.0.2.1")
    assert [steps["join"] for steps in plan["hosts"].values()] == ["", "worker"]


def test_hosts_without_an_engine_are_refused_and_foretold_in_check_mode() -> None:
    seen = swarm(*PAIR)
    for host in seen:
        bare(seen, host)
        seen[host].update(engine="", error="no docker")
    assert "playbooks/docker.yml" in judge(seen, *PAIR)["refusals"][0]
    plan = judge(seen, *PAIR, check=True)
    assert (plan["refusals"], plan["start"], plan["hosts"]["host2"]["join"]) == ([], "init", "worker")


def test_a_reinstalled_host_replaces_its_former_node_and_no_other() -> None:
    seen = swarm(*TRIO)
    bare(seen, "host4")
    seen["host1"]["nodes"].append(node("host9", status="down", labels={}))
    plan = judge(seen, *TRIO)
    assert (plan["hosts"]["host4"]["join"], plan["hosts"]["host4"]["forget"]) == ("worker", ["id-host4"])


def test_a_host_that_has_just_left_is_not_waited_for_until_its_node_is_down() -> None:
    seen = swarm(*PAIR)
    bare(seen, "host2")
    seen["host1"]["nodes"][1]["status"] = "ready"
    assert judge(seen, *PAIR)["hosts"]["host2"]["forget"] == ["id-host2"]


def test_the_lead_is_another_manager_when_the_first_is_new() -> None:
    seen = swarm(*TRIO)
    bare(seen, "host1")
    plan = judge(seen, *TRIO)
    assert (plan["lead"], plan["start"], plan["hosts"]["host1"]["join"]) == ("host2", "", "manager")


def test_workers_of_a_manager_that_is_new_are_stranded() -> None:
    seen = swarm(*PAIR)
    bare(seen, "host1")
    plan = judge(seen, *PAIR)
    assert "swarm_rebuild=true" in plan["refusals"][0]
    assert "restore.yml" in plan["refusals"][0]
    allowed = judge(seen, *PAIR, rebuild=True)
    assert (allowed["refusals"], allowed["start"], allowed["hosts"]["host2"]["leave"]) == ([], "init", True)


def test_a_worker_of_strangers_needs_another_switch() -> None:
    seen = swarm(*PAIR)
    seen["host2"]["swarm"].update(cluster="theirs", node_id="other", remotes=["198.51.100.1"])
    assert "swarm_rejoin=true" in judge(seen, *PAIR, rebuild=True)["refusals"][0]
    allowed = judge(seen, *PAIR, rejoin=True)
    assert (allowed["refusals"], allowed["hosts"]["host2"]["leave"], allowed["hosts"]["host2"]["join"]) == (
        [],
        True,
        "worker",
    )


def test_the_swarm_of_a_host_that_is_to_be_a_worker_is_not_taken_for_ours() -> None:
    seen = swarm(*PAIR)
    seen["host2"]["swarm"].update(cluster="theirs", manager=True, quorum=True, node_id="other")
    seen["host2"]["nodes"] = [node("host2", id="other", labels={}, role="manager", reachability="reachable")]
    bare(seen, "host1")
    plan = judge(seen, *PAIR)
    assert plan["lead"] == "host1"
    assert "host2 is in another swarm" in plan["refusals"][0]


def test_a_lapsed_worker_is_waited_for_before_it_rejoins() -> None:
    seen = swarm(*PAIR)
    seen["host1"]["nodes"][1]["status"] = "down"
    plan = judge(seen, *PAIR)
    assert (plan["wait_for"], plan["repairs"]) == (["id-host2"], False)
    waited = judge(seen, *PAIR, waited=True)
    assert (waited["hosts"]["host2"]["leave"], waited["hosts"]["host2"]["forget"]) == (True, ["id-host2"])


def test_a_join_that_was_interrupted_begins_anew() -> None:
    seen = swarm(*PAIR)
    seen["host2"]["swarm"].update(state="pending", node_id="", cluster="")
    assert judge(seen, *PAIR)["hosts"]["host2"]["leave"]


def test_a_lost_quorum_is_saved_on_request_only() -> None:
    seen = swarm(*TRIO)
    headless(seen, "host1")
    for host in ("host2", "host3"):
        del seen[host]
    gone = {"host2": "no route", "host3": "no route"}
    plan = judge(seen, *TRIO, unreachable=gone)
    assert (
        "lost its quorum: host1 finds no majority of managers, and no help comes from host2 and host3"
        in plan["refusals"][0]
    )
    allowed = judge(seen, *TRIO, unreachable=gone, force_new_cluster=True)
    assert (allowed["lead"], allowed["start"], allowed["refusals"]) == ("host1", "force", [])
    assert not allowed["hosts"]["host4"]["repairs"]


def test_check_mode_does_not_know_what_engines_that_are_down_would_bring_back() -> None:
    seen = swarm(*TRIO)
    headless(seen, "host1")
    for host in ("host2", "host3"):
        seen[host].update(engine="", error="is the docker daemon running?", nodes=[], swarm={})
    plan = judge(seen, *TRIO, check=True)
    assert (plan["refusals"], plan["start"]) == ([], "later")
    assert not any(steps["repairs"] for steps in plan["hosts"].values())
    assert "The engine on host3 comes first" in plan["hosts"]["host3"]["sentence"]
    assert "has no Docker engine that answers" in judge(seen, *TRIO)["refusals"][0] + judge(seen, *TRIO)["refusals"][1]


def test_silent_managers_may_lead_a_swarm() -> None:
    seen = swarm(*TRIO)
    bare(seen, "host1")
    for host in ("host2", "host3", "host4"):
        del seen[host]
    gone = {"host2": "no route", "host3": "no route"}
    assert (
        "no answer comes from host2 and host3, which may lead one"
        in judge(seen, *TRIO, unreachable=gone)["refusals"][0]
    )


def test_a_job_is_not_disturbed_by_another_rank() -> None:
    seen = swarm(*PAIR)
    seen["host2"]["wanted"]["rank"] = 5
    assert judge(seen, *PAIR)["hosts"]["host2"]["settle"]["labels"] == {"ddp_rank": "5"}
    seen["host2"]["services"] = ["simple-training_node1"]
    assert "swarm_disturb_training=true" in judge(seen, *PAIR)["refusals"][0]
    assert judge(seen, *PAIR, disturb_training=True)["refusals"] == []
    # A rank that was lost ends nothing when it returns.
    seen["host1"]["nodes"][1]["labels"] = {}
    assert judge(seen, *PAIR)["refusals"] == []


def test_the_only_manager_moves_without_losing_its_swarm() -> None:
    seen = swarm(*PAIR)
    seen["host1"]["wanted"]["address"] = "192.0.2.99"
    plan = judge(seen, *PAIR)
    assert (plan["start"], plan["lead_address"]) == ("force", "192.0.2.99")


def test_one_of_three_managers_moves_through_another() -> None:
    seen = swarm(*TRIO)
    seen["host1"]["wanted"]["address"] = "192.0.2.99"
    plan = judge(seen, *TRIO)
    assert (plan["start"], plan["lead"], plan["lead_address"]) == ("", "host2", "192.0.2.2")
    assert plan["hosts"]["host1"]["join"] == "manager"


def test_roles_follow_the_inventory_and_keep_the_quorum() -> None:
    seen = swarm(*TRIO)
    plan = judge(seen, ["host1", "host2", "host4"], ["host3"])
    assert plan["hosts"]["host4"]["settle"]["role"] == "manager"
    assert plan["hosts"]["host3"]["demote"]
    for other in seen.values():
        other["nodes"] = [
            {**n, "reachability": n["reachability"] and "unreachable"} if n["id"] == "id-host2" else n
            for n in other["nodes"]
        ]
    assert "lose its quorum" in judge(seen, ["host1", "host2"], ["host3", "host4"])["refusals"][0]


def test_strangers_keep_no_rank() -> None:
    seen = swarm(["host1"], ["host2", "host3"])
    del seen["host3"]
    plan = judge(seen, *PAIR)
    assert [stranger["id"] for stranger in plan["strangers"]] == ["id-host3"]
    assert "playbooks/remove.yml -e host=host3" in plan["strangers"][0]["sentence"]


def test_locked_managers_need_a_key_or_a_manager_to_ask() -> None:
    seen = swarm(*TRIO)
    seen["host2"]["swarm"].update(state="locked", manager=False, quorum=False)
    assert judge(seen, *TRIO)["hosts"]["host2"]["unlock"]
    for host in TRIO[0]:
        seen[host]["nodes"] = []
        seen[host]["swarm"].update(state="locked", manager=False, quorum=False)
    assert "swarm_unlock_key" in judge(seen, *TRIO)["refusals"][0]
    plan = judge(seen, *TRIO, unlock_key=True)
    assert (plan["refusals"], [plan["hosts"][host]["unlock"] for host in TRIO[0]]) == ([], [True] * 3)


def test_removal_keeps_the_quorum_and_the_last_manager() -> None:
    seen = swarm(*TRIO)
    assert remove(seen, "host3", "host4")["refusals"] == []
    assert remove(seen, "host1")["lead"] == "host2"
    assert "last manager" in remove(seen, "host1", "host2", "host3")["refusals"][0]
    assert "'host7' is neither" in remove(seen, "host7")["refusals"][0]
    seen["host4"]["services"] = ["simple-training_node3"]
    assert "swarm_disturb_training=true" in remove(seen, "host4")["refusals"][0]
    bare(seen, "host3")
    assert remove(seen, "host3")["refusals"] == []
    assert "lose its quorum" in remove(seen, "host2")["refusals"][0]


def test_the_lead_is_of_the_swarm_in_which_most_hosts_are() -> None:
    """The first manager was set up on its own once: its swarm is a swarm as well, of one."""
    seen = swarm(*TRIO)
    seen["host1"]["swarm"].update(cluster="alone", node_id="alone", remotes=[address("host1")])
    seen["host1"]["nodes"] = [node("host1", id="alone", labels={}, role="manager", reachability="reachable")]
    plan = judge(seen, *TRIO)
    assert plan["lead"] == "host2"
    assert "host1 is in another swarm" in plan["refusals"][0]
    assert judge(seen, *TRIO, rejoin=True)["hosts"]["host1"]["leave"]
    # Nodes that are Down are no members, and nor are those of nobody in the inventory.
    others = [node(f"host{number}", status="down") for number in (2, 3, 4)] + [
        node("host9"),
        node("host8"),
        node("host7"),
    ]
    seen["host1"]["nodes"] += others
    assert judge(seen, *TRIO)["lead"] == "host2"
    # Of managers of one swarm it is the first of the inventory.
    assert judge(swarm(*TRIO), *TRIO)["lead"] == "host1"


def test_members_that_do_not_answer_count_by_the_name_that_their_node_bears() -> None:
    seen = swarm(*TRIO)
    seen["host1"]["swarm"].update(cluster="alone", node_id="alone", remotes=[address("host1")])
    seen["host1"]["nodes"] = [node("host1", id="alone", labels={}, role="manager", reachability="reachable")]
    for host in ("host3", "host4"):
        del seen[host]
    silent = {"host3": "no route", "host4": "no route"}
    assert judge(seen, *TRIO, unreachable=silent)["lead"] == "host2"


def test_members_whose_nodes_bear_no_name_count_by_their_own_account() -> None:
    seen = swarm(*TRIO)
    seen["host1"]["swarm"].update(cluster="alone", node_id="alone", remotes=[address("host1")])
    for host in ("host2", "host3"):
        seen[host]["nodes"] = [{**n, "labels": {}} for n in seen[host]["nodes"]]
    seen["host1"]["nodes"] = [
        node("host1", id="alone", labels={}, role="manager", reachability="reachable"),
        node("host8", labels={}),
        node("host9", labels={}),
    ]
    assert judge(seen, *TRIO)["lead"] == "host2"


def test_a_node_is_not_drained_under_a_running_job() -> None:
    seen = swarm(*PAIR)
    seen["host2"]["wanted"]["availability"] = "drain"
    assert judge(seen, *PAIR)["refusals"] == []
    assert judge(seen, *PAIR)["hosts"]["host2"]["settle"]["availability"] == "drain"
    seen["host2"]["services"] = ["simple-training_node1"]
    (refusal,) = judge(seen, *PAIR)["refusals"]
    assert refusal.startswith("host2 is set to active, and becomes drain. But simple-training_node1 runs there")
    assert "swarm_disturb_training=true" in refusal
    assert judge(seen, *PAIR, disturb_training=True)["refusals"] == []
    # Back to work, and a pause: neither ends a job.
    for now, wanted in (("drain", "active"), ("active", "pause")):
        seen["host1"]["nodes"][1]["availability"] = now
        seen["host2"]["wanted"]["availability"] = wanted
        plan = judge(seen, *PAIR)
        assert (plan["refusals"], plan["hosts"]["host2"]["settle"]["availability"]) == ([], wanted)


def test_a_rank_that_is_taken_away_ends_a_job() -> None:
    seen = swarm(*PAIR)
    seen["host2"]["wanted"]["rank"] = -1
    assert judge(seen, *PAIR)["hosts"]["host2"]["settle"]["labels_to_remove"] == ["ddp_rank"]
    seen["host2"]["services"] = ["simple-training_node1"]
    assert "But simple-training_node1 runs there" in judge(seen, *PAIR)["refusals"][0]


@pytest.mark.parametrize(
    ("complete", "where", "stranger"),
    [
        # All were asked, and none says that it is this node: nobody's.
        (True, "192.0.2.77", True),
        # At the address of a host of the inventory: that one, before it was installed anew.
        (True, "192.0.2.2", False),
        # Not all were asked: it may be that of the one that was not.
        (False, "192.0.2.77", False),
        (False, "192.0.2.2", False),
    ],
)
def test_a_node_without_a_name_keeps_its_rank_unless_it_is_nobodys(complete: bool, where: str, stranger: bool) -> None:
    seen = swarm(*PAIR)
    seen["host1"]["nodes"].append(node("old", labels={"ddp_rank": "1"}, address=where))
    unreachable = {}
    if not complete:
        del seen["host2"]
        unreachable = {"host2": "no route"}
    plan = judge(seen, *PAIR, unreachable=unreachable)
    assert [one["id"] for one in plan["strangers"]] == (["id-old"] if stranger else [])
    if stranger:
        assert "playbooks/remove.yml -e host=old" in plan["strangers"][0]["sentence"]


def test_a_node_that_bears_another_hosts_name_is_a_stranger_whoever_was_asked() -> None:
    seen = swarm(*PAIR)
    seen["host1"]["nodes"].append(node("old", labels={"ddp_host": "host9", "ddp_rank": "1"}, address=address("host2")))
    assert [one["id"] for one in judge(seen, *PAIR)["strangers"]] == ["id-old"]
    del seen["host2"]
    assert [one["id"] for one in judge(seen, *PAIR, unreachable={"host2": "no route"})["strangers"]] == ["id-old"]
    # Without a rank it is in nobody's way.
    seen["host1"]["nodes"][-1]["labels"] = {"ddp_host": "host9"}
    assert judge(seen, *PAIR, unreachable={"host2": "no route"})["strangers"] == []


def test_a_lead_does_not_move_through_a_manager_without_a_quorum() -> None:
    seen = swarm(*TRIO)
    seen["host1"]["wanted"]["address"] = "192.0.2.99"
    headless(seen, "host2")
    plan = judge(seen, *TRIO)
    assert (plan["lead"], plan["hosts"]["host1"]["join"]) == ("host3", "manager")
    headless(seen, "host3")
    plan = judge(seen, *TRIO)
    assert (plan["lead"], plan["start"], plan["hosts"]["host1"]["leave"]) == ("host1", "", False)
    assert "because too few other managers answer" in " ".join(plan["refusals"])


def test_a_lead_does_not_leave_a_swarm_without_a_quorum_behind() -> None:
    """The second manager answers and can change the swarm, which it could not without the first."""
    seen = swarm(*TRIO)
    seen["host1"]["wanted"]["address"] = "192.0.2.99"
    gone(seen, "host3")
    plan = judge(seen, *TRIO, unreachable={"host3": "no route"})
    assert "because too few other managers answer" in plan["refusals"][0]
    assert not plan["hosts"]["host1"]["leave"]


@pytest.mark.parametrize("order", [("host2", "host3"), ("host3", "host2")])
def test_managers_that_are_lost_leave_first(order: tuple[str, str]) -> None:
    """Of three one answers in the end. With the one that answers first, one of two would be left: no majority."""
    seen = swarm(*TRIO)
    gone(seen, "host3")
    plan = remove(seen, *order)
    assert plan["refusals"] == []
    assert {entry["name"]: entry["up"] for entry in plan["removals"]} == {"host2": True, "host3": False}
    # And the role takes their votes in that order, whatever the order in which they were named.
    tasks = yaml.safe_load((ROOT / "roles/swarm/tasks/remove.yml").read_text())[0]["block"]
    (vote,) = [task for task in tasks if "demote" in str(task.get("ansible.builtin.command"))]
    taken = NativeEnvironment().from_string(vote["loop"]).render(_swarm_plan=plan)
    assert [entry["name"] for entry in taken] == ["host3", "host2"]
    # The one that answers cannot go alone.
    assert "would lose its quorum" in remove(seen, "host2")["refusals"][0]
    assert remove(seen, "host3")["refusals"] == []


def test_a_host_name_that_two_nodes_have_names_neither() -> None:
    seen = swarm(*TRIO)
    for host in TRIO[0]:
        seen[host]["nodes"] = [
            *seen[host]["nodes"],
            node("twin", id="one", labels={}),
            node("twin", id="other", labels={}),
            node("single", labels={}),
            # Its host name is not its name.
            node("single", id="named", labels={"ddp_host": "host9"}),
        ]
    plan = remove(seen, "twin")
    assert plan["removals"] == []
    assert plan["refusals"][0].startswith("'twin' is neither a host of the inventory nor a node of the swarm")
    plan = remove(seen, "single")
    assert ([entry["id"] for entry in plan["removals"]], plan["refusals"]) == (["id-single"], [])
    assert [entry["id"] for entry in remove(seen, "host9")["removals"]] == ["named"]
    # A node that a host says it is comes before one that only has its host name.
    for host in TRIO[0]:
        seen[host]["nodes"].append(node("host4", id="namesake", labels={}))
    assert [entry["id"] for entry in remove(seen, "host4")["removals"]] == ["id-host4"]
