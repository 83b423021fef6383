"""What the diagnosis says of a job of which nothing stands still any more."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.diagnosis import diagnosis

GONE: dict[str, Any] = {"ranks": [], "failed": False}


def rank(number: int, state: str, **more: Any) -> dict[str, Any]:
    told = {"exit_code": None, "error": "", "failed": state == "failed", **more}
    return {"rank": number, "host": f"host{number + 1}", "state": state, **told}


def job(state: str, *ranks: dict[str, Any], busy: bool = False) -> dict[str, Any]:
    return {"name": "mine", "state": state, "busy": busy, "ranks": list(ranks)}


def asked(one: dict[str, Any], **answers: Any) -> dict[str, Any]:
    return diagnosis(one, {"host1": GONE, "host2": GONE, **answers}, "2026-01-02T03:04:05Z")


def test_a_job_that_has_finished() -> None:
    said = asked(job("complete", rank(0, "complete", exit_code=0), rank(1, "complete", exit_code=0)))
    assert said["sentence"] == "mine has finished: each of its 2 ranks has ended well, and none hangs."
    assert (said["kind"], said["over"], said["ranks"], said["hosts"], said["places"]) == ("finished", True, [], [], [])
    assert [one["why"] for one in said["given"]][1] == (
        "there is no container of it on host2; swarm calls it complete with exit code 0"
    )


def test_a_job_that_was_stopped() -> None:
    said = asked(job("stopped", rank(0, "shutdown", exit_code=0), rank(1, "shutdown", exit_code=0)))
    assert said["sentence"] == "mine is stopped: none of its ranks runs, so none hangs."
    assert (said["kind"], said["over"]) == ("not running", True)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"exit_code": 1, "error": "task: non-zero exit (1)"}, " (task: non-zero exit (1))"),
        ({"exit_code": 137}, " (exit code 137)"),
        ({"error": "no suitable node\x1b[31m"}, " (no suitable node)"),
        ({}, ""),
    ],
)
def test_a_job_that_failed_and_is_not_started_again(told: dict[str, Any], reason: str) -> None:
    said = asked(job("failed", rank(0, "complete", exit_code=0), rank(1, "failed", **told)))
    assert (
        said["sentence"]
        == f"mine has failed, and is not started again: rank 1 on host2 has failed{reason}. None of its ranks runs."
    )
    assert (said["kind"], said["over"], said["ranks"], said["hosts"]) == ("failed", True, [1], ["host2"])


def test_of_many_that_failed_some_are_named() -> None:
    said = asked(job("failed", *(rank(number, "failed", exit_code=1) for number in range(40))))
    assert "rank 2 on host3 and 37 more have failed (exit code 1). None of its ranks runs." in said["sentence"]
    assert len(said["ranks"]) == 16


def test_of_a_failed_job_whose_other_ranks_still_run_both_are_said() -> None:
    process = {"pid": 7, "rank": 0, "state": "S", "threads": [{"frames": [["/app/a.py", 5, "main"]]}]}
    here = {"ranks": [{"rank": 0, "record": {"processes": [process], "exits": []}}]}
    said = asked(job("failed", rank(0, "running"), rank(1, "failed", exit_code=1), busy=True), host1=here)
    assert said["sentence"] == (
        "mine has failed, and is not started again: rank 1 on host2 has failed (exit code 1). Other ranks still run."
    )
    assert (said["kind"], said["over"], said["ranks"]) == ("failed", False, [1])


@pytest.mark.parametrize("state", ["running", "starting"])
def test_a_rank_that_is_started_again_is_no_end_of_the_job(state: str) -> None:
    said = asked(job(state, rank(0, "running"), rank(1, "failed", failed=False), busy=True))
    assert said["sentence"].startswith("rank 0 on host1 cannot be asked")
    assert said["over"] is False
