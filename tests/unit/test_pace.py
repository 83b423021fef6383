"""Whom the others wait for. The records are made up here, those of NCCL's devices too; tests/hangs has those of real ranks, all of gloo."""

from __future__ import annotations

import math
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.diagnosis import diagnosis
from ansible_collections.ddp.swarm.plugins.module_utils.diagnose.pace import Pace, pace_of, slowest
from ansible_collections.ddp.swarm.plugins.module_utils.diagnose.verdict import judge

START = 1_800_000_000.0


def job(
    *work: list[float],
    ahead: tuple[float, ...] = (),
    error: float = 0.001,
    buckets: int = 1,
    after: float = 1.0,
    clock: bool = True,
) -> list[dict[str, Any]]:
    """Ranks that compute for so long before each step, in which they then wait for each other in `buckets` collectives, one soon after the other.

    `ahead` is what a host's clock is ahead of rank 0's; `after` so many seconds they are asked.
    """
    times: list[list[list[float]]] = [[] for _rank in work]
    now, seq = START, 0
    for step in zip(*work):
        for bucket in range(buckets):
            seq += 1
            for rank, seconds in enumerate(step):
                times[rank].append([seq, (now + seconds + bucket * 0.001) * 1e9])
        now += max(step) + 0.002 * buckets
    given = []
    for rank, rows in enumerate(times):
        offset = ahead[rank] if ahead else 0.0
        rows = [[seq, int(began + offset * 1e9)] for seq, began in rows]
        group = {"title": "default_pg", "ranks": "", "entries": [], "times": rows}
        frames = [["/app/train.py", 37 if rank else 50, "main"]]
        process = {"pid": 9, "rank": rank, "threads": [{"frames": frames}], "collectives": {"groups": {"0": group}}}
        record = {"time": now + after + offset, "processes": [process]}
        if clock:
            record["clock"] = {"offset": offset, "error": error if rank else 0.0}
        given.append({"host": f"host{rank + 1}", "record": record})
    return given


def pace(given: list[dict[str, Any]]) -> Pace:
    found = pace_of(given)
    assert found
    return found


STEPS = 40


def test_the_rank_that_the_others_wait_for() -> None:
    verdict, found = slowest(job([0.05] * STEPS, [0.2] * STEPS))
    assert verdict
    assert verdict.sentence == (
        "rank 1 on host2 is slow: in the last 8 s the others waited for it 75% of the time, at 40 collectives. Rank 1 on host2 is in train.py:37 main()."
    )
    assert (verdict.kind, verdict.ranks or [one.rank for one in verdict.culprits]) == ("slow", [1])
    assert found
    assert found.shown() == {
        "seconds": pytest.approx(8.0, abs=0.2),
        "collectives": 40,
        "epoch": None,
        "waited_for": {"0": 0.0, "1": pytest.approx(0.75, abs=0.02)},
        "slow": [1],
    }


def asked(given: list[dict[str, Any]]) -> str:
    ranks = [{"rank": number, "host": one["host"], "state": "running"} for number, one in enumerate(given)]
    answers = {one["host"]: {"ranks": [{"rank": number, "record": one["record"]}]} for number, one in enumerate(given)}
    told = diagnosis(
        {"name": "mine", "state": "running", "busy": True, "ranks": ranks}, answers, "2026-01-02T03:04:05Z"
    )
    return str(told["sentence"])


def test_of_a_job_that_moves_it_is_said_first() -> None:
    said = asked(job([0.1] * STEPS, [0.101] * STEPS))
    assert said.startswith("mine moves: 40 collectives in the last 4 s, and no rank is slow. At this moment: "), said
    said = asked(job([0.05] * STEPS, [0.2] * STEPS))
    assert said.startswith("mine moves, but rank 1 on host2 is slow: "), said
    assert not asked(job([0.1] * STEPS, [0.101] * STEPS, after=3600)).startswith("mine moves")
    assert not asked(job([0.1] * STEPS, [0.101] * STEPS, clock=False)).startswith("mine moves")


@pytest.mark.parametrize("ahead", [(0.0, 7.5), (0.0, -0.3)])
def test_what_clocks_differ_by_is_taken_off(ahead: tuple[float, ...]) -> None:
    verdict, _pace = slowest(job([0.05] * STEPS, [0.2] * STEPS, ahead=ahead))
    assert verdict
    assert verdict.culprits[0].rank == 1


def test_ranks_whose_clocks_nobody_compared() -> None:
    assert pace_of(job([0.05] * STEPS, [0.2] * STEPS, clock=False)) is None
    assert slowest(job([0.05] * STEPS, [0.2] * STEPS, clock=False)) == (None, None)


def test_a_difference_that_the_clocks_may_be_wrong_by() -> None:
    assert pace(job([0.1] * STEPS, [0.15] * STEPS, error=0.03)).slow == []
    assert [one.rank for one in pace(job([0.1] * STEPS, [0.15] * STEPS, error=0.02)).slow] == [1]


@pytest.mark.parametrize("buckets", [2, 9])
def test_several_collectives_of_a_step_are_waited_for_once(buckets: int) -> None:
    found = pace(job([0.05] * STEPS, [0.2] * STEPS, buckets=buckets))
    assert 0.6 < found.waits[1] < 0.78


def test_equal_ranks() -> None:
    verdict, found = slowest(job([0.1] * STEPS, [0.101] * STEPS))
    assert (verdict, found and found.slow) == (None, [])


