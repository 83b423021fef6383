"""A rank that does not report: no task, no image, no exit, no answer, or another check's container."""

from __future__ import annotations

import pytest
from preflight_ranks import record, told, verdict


def silent(report, **checks):
    report["probe"] = None
    report["host_checks"].update(checks)
    return report


def container(state="running", **changes):
    return {"id": "0123456789abcdef", "state": state, "exit_code": 0, "error": "", "run_id": "7", **changes}


@pytest.mark.parametrize(
    ("state", "layer", "observed", "remedy"),
    [
        ("exited", 4, "the container is exited with code 0", "the image on host2 cannot run the probe, which needs python3"),
        ("dead", 4, "the container is dead with code 0", "the image on host2 cannot run the probe"),
        ("created", 4, "the container is created with code 0", "the image on host2 cannot run the probe"),
        ("removing", 4, "the container is removing with code 0", "the image on host2 cannot run the probe"),
        ("running", 8, "no report, the container is running, waited 5.0 s", "the probe on host2 hangs: its container is run"),
        ("restarting", 8, "no report, the container is restarting, waited 5.0 s", "the probe on host2 hangs: its container "),
        ("paused", 8, "no report, the container is paused, waited 5.0 s", "the container on host2 is paused: docker unpause "),
    ],
)  # fmt: skip
def test_the_state_of_a_container_tells_why_it_says_nothing(pair, state, layer, observed, remedy):
    silent(pair[1], container=container(state))
    result = verdict(pair)
    assert told(result, "layer", "check", "host", "observed", "expected") == [
        (layer, "probe", "host2", observed, "a report")
    ]
    assert result["findings"][0]["hint"].startswith(remedy)
    if state == "paused":
        assert result["findings"][0]["hint"].endswith(" 0123456789ab")


@pytest.mark.parametrize(
    ("facts", "log", "observed"),
    [
        ({"exit_code": 127}, ["a", "b"], "the container is exited with code 127  a | b"),
        ({"exit_code": 1, "error": "no device"}, None, "the container is exited with code 1 no device"),
        ({"exit_code": 1, "error": "e"}, ["x" * 301], f"the container is exited with code 1 e {'x' * 300}"),
    ],
)
def test_the_last_words_of_a_container_are_told(pair, facts, log, observed):
    silent(pair[1], container=container("exited", **facts), log_tail=log)
    assert told(verdict(pair), "observed") == [(observed,)]


@pytest.mark.parametrize(
    ("own", "wanted", "layer"),
    [("7", "7", 8), ("6", "7", 3), (None, "7", 8), ("6", "", 8), ("", "7", 3), ("6", None, 8)],
)
def test_a_container_of_another_check_is_no_answer(trio, own, wanted, layer):
    for one in trio[1:]:
        silent(one, container=container("running", run_id=own))
    found = verdict(trio, run_id=wanted)
    assert told(found, "layer", "host") == [(layer, "host2"), (layer, "host3")]
    if layer == 3:
        assert told(found, "observed", "expected")[0] == (
            "the container belongs to another check", "this check's container",
        )  # fmt: skip


def test_a_container_that_tells_no_run_is_not_another_checks(pair):
    one = container("running")
    del one["run_id"]
    silent(pair[1], container=one)
    assert told(verdict(pair, run_id="7"), "layer", "check") == [(8, "probe")]


def test_each_rank_without_a_report_is_told(trio):
    """After one that died, one that hangs, and one without a container."""
    for checks in ({"container": container("exited")}, {"container": None}, {"container": container("running")}):
        silent(trio[0], **checks)
        silent(trio[1], container=container("exited"))
        silent(trio[2], container=container("exited"))
        hosts = {one["host"] for one in verdict(trio)["findings"] if one["layer"] == 4}
        assert hosts == ({"host1"} if checks["container"] == container("exited") else set()) | (
            {"host2", "host3"} if checks["container"] else set()
        )


