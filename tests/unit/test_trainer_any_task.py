"""Tasks that are not the trainer's own: what they may bring, and that a run of them which was killed still ends bit for bit the same."""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from trainer_runs import CPU, Augmented, difference, records, saved, start, tiny, train, train_and_say, trainer

from ddp_trainer import batches, snapshots

EPOCHS = ("3", "9", "--batch_size", "4")  # six updates of two ranks are an epoch


def prepared(rank: int, change: Callable[[int], object] | None = None, **task: Any) -> None:
    trainer.build_task = lambda name, seed, hidden: tiny(seed, **task)
    if change:
        change(rank)


def runs(
    folder: Path, *args: str, ranks: int = 2, change: Callable[[int], object] | None = None, **task: Any
) -> list[forked.Ended]:
    path = ["--snapshot_path", str(folder / "snapshot.pt")]
    return start(folder, *[[*args, *path]] * ranks, prepare=lambda rank: prepared(rank, change, **task))


def last_lines(ended: list[forked.Ended]) -> list[str]:
    return [rank.output.strip().splitlines()[-1] for rank in ended]


def killed_in_step(number: int) -> Callable[[int], None]:
    """Rank 1 gets a SIGKILL in its step with this number."""

    def change(rank: int) -> None:
        learn, steps = trainer.Trainer.learn, 0

        def dying(self: Any, *args: Any) -> torch.Tensor:
            nonlocal steps
            steps += 1
            if (rank, steps) == (1, number):
                os.kill(os.getpid(), signal.SIGKILL)
            return learn(self, *args)

        trainer.Trainer.learn = dying

    return change


# --- killed ----------------------------------------------------------------------------------------------

ALL = {"norm": True, "dropout": 0.5, "data": Augmented}  # what differs between ranks, steps and workers


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    train(folder, *EPOCHS, **ALL)
    return folder


@pytest.mark.parametrize(("step", "at", "seen", "workers"), [(9, 8, 16, "2"), (14, 12, 0, "0")])
def test_killed_between_two_saves_within_an_epoch(
    step: int, at: int, seen: int, workers: str, whole: Path, tmp_path: Path
) -> None:
    """Of a task with BatchNorm, dropout and random augmentation. The undisturbed run has no workers."""
    options = ("--save_every_steps", "4", "--workers", workers)
    assert runs(tmp_path, *EPOCHS, *options, change=killed_in_step(step), **ALL)[1].code == -signal.SIGKILL
    assert (saved(tmp_path)["global_step"], saved(tmp_path)["seen"]) == (at, seen)
    ended = runs(tmp_path, *EPOCHS, *options, **ALL)
    assert [rank.code for rank in ended] == [0, 0], ended
    assert difference(tmp_path, whole) == 0
    assert saved(tmp_path)["optimizer"]["param_groups"] == saved(whole)["optimizer"]["param_groups"]


def test_the_task_of_that_test_depends_on_all_of_it(whole: Path, tmp_path: Path) -> None:
    for number, other in enumerate(({"dropout": 0.4}, {"data": TensorDataset})):
        train(tmp_path / str(number), *EPOCHS, **{**ALL, **other})
        assert difference(tmp_path / str(number), whole) > 1e-3
    assert {"1.running_mean", "1.num_batches_tracked"} < saved(whole)["model"].keys()
    assert saved(whole)["model"]["1.num_batches_tracked"] == 18


def test_batches_of_an_update_that_share_it_resume_exactly_as_well(tmp_path: Path) -> None:
    options = (*EPOCHS, "--accumulate", "2", "--clip_grad_norm", "0.5")
    train(tmp_path / "whole", *options, **ALL)
    train(tmp_path / "stopped", *options, stop=(1, 7), **ALL)
    train(tmp_path / "stopped", *options, **ALL)
    assert difference(tmp_path / "stopped", tmp_path / "whole") == 0


