"""What is made of the jobs of a swarm, and what is done with one before another takes its place."""

import json
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.swarm_jobs import (
    failed_next,
    had_failed,
    job_detail,
    job_hosts,
    job_mounts,
    job_report,
    job_results,
    job_status,
    job_words,
    jobs_at_stake,
    lost_snapshot,
    missing_jobs,
    no_swarm,
    node_report,
    running_jobs,
    stranger_refusals,
    training_way,
)
from ansible_collections.ddp.swarm.plugins.module_utils.stack.action import Action, told


def compared(*actions: Action, running: bool = False, failed: bool = False, services: int = 2) -> dict[str, Any]:
    ranks = [
        {"name": f"node{rank}", "failed": int(failed and rank == 1), "running": int(running and not (failed and rank == 1)), "starting": 0}
        for rank in range(services)
    ]  # fmt: skip
    return {**told(list(actions)), "running": running, "state": {"failed": failed}, "services": ranks}


UPDATE = Action("update", "service", "node0", why="command", parts=["command"])
RESTART = Action("restart", "service", "node1", why="failed on host2 with exit code 1")


def way(what: dict[str, Any], replace: bool = False, fresh: bool = False, checks: bool = False) -> dict[str, str]:
    return training_way("job", what, replace, fresh, checks)


@pytest.mark.parametrize("checks", [False, True])
def test_nothing_is_in_the_way_of_the_first_start(checks: bool) -> None:
    nothing = compared(Action("create", "service", "node0"), services=0)
    assert way(nothing, checks=checks) == {"refusal": "", "ends": ""}
    assert way({}, checks=checks) == {"refusal": "", "ends": ""}


def test_a_job_in_progress_is_refused_with_the_difference_and_the_variable() -> None:
    said = way(compared(UPDATE, running=True))
    assert said["ends"] == ""
    assert said["refusal"].startswith(
        "job is training, and what you ask for differs from what runs: the command of service node0 differs (the command comes of "
        "training_script, training_args and training_command). Let it finish, or replace it: training_replace=true"
    )
    assert "docker stack rm" not in said["refusal"]
    over = way(compared(running=True), fresh=True)["refusal"]
    assert "start over (training_fresh)" in over
    assert "training_replace=true" in over


def test_a_refusal_says_what_differs_in_words() -> None:
    image = Action("update", "service", "node0", why="image", parts=["image"])
    two = Action("update", "service", "node1", why="command.2, image", parts=["command", "image"])
    said = way(compared(image, two, RESTART, running=True))["refusal"]
    assert (
        "from what runs: the image of service node0 differs; the command and image of service node1 differ; "
        f"{RESTART.sentence} (the command" in said
    )
    assert "training_replace=true" in said


def test_only_a_command_that_differs_is_explained() -> None:
    """By the records: a network or a variable may have that word in its name."""
    for action in (
        Action("update", "service", "node0", why="environment.A, commands", parts=["commands", "environment"]),
        Action("create", "network", "job_x", why="command"),
    ):
        assert "training_command" not in way(compared(action, running=True))["refusal"]


@pytest.mark.parametrize("fresh", [False, True])
def test_it_is_ended_where_that_is_allowed(fresh: bool) -> None:
    said = way(compared(UPDATE, running=True), replace=True, fresh=fresh)
    assert said == {"refusal": "", "ends": "job is training, and is ended in order (training_replace)."}


def test_a_job_as_it_was_asked_for_is_in_the_way_of_a_check_alone() -> None:
    same = compared(running=True)
    assert way(same) == way(same, replace=True) == {"refusal": "", "ends": ""}
    assert "the check would share its names and its wire" in way(same, checks=True)["refusal"]
    assert way(same, checks=True, replace=True)["ends"] != ""


def test_a_check_alone_leaves_a_job_that_has_ended_well() -> None:
    """It has other settings than the check, which came with -e: nothing of it runs, so nothing is in the way."""
    assert way(compared(UPDATE), checks=True) == {"refusal": "", "ends": ""}
    assert way(compared(UPDATE))["ends"] != ""
    assert way(compared(UPDATE, failed=True), checks=True)["ends"] != ""


