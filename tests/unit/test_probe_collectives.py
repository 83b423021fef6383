"""What the probe's child does with torch: a real gloo group of three, and wrong answers planted in its collectives."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from ddp_probe import collectives
from ports import free_port
from preflight_ranks import torch_says

pytest.importorskip("torch")

import forked
import torch.distributed as dist

Json = dict[str, Any]
real_all_reduce = dist.all_reduce


def nothing(rank: int) -> None:
    """No fault."""


def in_place_of_all_reduce(change: Callable[[Any, Any], Any]) -> None:
    """`change(before, after)` gives what a wrong backend makes of what a rank had and of the right sum."""

    def wrong(tensor: Any, op: Any = dist.ReduceOp.SUM) -> None:
        before = tensor.clone()
        real_all_reduce(tensor, op=op)
        # By the others the ranks agree on how often to repeat: they would hang.
        if op == dist.ReduceOp.SUM:
            tensor.copy_(change(before, tensor.clone()))

    dist.all_reduce = wrong


def rank_1_has_an_element_in_the_wrong_place(rank: int) -> None:
    if rank == 1:
        in_place_of_all_reduce(lambda before, after: after.roll(1))


def rank_2_has_one_wrong_element(rank: int) -> None:
    def change(before: Any, after: Any) -> Any:
        after[-1] += 1
        return after

    if rank == 2:
        in_place_of_all_reduce(change)


def nobody_hears_the_others(rank: int) -> None:
    in_place_of_all_reduce(lambda before, after: before * 3)


def the_wire_is_slow(rank: int) -> None:
    def slow(tensor: Any, *args: Any, **more: Any) -> Any:
        time.sleep(0.05 if tensor.numel() * 4 == collectives.LARGE else 0.01)
        return real_all_reduce(tensor, *args, **more)

    dist.all_reduce = slow


def computing(seconds: dict[int, list[float]]) -> Callable[[int], None]:
    """Stands in for the measurement: what each rank measures, first and again."""

    def plant(rank: int) -> None:
        left = list(seconds[rank])
        collectives.compute = lambda *_: {"seconds": left.pop(0), "left": len(left)}

    return plant


# A moment that slowed rank 1 is over when it is measured again. What the others say then is no better.
computing_is_slow_once = computing({0: [0.002, 0.009], 1: [0.0041, 0.003], 2: [0.002, 0.001]})
computing_differs_little = computing({0: [0.002, 0.001], 1: [0.0039, 0.001], 2: [0.002, 0.001]})

FAULTS = (
    nothing, rank_1_has_an_element_in_the_wrong_place, rank_2_has_one_wrong_element, nobody_hears_the_others,
    the_wire_is_slow, computing_is_slow_once, computing_differs_little,
)  # fmt: skip


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], list[dict[str, Json]]]:
    """What the ranks' children say under each fault: a dictionary of events for each rank."""
    folder = tmp_path_factory.mktemp("collectives")
    ports = [free_port() for _ in FAULTS]

    def work(rank: int) -> None:
        collectives.COMPUTE_SECONDS = 0.05
        for number, fault in enumerate(FAULTS):
            said: dict[str, Json] = {}
            # The real size once: it costs seconds.
            collectives.LARGE = (16 * 1024 if fault is nothing else 256) * 1024
            fault(rank)
            order = {
                "rank": rank, "world_size": 3, "backend": "gloo", "master": "127.0.0.1", "port": ports[number],
                "group_timeout": 20, "device": 0, "members": ["rank 0", "rank 1", "rank 2"],
            }  # fmt: skip
            collectives.collectives(order, lambda event, said=said, **facts: said.update({event: facts}))
            dist.all_reduce = real_all_reduce
            dist.destroy_process_group()
            (folder / f"{number}.{rank}.json").write_text(json.dumps(said))

    ended = forked.run(3, work, folder, group=False)
    assert [one.code for one in ended] == [0, 0, 0], "\n".join(one.output for one in ended)

    def of(fault: Any) -> list[dict[str, Json]]:
        number = FAULTS.index(fault)
        return [json.loads((folder / f"{number}.{rank}.json").read_text()) for rank in range(3)]

    return of