def test_sigterm_to_the_whole_process_group_leaves_the_workers_at_work(tmp_path: Path) -> None:
    """As torchrun sends it, which starts each rank in a session of its own."""

    class Slow(TensorDataset):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
            time.sleep(0.02)
            return super().__getitem__(index)

    def change(rank: int) -> None:
        os.setsid()
        learn, steps = trainer.Trainer.learn, 0

        def told(self: Any, *args: Any) -> torch.Tensor:
            nonlocal steps
            steps += 1
            if steps == 2:
                os.killpg(0, signal.SIGTERM)
                time.sleep(0.3)
            return learn(self, *args)

        trainer.Trainer.learn = told

    ended = runs(tmp_path, *EPOCHS, "--workers", "2", change=change, data=Slow)
    assert [rank.code for rank in ended] == [143, 143], ended
    assert 2 <= saved(tmp_path)["global_step"] <= 3


# --- when snapshots are saved -----------------------------------------------------------------------------


def saves(lines: list[str]) -> list[str]:
    return [line.split()[1] for line in lines if "train snapshot saved" in line]


def test_saved_every_so_many_updates_and_at_the_epochs_as_before(tmp_path: Path) -> None:
    """Six updates an epoch: after 4, 8, 12 (an epoch's end, after its evaluation) and 16, and after epochs 0 and 2."""
    args = ("3", "2", "--batch_size", "4", "--save_every_steps", "4")
    _, (zero, one) = train_and_say(tmp_path, *args)
    assert saves(zero) == ["0", "0", "1", "1", "2", "2"]
    assert saves(one) == []
    at = [number for number, line in enumerate(zero) if "saved" in line][3]
    assert zero[at - 1].startswith("[GPU0] epoch 1 | loss: ")


def test_saved_every_so_many_seconds_by_the_clock_of_rank_0(tmp_path: Path) -> None:
    def change(rank: int) -> None:
        clock = trainer.time.monotonic
        if rank == 1:  # would never
            trainer.time = type("", (), {**vars(time), "monotonic": staticmethod(lambda: 0.0)})
        learn = trainer.Trainer.learn

        def slow(self: Any, *args: Any) -> torch.Tensor:
            time.sleep(0.1)
            return learn(self, *args)

        trainer.Trainer.learn = slow
        assert clock() > 0

    zero, one = runs(tmp_path, "1", "9", "--batch_size", "4", "--save_every_seconds", "0.25", change=change)
    assert [zero.code, one.code] == [0, 0], (zero, one)
    assert len(saves(zero.output.splitlines())) >= 2  # one of them the end's
    _, lines = train_and_say(tmp_path / "seldom", "1", "9", "--batch_size", "4", "--save_every_seconds", "60")
    assert saves(lines[0]) == ["0"]


# --- what takes long --------------------------------------------------------------------------------------


def slow_on_rank_0(name: str, seconds: float) -> Callable[[int], None]:
    def change(rank: int) -> None:
        where = snapshots if name == "find_snapshot" else trainer
        act = getattr(where, name)

        def slow(*args: Any, **words: Any) -> Any:
            time.sleep(seconds * (rank == 0))
            return act(*args, **words)

        setattr(where, name, slow)

    return change


@pytest.mark.parametrize("name", ["write_snapshot", "find_snapshot", "build_task"])
def test_what_one_rank_does_alone_may_take_longer_than_the_timeout(name: str, tmp_path: Path) -> None:
    ended = runs(tmp_path, "1", "1", "--timeout", "3", change=slow_on_rank_0(name, 4))
    assert [rank.code for rank in ended] == [0, 0], ended


def test_an_evaluation_of_its_own_may_take_longer_on_one_rank_than_the_timeout(tmp_path: Path) -> None:
    class Slow(Dataset[Any]):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Any:
            time.sleep(4 * (os.environ["RANK"] == "0"))
            return torch.ones(4), torch.ones(1)

    def change(rank: int) -> None:
        build = trainer.build_task

        def other(*args: Any) -> Any:
            task = build(*args)
            task.held_out = DataLoader(Slow())
            return task

        trainer.build_task = other

    ended = runs(tmp_path, "1", "1", "--timeout", "3", change=change)
    assert [rank.code for rank in ended] == [0, 0], ended


