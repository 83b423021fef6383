"""What the probe's child asks of torch and of the store: tensors are real, the group, the GPU and the clock are played."""

from __future__ import annotations

import sys
from datetime import timedelta
from types import SimpleNamespace

import pytest
from ddp_probe import collectives
from probe_alone import Clock, Instead, everywhere

torch = pytest.importorskip("torch")

import torch.distributed as dist

CPU = torch.device("cpu")


class Group:
    """One rank of a group, the others of which do what this one does."""

    def __init__(self, monkeypatch, rank=0, world=1, backend="gloo", limit=30.0, large=0.25):
        self.clock = Clock()
        self.rank, self.world, self.backend, self.limit, self.large = rank, world, backend, limit, large
        self.here = {f"here/{other}": 0 for other in range(world)}  # how often one asks in vain for a rank
        self.said = {}
        self.calls = []
        self.set = []
        self.reduced = []
        self.synchronized = 0
        self.computed = [0.002]
        self.device_number = 0
        everywhere(monkeypatch, "time", self.clock)
        monkeypatch.setattr(collectives, "LARGE", 4096)
        monkeypatch.setattr(collectives, "MIDDLE", 1024)
        monkeypatch.setattr(collectives, "own_connections", lambda: ["10.0.1.3"])
        monkeypatch.setattr(collectives, "HUGE", 8192)
        monkeypatch.setattr(collectives, "compute", self.compute)
        monkeypatch.setattr(collectives, "heat", self.compute)
        cuda = SimpleNamespace(
            set_device=lambda number: self.calls.append(("set_device", number)), synchronize=self.synchronize
        )
        played = Instead(torch, cuda=cuda, device=self.device)
        played.distributed = Instead(
            dist, TCPStore=self.store, PrefixStore=lambda *named: named, all_reduce=self.all_reduce,
            init_process_group=lambda *named, **more: self.calls.append(("init", named, more)),
            barrier=lambda: self.calls.append("barrier"),
        )  # fmt: skip
        monkeypatch.setitem(sys.modules, "torch", played)
        monkeypatch.setitem(sys.modules, "torch.distributed", played.distributed)

    def device(self, *kind):
        self.calls.append(("device", *kind))
        return CPU

    def store(self, *settings, **more):
        self.calls.append(("store", settings, more))
        return self

    def check(self, keys):
        (key,) = keys
        left = self.here.get(key, 0)
        self.here[key] = left - 1
        return left <= 0

    def synchronize(self):
        self.synchronized += 1

    def all_reduce(self, tensor, op):
        self.reduced.append((tensor.numel(), op))
        # Only what measures the bandwidth is all ones.
        measures = tensor.numel() == 1024 and bool((tensor == 1).all())
        self.clock.now += self.large if measures else 0.0625

    def compute(self, *_):
        return {"seconds": self.computed.pop(0)}

    def run(self):
        order = {
            "rank": self.rank, "world_size": self.world, "backend": self.backend, "master": "10.0.1.3", "port": 9,
            "group_timeout": self.limit, "device": self.device_number, "members": [f"rank {other}" for other in range(self.world)],
        }  # fmt: skip
        # `set` of the store.
        store = SimpleNamespace(check=self.check, set=lambda *pair: self.set.append((*pair, list(self.said))))
        self.store = lambda *settings, **more: self.calls.append(("store", settings, more)) or store
        sys.modules["torch.distributed"].TCPStore = self.store
        collectives.collectives(order, lambda event, **facts: self.said.update({event: facts}))
        return self


@pytest.mark.parametrize(("backend", "limit", "patience"), [("gloo", 7.0, 7.0), ("nccl", 30.0, 20)])
def test_the_group_is_formed_over_the_store_of_rank_0(monkeypatch, backend, limit, patience):
    group = Group(monkeypatch, 0, 1, backend, limit).run()
    store = ("store", ("10.0.1.3", 9, 1, True, timedelta(seconds=limit)), {"wait_for_workers": False})
    assert group.calls[0] == store
    # NCCL has a GPU before the group is formed, or all ranks of a host would take the first.
    device = [("set_device", 0), ("device", "cuda", 0)] if backend == "nccl" else [("device", "cpu")]
    assert group.calls[1 : 1 + len(device)] == device
    _, named, more = group.calls[1 + len(device)]
    assert named == (backend,)
    prefix, inner = more.pop("store")
    assert prefix == "probe"
    assert inner.set
    assert more == {"rank": 0, "world_size": 1, "timeout": timedelta(seconds=patience)}
    assert list(group.said)[:2] == ["store", "group"]
    assert group.said["group"] == {"backend": backend, "seconds": 0.062, "connections": ["10.0.1.3"]}
    # A GPU's collective is over when it says so: each one is waited for.
    assert group.synchronized == (len(group.reduced) if backend == "nccl" else 0)


@pytest.mark.parametrize(("rank", "opens"), [(0, True), (1, False), (2, False)])
def test_only_rank_0_opens_the_store(monkeypatch, rank, opens):
    group = Group(monkeypatch, rank, 3).run()
    assert group.calls[0][1][3] is opens
    assert ("store" in group.said) is opens
    assert group.set[0] == (f"here/{rank}", "1", ["store"] if opens else [])


def test_ranks_that_come_late_are_waited_for(monkeypatch):
    group = Group(monkeypatch, 0, 3, limit=2.0)
    group.here = {"here/1": 4, "here/2": 2}
    group.run()
    assert "missing" not in group.said
    assert group.said["group"]["seconds"] == pytest.approx(0.2625, abs=0.001)


