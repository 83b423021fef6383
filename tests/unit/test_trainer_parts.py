"""Parts of the trainer: its tasks, its cores and backend, what ranks tell each other, and how a process begins and ends."""

import ctypes
import hashlib
import os
import random
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import forked
import numpy
import pytest
import torch
import torch.distributed as dist
from trainer_runs import start, trainer

from ddp_trainer import batches, meeting, process, ranks, snapshots
from ddp_trainer.sampler import ResumableSampler


def test_a_line_is_one_write_and_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of ranks that share a pipe must not mix, and a rank that is killed has said what it said."""
    did: list[str] = []
    stream = SimpleNamespace(write=did.append, flush=lambda: did.append("FLUSH"))
    monkeypatch.setattr(sys, "stdout", stream)
    ranks.log("epoch 0")
    ranks.log("Epoch 0", prefix=False)
    assert did == ["[GPU0] epoch 0\n", "FLUSH", "Epoch 0\n", "FLUSH"]


# --- tasks ------------------------------------------------------------------------------------------------


def test_regression_is_a_line_with_a_little_noise() -> None:
    task = trainer.build_task("regression", 1, 128)
    inputs, targets = task.train.tensors
    held_out, expected = task.held_out.tensors
    assert (inputs.shape, targets.shape, held_out.shape, expected.shape) == (
        (4096, 20),
        (4096, 1),
        (1024, 20),
        (1024, 1),
    )
    assert (task.lr, list(task.measures)) == (0.01, [])
    line = torch.linalg.lstsq(torch.cat([inputs, torch.ones(4096, 1)], 1), targets).solution
    assert line[20].item() == pytest.approx(0.5, abs=0.01)
    noise = expected - torch.cat([held_out, torch.ones(1024, 1)], 1) @ line
    assert noise.std().item() == pytest.approx(0.1, abs=0.01)
    assert [tuple(weights.shape) for weights in task.model.parameters()] == [(1, 20), (1,)]


def test_digits_are_shuffled_with_their_labels() -> None:
    from sklearn.datasets import load_digits

    task = trainer.build_task("digits", 1, 16)
    pixels, labels = (torch.cat(pair) for pair in zip(task.train.tensors, task.held_out.tensors, strict=True))
    assert (len(task.train), len(task.held_out)) == (1536, 1797 - 1536)
    assert (task.lr, list(task.measures)) == (0.1, ["accuracy"])
    assert (pixels.min().item(), pixels.max().item()) == (0.0, 1.0)
    images, names = map(torch.tensor, load_digits(return_X_y=True))
    drawn, stored = (
        [row.numpy().tobytes() for row in torch.cat([rows, column.unsqueeze(1)], 1).byte()]
        for rows, column in ((16 * pixels, labels), (images, names))
    )
    assert drawn != stored
    assert sorted(drawn) == sorted(stored)
    shapes = [tuple(weights.shape) for weights in task.model.parameters()]
    assert shapes == [(16, 64), (16,), (16, 16), (16,), (10, 16), (10,)]
    assert [type(layer).__name__ for layer in task.model] == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]


@pytest.mark.parametrize("name", ["regression", "digits"])
def test_every_rank_builds_the_same_and_another_seed_something_else(name: str) -> None:
    def built(seed: int) -> tuple[str, str]:
        task = trainer.build_task(name, seed, 8)
        pairs = (*task.train.tensors, *task.held_out.tensors)
        data = {str(number): tensor for number, tensor in enumerate(pairs)}
        return snapshots.digest(task.model.state_dict()), snapshots.digest(data)

    first, again, other = built(3), built(3), built(4)
    assert first == again
    assert first[0] != other[0]
    assert first[1] != other[1]


@pytest.mark.parametrize(("before", "ranks"), [(2, 2), (2, 4), (4, 2), (3, 1), (1, 2)])
def test_sampler_goes_on_within_an_epoch_whatever_the_world_size(before: int, ranks: int) -> None:
    data = list(range(96))

    def deal(world: int, seen: int) -> list[list[int]]:
        samplers = [ResumableSampler(data, world, rank, seed=7) for rank in range(world)]
        for sampler in samplers:
            sampler.set_epoch(5)
            if seen:
                sampler.seen = seen
        dealt = [list(sampler) for sampler in samplers]
        assert [len(sampler) for sampler in samplers] == [len(share) for share in dealt]
        return dealt

    steps, batch = 3, 4
    first = [index for share in deal(before, 0) for index in share[: steps * batch]]
    rest = [index for share in deal(ranks, steps * batch * before) for index in share]
    assert sorted(first + rest) == data


def test_a_checksum_counts_names_and_bytes() -> None:
    ones, column = torch.ones(2, 3), torch.arange(6.0).reshape(2, 3).T
    known = hashlib.sha256(b"a" + ones.numpy().tobytes() + b"b" + column.contiguous().numpy().tobytes()).hexdigest()
    assert snapshots.digest({"a": ones, "b": column}) == known
    assert snapshots.digest({"a": torch.tensor(1.5)}) == hashlib.sha256(b"a\x00\x00\xc0\x3f").hexdigest()
    extra = [{"a": {"a": ones}}, {"a": {"a": 2 * ones}}, {"a": {1: 2}}, {"a": {1: 3}}, {"a": None}]  # get_extra_state()
    different = [*extra, {"a": ones}, {"b": ones}, {"a": 2 * ones}, {"a": ones.requires_grad_(False).bfloat16()}, {}]
    assert len({snapshots.digest(state) for state in different}) == len(different)


# --- what this process may use ----------------------------------------------------------------------------

V1 = "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "max 100000\n"}, 4),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "299999 100000\n"}, 2),
        ({"cpu.max": "300000 100000\n"}, 3),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "900000 100000\n"}, 4),
        ({V1[0]: "-1\n", V1[1]: "100000\n"}, 4),
        ({V1[0]: "250000\n", V1[1]: "100000\n"}, 2),
        ({V1[0]: "200000\n"}, 4),
        ({"cpu.max": "strange\n", V1[0]: "300000\n", V1[1]: "100000\n"}, 3),
        ({}, 4),
    ],
)
def test_cores_are_those_that_the_container_may_use(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.setattr(process, "Path", lambda path: tmp_path / path.lstrip("/"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5})
    assert process.cpu_cores() == cores


@pytest.mark.parametrize(
    ("available", "count", "local", "enough"),
    [(True, 2, 2, True), (True, 3, 2, True), (True, 1, 2, False), (False, 2, 2, False), (False, 0, 1, False)],
)
def test_a_rank_has_a_gpu_where_its_host_has_one_for_each(
    available: bool, count: int, local: int, enough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))
    monkeypatch.setattr(meeting, "gather", lambda value: asked.append(value) or [value])
    assert meeting.choose_backend("auto") == ("nccl" if enough else "gloo")
    assert asked == [enough]


@pytest.mark.parametrize(
    ("wanted", "have", "backend"),
    [
        ("auto", [True, True], "nccl"),
        ("auto", [True, False], "gloo"),
        ("gloo", [True, True], "gloo"),
        ("gloo", [False, False], "gloo"),
        ("nccl", [True, True], "nccl"),
    ],
)
def test_the_backend_is_the_same_for_all_ranks(
    wanted: str, have: list[bool], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "gather", lambda value: have)
    assert meeting.choose_backend(wanted) == backend


def test_nccl_without_a_gpu_names_the_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "gather", lambda value: [True, False, True, False])
    with pytest.raises(SystemExit) as stopped:
        meeting.choose_backend("nccl")
    sentence = "error: backend nccl needs a GPU for each rank, and there is none for rank 1, 3"
    assert stopped.value.code == sentence


def test_a_gpu_in_use_is_seeded_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed", given.append)
    for in_use in (False, True):
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda in_use=in_use: in_use)
        batches.seed_by(1, 2)
    assert given == [torch.initial_seed()]


def test_a_place_gives_the_same_numbers_with_and_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(*place: object) -> tuple[float, ...]:
        batches.seed_by(*place)
        return random.random(), torch.rand(1).item(), numpy.random.rand()

    assert drawn(1, 2) == drawn(1, 2)
    assert len(set(drawn(1, 2) + drawn(1, 3) + drawn(2, 1))) == 9
    before = drawn(1, 2)
    monkeypatch.setattr(batches, "numpy", None)
    assert drawn(1, 2)[:2] == before[:2]


# --- what ranks tell each other ---------------------------------------------------------------------------


def test_bytes_of_each_rank_arrive_up_to_a_limit(tmp_path: Path) -> None:
    def work(rank: int) -> None:
        ranks.MESSAGE_BYTES = 6
        for sizes in ((0, 1, 6), (2, 7, 3)):
            own = torch.full((sizes[rank],), 10 + rank, dtype=torch.uint8)
            try:
                print([part.tolist() for part in ranks.gather_bytes(own)])
            except RuntimeError as error:
                print(error)

    ended = forked.run(3, work, tmp_path)
    assert [rank.code for rank in ended] == [0] * 3, ended
    for rank in ended:
        assert rank.output.splitlines() == [
            "[[], [11], [12, 12, 12, 12, 12, 12]]",
            "rank 1 wants to send 7 bytes: at most 6 are taken",
        ]


def test_ranks_that_agree_go_on_and_others_say_who_has_what(monkeypatch: pytest.MonkeyPatch) -> None:
    for values in ([3], [3, 3, 3]):
        monkeypatch.setattr(ranks, "gather", lambda value, values=values: values)
        ranks.require_same("the number", 3)
    monkeypatch.setattr(ranks, "gather", lambda value: [3, 3, 4])
    with pytest.raises(RuntimeError) as error:
        ranks.require_same("the number", 3)
    assert str(error.value) == "the ranks do not agree on the number: rank 0 has 3, rank 1 has 3, rank 2 has 4"


# --- the beginning and the end of a process ---------------------------------------------------------------


def begun(tmp_path: Path, *args: str, env: dict[str, str | None], fakes: dict[tuple[Any, str], Any]) -> list[str]:
    """What main() has made ready when it calls the trainer, of which only that is looked at."""

    class Ready:
        def __init__(self, given: Any, device: torch.device, group: object) -> None:
            print("READY", device, group, given.amp, given.workers, torch.get_num_threads())

        def run_all(self) -> None:
            print("RUN", dist.get_rank(), dist.get_world_size())

    def prepare(rank: int) -> None:
        trainer.Trainer = Ready
        os.environ |= {name: value for name, value in env.items() if value is not None}
        for name in (name for name, value in env.items() if value is None):
            os.environ.pop(name, None)
        for (where, name), fake in fakes.items():
            setattr(where, name, fake)

    (ended,) = start(tmp_path, ["1", "1", "--snapshot_path", str(tmp_path / "s.pt"), *args], prepare=prepare)
    assert ended.code == 0, ended
    return [line for line in ended.output.splitlines() if not line.startswith("[GPU0] rank 0 of")]


@pytest.mark.parametrize(
    ("cores", "local", "told", "workers", "ready"),
    [
        (8, 2, None, "-1", "READY cpu None False 3 3"),
        (8, 2, None, "2", "READY cpu None False 2 3"),
        (8, 2, None, "0", "READY cpu None False 0 3"),
        (2, 1, None, "-1", "READY cpu None False 1 1"),
        (3, 1, None, "-1", "READY cpu None False 2 2"),
        (1, 1, None, "-1", "READY cpu None False 1 1"),
        (8, 2, "1", "-1", "READY cpu None False 3 1"),
    ],
)
def test_each_rank_takes_its_share_of_the_cores_and_leaves_one(
    cores: int, local: int, told: str | None, workers: str, ready: str, tmp_path: Path
) -> None:
    env = {"OMP_NUM_THREADS": told, "DDP_BACKEND": "gloo", "LOCAL_WORLD_SIZE": str(local)}
    said = begun(tmp_path, "--workers", workers, env=env, fakes={(process, "cpu_cores"): lambda: cores})
    assert said == ["[GPU0] Process group ready", ready, "RUN 0 1"]


def test_plain_python_is_one_rank(tmp_path: Path) -> None:
    """The port alone is left to the caller here, or two of these tests could not run at once."""
    said = begun(tmp_path, env={"RANK": None, "WORLD_SIZE": None, "MASTER_ADDR": None, "DDP_BACKEND": "gloo"}, fakes={})
    assert said[-1] == "RUN 0 1"


LEFT_OUT = "[GPU0] --amp is left out: not every rank has a device that computes in bfloat16"


@pytest.mark.parametrize(
    ("args", "backend", "bfloat16", "amp", "said"),
    [
        (["--amp"], "gloo", True, False, [LEFT_OUT]),
        (["--amp"], "nccl", False, False, ["GROUP cuda:0 7.0", LEFT_OUT]),
        (["--amp"], "nccl", True, True, ["GROUP cuda:0 7.0"]),
        ([], "nccl", True, False, ["GROUP cuda:0 7.0"]),
    ],
)
def test_what_a_gpu_is_asked_for(
    args: list[str], backend: str, bfloat16: bool, amp: bool, said: list[str], tmp_path: Path
) -> None:
    def supported(including_emulation: bool) -> bool:
        return bfloat16 or including_emulation

    def group(*words: object) -> int:
        print("GROUP", *words)
        return 7

    fakes = {
        (meeting, "choose_backend"): lambda wanted: backend,
        (torch.cuda, "is_bf16_supported"): supported,
        (meeting, "make_nccl_group"): group,
    }
    device = "cuda:0 7" if backend == "nccl" else "cpu None"
    ready = ["[GPU0] Process group ready", f"READY {device} {amp} 0 1", "RUN 0 1"]
    assert begun(tmp_path, "--timeout", "7", *args, env={}, fakes=fakes) == [*said, *ready]


def test_all_ranks_compute_in_bfloat16_or_none(tmp_path: Path) -> None:
    class Ready:
        def __init__(self, given: Any, *_: object) -> None:
            print("AMP", given.amp)

        def run_all(self) -> None: ...

    def prepare(rank: int) -> None:
        trainer.Trainer, meeting.choose_backend, meeting.make_nccl_group = Ready, lambda _: "nccl", lambda *_: None
        torch.cuda.is_bf16_supported = lambda including_emulation: rank == 0

    ended = start(tmp_path, *[["1", "1", "--amp", "--snapshot_path", str(tmp_path / "s.pt")]] * 2, prepare=prepare)
    assert [rank.output.splitlines()[-1] for rank in ended] == ["AMP False"] * 2


def test_nccl_communicators_are_made_at_once_and_in_time(tmp_path: Path) -> None:
    """Whatever hangs there holds the interpreter's lock, so a thread of Python could do nothing about it."""

    def work(rank: int) -> None:
        torch.cuda.set_device = lambda device: print("DEVICE", device)
        torch.cuda.synchronize = lambda device: None
        torch.zeros, dist.all_reduce = lambda *_, **__: None, lambda *_, group: print("REDUCED BY", group)
        dist.new_group = lambda **words: words
        meeting.make_nccl_group(torch.device("cuda", 1), 0.5)
        time.sleep(0.7)  # all is well: nothing comes later
        dist.new_group = lambda **words: ctypes.PyDLL(None).sleep(20)
        meeting.make_nccl_group(torch.device("cuda", 1), 0.5)

    began = time.monotonic()
    (ended,) = forked.run(1, work, tmp_path)
    assert (ended.code, time.monotonic() - began < 10) == (1, True)
    lines = ended.output.splitlines()
    told = "[GPU0] creating NCCL communicators: this process ends if that takes more than 0.5 s"
    words = {"backend": "nccl", "timeout": timedelta(seconds=0.5), "device_id": torch.device("cuda", 1)}
    assert lines[:5] == ["DEVICE cuda:1", told, f"REDUCED BY {words}", "DEVICE cuda:1", told]
    assert lines[5] == "Timeout (0:00:00.500000)!"


def test_a_rank_leaves_when_all_are_done_and_its_last_words_are_heard(tmp_path: Path) -> None:
    """os._exit writes nothing that is still in a buffer."""

    def work(rank: int) -> None:
        said = os.dup(1)
        sys.stdout, sys.stderr = os.fdopen(os.dup(1), "w", 8192), os.fdopen(os.dup(1), "w", 8192)
        began = time.monotonic()

        def end() -> None:
            waited = rank == 1 or time.monotonic() - began > 0.25
            os.write(said, f"ENDED {waited} {dist.is_initialized()}\n".encode())

        process.heartbeat = SimpleNamespace(end=end)
        print("to stdout")
        print("to stderr", file=sys.stderr)
        time.sleep(0.3 * rank)
        process.leave(5)

    for rank in forked.run(2, work, tmp_path):
        assert (rank.code, rank.output.splitlines()) == (5, ["ENDED True False", "to stdout", "to stderr"])