def test_patience_ends(tmp_path: Path) -> None:
    ended = runs(tmp_path, "1", "1", "--timeout", "9", "--patience", "1", change=slow_on_rank_0("write_snapshot", 4))
    assert [rank.code for rank in ended] == [1, 1]
    assert last_lines(ended)[1] == "RuntimeError: rank 0 took more than 1 s for saving a snapshot"


def test_where_one_fails_the_others_say_which(tmp_path: Path) -> None:
    def change(rank: int) -> None:
        def full(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        trainer.write_snapshot = full

    assert last_lines(runs(tmp_path, "1", "1", change=change)) == [
        "OSError: [Errno 28] No space left on device",
        "RuntimeError: rank 0 failed at saving a snapshot, and says why in its own lines",
    ]


# --- what a task may bring --------------------------------------------------------------------------------


def test_optimizer_schedule_and_groups_are_the_tasks_and_restored_whole(tmp_path: Path) -> None:
    """With weight decay and a rate of its own for one group, AdamW, and a schedule that is stepped after each update."""

    def optimizer(model: nn.Module, lr: float) -> torch.optim.Optimizer:
        weights, biases = ([p for p in model.parameters() if (p.ndim > 1) == two] for two in (True, False))
        groups = [{"params": weights, "weight_decay": 0.1}, {"params": biases, "lr": lr / 10}]
        return torch.optim.AdamW(groups, lr=lr)

    def schedule(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
        assert steps == 18
        rising = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=4)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - 4)
        return torch.optim.lr_scheduler.SequentialLR(optimizer, [rising, falling], [4])

    own = {"optimizer": optimizer, "schedule": schedule, "schedule_each_update": True, "dropout": 0.5}
    whole = train(tmp_path / "whole", *EPOCHS, **own)
    parts = train(tmp_path / "parts", *EPOCHS, stop=(0, 7), **own) + train(tmp_path / "parts", *EPOCHS, **own)
    assert difference(tmp_path / "parts", tmp_path / "whole") == 0
    one, other = (saved(tmp_path / name) for name in ("whole", "parts"))
    assert one["optimizer"]["param_groups"] == other["optimizer"]["param_groups"]
    assert one["scheduler"] == other["scheduler"]
    assert [step["lr"] for step in parts[0] + parts[2]] == [step["lr"] for step in whole[0]]
    assert len({step["lr"] for step in whole[0]}) == 18


def test_each_group_gets_the_rate_of_this_run_where_the_schedule_is_the_trainers(tmp_path: Path) -> None:
    def optimizer(model: nn.Module, lr: float) -> torch.optim.Optimizer:
        groups = [{"params": [p], "lr": lr * share} for p, share in zip(model.parameters(), (1, 2, 4, 8), strict=True)]
        return torch.optim.SGD(groups, lr=lr, momentum=0.5)

    train(tmp_path, "1", "1", "--lr_decay", "0.5", optimizer=optimizer)
    train(tmp_path, "2", "1", "--lr_decay", "0.5", "--lr", "0.25", optimizer=optimizer)
    groups = saved(tmp_path)["optimizer"]["param_groups"]
    assert [group["lr"] for group in groups] == [0.25 * share * 0.5**2 for share in (1, 2, 4, 8)]
    assert {group["momentum"] for group in groups} == {0.5}


def test_gradients_are_clipped_after_all_ranks_have_added_theirs(tmp_path: Path) -> None:
    def optimizer(model: nn.Module, lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=1.0)  # an update is as long as the gradient

    def moved(folder: Path, *args: str) -> float:
        train(folder, "1", "1", "--batch_size", "24", *args, optimizer=optimizer)
        before, after = tiny(0).model.state_dict(), saved(folder)["model"]
        return float(torch.cat([(after[name] - before[name]).flatten() for name in before]).norm())

    assert moved(tmp_path / "clipped", "--clip_grad_norm", "0.01") == pytest.approx(0.01, rel=1e-3)
    assert moved(tmp_path / "free") > 0.1