def test_what_a_failed_run_left_is_named_and_removed() -> None:
    said = way(compared(RESTART, running=True, failed=True))
    assert said == {
        "refusal": "",
        "ends": "What an earlier run of job left is removed first: node1 has failed, and node0 still runs.",
    }


def test_a_run_that_ended_is_removed_before_another_not_before_it_is_started_again() -> None:
    assert way(compared(RESTART, failed=True)) == {"refusal": "", "ends": ""}
    assert "Another run of job begins" in way(compared(UPDATE))["ends"]
    assert "starts over" in way(compared(), fresh=True)["ends"]
    assert "starts over" in way(compared(services=0), fresh=True)["ends"]


JOB = {
    "name": "job",
    "state": "running",
    "busy": True,
    "ranks": [{"rank": 0, "host": "host1"}, {"rank": 1, "host": ""}, {"rank": 2, "host": "host1"}],
    "mounts": [
        {"type": "volume", "source": "job_snapshots", "target": "/snapshots"},
        {"type": "volume", "source": "other", "target": "/other"},
        {"type": "bind", "source": "/data", "target": "/data"},
    ],
}


def test_a_job_is_described_by_what_the_swarm_has() -> None:
    assert job_hosts(JOB) == job_hosts(JOB, ["host1"]) == ["host1", "", "host1"]
    # A manager could call a host localhost.
    assert job_hosts(JOB, ["host2"]) == ["", "", ""]
    assert job_words(JOB) == "job (running on host1)"
    assert job_mounts(JOB) == [
        {"type": "volume", "source": "snapshots", "target": "/snapshots"},
        {"type": "bind", "source": "/data", "target": "/data"},
    ]


RESULTS = {"directory": "/out", "from_rank_0": ["ckpt.pt", "a*"], "from_each": []}


def test_a_job_says_which_results_are_fetched() -> None:
    assert job_results({"results": json.dumps(RESULTS)}) == RESULTS


@pytest.mark.parametrize(
    "said",
    [
        "",
        "x",
        "[]",
        "7",
        "{}",
        json.dumps(RESULTS | {"directory": "/out/../../etc"}),
        json.dumps(RESULTS | {"directory": ["/out"]}),
        json.dumps(RESULTS | {"from_rank_0": ["../x"]}),
        json.dumps(RESULTS | {"from_each": ["/etc/passwd"]}),
        json.dumps(RESULTS | {"from_each": [7, None]}),
        json.dumps(RESULTS | {"from_each": None}),
    ],
)
def test_a_job_that_says_what_no_setting_may_be_says_nothing(said: str) -> None:
    assert job_results({"results": said}) == {}


def test_a_name_that_no_job_has_is_told() -> None:
    assert missing_jobs([JOB], ["job"]) == missing_jobs([JOB], []) == ""
    assert missing_jobs([JOB], ["jop"]) == "There is no job jop in the swarm, so there is nothing to stop."


def info(*services: str, nodes: int = 0) -> dict[str, Any]:
    return {"engine": {"swarm_address": "192.0.2.1", "swarm_nodes": nodes}, "running": {"services": list(services)}}


PAIR = {"host1": info("job_node0", nodes=2), "host2": info("job_node1")}


def test_an_inventory_with_all_hosts_puts_nothing_at_stake() -> None:
    assert jobs_at_stake(PAIR, ["host1", "host2"], ["host1", "host2"]) == {"ask": "", "moves": []}
    # Under --limit the others are not asked.
    assert jobs_at_stake({"host1": PAIR["host1"]}, ["host1", "host2"], ["host1", "host2"])["ask"] == ""
    assert jobs_at_stake({}, [], []) == {"ask": "", "moves": []}
    check = {"host1": info("job-preflight_node7", "web", nodes=1)}
    assert jobs_at_stake(check, ["host1"], ["host1"]) == {"ask": "", "moves": []}