def test_in_turn_is_nobody() -> None:
    one, other = [0.05, 0.2] * (STEPS // 2), [0.2, 0.05] * (STEPS // 2)
    assert pace(job(one, other)).slow == []


def test_one_long_step_is_no_slow_rank() -> None:
    """Such as an evaluation on one rank, or its save."""
    assert pace(job([0.1] * STEPS, [0.1] * 20 + [4.0] + [0.1] * 19)).slow == []


def test_of_many_ranks_those_of_one_host() -> None:
    fast, slow = [0.05] * STEPS, [0.2] * STEPS
    verdict, _pace = slowest(job(fast, fast, fast, slow, slow))
    assert verdict
    assert verdict.sentence.startswith(
        "rank 3 on host4 and rank 4 on host5 are slow: in the last 8 s the others waited for them 75% of the time"
    )
    assert [one.rank for one in pace(job(fast, fast, fast, slow, [0.08] * STEPS)).slow] == [3]
    # The most of them decide what is usual.
    assert pace(job(fast, slow, slow, slow)).slow == []


@pytest.mark.parametrize("work", [[0.05] * 7, [0.001] * 100, []])
def test_too_little_says_nothing(work: list[float]) -> None:
    assert pace_of(job(work, [one * 4 for one in work])) is None


def test_a_job_that_stands_still_is_not_slow() -> None:
    given = job([0.05] * STEPS, [0.2] * STEPS, after=60)
    assert slowest(given) == (None, None)
    assert judge(given).kind != "slow"
    # One of long steps has not come to stand still so soon.
    assert slowest(job([5.0] * 10, [20.0] * 10, after=60))[0]
    # One long step among short ones, as the first is, tells nothing of the others.
    assert slowest(job([30.0] + [0.05] * STEPS, [30.0] + [0.2] * STEPS, after=60)) == (None, None)


def test_the_metrics_of_a_job_that_stands_still_are_of_before() -> None:
    given = job([0.05] * STEPS, [0.2] * STEPS, after=60)
    for rank, one in enumerate(given):
        one["record"]["epochs"] = {str(rank): {"epoch": 3, "seconds": 10.0, "comm_seconds": [8.0, 0.1][rank]}}
    assert slowest(given) == (None, None)


def device(*took: float) -> list[dict[str, Any]]:
    """All ranks enter at the same time, ahead of their devices."""
    given = job(*([[0.2] * STEPS for _one in took]))
    for one, milliseconds in zip(given, took):
        for row in one["record"]["processes"][0]["collectives"]["groups"]["0"]["times"]:
            row.append(milliseconds)
    return given


def test_the_device_that_waits_least_is_waited_for() -> None:
    found = pace(device(105.0, 5.0))
    assert [one.rank for one in found.slow] == [1]
    assert found.waits[1] == pytest.approx(0.5, abs=0.03)
    assert pace(device(5.0, 6.0)).slow == []


# --- by the trainer's metrics ------------------------------------------------------------------------------


def metrics(*epochs: Any) -> list[dict[str, Any]]:
    given = []
    for rank, epoch in enumerate(epochs):
        process = {"pid": 9, "rank": rank, "threads": [{"frames": [["/app/train.py", 37, "main"]]}]}
        given.append({"host": f"host{rank + 1}", "record": {"processes": [process], "epochs": {str(rank): epoch}}})
    return given


def epoch(own: float, seconds: float = 60.0, number: int = 3) -> dict[str, float]:
    return {"epoch": number, "seconds": seconds, "comm_seconds": seconds - own, "time": START}


def test_the_metrics_tell_where_no_collectives_can_be_compared() -> None:
    verdict, found = slowest(metrics(epoch(20.0), epoch(55.0)))
    assert verdict
    assert found
    assert verdict.sentence == (
        "rank 1 on host2 is slow: in epoch 3, of 60 s, the others waited for it 58% of the time. Rank 1 on host2 is in train.py:37 main()."
    )
    assert found.shown()["epoch"] == 3
    assert pace(metrics(epoch(50.0), epoch(55.0))).slow == []


@pytest.mark.parametrize(
    "other",
    [
        {},
        "x",
        epoch(55.0, number=4),
        epoch(70.0),
        {**epoch(55.0), "comm_seconds": None},
        {**epoch(55.0), "seconds": 0},
        {**epoch(55.0), "epoch": math.nan},
    ],
)
def test_metrics_that_cannot_be_compared(other: Any) -> None:
    assert pace_of(metrics(epoch(20.0), other)) is None
    assert pace_of(metrics(epoch(20.0))) is None
    assert pace_of(metrics(epoch(0.1, 0.5), epoch(0.5, 0.5))) is None


@pytest.mark.parametrize(
    "spoiled",
    [
        {"times": "no"},
        {"times": [[1], "x", [None, None], ["1", 5], [1, -5], [2, 2**70]]},
        {"times": [[seq, 10**18 + seq, "long"] for seq in range(20)]},
    ],
)
def test_what_a_container_makes_up_breaks_nothing(spoiled: dict[str, Any]) -> None:
    given = job([0.05] * STEPS, [0.2] * STEPS)
    given[1]["record"]["processes"][0]["collectives"]["groups"]["0"].update(spoiled)
    slowest(given)
    given[1]["record"]["clock"] = {"offset": math.nan, "error": "much"}
    assert pace_of(given) is None
    given[1]["record"] = "x"
    assert pace_of(given) is None
    assert pace_of([]) is None