def test_samples_may_be_dicts_and_lists_and_the_rest_is_passed_to_ddp(tmp_path: Path) -> None:
    class Dicts(Dataset[Any]):
        def __len__(self) -> int:
            return 30

        def __getitem__(self, index: int) -> Any:
            return {"x": torch.full((3,), index / 30), "name": str(index)}, [torch.tensor([1.0]), index]

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(3, 1), nn.Linear(3, 1)

        def forward(self, inputs: Any) -> torch.Tensor:
            assert isinstance(inputs["name"], list)
            return self.used(inputs["x"])  # type: ignore[no-any-return]

    def build(*_: Any) -> Any:
        torch.manual_seed(0)
        data = Dicts(), Dicts()
        return trainer.Task(
            Model(),
            *data,
            lambda made, right: nn.functional.mse_loss(made, right[0]),
            0.1,
            ddp={"find_unused_parameters": True},
        )

    zero, one = runs(tmp_path, "2", "1", "--batch_size", "4", change=lambda rank: setattr(trainer, "build_task", build))
    assert [zero.code, one.code] == [0, 0], (zero, one)
    assert records(tmp_path, "epoch")[1]["held_out_loss"] < records(tmp_path, "epoch")[0]["held_out_loss"]


def test_a_batch_may_be_whatever_collate_makes_of_its_samples(tmp_path: Path) -> None:
    """Such as a list of images of any size: how many there are is not to be seen in it."""

    class Pieces(Dataset[Any]):
        def __len__(self) -> int:
            return 22

        def __getitem__(self, index: int) -> Any:
            return torch.ones(2 + index % 3, 3), torch.tensor([1.0 * index])

    class Model(nn.Linear):
        def forward(self, inputs: list[torch.Tensor]) -> torch.Tensor:  # type: ignore[override]
            return torch.stack([super(Model, self).forward(one).mean(0) for one in inputs])

    def build(*_: Any) -> Any:
        torch.manual_seed(0)
        held_out = TensorDataset(torch.ones(5, 2, 3), torch.arange(5.0).unsqueeze(1))
        loss = nn.functional.mse_loss
        measures = {"target": lambda outputs, targets: targets.mean()}
        collate = lambda samples: ([one for one, _ in samples], torch.stack([right for _, right in samples]))
        return trainer.Task(Model(3, 1), Pieces(), held_out, loss, 0.01, measures, collate)

    ended = runs(
        tmp_path, "1", "1", "--batch_size", "4", "--save_every_steps", "2", "--keep", "2",
        change=lambda rank: setattr(trainer, "build_task", build),
    )  # fmt: skip
    assert [rank.code for rank in ended] == [0, 0], ended
    assert (saved(tmp_path, "snapshot.pt.1")["seen"], saved(tmp_path, "snapshot.pt.1")["next_epoch"]) == (16, 0)
    assert records(tmp_path, "epoch")[0]["target"] == pytest.approx(2)


def test_workers_end_with_their_rank_at_once(tmp_path: Path) -> None:
    """Torch's own look, each five seconds, is for what they hold too seldom."""

    def work(rank: int) -> None:
        data = TensorDataset(torch.zeros(4, 1))
        loader = batches.make_loader(data, batches.training_sampler(data, 0), 1, 1, CPU)
        next(iterator := iter(loader))
        print(iterator._workers[0].pid)
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    (ended,) = forked.run(1, work, tmp_path)
    worker = Path("/proc", ended.output.strip())
    deadline = time.monotonic() + 4
    while worker.exists() and "Z" not in (worker / "stat").read_text().split()[2] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert time.monotonic() < deadline


def test_nothing_need_be_held_out(tmp_path: Path) -> None:
    def change(rank: int) -> None:
        build = trainer.build_task
        trainer.build_task = lambda *args: trainer.Task(**{**vars(build(*args)), "held_out": None})

    zero, _ = runs(tmp_path, "1", "1", change=change)
    assert zero.code == 0, zero
    assert "held-out" not in zero.output
    assert "held_out_loss" not in records(tmp_path, "epoch")[0]


