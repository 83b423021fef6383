"""The trainer's edges: what must hold when it is stopped or started again at the worst moment, and when a rank is not as the others."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from tensorboardX.proto.event_pb2 import SessionLog
from trainer_runs import difference, events, records, saved, start, tiny, train, trainer

from ddp_trainer import process

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
    found = events(request.getfixturevalue(run))
    starts = [event.step for event in found if event.session_log.status == SessionLog.START]
    assert starts == [step]


# --- the other ranks --------------------------------------------------------------------------------------


def of_the_tiny_task(rank: int) -> None:
    trainer.build_task = lambda name, seed, hidden: tiny(seed)


@pytest.mark.parametrize("option, values", [("--lr", ("0.1", "0.2")), ("--log_every", ("5", "6"))])
def test_ranks_with_other_arguments_do_not_start(option: str, values: tuple[str, str], tmp_path: Path) -> None:
    path = ["--snapshot_path", str(tmp_path / "snapshot.pt")]
    own = [["1", "1", *path, option, value] for value in values]
    for rank in start(tmp_path, *own, prepare=of_the_tiny_task):
        assert rank.code == 1
        sentence = rank.output.strip().splitlines()[-1]
        assert sentence.startswith(
            "RuntimeError: the ranks do not agree on the arguments: rank 0 has {'total_epochs': 1,"
        )
        zero, one = sentence.split("}, rank 1 has {")
        assert f"'{option[2:]}': {values[0]}" in zero
        assert f"'{option[2:]}': {values[1]}" in one


def test_paths_and_workers_may_differ_between_ranks(tmp_path: Path) -> None:
    paths = {name: str(tmp_path / name / "snapshot.pt") for name in ("0", "1")}
    own = [["1", "1", "--snapshot_path", path, "--workers", name] for name, path in paths.items()]
    ended = start(tmp_path, *own, prepare=of_the_tiny_task)
    assert [rank.code for rank in ended] == [0, 0], ended
    assert "weights are identical on all 2 ranks" in ended[0].output
    assert [(tmp_path / name / "snapshot.pt").exists() for name in ("0", "1")] == [True, False]


def test_a_silent_rank_is_waited_for_as_long_as_the_command_line_says(tmp_path: Path) -> None:
    done = tmp_path / "done"

    class Silent:  # in place of the training: rank 1 says nothing more, as if the network had been cut
        def __init__(self, *_: Any) -> None:
            started = time.monotonic()
            if dist.get_rank() == 1:
                while not done.exists() and time.monotonic() < started + 30:
                    time.sleep(0.05)
                os._exit(0)
            try:
                dist.barrier()
            except RuntimeError:
                print("WAITED", time.monotonic() - started)
            done.touch()
            os._exit(0)

    path = ["--snapshot_path", str(tmp_path / "snapshot.pt")]
    args = ["1", "1", "--timeout", "1", *path]
    ended = start(tmp_path, args, args, prepare=lambda rank: setattr(trainer, "Trainer", Silent))
    waited = float(ended[0].output.rpartition("WAITED ")[2])
    assert 0.9 < waited < 3.5


def test_the_heartbeat_promises_the_next_beat_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipe is what torchrun's watchdog reads: each line says when this process is to be killed."""
    assert process.HANG_SECONDS == 30  # docs/snapshots.md says so
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
    monkeypatch.setattr(process, "HANG_SECONDS", 1.8)
    heartbeat = process.Heartbeat()
    deadline = time.monotonic() + 10
    while len(beats) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    heartbeat.end()
    assert not heartbeat.thread.is_alive(), "a beat after the release would be a promise that nobody keeps"
    assert heartbeat.thread.daemon, "a process that fails must not wait for its own heartbeat"
    reader.join(10)
    *alive, (_, released) = beats
    promised = [beat["expiration_time"] - seen for seen, beat in alive]
    assert promised == pytest.approx([1.8] * len(alive), abs=0.6)
    assert alive[2][0] - alive[0][0] < 1.2, "one beat that comes late must not be the end"
    assert {beat["signal"] for _, beat in alive} == {signal.SIGKILL}
    assert {beat["pid"] for _, beat in alive} == {os.getpid()}
    assert (released["pid"], released["scope_id"]) == (os.getpid(), alive[0][1]["scope_id"])
    assert released["expiration_time"] < 0
