"""Runs of the trainer: a task of a moment in ranks that are forked, and torchrun, forked as well."""

import json
import multiprocessing
import os
import random
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import forked
import numpy
import torch
import torch.distributed.run as torchrun
from by_path import ROOT
from ports import free_port
from tensorboardX.proto.event_pb2 import Event
from torch import nn
from torch.utils.data import TensorDataset

import training_code as trainer

TRAINER = ROOT / "training" / "training_code.py"
CPU = torch.device("cpu")


class Augmented(TensorDataset):
    """Adds what each of the three kinds of global generators draws."""

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        inputs, targets = super().__getitem__(index)
        drawn = torch.tensor([random.random(), numpy.random.rand(), torch.rand(1).item()])
        return torch.cat([inputs[:1], inputs[1:] + drawn - 0.5]), targets


def tiny(
    seed: int,
    samples: int = 48,
    held_out: int = 8,
    dropout: float = 0.0,
    classes: int = 0,
    norm: bool = False,
    data: type[TensorDataset] = TensorDataset,
    **more: Any,
) -> Any:
    """The first number of a sample is its place in the data; with `dropout` each step draws. `more` is for the Task."""
    torch.manual_seed(seed)
    total = samples + held_out
    inputs = torch.cat([torch.arange(float(total)).unsqueeze(1), torch.randn(total, 3)], 1)
    targets = inputs[:, 1 : 1 + classes].argmax(1) if classes else inputs[:, 1:].sum(1, keepdim=True)

    class Model(nn.Sequential):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            assert torch.is_grad_enabled() == self.training  # what is only looked at needs no graph
            return super().forward(inputs[:, 1:])

    between: list[nn.Module] = [nn.BatchNorm1d(8)] if norm else []
    for layer in between:
        layer.get_buffer("running_mean").fill_(float(os.environ.get("RANK", "0")))  # rank 0's count from the start
    model = Model(nn.Linear(3, 8), *between, nn.Dropout(dropout), nn.Linear(8, classes or 1))
    loss = nn.functional.cross_entropy if classes else nn.functional.mse_loss
    parts = data(inputs[:samples], targets[:samples]), TensorDataset(inputs[samples:], targets[samples:])
    measures = {"accuracy": trainer.accuracy} if classes else {}
    return trainer.Task(model, *parts, loss, 0.05, measures, **more)


def train(
    folder: Path, *args: str, ranks: int = 2, stop: tuple[int, int] | None = None, **task: Any
) -> list[list[dict[str, Any]]]:
    """A run of the tiny task: what each rank did in each step. stop=(rank, step) sends SIGTERM to the rank in that step."""
    steps, _ = train_and_say(folder, *args, ranks=ranks, stop=stop, **task)
    return steps


def train_and_say(
    folder: Path, *args: str, ranks: int = 2, stop: tuple[int, int] | None = None, **task: Any
) -> tuple[list[list[dict[str, Any]]], list[list[str]]]:
    """The same, and the lines that each rank wrote."""

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

    ended = forked.run(ranks, work, folder, optimizer=True)
    assert [rank.code for rank in ended] == [143 if stop else 0] * ranks, ended
    lines = [rank.output.splitlines() for rank in ended]
    steps = [[json.loads(line[5:]) for line in rank if line.startswith("STEP ")] for rank in lines]
    return steps, [[line for line in rank if not line.startswith("STEP ")] for rank in lines]


def start(folder: Path, *args: list[str], prepare: Callable[[int], object] | None = None) -> list[forked.Ended]:
    """The trainer's main() on each rank, with arguments of its own. What is to be other than it is, `prepare` changes."""

    def work(rank: int) -> None:
        if prepare:
            prepare(rank)
        trainer.sys.argv = ["training_code.py", *args[rank]]
        trainer.main()

    return forked.run(len(args), work, folder, group=False, optimizer=True)


def with_torchrun(folder: Path, *args: str, script: Path = TRAINER, **env: str) -> tuple[ForkProcess, Path]:
    """Torchrun with two ranks, begun, and the file with what all of them write. It and its ranks are forked: see forked.py."""
    forked.load_compiler()
    log = folder / "torchrun.log"
    log.touch()
    process = multiprocessing.get_context("fork").Process(target=be_torchrun, args=(folder, log, script, args, env))
    process.start()
    return process, log


def be_torchrun(folder: Path, log: Path, script: Path, args: tuple[str, ...], env: dict[str, str]) -> None:
    code = 1
    try:
        file = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout = sys.stderr = os.fdopen(file, "w", buffering=1)
        torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
        os.chdir(folder)
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
            os.environ.pop(name, None)
        os.environ |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "DDP_BACKEND": "gloo", **env}
        port = free_port()
        options = ["--nproc_per_node=2", "--master_addr=127.0.0.1", f"--master_port={port}"]
        torchrun.main([*options, "--run_path", "--start_method=fork", str(script), *args])
        code = 0
    except BaseException:  # noqa: BLE001 - as in forked.py
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def saved(folder: Path, name: str = "snapshot.pt") -> dict[str, Any]:
    snapshot: dict[str, Any] = torch.load(folder / name, weights_only=True)
    return snapshot


def difference(one: Path, other: Path) -> float:
    ours, theirs = saved(one)["model"], saved(other)["model"]
    assert ours.keys() == theirs.keys()
    return max((ours[name] - theirs[name]).abs().max().item() for name in theirs)


def records(folder: Path, event: str, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    lines = map(json.loads, (folder / name).read_text().splitlines())
    return [record for record in lines if record["event"] == event]


def events(folder: Path) -> list[Event]:
    """TensorBoard's, of the newest file below a directory."""
    files = (folder / "tensorboard").glob("*/events.out.tfevents.*")
    data, found = max(files, key=lambda path: path.stat().st_mtime_ns).read_bytes(), []
    while data:  # a record: length, its checksum, an event, its checksum
        (length,) = struct.unpack_from("<Q", data)
        found.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return found
