"""The trainer's edges: what must hold when it is killed, stopped or started again at the worst moment."""

import json
import os
import signal
import struct
import threading
import time
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
import torch.distributed as dist
from by_path import load
from tensorboardX.proto.event_pb2 import Event, SessionLog
from torch import nn
from torch.utils.data import TensorDataset

trainer = load("training/training_code.py")

CPU = torch.device("cpu")


def tiny(seed: int, samples: int = 48, dropout: float = 0.0) -> Any:
    """A task of a moment. The first number of a sample is its place in the data; with `dropout` each step draws."""
    torch.manual_seed(seed)
    inputs = torch.cat([torch.arange(float(samples + 8)).unsqueeze(1), torch.randn(samples + 8, 3)], 1)
    targets = inputs[:, 1:].sum(1, keepdim=True)

    class Model(nn.Sequential):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs[:, 1:])

    model = Model(nn.Linear(3, 8), nn.Dropout(dropout), nn.Linear(8, 1))
    train, held_out = TensorDataset(inputs[:samples], targets[:samples]), (inputs[samples:], targets[samples:])
    return trainer.Task(model, train, held_out, nn.functional.mse_loss, 0.05, False)


def train(
    folder: Path, *args: str, ranks: int = 2, stop: tuple[int, int] | None = None, **task: Any
) -> list[list[dict[str, Any]]]:
    """A run of the tiny task: what each rank did in each step. stop=(rank, step) sends SIGTERM to the rank in that step."""

    def work(rank: int) -> None:
        trainer.build_task = lambda name, seed, hidden: tiny(seed, **task)
        built = trainer.Trainer(trainer.parse_args([*args, "--snapshot_path", str(folder / "snapshot.pt")]), CPU, None)
        learn, steps = built.learn, 0

        def watched(inputs: torch.Tensor, *rest: Any) -> torch.Tensor:
            nonlocal steps
            steps += 1
            if stop == (rank, steps):
                os.kill(os.getpid(), signal.SIGTERM)
            did = {"samples": inputs[:, 0].int().tolist(), "lr": built.optimizer.param_groups[0]["lr"]}
            print("STEP", json.dumps(did))
            return learn(inputs, *rest)

        built.learn = watched
        built.run_all()

    ended = forked.run(trainer, ranks, work, folder)
    assert [rank.code for rank in ended] == [143 if stop else 0] * ranks, ended
    lines = [[line[5:] for line in rank.output.splitlines() if line.startswith("STEP ")] for rank in ended]
    return [[json.loads(line) for line in rank] for rank in lines]


def saved(folder: Path, name: str = "snapshot.pt") -> dict[str, Any]:
    return torch.load(folder / name, weights_only=True)


def difference(one: Path, other: Path) -> float:
    ours, theirs = saved(one)["model"], saved(other)["model"]
    return max((ours[name] - theirs[name]).abs().max().item() for name in theirs)