def test_a_manager_that_knows_more_nodes_is_asked() -> None:
    assert jobs_at_stake({"host1": PAIR["host1"]}, ["host1"], ["host1"])["ask"] == "host1"
    # Another host in place of it, which is in no swarm yet.
    new = {"host1": PAIR["host1"], "host3": {"engine": {"swarm_address": ""}}}
    assert jobs_at_stake(new, ["host1", "host3"], ["host1", "host3"])["ask"] == "host1"


def test_a_rank_that_would_move_is_refused() -> None:
    said = jobs_at_stake(PAIR, ["host2", "host1"], ["host1", "host2"])["moves"]
    assert {move["job"] for move in said} == {"job"}
    assert [move["sentence"].split(":")[0] for move in said] == [
        "job_node0 runs on host1, which would get rank 1 in place of rank 0",
        "job_node1 runs on host2, which would get rank 0 in place of rank 1",
    ]
    (gone,) = jobs_at_stake(PAIR, ["host1"], ["host1", "host2"])["moves"]
    assert "host2, which would get no rank in place of rank 1" in gone["sentence"]
    assert "swarm_disturb_training=true" in gone["sentence"]


def test_a_snapshot_without_a_second_copy_is_lost_with_its_host() -> None:
    """JOB has rank 0 on host1."""
    said = lost_snapshot([JOB], "job", "host2, host1")
    assert said.startswith("Rank 0 of job was on host1, and what it saved has no second copy")
    assert "training_fresh=true" in said
    assert lost_snapshot([JOB], "job", "host2") == lost_snapshot([JOB], "other", "host1") == ""
    assert lost_snapshot([{**JOB, "ranks": []}], "job", "host1") == ""


def test_a_job_on_hosts_that_the_inventory_lacks_is_refused_by_name() -> None:
    (said,) = stranger_refusals([JOB], ["host7"])
    assert said.startswith(
        "job (running) has ranks on host1, which the inventory's groups 'managers' and 'workers' do not have"
    )
    assert "swarm_disturb_training=true" in said
    assert stranger_refusals([JOB], ["host1"]) == stranger_refusals([{**JOB, "busy": False}], []) == []


def test_jobs_are_known_by_the_services_of_their_ranks() -> None:
    assert running_jobs(["b_node1", "a_node0", "b_node0", "web", "a-preflight_node0", "my_node_x"]) == ["a", "b"]


SEEN = {
    "name": "job", "state": "failed", "busy": False, "since": "2026-01-02T03:04:05.6Z", "restarts": 2, "progress": "step 7 | loss 0.5", "mounts": [],
    "ranks": [
        {"rank": 0, "host": "host1", "task": "t", "state": "failed", "exit_code": 1, "error": "task: non-zero exit (1)",
         "since": "2026-01-02T03:05:00Z", "restarts": 2, "failed": True, "last": " 9%\r100%\x1b[31m"},
        {"rank": 1, "host": "", "task": "", "state": "pending", "exit_code": None, "error": "", "since": "", "restarts": 0, "failed": False, "last": ""},
    ],
}  # fmt: skip


def test_what_a_person_reads_of_a_job() -> None:
    lines = job_report([SEEN])
    assert lines[:3] == [
        "job: failed, since 2026-01-02 03:04 UTC, 2 restarts",
        "  progress: step 7 | loss 0.5",
        "  node0 on host1: failed (exit 1) since 2026-01-02 03:05 UTC: task: non-zero exit (1)",
    ]
    assert "100%" in lines[3]
    assert "\x1b" not in lines[3]
    assert lines[4] == "  node1: pending since an unknown time"
    assert job_report([]) == ["No job is in the swarm."]
    assert (
        job_report([{**SEEN, "ended": "2026-01-02T03:09:05.6Z"}])[0]
        == "job: failed, ended 2026-01-02 03:09 UTC, 2 restarts"
    )


