"""How hosts leave a swarm: what is done with each of their nodes, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.swarm.cluster import Cluster, Settings
from ansible_collections.ddp.swarm.plugins.module_utils.swarm.plan.removal import plan_removal
from swarm_as_seen import TRIO, bare, gone, headless, node, remove, swarm

NOT_THERE = " It does not answer: should it come back, run 'docker swarm leave --force' on it."


@pytest.mark.parametrize(
    ("host", "away", "sentence", "entry"),
    [
        ("host4", False, "host4 is drained and leaves the swarm.", {"manager": False, "up": True, "present": True}),
        ("host3", False, "host3 is drained, becomes a worker and leaves the swarm.",
         {"manager": True, "up": True, "present": True}),
        ("host4", True, f"host4 is Down and leaves the swarm.{NOT_THERE}",
         {"manager": False, "up": False, "present": False}),
        ("host3", True, f"host3 is Down, becomes a worker and leaves the swarm.{NOT_THERE}",
         {"manager": True, "up": False, "present": False}),
    ],
)  # fmt: skip
def test_each_step_of_a_host_that_leaves_is_told(host: str, away: bool, sentence: str, entry: dict[str, Any]) -> None:
    seen = swarm(*TRIO)
    if away:
        gone(seen, host)
    plan = remove(seen, host)
    assert plan == {
        "lead": "host1",
        "refusals": [],
        "removals": [{"name": host, "id": f"id-{host}", "sentence": sentence, **entry}],
    }


def test_a_host_that_was_installed_anew_takes_its_former_node_along() -> None:
    seen = swarm(*TRIO)
    bare(seen, "host4")
    (entry,) = remove(seen, "host4")["removals"]
    assert (entry["id"], entry["present"], entry["up"]) == ("id-host4", False, False)
    assert entry["sentence"] == "host4 is Down and leaves the swarm."


def test_a_host_of_the_inventory_that_is_in_no_swarm_has_nothing_to_leave() -> None:
    seen = swarm(*TRIO)
    for other in seen.values():
        other["nodes"] = [n for n in other["nodes"] if n["hostname"] != "host4"]
    bare(seen, "host4")
    assert remove(seen, "host4") == {"lead": "host1", "removals": [], "refusals": []}


def test_an_unknown_name_is_told_with_those_that_are_known() -> None:
    seen = swarm(*TRIO)
    seen["host1"]["nodes"] = [*seen["host1"]["nodes"], node("stray", labels={})]
    assert remove(seen, "host7", "host4") == {
        **remove(seen, "host4"),
        "refusals": [
            "'host7' is neither a host of the inventory nor a node of the swarm, whose nodes are host1, host2, host3, host4 and stray."
        ],
    }


def test_a_job_is_in_the_way_unless_it_may_be_disturbed() -> None:
    seen = swarm(*TRIO)
    seen["host4"]["services"] = ["job"]
    (refusal,) = remove(seen, "host4")["refusals"]
    assert refusal == (
        "host4 is asked to leave. But job runs there and would be ended: wait for the end, or say swarm_disturb_training=true (a job "
        "goes on from its snapshot)."
    )
    assert remove(seen, "host4", disturb_training=True)["refusals"] == []


def test_the_last_manager_stays() -> None:
    refusal = (
        "host1, host2 and host3 holds the last manager of the swarm: move another host into 'managers' and run playbooks/swarm.yml first, "
        "or take all down with playbooks/teardown.yml."
    )
    plan = remove(swarm(*TRIO), "host1", "host2", "host3")
    assert (plan["refusals"], plan["lead"]) == ([refusal], "host1")


def test_a_quorum_stays() -> None:
    seen = swarm(*TRIO)
    gone(seen, "host3")
    (refusal,) = remove(seen, "host2")["refusals"]
    assert refusal == (
        "Without host2 the swarm would lose its quorum: of the managers that stay, too few answer. Bring them back first, or remove those "
        "that are Down."
    )
    # A worker has no vote.
    assert remove(seen, "host4")["refusals"] == []


@pytest.mark.parametrize(
    ("leaving", "quorumless", "lead"),
    [
        (["host4"], [], "host1"),
        (["host1"], [], "host2"),
        (["host1"], ["host2"], "host3"),
        (["host1", "host2"], [], "host3"),
    ],
)
def test_hosts_leave_through_the_first_manager_that_stays_and_can(
    leaving: list[str], quorumless: list[str], lead: str
) -> None:
    seen = swarm(*TRIO)
    headless(seen, *quorumless)
    assert remove(seen, *leaving)["lead"] == lead


@pytest.mark.parametrize(
    ("unreachable", "why"),
    [
        ({}, ""),
        ({"host2": "no route", "host4": "no key", "host3": "timed out"}, " (host2: no route; host3: timed out)"),
    ],
)
def test_without_a_manager_that_can_change_the_swarm_nobody_leaves(unreachable: dict[str, str], why: str) -> None:
    seen = swarm(*TRIO)
    headless(seen, "host1")
    for host in ("host2", "host3"):
        bare(seen, host)
    seen["host4"]["services"] = ["job"]
    plan = plan_removal(Cluster(*TRIO, seen, unreachable, {}), ["host4"], Settings())
    assert plan == {
        "lead": "",
        "removals": [],
        "refusals": [
            f"No manager that answers can change the swarm{why}: there is none, or it has lost its quorum. playbooks/swarm.yml says which."
        ],
    }


def test_a_host_that_is_gone_for_good_is_forgotten_and_one_that_is_there_is_not() -> None:
    seen = swarm(*TRIO)
    gone(seen, "host4")
    plan = remove(seen, "host4", gone=True)
    assert plan == remove(seen, "host4")
    # A second run finds nothing, also where the inventory's groups are given without it.
    for other in seen.values():
        other["nodes"] = [n for n in other["nodes"] if n["hostname"] != "host4"]
    cluster = Cluster(["host1", "host2", "host3"], [], seen, {}, {})
    assert plan_removal(cluster, ["host4"], Settings(gone=True)) == {"lead": "host1", "removals": [], "refusals": []}
    (refusal,) = remove(swarm(*TRIO), "host4", gone=True)["refusals"]
    assert refusal.startswith("host4 is not gone: the swarm has it as Ready")
    assert "playbooks/remove.yml -e host=host4" in refusal


def test_where_no_swarm_is_yet_there_is_nothing_to_forget() -> None:
    seen = swarm(*TRIO)
    for host in list(seen):
        bare(seen, host)
    nothing: dict[str, Any] = {"lead": "", "removals": [], "refusals": []}
    assert remove(seen, "host4", gone=True) == nothing
    assert remove(seen, "host4")["refusals"] != []
    # One without its quorum is not "no swarm".
    seen = swarm(*TRIO)
    for host in ("host2", "host3"):
        gone(seen, host)
    headless(seen, "host1")
    assert "it has lost its quorum" in remove(seen, "host2", "host3", gone=True)["refusals"][0]