def records(folder: Path, event: str, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    lines = map(json.loads, (folder / name).read_text().splitlines())
    return [record for record in lines if record["event"] == event]


# --- stopped and started again ----------------------------------------------------------------------------

DRAWING = ("3", "9", "--batch_size", "4", "--lr_decay", "0.5")  # six steps of each rank are an epoch


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    train(folder, *DRAWING, dropout=0.5)
    return folder


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rank 1 is told to stop in its eighth step, all stop after the ninth, and go on."""
    folder = tmp_path_factory.mktemp("interrupted")
    train(folder, *DRAWING, dropout=0.5, stop=(1, 8))
    assert (saved(folder)["next_epoch"], saved(folder)["seen"], saved(folder)["global_step"]) == (1, 3 * 4 * 2, 9)
    train(folder, *DRAWING, dropout=0.5)
    return folder


def test_a_task_that_draws_random_numbers_goes_on_with_the_next_one(whole: Path, interrupted: Path) -> None:
    assert difference(interrupted, whole) == 0
    states, expected = saved(interrupted)["rng"], saved(whole)["rng"]
    assert all(torch.equal(states[rank][0], expected[rank][0]) for rank in (0, 1))
    assert not torch.equal(states[0][0], states[1][0])


def test_the_task_of_that_test_depends_on_what_it_draws(whole: Path, tmp_path: Path) -> None:
    train(tmp_path, *DRAWING, dropout=0.0)
    assert difference(tmp_path, whole) > 1e-3


def test_a_run_told_to_stop_just_before_the_end_of_an_epoch_goes_on_with_the_next_one(
    whole: Path, tmp_path: Path
) -> None:
    train(tmp_path, *DRAWING, dropout=0.5, stop=(0, 11))
    assert (saved(tmp_path)["next_epoch"], saved(tmp_path)["seen"], saved(tmp_path)["global_step"]) == (2, 0, 12)
    assert saved(tmp_path)["scheduler"]["last_epoch"] == 2
    steps = train(tmp_path, *DRAWING, dropout=0.5)
    assert [len(rank) for rank in steps] == [6, 6]
    assert difference(tmp_path, whole) == 0
    assert [record["lr"] for record in records(tmp_path, "epoch")] == [0.05, 0.05 / 4]


def test_a_run_told_to_stop_in_the_last_epoch_has_nothing_left(whole: Path, tmp_path: Path) -> None:
    train(tmp_path, *DRAWING, dropout=0.5, stop=(0, 17))
    assert (saved(tmp_path)["next_epoch"], saved(tmp_path)["seen"]) == (3, 0)
    assert train(tmp_path, *DRAWING, dropout=0.5) == [[], []]
    assert difference(tmp_path, whole) == 0


def test_the_learning_rate_of_the_command_line_counts_when_a_run_goes_on(tmp_path: Path) -> None:
    def rates(total: str, *args: str) -> list[float]:
        steps = train(tmp_path, total, "1", "--batch_size", "24", "--lr_decay", "0.5", *args)
        return [step["lr"] for step in steps[0]]

    assert rates("2", "--lr", "0.4") == [0.4, 0.2]
    assert rates("4", "--lr", "0.08") == [0.08 / 4, 0.08 / 8]
    assert rates("5") == [0.05 / 16]  # the task's own
    expected = [0.4, 0.2, 0.08 / 4, 0.08 / 8, 0.05 / 16]
    assert [record["lr"] for record in records(tmp_path, "epoch")] == expected


def test_the_seed_and_the_epoch_decide_the_order_of_the_samples(tmp_path: Path) -> None:
    steps = train(tmp_path, "2", "2", "--batch_size", "8", "--seed", "3")
    for epoch in (0, 1):
        order = torch.randperm(48, generator=torch.Generator().manual_seed(3 + epoch)).tolist()
        for rank in (0, 1):
            mine = order[rank::2]
            assert [step["samples"] for step in steps[rank][3 * epoch : 3 * epoch + 3]] == [
                *[mine[:8], mine[8:16], mine[16:]]
            ]


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_last_group_of_an_epoch_counts_in_full_though_it_is_smaller(ranks: int, tmp_path: Path) -> None:
    """Six batches in groups of four: as many updates as a group of four and a group of two, each a mean."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(whole, "2", "2", "--batch_size", str(32 // ranks), ranks=ranks)
    train(parts, "2", "2", "--batch_size", str(8 // ranks), "--accumulate", "4", ranks=ranks)
    assert saved(whole)["global_step"] == saved(parts)["global_step"] == 4
    assert difference(parts, whole) < 1e-6


def test_every_option_resumes_exactly(tmp_path: Path) -> None:
    options = ("3", "2", "--batch_size", "4", "--accumulate", "4", "--compress", "bf16", "--lr_decay", "0.9")
    options += ("--keep", "3", "--workers", "1", "--seed", "5")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(whole, *options, dropout=0.5)
    train(stopped, *options, dropout=0.5, stop=(1, 14))
    assert (saved(stopped)["next_epoch"], saved(stopped)["seen"]) == (2, 4 * 4 * 2)
    train(stopped, *options, dropout=0.5)
    assert difference(stopped, whole) == 0


# --- snapshots --------------------------------------------------------------------------------------------


def snapshot(number: int) -> dict[str, Any]:
    model = {"weight": torch.full((50_000,), float(number))}  # more than a buffer holds
    return {"format": trainer.SNAPSHOT_FORMAT, "number": number, "model": model, "digest": trainer.digest(model)}


class Crash(BaseException):
    pass


def watch(monkeypatch: pytest.MonkeyPatch, crash_at: int | None = None) -> list[tuple[str, ...]]:
    """What is asked of the disk, in order; the process ends just before the one with the number `crash_at`."""
    events: list[tuple[str, ...]] = []
    fsync, replace = os.fsync, os.replace

    def note(*event: str) -> None:
        if len(events) == crash_at:
            raise Crash
        events.append(event)

    def watched_fsync(number: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{number}"))
        note("fsync", path.name)
        if path.is_file():
            trainer.read_snapshot(path)  # all of it has been handed to the kernel by now
        fsync(number)

    def watched_replace(source: Path, target: Path) -> None:
        note("rename", source.name, target.name)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    return events


def test_a_snapshot_is_on_the_disk_before_it_takes_the_name_of_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "snapshot.pt"
    for number in (1, 2):
        trainer.write_snapshot(path, snapshot(number), keep=3)
    events = watch(monkeypatch)
    trainer.write_snapshot(path, snapshot(3), keep=3)
    assert events == [
        ("fsync", "snapshot.pt.tmp"),
        ("rename", "snapshot.pt.1", "snapshot.pt.2"),
        ("rename", "snapshot.pt", "snapshot.pt.1"),
        ("rename", "snapshot.pt.tmp", "snapshot.pt"),
        ("fsync", tmp_path.name),
    ]


@pytest.mark.parametrize("keep, crash_at", [(keep, event) for keep in (1, 2, 3) for event in range(keep + 2)])
def test_a_crash_at_any_point_leaves_a_whole_snapshot(
    keep: int, crash_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "snapshot.pt"
    for number in (1, 2):
        trainer.write_snapshot(path, snapshot(number), keep)
    with monkeypatch.context() as context:
        events = watch(context, crash_at)
        with pytest.raises(Crash):
            trainer.write_snapshot(path, snapshot(3), keep)
    assert trainer.find_snapshot(path)["number"] == (3 if ("rename", "snapshot.pt.tmp", "snapshot.pt") in events else 2)
    trainer.write_snapshot(path, snapshot(4), keep)  # and nothing of the crash is in the way
    assert trainer.find_snapshot(path)["number"] == 4


@pytest.mark.parametrize("keep", [1, 2, 4])
def test_as_many_snapshots_are_kept_as_asked_for(keep: int, tmp_path: Path) -> None:
    for number in range(6):
        trainer.write_snapshot(tmp_path / "snapshot.pt", snapshot(number), keep)
    names = ["snapshot.pt", *(f"snapshot.pt.{older}" for older in range(1, keep))]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [saved(tmp_path, name)["number"] for name in names] == [5, 4, 3, 2][:keep]


def test_keep_reaches_the_snapshots_of_a_run(tmp_path: Path) -> None:
    train(tmp_path, "5", "1", "--batch_size", "24", "--keep", "3", ranks=1)
    names = sorted(path.name for path in tmp_path.glob("snapshot.pt*"))
    assert names == ["snapshot.pt", "snapshot.pt.1", "snapshot.pt.2"]
    assert [saved(tmp_path, name)["next_epoch"] for name in names] == [5, 4, 3]


def test_older_snapshots_are_tried_from_the_newest_on(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.pt"
    for number in (7, 10, 2, 11, 1, 9, 4, 12, 3, 8, 6, 5):
        torch.save(snapshot(number), tmp_path / f"snapshot.pt.{number}")
    for name in ("snapshot.pt.tmp", "snapshot.pt.1.bad", "snapshot.pt.old", "other.pt.1"):
        (tmp_path / name).write_bytes(b"")
    assert [older.name for older in trainer.older(path)] == [f"snapshot.pt.{number}" for number in range(1, 13)]
    for number in range(1, 10):
        (tmp_path / f"snapshot.pt.{number}").unlink()
    assert trainer.find_snapshot(path)["number"] == 10


@pytest.mark.parametrize("damage", [b"", b"x", b"\x80\x02."], ids=["empty", "one byte", "a pickle"])
def test_a_damaged_snapshot_is_named_and_the_one_before_it_is_used(
    damage: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "snapshot.pt"
    for number in (1, 2):
        trainer.write_snapshot(path, snapshot(number), keep=2)
    path.write_bytes(damage)
    assert trainer.find_snapshot(path)["number"] == 1
    named, moved, using = capsys.readouterr().out.splitlines()
    assert named.startswith(f"[GPU0] snapshot {path} cannot be used: ")
    assert moved == f"[GPU0] {path} was kept as {path}.bad"
    assert using == f"[GPU0] using the previous good snapshot {path}.1"


def test_a_snapshot_is_handed_out_in_pieces(tmp_path: Path) -> None:
    def work(rank: int) -> None:
        broadcast, sizes = dist.broadcast, []

        def watched(piece: torch.Tensor, src: int) -> None:
            sizes.append(len(piece))
            broadcast(piece, src)

        trainer.dist.broadcast, trainer.PIECE_BYTES = watched, 60_000
        handed = trainer.hand_out(snapshot(5) if rank == 0 else None)
        print(handed["number"], trainer.digest(handed["model"]) == handed["digest"], sizes)
        assert trainer.hand_out(None) is None

    first, second = forked.run(trainer, 2, work, tmp_path)
    assert (first.code, second.code) == (0, 0), (first, second)
    assert first.output == second.output
    assert first.output.startswith("5 True [60000, 60000, 60000, ")


# --- metrics ----------------------------------------------------------------------------------------------


def test_a_line_of_the_metrics_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, written, write = trainer.Metrics(tmp_path / "metrics.jsonl"), [], os.write

    def watched(number: int, data: bytes) -> int:
        written.append(data)
        return write(number, data)

    monkeypatch.setattr(os, "write", watched)
    metrics.write("step", epoch=1, loss=0.5)
    metrics.write("step", epoch=1, loss=0.25)
    assert [json.loads(line)["loss"] for line in written] == [0.5, 0.25]
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in written)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b"".join(written)


def test_two_writers_of_the_same_metrics_do_not_overwrite_each_other(tmp_path: Path) -> None:
    one, other = trainer.Metrics(tmp_path / "metrics.jsonl"), trainer.Metrics(tmp_path / "metrics.jsonl")
    for epoch in range(3):
        one.write("epoch", epoch=epoch)
        other.write("epoch", epoch=10 + epoch)
    assert [record["epoch"] for record in records(tmp_path, "epoch")] == [0, 10, 1, 11, 2, 12]


def test_restarts_are_the_starts_of_the_same_run_before(tmp_path: Path) -> None:
    counted = []
    for run in ("a", "b", "a", "a", "b"):
        metrics = trainer.Metrics(tmp_path / "metrics.jsonl")
        metrics.begin(run, 0)
        metrics.write("start", step=0)
        metrics.write("step", step=1)
        metrics.write("stopped", step=1)
        counted.append(metrics.common["restarts"])
    assert counted == [0, 0, 1, 2, 1]
    assert [record["restarts"] for record in records(tmp_path, "start")] == counted
    assert [record["restarts"] for record in records(tmp_path, "stopped")] == counted


def test_a_run_that_went_on_says_so_in_the_metrics_of_each_rank(interrupted: Path) -> None:
    for name in ("metrics.jsonl", "metrics-rank1.jsonl"):
        starts = records(interrupted, "start", name)
        assert [(start["restarts"], start["epoch"], start["step"]) for start in starts] == [(0, 0, 0), (1, 1, 9)]
        assert len({start["run"] for start in starts}) == 1
        assert records(interrupted, "stopped", name)[0]["step"] == 9
        assert [end["restarts"] for end in records(interrupted, "end", name)] == [1]


@pytest.mark.parametrize("run, step", [("whole", 1), ("interrupted", 10)])
def test_tensorboard_forgets_the_steps_that_happen_again(run: str, step: int, request: pytest.FixtureRequest) -> None:
    """A reader of the events drops what it has from the step of a START on."""
    files = (request.getfixturevalue(run) / "tensorboard").glob("*/events.out.tfevents.*")
    data, starts = max(files, key=lambda path: path.stat().st_mtime_ns).read_bytes(), []
    while data:  # a record: length, its checksum, an event, its checksum
        (length,) = struct.unpack_from("<Q", data)
        event, data = Event.FromString(data[12 : 12 + length]), data[16 + length :]
        if event.session_log.status == SessionLog.START:
            starts.append(event.step)
    assert starts == [step]


# --- the other ranks --------------------------------------------------------------------------------------


def start(folder: Path, *args: list[str]) -> list[forked.Ended]:
    """The trainer's main() on each rank, with arguments of its own, for an epoch of the tiny task."""

    def work(rank: int) -> None:
        trainer.build_task = lambda name, seed, hidden: tiny(seed)
        trainer.sys.argv = ["training_code.py", "1", "1", *args[rank]]
        trainer.main()

    return forked.run(trainer, len(args), work, folder, group=False)


@pytest.mark.parametrize("option, values", [("--lr", ("0.1", "0.2")), ("--log_every", ("5", "6"))])
def test_ranks_with_other_arguments_do_not_start(option: str, values: tuple[str, str], tmp_path: Path) -> None:
    path = ["--snapshot_path", str(tmp_path / "snapshot.pt")]
    for rank in start(tmp_path, [*path, option, values[0]], [*path, option, values[1]]):
        assert rank.code == 1
        sentence = rank.output.strip().splitlines()[-1]
        assert sentence.startswith(
            "RuntimeError: the ranks do not agree on the arguments: rank 0 has {'total_epochs': 1,"
        )
        zero, one = sentence.split("}, rank 1 has {")
        assert f"'{option[2:]}': {values[0]}" in zero
        assert f"'{option[2:]}': {values[1]}" in one


def test_paths_and_workers_may_differ_between_ranks(tmp_path: Path) -> None:
    own = [["--snapshot_path", str(tmp_path / name / "snapshot.pt"), "--workers", name] for name in ("0", "1")]
    ended = start(tmp_path, *own)
    assert [rank.code for rank in ended] == [0, 0], ended
    assert "weights are identical on all 2 ranks" in ended[0].output
    assert [(tmp_path / name / "snapshot.pt").exists() for name in ("0", "1")] == [True, False]


def test_a_silent_rank_is_waited_for_as_long_as_the_command_line_says(tmp_path: Path) -> None:
    done = tmp_path / "done"

    class Silent:  # in place of the training: rank 1 says nothing more, as if the network had been cut
        def __init__(self, *_: Any) -> None:
            started = time.monotonic()
            if trainer.RANK == 1:
                while not done.exists() and time.monotonic() < started + 30:
                    time.sleep(0.05)
                os._exit(0)
            try:
                dist.barrier()
            except RuntimeError:
                print("WAITED", time.monotonic() - started)
            done.touch()
            os._exit(0)

    def work(rank: int) -> None:
        trainer.Trainer = Silent
        trainer.sys.argv = ["training_code.py", "1", "1", "--timeout", "3", "--snapshot_path", str(tmp_path / "s.pt")]
        trainer.main()

    ended = forked.run(trainer, 2, work, tmp_path, group=False)
    waited = float(ended[0].output.rpartition("WAITED ")[2])
    assert 2.9 < waited < 5.5


def test_the_timeout_is_the_one_of_the_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def timeout(*args: str) -> float:
        return trainer.parse_args(["1", "1", "--snapshot_path", str(tmp_path / "snapshot.pt"), *args]).timeout

    monkeypatch.delenv("DDP_TIMEOUT", raising=False)
    assert timeout() == 120
    monkeypatch.setenv("DDP_TIMEOUT", "")
    assert timeout() == 120
    monkeypatch.setenv("DDP_TIMEOUT", "40")
    assert timeout() == 40
    assert timeout("--timeout", "7.5") == 7.5


def test_the_heartbeat_promises_the_next_beat_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipe is what torchrun's watchdog reads: each line says when this process is to be killed."""
    assert trainer.HANG_SECONDS == 30  # docs/training.md says so
    pipe = tmp_path / "timer"
    os.mkfifo(pipe)
    beats: list[tuple[float, dict[str, Any]]] = []
    reading = os.open(pipe, os.O_RDWR)  # a writer of its own, so that it never sees an end

    def read() -> None:
        with os.fdopen(reading) as lines:
            for line in lines:
                beats.append((time.time(), json.loads(line)))
                if beats[-1][1]["expiration_time"] < 0:
                    return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    monkeypatch.setenv("TORCHELASTIC_TIMER_FILE", str(pipe))
    monkeypatch.setattr(trainer, "HANG_SECONDS", 3.0)
    heartbeat = trainer.Heartbeat()
    time.sleep(1.4)
    heartbeat.end()
    reader.join(10)
    *alive, (_, released) = beats
    promised = [beat["expiration_time"] - seen for seen, beat in alive]
    assert promised == pytest.approx([3.0] * len(alive), abs=1)
    assert len(alive) >= 3, "one beat that comes late must not be the end"
    assert {beat["signal"] for _, beat in alive} == {signal.SIGKILL}
    assert {beat["pid"] for _, beat in alive} == {os.getpid()}
    assert (released["pid"], released["scope_id"]) == (os.getpid(), alive[0][1]["scope_id"])
    assert released["expiration_time"] < 0
