"""Ranks with several GPUs: invented ones, for each of which a process stands in that takes part over gloo."""

from __future__ import annotations

import os
from typing import Any

import pytest
from ddp_probe import checks, collectives
from preflight_ranks import healthy_report, record, told, verdict
from probe_alone import alone

pytest.importorskip("torch")

import torch.distributed as dist
from test_probe import failures, forked_ranks, in_place_of_all_reduce

OTHERS = ("GPU-x", "GPU-y")


def nothing() -> None:
    """No fault."""


def wrong_sum() -> None:
    def add(tensor: Any) -> None:
        if dist.get_rank() == 3:
            tensor[5] += 1

    in_place_of_all_reduce(add)


def dies() -> None:
    def end(_: Any) -> None:
        if dist.get_rank() == 3:
            os._exit(9)

    in_place_of_all_reduce(end)


def slow() -> None:
    collectives.compute = lambda *_: {"seconds": 0.05 if dist.get_rank() == 3 else 0.002, "device": "cpu"}


@pytest.mark.parametrize(
    ("fault", "check", "observed"),
    [
        (nothing, None, None),
        (wrong_sum, "all-reduce 65536 B, GPU 7", "sum 11 at element 0, 1 elements wrong"),
        (dies, "reduce 65536, GPU 7", "the process with torch ended with exit code 9"),
        (slow, "compute", "50.00 ms for a matrix product on average"),
    ],
)
def test_a_device_that_fails_is_named(tmp_path, fault, check, observed):
    """GPU 1 of the task of rank 1 is GPU 7 of its host."""
    codes, probes = forked_ranks(
        tmp_path, 2, {0: fault, 1: fault}, PROBE_STAND_INS="2", PROBE_BACKEND="gloo", PROBE_GROUP_TIMEOUT="15"
    )
    assert codes == [0, 0]
    reports = [{**healthy_report(rank, 2), "probe": probes[rank]} for rank in range(2)]
    probes[1]["identity"]["gpu_uuids"] = list(OTHERS)
    reports[1]["host_checks"]["gpu_states"] = [{"uuid": "GPU-y", "index": "7"}]
    if fault is nothing:
        assert [failures(one) for one in probes] == [[], []]
        assert [[one["gpu"] for one in probe["devices"]] for probe in probes] == [[0, 1], [0, 1]]
        assert verdict(reports)["findings"] == []
        return
    found = [one for one in verdict(reports)["findings"] if one["host"] == "host2"]
    assert [one["check"] for one in found] == [check]
    assert not [one for one in verdict(reports)["findings"] if one["host"] == "host1" and "GPU" in one["check"]]
    assert found[0]["observed"].startswith(observed)


@pytest.mark.parametrize(
    ("backend", "own", "hello", "places"),
    [
        ("nccl", 2, {"gpus": 3}, [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]),
        ("gloo", 2, {"gpus": 3}, [(0, 0), (1, 0)]),
        ("gloo", 0, {"stand_ins": 2}, [(0, 0), (1, 0), (1, 1)]),
        ("nccl", 1, {"gpus": "many"}, [(0, 0), (1, 0)]),
        ("nccl", 1, {}, [(0, 0), (1, 0)]),
    ],
)
def test_every_rank_counts_the_same_members(backend, own, hello, places):
    one = alone(2)
    one.child.facts.update(gpus=own)
    one.peers[1].hello = hello
    assert checks.group.members(one, backend) == places


@pytest.mark.parametrize(
    ("gpus", "nccl", "env", "more"),
    [(4, "2.27", {}, 3), (4, None, {}, 0), (4, "2.27", {"PROBE_BACKEND": "gloo"}, 0), (0, "2.27", {}, 0), (0, None, {"PROBE_STAND_INS": "3"}, 2)],
)  # fmt: skip
def test_each_invented_gpu_has_a_process(monkeypatch, gpus, nccl, env, more):
    one = alone(1, **env)
    started = []
    monkeypatch.setattr(type(one.child), "start", lambda child: started.append(child))
    one.child.facts.update(gpus=gpus, nccl=nccl)
    one.start_more()
    assert started == one.more
    assert len(one.children()) == more + 1


@pytest.mark.parametrize(
    ("late", "failing", "device"),
    [([0, 1, 2], [], None), ([0, 1, 2], [2], 2), ([0, 1, 2], [0, 1, 2], None), ([1], [], 1), ([0, 2], [], 0)],
)
def test_who_keeps_the_others_waiting(monkeypatch, late, failing, device):
    one = alone(1, PROBE_STAND_INS="3")
    monkeypatch.setattr(type(one.child), "start", lambda child: None)
    one.start_more()
    for number, child in enumerate(one.children()):
        child.events.update({"failed": {"error": "x"}} if number in failing else {})
    assert checks.group.blamed(one, late) == device
    one.more = []
    assert checks.group.blamed(one, late) is None


def heated(pair, *seconds, name="H200"):
    for rank, report in enumerate(pair):
        report["probe"]["devices"] = [
            {"seconds": one, "device": "cuda", "name": name, "gpu": gpu} for gpu, one in enumerate(seconds[rank])
        ]


@pytest.mark.parametrize(
    ("seconds", "limits", "slow"),
    [
        (([0.0014, 0.0014], [0.0014, 0.00167]), {}, None),
        (([0.0014, 0.0014], [0.0014, 0.0017]), {}, "1.70 ms for a matrix product on average"),
        (([0.0014, 0.0014], [0.0014, 0.0017]), {"gpu_straggler_factor": 1.3}, None),
        (([0.0014, 0.0014], [0.0014, 0.0017]), {"gpu_straggler_factor": 0}, None),
        (([0.0014], [0.0014, 0.01]), {"gpu_straggler_factor": 0}, "10.00 ms for a matrix product on average"),
    ],
)
def test_a_hot_invented_gpu_is_held_against_its_like(pair, seconds, limits, slow):
    heated(pair, *seconds)
    found = verdict(pair, **limits)
    assert told(found, "layer", "check", "host", "observed") == (
        [(14, "compute, GPU 1 of the task", "host2", slow)] if slow else []
    )
    if slow:
        assert found["findings"][0]["hint"].startswith("GPU 1 of the task of host2 computes slower")


def test_invented_gpus_of_two_kinds_may_differ_more(pair):
    heated(pair, [0.0014], [0.0014])
    pair[1]["probe"]["devices"][0].update(seconds=0.0040, name="A100")
    assert verdict(pair)["ok"]
    assert told(verdict(pair, straggler_factor=2), "check", "host") == [("compute, GPU 0 of the task", "host2")]


def test_the_gpus_of_one_host_are_compared(pair):
    heated(pair[:1], [0.0014, 0.0020])
    report = healthy_report(0, 1)
    report["probe"]["devices"] = pair[0]["probe"]["devices"]
    assert told(verdict([report]), "check") == [("compute, GPU 1 of the task",)]


@pytest.mark.parametrize(
    "devices", ["x", [1], [{}], [{"seconds": None}], [{"seconds": "1"}], [{"seconds": 1.0, "gpu": "x"}]]
)
def test_what_is_no_device_is_passed_over(pair, devices):
    pair[1]["probe"]["devices"] = devices
    assert verdict(pair)["ok"]


def test_a_record_of_a_device_that_is_no_number_is_no_record(pair):
    pair[1]["probe"]["records"].append({**record(12, 1, False), "device": "3"})
    assert not verdict(pair)["ok"]