def task(number, error="", state="Pending", node="", name="t-preflight_node"):
    return {"name": f"{name}{number}", "node": node, "desired": "Running", "state": state, "error": error}


@pytest.mark.parametrize(
    ("tasks", "layer", "observed"),
    [
        ([], 3, "no task on this host"),
        ([task(0)], 3, "no task on this host"),
        ([task(1)], 3, "task Pending on no node"),
        ([task(1, state="Running", node="h9")], 3, "task Running on h9"),
        # The newest comes first; what is known of an error counts more than that it is tried again.
        ([task(1), task(1, "odd")], 3, "odd"),
        ([task(1, "newest"), task(1, "odd"), task(1)], 3, "newest"),
        ([task(1, "No such image: x:1"), task(1)], 4, "No such image: x:1"),
        ([task(10, "odd"), task(1)], 3, "task Pending on no node"),
    ],
)
def test_a_task_without_a_container_tells_why(pair, tasks, layer, observed):
    silent(pair[1], container=None)
    pair[0]["host_checks"]["tasks"] = tasks
    assert told(verdict(pair), "layer", "host", "observed") == [(layer, "host2", observed)]
    # By another rank's service, if the rank itself could not even say which its own is.
    del pair[1]["host_checks"]["service"]
    pair[0]["host_checks"]["service"] = "t-preflight_node0"
    assert told(verdict(pair), "layer", "host", "observed") == [(layer, "host2", observed)]


@pytest.mark.parametrize(
    ("error", "layer", "expected"),
    [
        ("no suitable node (insufficient resources on 1 node)", 5, "free resources on the node"),
        ("no suitable node (scheduling)", 3, "a running task"),
        ("no such image: x", 4, "the image is on the host"),
        ("pull access denied for x", 4, "the image is on the host"),
        ("manifest unknown: x", 4, "the image is on the host"),
        ("OOM command not allowed", 4, "a running task"),
        ("port is already allocated", 10, "a free port"),
        ("bind: Address already in use", 10, "a free port"),
        ("odd", 3, "a running task"),
        ("", 3, "a running task"),
    ],
)
def test_what_would_have_been_right_for_a_task(pair, error, layer, expected):
    silent(pair[1], container=None)
    pair[1]["host_checks"]["tasks"] = [task(1, error)]
    assert told(verdict(pair), "layer", "expected") == [(layer, expected)]


@pytest.mark.parametrize(
    ("own", "peer", "error", "layer"),
    [
        (0, "host3", "", 9),
        (2, "host1", "", 9),
        (2, "manager9", "", 9),
        # Not this host's path, or not the reason.
        (0, "host2", "", 3),
        (0, "host3", "odd", 3),
    ],
)
def test_a_path_that_loses_packets_is_why_a_task_does_not_come(trio, own, peer, error, layer):
    silent(trio[2], container=None, tasks=[task(2, error)])
    trio[own]["host_checks"]["paths"] = {peer: {"mtu": 1400, "tried": 1500}}
    (found,) = verdict(trio)["findings"]
    assert (found["layer"], found["host"]) == (layer, f"host{own + 1}" if layer == 9 else "host3")
    if layer == 9:
        assert (found["peer"], found["check"]) == (peer, "path mtu of the hosts")
        assert f"a link between host{own + 1} and {peer} carries 1400 B at most" in found["hint"]


@pytest.mark.parametrize(
    ("said", "layer"),
    [(None, 8), (record(11, 0, True, 1), 8), (record(11, 0, None, 1), 8), (record(11, 0, False, 1), 11)],
)
def test_a_rank_that_hangs_is_blamed_where_others_have_failed_with_it(pair, said, layer):
    silent(pair[1], container=container("running"))
    pair[0]["probe"]["records"] += [said] if said else []
    found = [one for one in verdict(pair)["findings"] if one["host"] == "host2"]
    assert [(one["layer"], one["check"]) for one in found] == [(layer, "probe")]