FAILURE = {"rank": 1, "host": "host2", "time": "2026-01-02T03:05:00.1Z", "error": "ValueError: \x1b[2Jno data"}


def test_of_a_failed_job_who_was_first_and_what_to_type() -> None:
    job = {**SEEN, "failure": FAILURE}
    assert job_report([job])[1] == "  failed first: rank 1 on host2: ValueError: no data"
    assert "failed first" not in str(job_report([{**SEEN, "failure": None}]))
    assert job_status([job], "")["jobs"][0]["failure"] == {**FAILURE, "error": "ValueError: no data"}
    assert job_status([SEEN], "")["jobs"][0]["failure"] is None
    told = failed_next([job, {**job, "name": "other", "state": "running"}], "/project", ["/project/hosts.yml"])
    assert [line.split(":")[0] for line in told] == [
        "Whole log of job",
        "Start job again with the settings (-e) of its run",
    ]
    assert "playbooks/collect.yml" in told[0]
    assert "site.yml" in told[1]
    assert all("-e training_stack=job" in line for line in told)


def test_a_start_says_how_the_job_had_failed() -> None:
    job = {**SEEN, "failure": FAILURE}
    assert had_failed([job], "job", "goes on") == (
        "job had failed: rank 1 on host2: ValueError: no data; it starts again, from its snapshot if it has one."
    )
    assert had_failed([job], "job", "over").endswith("no data; it starts over (training_fresh).")
    assert had_failed([job], "job", "").endswith("no data.")
    assert had_failed([SEEN], "job", "over") == "job had failed; it starts over (training_fresh)."
    assert had_failed([], "job", "") == "job had failed."


def test_what_a_program_reads_of_a_job() -> None:
    told = job_status([SEEN], "2026-01-02T03:06:00Z")
    assert (told["schema"], told["at"]) == (1, "2026-01-02T03:06:00Z")
    assert sorted(told["jobs"][0]) == [
        "ended",
        "failure",
        "name",
        "planned",
        "progress",
        "ranks",
        "restarts",
        "since",
        "slow",
        "state",
    ]
    assert sorted(told["jobs"][0]["ranks"][0]) == [
        "error", "exit_code", "host", "last", "lines", "rank", "restarts", "since", "state", "usage",
    ]  # fmt: skip
    rows = [
        {"Hostname": "host1", "Status": "Ready", "Availability": "Active", "ManagerStatus": "Leader", "EngineVersion": "26.1.5"},
        {"Hostname": "a  b\x1b[2J", "Status": "Down", "Availability": "Drain", "ManagerStatus": "", "EngineVersion": "20.10.24"},
    ]  # fmt: skip
    lines = [*map(json.dumps, rows), "\x1b[2J nonsense", "[]"]
    assert node_report(lines) == [
        "host1  Ready  Active  Leader  engine 26.1.5",
        "a  b   Down   Drain   Worker  engine 20.10.24",
    ]
    assert job_status([], "", None, lines)["nodes"] == [
        {"name": "host1", "state": "Ready", "availability": "Active", "manager": "Leader", "engine": "26.1.5"},
        {"name": "a  b", "state": "Down", "availability": "Drain", "manager": "", "engine": "20.10.24"},
    ]
    secret = job_status([{**SEEN, "progress": "login https://ada:geheimnis@host/"}], "")
    assert "geheimnis" not in str(secret)
    lines = [{"time": "2026-01-02T03:04:05Z", "text": "\x1b[1mtoken=geheimnis"}]
    shown = job_status([{**SEEN, "ranks": [{**SEEN["ranks"][0], "lines": lines}]}], "")["jobs"][0]["ranks"][0]["lines"]
    assert shown == [{"time": "2026-01-02T03:04:05Z", "text": "token=(hidden 1)"}]