def right(events: dict[str, Json]) -> dict[str, bool]:
    return {name: facts["right"] for name, facts in events.items() if name.startswith("reduce")}


def test_a_healthy_group_says_what_the_tests_replay(heard: Any) -> None:
    for rank, events in enumerate(heard(nothing)):
        replayed = torch_says(rank, "127.0.0.1")
        del replayed["versions"]
        if rank:
            del replayed["store"]
        assert {name: set(facts) for name, facts in events.items()} == {name: set(f) for name, f in replayed.items()}
        assert list(events)[-1] == "end"
        assert set(right(events).values()) == {True}
        for name, facts in events.items():
            if name.startswith("reduce"):
                assert facts["observed"] == f"sum {facts['expected']} at element 0"
                assert facts["bytes"] == int(name.split()[1])


def test_the_group_tells_which_addresses_it_talks_from(heard: Any) -> None:
    for events in heard(nothing):
        assert events["group"]["connections"] == ["127.0.0.1"]


def test_elements_in_the_wrong_place_are_a_wrong_sum(heard: Any) -> None:
    """With one number in all of a tensor they would pass."""
    first, second, third = heard(rank_1_has_an_element_in_the_wrong_place)
    assert set(right(first).values()) == set(right(third).values()) == {True}
    # One element has no place to move to.
    assert right(second) == {"reduce 4": True, "reduce 65536": False, "reduce 262144": False}
    assert second["reduce 65536"]["observed"].endswith(", 16384 elements wrong")


def test_one_wrong_element_of_many_is_a_wrong_sum(heard: Any) -> None:
    first, second, third = heard(rank_2_has_one_wrong_element)
    assert set(right(first).values()) == set(right(second).values()) == {True}
    assert set(right(third).values()) == {False}
    for name in right(third):
        assert third[name]["observed"].endswith(", 1 elements wrong")
    # The last element is the first one of a tensor of one.
    assert third["reduce 4"]["observed"] != f"sum {third['reduce 4']['expected']} at element 0, 1 elements wrong"


def test_a_rank_that_hears_nobody_is_noticed_on_every_rank(heard: Any) -> None:
    """Its own numbers times the number of ranks must not be the sum, for none of them."""
    for events in heard(nobody_hears_the_others):
        assert set(right(events).values()) == {False}


def test_bus_bandwidth_is_that_of_nccl_tests(heard: Any) -> None:
    """Bytes a second, times 2(n-1)/n: https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md"""
    for fault, size in ((nothing, 16777216), (the_wire_is_slow, 262144)):
        for events in heard(fault):
            said = events["bandwidth"]
            assert said["bytes"] == size
            for time_name, rate in (("seconds", "bus_bandwidth_mb_s"), ("best_seconds", "best_bus_bandwidth_mb_s")):
                assert said[rate] == pytest.approx(size / 1e6 / said[time_name] * 4 / 3, rel=2e-3, abs=0.051)
            assert 0 < said["best_seconds"] <= said["seconds"]


def test_a_slow_wire_is_measured_as_slow(heard: Any) -> None:
    for events in heard(the_wire_is_slow):
        said = events["bandwidth"]
        assert 0.05 <= said["best_seconds"] <= said["seconds"] < 0.5
        assert 10_000 <= said["latency_us"] < 100_000
        assert 1 <= said["repeats"] <= 8


def test_a_rank_that_is_far_behind_is_measured_again(heard: Any) -> None:
    said = [events["compute"] for events in heard(computing_is_slow_once)]
    assert [one["seconds"] for one in said] == [0.002, 0.003, 0.001]


def test_a_rank_that_is_a_little_behind_is_not(heard: Any) -> None:
    said = [events["compute"] for events in heard(computing_differs_little)]
    assert said == [{"seconds": seconds, "left": 1} for seconds in (0.002, 0.0039, 0.002)]