def test_the_evaluation_is_of_the_model_that_is_saved(tmp_path: Path) -> None:
    """With BatchNorm each rank has seen other means; in between rank 0's count."""
    train(tmp_path, "1", "1", "--batch_size", "4", norm=True)
    task = tiny(0, norm=True)
    task.model.load_state_dict(saved(tmp_path)["model"])
    inputs, targets = task.held_out.tensors
    with torch.no_grad():
        loss = task.loss(task.model.eval()(inputs), targets).item()
    for name in ("metrics.jsonl", "metrics-rank1.jsonl"):
        assert records(tmp_path, "epoch", name)[0]["held_out_loss"] == pytest.approx(loss, rel=1e-4)
        assert records(tmp_path, "end", name)[0]["weights"] == snapshots.digest(saved(tmp_path)["model"])


def test_a_batch_is_as_long_as_its_first_tensor() -> None:
    tensor = torch.zeros(5, 2)
    for batch in (tensor, [tensor], (tensor, 1), {"a": [tensor]}, ["a"] * 5, list("abcde")):
        assert batches.samples_in(batch) == 5
    moved = batches.to_device({"a": [tensor, "x"], "b": (tensor,)}, CPU)
    assert moved["a"][1] == "x"
    assert torch.equal(moved["b"][0], tensor)


# --- what it may not --------------------------------------------------------------------------------------


def test_a_snapshot_of_another_task_is_refused_in_one_sentence(tmp_path: Path) -> None:
    train(tmp_path, "1", "1", ranks=1)
    path = tmp_path / "snapshot.pt"
    start_of = f"error: {path} does not fit this task: "
    other = runs(tmp_path, "2", "1", norm=True)
    assert [rank.code for rank in other] == [1, 1]
    assert last_lines(other)[0].startswith(start_of + "Error(s) in loading state_dict for ")
    assert last_lines(other)[0].endswith(": use another path")
    groups = {"optimizer": lambda model, lr: torch.optim.SGD([{"params": [p]} for p in model.parameters()], lr=lr)}
    assert last_lines(runs(tmp_path, "2", "1", **groups))[0].startswith(start_of + "loaded state dict has a different")


def test_data_without_a_length_are_refused_in_one_sentence(tmp_path: Path) -> None:
    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any: ...

    for data in (Stream(), TensorDataset(torch.zeros(0))):
        with pytest.raises(SystemExit) as refused:
            batches.training_sampler(data, 0)
        assert refused.value.code == (
            "error: the task's training data must be a dataset with a length (len(dataset)) of at least 1"
        )


def test_what_could_not_be_read_again_is_never_taken_for_a_snapshot(tmp_path: Path) -> None:
    class Own(torch.optim.SGD):
        def state_dict(self) -> Any:
            return {**super().state_dict(), "random": random.Random(1)}

    zero, _ = runs(tmp_path, "1", "1", optimizer=lambda model, lr: Own(model.parameters(), lr=lr))
    assert last_lines([zero])[0] == (
        "RuntimeError: a snapshot of this task cannot be read again: it holds random.Random. "
        "Keep tensors, numbers, texts, lists and dicts"
    )
    assert not (tmp_path / "snapshot.pt").exists()


def test_a_snapshot_of_the_version_before_is_gone_on_from(tmp_path: Path) -> None:
    train(tmp_path, "1", "1")
    state = torch.get_rng_state()
    torch.save({**saved(tmp_path), "format": "ddp-swarm/2", "rng": [[state], [state]]}, tmp_path / "snapshot.pt")
    _, lines = train_and_say(tmp_path, "2", "1")
    assert "[GPU0] resuming from snapshot at epoch 1 | samples of it already seen: 0" in lines[0]
    assert saved(tmp_path)["format"] == snapshots.SNAPSHOT_FORMAT == "ddp-swarm/3"
    assert "rng" not in saved(tmp_path)