def test_of_what_a_rank_uses_its_own_host_is_believed() -> None:
    own = {"cpu_percent": 99.5, "memory_bytes": 5, "received_bytes": 1, "sent_bytes": "much"}
    card = {"index": 0, "percent": 7.0, "used_mib": None, "total_mib": True, "path": "/"}
    used = {
        "host1": {"ranks": {"job_node0": own}, "gpus": [card, "none"]},
        "host2": {"ranks": {"job_node0": {"cpu_percent": 1.0}}},
    }
    ranks = job_status([SEEN], "", used)["jobs"][0]["ranks"]
    assert ranks[0]["usage"] == {
        "cpu_percent": 99.5, "memory_bytes": 5, "received_bytes": 1, "sent_bytes": None,
        "gpus": [{"index": 0, "percent": 7.0, "used_mib": None, "total_mib": None}],
    }  # fmt: skip
    assert ranks[1]["usage"] is None


SLOW = "rank 1 on host2 is slow: in the last 45 s the others waited for it 62% of the time, at 900 collectives."


def test_a_slow_rank_is_told_of() -> None:
    job = {**SEEN, "state": "running"}
    used = {"host1": {"slow": {"job_node0": SLOW}}, "host2": {"slow": {"job_node0": "no"}}}
    assert job_report([job], used)[2] == f"  {SLOW}"
    assert job_status([job], "", used)["jobs"][0]["slow"] == SLOW
    for said in (
        {},
        {"host1": "x"},
        {"host1": {"slow": []}},
        {"host1": {"slow": {"job_node0": 5}}},
        {"host1": {"slow": {"other_node0": SLOW}}},
    ):
        assert job_status([job], "", said)["jobs"][0]["slow"] == ""
    assert job_status([SEEN], "", used)["jobs"][0]["slow"] == "", "it has ended"


@pytest.mark.parametrize("said", [None, "no", {}, {"skipped": True}, {"ranks": []}, {"ranks": {"job_node0": 1}}])
def test_a_host_that_tells_nothing_leaves_it_unknown(said: Any) -> None:
    assert job_status([SEEN], "", {"host1": said})["jobs"][0]["ranks"][0]["usage"] is None


def test_a_host_without_docker_and_one_without_a_swarm() -> None:
    none = {"rc": 2, "stderr": "", "msg": "Error executing command."}
    assert no_swarm(none, "host1").startswith(
        "No Docker is installed on host1, so there is no swarm and no job: site.yml"
    )
    other = no_swarm({"rc": 1, "stderr": "This node is not a swarm manager.", "msg": "non-zero return code"}, "host1")
    assert other == "host1 leads no swarm: run site.yml ('ddp up'). Its engine says: This node is not a swarm manager."
    assert no_swarm({"msg": "no answer"}, "host1").endswith("says: no answer")


def test_one_job_in_detail() -> None:
    lines = [{"time": "2026-01-02T03:04:59.123456789Z", "text": f"step {step}\x1b[2J"} for step in range(9)]
    first, second = SEEN["ranks"]
    ranks = [{**first, "processes": 2, "lines": lines}, {**second, "processes": 2, "lines": []}]
    mounts = [{"type": "volume", "source": "job_snapshots", "target": "/snapshots"}]
    told = job_detail([{**SEEN, "image": "trainer:1", "mounts": mounts, "ranks": ranks}], "job")
    assert told[:5] == [
        "job: failed, since 2026-01-02 03:04 UTC, 2 restarts",
        "  image: trainer:1",
        "  mounts: volume job_snapshots on /snapshots",
        "  world size: 4 (node0 2, node1 2)",
        "  progress: step 7 | loss 0.5",
    ]
    assert told[6].startswith("    2026-01-02T03:04:59Z step 4")
    assert len(told) == 12
    assert "\x1b" not in str(told)
    unknown = {**SEEN, "image": "i", "ranks": [{**second, "processes": 0, "lines": []}]}
    assert "world size" not in str(job_detail([unknown], "job"))
    assert job_detail([unknown], "other") == ["There is no job other in the swarm. Its jobs are: job."]
