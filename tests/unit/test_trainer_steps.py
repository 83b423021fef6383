"""What the trainer computes and tells, held against the same training by hand; and what a run that goes on must be given."""

import socket
import time
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
from trainer_runs import CPU, Augmented, difference, events, records, saved, start, tiny, train, train_and_say, trainer

from ddp_trainer import snapshots

# --- by hand ----------------------------------------------------------------------------------------------


def by_hand(epochs: int, batch: int, decay: float) -> tuple[Any, list[list[tuple[float, int]]], list[float]]:
    """The task, of each epoch the loss and the size of each batch, and the loss of the samples held out."""
    task, told, held_out = tiny(0), [], []
    optimizer = torch.optim.SGD(task.model.parameters(), lr=0.05, momentum=0.9)
    inputs, targets = task.train.tensors
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = 0.05 * decay**epoch
        told.append([])
        for part in torch.randperm(48, generator=torch.Generator().manual_seed(epoch)).split(batch):
            loss = task.loss(task.model.train()(inputs[part]), targets[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            told[-1].append((loss.item(), len(part)))
        with torch.no_grad():
            inputs_of, targets_of = task.held_out.tensors
            held_out.append(task.loss(task.model.eval()(inputs_of), targets_of).item())
    return task, told, held_out


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Three epochs of three batches, the last of which is smaller, in one rank: its files and its lines."""
    folder = tmp_path_factory.mktemp("told")
    args = ("3", "2", "--batch_size", "20", "--lr_decay", "0.5", "--log_every", "2")
    _, (lines,) = train_and_say(folder, *args, ranks=1)
    return folder, lines


def test_a_run_is_the_training_that_one_would_write_by_hand(told: tuple[Path, list[str]]) -> None:
    task, _, _ = by_hand(3, 20, 0.5)
    model = saved(told[0])["model"]
    assert max((model[name] - ours).abs().max().item() for name, ours in task.model.state_dict().items()) < 1e-6


def test_the_metrics_are_those_of_that_training(told: tuple[Path, list[str]]) -> None:
    folder, _ = told
    _, losses, held_out = by_hand(3, 20, 0.5)
    epochs = records(folder, "epoch")
    assert [record["epoch"] for record in epochs] == [0, 1, 2]
    assert [record["step"] for record in epochs] == [3, 6, 9]
    assert [record["lr"] for record in epochs] == [0.05, 0.025, 0.0125]
    assert [record["loss"] for record in epochs] == pytest.approx(
        [sum(loss * size for loss, size in epoch) / 48 for epoch in losses], rel=1e-4
    )
    assert [record["held_out_loss"] for record in epochs] == pytest.approx(held_out, rel=1e-4)
    for record in epochs:
        assert 0 < record["comm_seconds"] < record["seconds"] < 60
        assert record["samples_per_s"] * record["seconds"] == pytest.approx(48, rel=0.05)
        assert "accuracy" not in record
    every = [loss for epoch in losses for loss, _ in epoch]
    (first,) = records(folder, "first_step")
    assert (first["epoch"], first["step"], first["loss"]) == (0, 1, pytest.approx(every[0], rel=1e-4))
    steps = [(record["epoch"], record["step"]) for record in records(folder, "step")]
    assert steps == [(0, 2), (1, 4), (1, 6), (2, 8)]
    expected = pytest.approx([every[number - 1] for _, number in steps], rel=1e-4)
    assert [record["loss"] for record in records(folder, "step")] == expected


def test_tensorboard_has_them_too(told: tuple[Path, list[str]]) -> None:
    """The last ones as well: the process ends without waiting for the thread that writes them."""
    folder, _ = told
    points = {(value.tag, event.step): value.simple_value for event in events(folder) for value in event.summary.value}
    for event in ("step", "epoch"):
        for record in records(folder, event):
            assert points[f"{event}/loss", record["step"]] == pytest.approx(record["loss"])


def test_the_first_and_the_last_line_of_the_metrics(told: tuple[Path, list[str]]) -> None:
    folder, _ = told
    (begun,), (end,) = records(folder, "start"), records(folder, "end")
    assert (begun["epoch"], begun["step"], begun["host"]) == (0, 0, socket.gethostname())
    assert (end["epoch"], end["step"], end["weights"]) == (3, 9, snapshots.digest(saved(folder)["model"]))
    assert begun["run"] == end["run"] == saved(folder)["run"]
    assert time.strptime(end["run"], "%Y%m%dT%H%M%SZ")


def test_a_run_tells_each_epoch_each_snapshot_and_its_end(told: tuple[Path, list[str]]) -> None:
    folder, lines = told
    epochs, (first,) = records(folder, "epoch"), records(folder, "first_step")
    expected = []
    for number, record in enumerate(epochs):
        expected.append(f"[GPU0] epoch {number} | batch_size: 20 | steps: 3")
        if number == 0:
            expected.append(f"[GPU0] first step done | loss: {first['loss']:.6f}")
        rate = f"samples/s: {record['samples_per_s']:.0f}"
        expected.append(
            f"[GPU0] epoch {number} | loss: {record['loss']:.6f} | held-out loss: {record['held_out_loss']:.4f} | {rate}"
        )
        if number in (0, 2):
            expected.append(f"Epoch {number} | train snapshot saved at {folder / 'snapshot.pt'}")
    expected.append(f"[GPU0] final held-out loss: {epochs[-1]['held_out_loss']:.4f}")
    weights = snapshots.digest(saved(folder)["model"])
    expected.append(f"[GPU0] weights are identical on all 1 ranks | sha256: {weights}")
    without_rate = [[line.partition("samples/s")[0] for line in all_] for all_ in (lines, expected)]
    assert without_rate[0] == without_rate[1]  # that has been rounded before


@pytest.mark.parametrize("held_out", [1, 7])
def test_samples_that_are_held_out_count_once_though_ranks_have_not_equally_many(held_out: int, tmp_path: Path) -> None:
    _, (zero, one) = train_and_say(tmp_path, "1", "1", "--batch_size", "8", held_out=held_out, classes=2)
    task = tiny(0, held_out=held_out, classes=2)
    task.model.load_state_dict(saved(tmp_path)["model"])
    inputs, targets = task.held_out.tensors
    with torch.no_grad():
        outputs = task.model.eval()(inputs)
    accuracy = sum(int(max(0, 1, key=row.__getitem__) == target) for row, target in zip(outputs, targets, strict=True))
    for name in ("metrics.jsonl", "metrics-rank1.jsonl"):
        (record,) = records(tmp_path, "epoch", name)
        assert record["held_out_loss"] == pytest.approx(task.loss(outputs, targets).item(), rel=1e-4)
        assert record["accuracy"] == pytest.approx(accuracy / held_out)
    final = [line for line in zero if "final" in line]
    assert final == [
        f"[GPU0] final held-out loss: {record['held_out_loss']:.4f}",
        f"[GPU0] final held-out accuracy: {record['accuracy']:.4f}",
    ]
    assert not any("final" in line or "identical" in line for line in one)


def test_compressed_gradients_are_nearly_the_same(told: tuple[Path, list[str]], tmp_path: Path) -> None:
    args = ("3", "2", "--batch_size", "20", "--lr_decay", "0.5", "--compress", "bf16")
    train(tmp_path, *args, ranks=1)
    assert 1e-5 < difference(tmp_path, told[0]) < 0.05


def test_each_rank_draws_random_numbers_of_its_own(tmp_path: Path) -> None:
    """In each step others, and the same ones whether or not workers load the data."""

    def work(rank: int) -> None:
        trainer.build_task = lambda name, seed, hidden: tiny(seed, samples=8, data=Augmented)
        for workers in ("0", "2"):
            path = ["--snapshot_path", str(tmp_path / workers / "snapshot.pt"), "--workers", workers]
            built = trainer.Trainer(trainer.parse_args(["1", "1", "--batch_size", "2", *path]), CPU, None)
            built.model.register_forward_pre_hook(
                lambda _, inputs: print(inputs[0][:, 1:].tolist(), torch.rand(1).item())
            )
            built.train_epoch(0)

    ended = forked.run(2, work, tmp_path, optimizer=True)
    drawn = [[line for line in rank.output.splitlines() if line.startswith("[[")] for rank in ended]
    assert [len(rank) for rank in drawn] == [4, 4], ended
    assert [rank[:2] for rank in drawn] == [rank[2:] for rank in drawn]
    assert len({line.rpartition("]")[2] for rank in drawn for line in rank}) == 4


# --- what a run that goes on is given ---------------------------------------------------------------------


def test_another_model_or_other_data_do_not_go_on_from_a_snapshot(tmp_path: Path) -> None:
    """In one process, one after the other: what differs is refused, what may differ is not."""
    path = tmp_path / "snapshot.pt"
    made_with = ["--seed", "3", "--hidden", "32"]
    train(tmp_path, "1", "1", *made_with, ranks=1)

    def work(rank: int) -> None:
        trainer.build_task = lambda name, seed, hidden: tiny(3)
        for args in (["--task", "digits"], ["--seed", "4"], ["--hidden", "64"], ["--batch_size", "8", "--keep", "5"]):
            try:
                trainer.Trainer(
                    trainer.parse_args(["1", "1", "--snapshot_path", str(path), *made_with, *args]), CPU, None
                )
            except SystemExit as refused:
                print(refused.code)

    (ended,) = forked.run(1, work, tmp_path, optimizer=True)
    assert ended.output.splitlines() == [
        f"error: {path} was made with --task regression: use that, or another path",
        f"error: {path} was made with --seed 3: use that, or another path",
        f"error: {path} was made with --hidden 32: use that, or another path",
        "[GPU0] resuming from snapshot at epoch 1 | samples of it already seen: 0",
    ]


@pytest.mark.parametrize("ranks", [1, 3])
def test_other_ranks_go_on_with_the_samples_that_nobody_has_seen(ranks: int, tmp_path: Path) -> None:
    first = train(tmp_path, "1", "1", "--batch_size", "4", stop=(0, 2))
    rest, lines = train_and_say(tmp_path, "1", "1", "--batch_size", "4", ranks=ranks)
    seen, unseen = (sorted(n for rank in run for step in rank for n in step["samples"]) for run in (first, rest))
    assert (len(seen), sorted(seen + unseen)) == (24, list(range(48)))
    for rank in range(ranks):
        assert f"[GPU{rank}] resuming from snapshot at epoch 0 | samples of it already seen: 24" in lines[rank]
        changed = f"[GPU{rank}] world size changed from 2 to {ranks} ranks: samples are dealt out anew"
        assert (changed in lines[rank]) == (rank == 0)


def test_as_many_ranks_as_before_say_nothing_of_their_number(tmp_path: Path) -> None:
    train(tmp_path, "1", "1")
    _, lines = train_and_say(tmp_path, "2", "1")
    assert not any("world size" in line for rank in lines for line in rank)


def test_a_run_that_was_longer_than_asked_for_has_nothing_left(tmp_path: Path) -> None:
    train(tmp_path, "3", "1", ranks=1)
    steps, (lines,) = train_and_say(tmp_path, "2", "1", ranks=1)
    assert steps == [[]]
    assert "[GPU0] nothing left to train: snapshot is at epoch 3 of 2" in lines
    assert [record["epoch"] for record in records(tmp_path, "end")] == [3, 3]


def of_the_tiny_task(rank: int) -> None:
    trainer.build_task = lambda name, seed, hidden: tiny(seed)


def test_no_rank_starts_from_a_snapshot_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.pt"
    path.write_bytes(b"x")
    for rank in start(tmp_path, *[["1", "1", "--snapshot_path", str(path)]] * 2, prepare=of_the_tiny_task):
        assert rank.code == 1
        last = rank.output.splitlines()[-1]
        assert last == f"error: no usable snapshot in {tmp_path}: move {path} away to start from scratch"


def test_no_rank_trusts_a_snapshot_or_a_run_of_its_own(tmp_path: Path) -> None:
    """Rank 1 has another one, and another clock."""
    paths = [tmp_path / str(rank) / "snapshot.pt" for rank in (0, 1)]
    train(paths[1].parent, "1", "1", ranks=1)
    before = paths[1].read_bytes()

    def prepare(rank: int) -> None:
        of_the_tiny_task(rank)
        trainer.time.strftime = lambda *_: f"run{rank}"

    args = [["2", "1", "--snapshot_path", str(path), "--metrics_path", str(tmp_path / "m.jsonl")] for path in paths]
    ended = start(tmp_path, *args, prepare=prepare)
    assert [rank.code for rank in ended] == [0, 0], ended
    assert saved(paths[0].parent)["next_epoch"] == 2
    assert paths[1].read_bytes() == before
    for name in ("m.jsonl", "m-rank1.jsonl"):
        (begun,) = records(tmp_path, "start", name)
        assert (begun["epoch"], begun["run"]) == (0, "run0")


def test_ranks_that_have_built_another_model_do_not_begin(tmp_path: Path) -> None:
    def prepare(rank: int) -> None:
        trainer.build_task = lambda *_: tiny(rank)

    path = ["--snapshot_path", str(tmp_path / "snapshot.pt")]
    for rank in start(tmp_path, *[["1", "1", *path]] * 2, prepare=prepare):
        assert rank.code == 1
        assert "RuntimeError: the ranks do not agree on where to resume: rank 0 has [0, 0, " in rank.output
        assert "epoch 0 | batch_size" not in rank.output