def test_ranks_that_do_not_come_are_named(monkeypatch):
    group = Group(monkeypatch, 0, 4, limit=2.0)
    group.here = {"here/1": 10**6, "here/2": 5, "here/3": 10**6}
    with pytest.raises(RuntimeError, match="missing from the process group: rank 1, rank 3$"):
        group.run()
    assert group.said["missing"] == {"missing": [1, 3]}
    assert 2 <= group.clock.now - 1000 < 2.06
    assert "group" not in group.said and len(group.calls) == 1


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_every_rank_adds_another_share(monkeypatch, rank):
    """What the others would add is missing here, so that each sum is this rank's own share of it."""
    group = Group(monkeypatch, rank, 3).run()
    share = [1, 2, 4][rank]
    for size in (4, 1024, 4096):
        count = size // 4
        assert group.said[f"reduce {size}"] == {
            "bytes": size, "right": False, "observed": f"sum {share} at element 0, {count} elements wrong", "expected": "7",
            "seconds": 0.0625,
        }  # fmt: skip


def test_the_numbers_of_a_sum_stay_exact_and_differ(monkeypatch):
    seen = []
    group = Group(monkeypatch)
    real = group.all_reduce

    def all_reduce(tensor, op):
        seen.append(tensor.clone())
        real(tensor, op)

    sys.modules["torch.distributed"].all_reduce = all_reduce
    group.run()
    largest = seen[4]
    assert (largest.dtype, largest.numel()) == (torch.float32, 1024)
    # From 1 to 97 and again, times the only share of 2.
    assert largest[:3].tolist() == [2, 4, 6]
    assert largest[96:98].tolist() == [194, 2]
    assert group.said["reduce 4096"]["right"] is True
    assert group.said["reduce 4096"]["observed"] == "sum 2 at element 0"


@pytest.mark.parametrize(
    ("large", "repeats"), [(2.0, 1), (0.75, 2), (0.5, 3), (0.1875, 8), (0.125, 8), (0.00001, 8)], ids=str
)
def test_a_slow_bus_is_measured_less_often(monkeypatch, large, repeats):
    group = Group(monkeypatch, 0, 4, large=large).run()
    said = group.said["bandwidth"]
    assert said["repeats"] == repeats
    ops = [op for _, op in group.reduced]
    # The slowest rank decides how often, and whether to compute again.
    assert ops.count(dist.ReduceOp.MAX) == 2
    assert ops.count(dist.ReduceOp.MIN) == 2
    # Connecting, the slowest pair, three sums, the first measure; then the repeated ones and thirty round trips.
    assert [numel for numel, _ in group.reduced] == [1, 1, 1, 256, 1024, 1024, 1, *[1024] * repeats, *[1] * 30, 1, 1]


def test_the_bus_is_told_by_the_median_and_at_best(monkeypatch):
    group = Group(monkeypatch, 0, 4)
    times = iter([2**-12, *[2**-11] * 4, 2**-13, *[2**-12] * 3])
    real = group.all_reduce

    def all_reduce(tensor, op):
        if tensor.numel() == 1024 and bool((tensor == 1).all()):
            group.large = next(times)
        real(tensor, op)

    sys.modules["torch.distributed"].all_reduce = all_reduce
    group.run()
    # 4096 bytes in 3/8192 of a second, and in 1/8192, times 2 * 3 / 4.
    assert group.said["bandwidth"] == {
        "bytes": 4096, "repeats": 8, "seconds": 0.000366, "best_seconds": 0.000122, "bus_bandwidth_mb_s": 16.8,
        "best_bus_bandwidth_mb_s": 50.3, "latency_us": 62500.0,
    }  # fmt: skip


@pytest.mark.parametrize(("again", "kept"), [(0.001, 0.001), (0.003, 0.002)])
def test_who_is_behind_computes_again_and_keeps_the_better(monkeypatch, again, kept):
    group = Group(monkeypatch)
    group.computed = [0.002, again]
    monkeypatch.setattr(collectives, "COMPUTE_SUSPECT", 0.99)  # alone, a rank is never behind itself
    assert group.run().said["compute"] == {"seconds": kept}
    assert group.computed == []


def test_who_is_not_behind_computes_once(monkeypatch):
    group = Group(monkeypatch)
    group.computed = [0.002, 0.001]
    monkeypatch.setattr(collectives, "COMPUTE_SUSPECT", 1.0)
    assert group.run().said["compute"] == {"seconds": 0.002}


def test_all_meet_before_anyone_says_goodbye(monkeypatch):
    group = Group(monkeypatch, 2, 3).run()
    assert group.calls[-1] == "barrier"
    key, value, said = group.set[-1]
    assert (key, value, said[-1]) == ("bye/2", "1", "compute")
    assert list(group.said)[-1] == "end"


@pytest.mark.parametrize(("asked", "seconds"), [({"bye/1": 3, "bye/2": 5}, 0.16), ({"bye/2": 10**6}, 5.0)])
def test_rank_0_goes_last(monkeypatch, asked, seconds):
    group = Group(monkeypatch, 0, 3)
    group.here.update(asked)
    before = []
    sys.modules["torch.distributed"].barrier = lambda: before.append(group.clock.now)
    group.run()
    assert group.clock.now - before[0] == pytest.approx(seconds, abs=0.021)
    assert [key for key, *_ in group.set] == ["here/0"]
    assert list(group.said)[-1] == "end"
