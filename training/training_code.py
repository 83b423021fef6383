"""Data-parallel training for `torchrun`, one process per rank, on CPUs (gloo) or GPUs (nccl).

    torchrun --nproc_per_node=2 training_code.py 10 2 --batch_size 32 --snapshot_path snapshot.pt

Killed at any moment and started again with the same command, it goes on from its last snapshot and, on
CPUs, ends with bit for bit the weights of a run that was never interrupted. To train something of your
own, replace `build_task`: the rest does not know what is being learned.

Here are the task, the training loop and the command line. The folder `ddp_trainer`, which belongs beside this
file, has the rest: `ranks` (which one this is), `meeting` (backend and device), `agreement` (what the ranks have
in common), `snapshots`, `sampler` and `batches` (which samples are whose, and their random numbers), `gradients`
(how they travel), `metrics`, `arguments`, and `process` (its cores, its signs of life, its end).
"""

import argparse
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.elastic.multiprocessing.errors import record
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ddp_trainer.agreement import Patience, Requests, Weights, share_buffers
from ddp_trainer.arguments import Parser, count, number, positive, require_writable
from ddp_trainer.batches import held_out_loader, make_loader, seed_by, to_device, training_sampler, with_sizes
from ddp_trainer.gradients import Exchange
from ddp_trainer.meeting import meet
from ddp_trainer.metrics import Metrics
from ddp_trainer.process import begin_heartbeat, leave, take_cores
from ddp_trainer.ranks import gather, log, rank, require_same, world_size
from ddp_trainer.snapshots import SNAPSHOT_FORMAT, agreed_snapshot, digest, first_sentence, write_snapshot

EXIT_STOPPED = 128 + signal.SIGTERM  # not 0: swarm restarts a task only when it failed


# --- what is learned ------------------------------------------------------------------------------------


def sgd(model: nn.Module, lr: float) -> Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


@dataclass
class Task:
    """What is learned. A sample is a pair of inputs and targets: tensors, or dicts, lists and tuples of them.

    Loss and measures take what the model makes of a batch's inputs, and its targets, and return their mean.
    Datasets and model draw from the global generators of `random`, NumPy and torch, which are seeded for each batch.
    """

    model: nn.Module
    train: Dataset[Any]  # one with a length
    held_out: Dataset[Any] | DataLoader[Any] | None  # a loader is taken as it is: each rank brings its own share
    loss: Callable[[Any, Any], torch.Tensor]
    lr: float
    measures: dict[str, Callable[[Any, Any], torch.Tensor]] = field(default_factory=dict)
    collate: Callable[[list[Any]], Any] | None = None  # makes a batch of samples, as in DataLoader
    optimizer: Callable[[nn.Module, float], Optimizer] = sgd
    schedule: Callable[[Optimizer, int], LRScheduler] | None = None  # given how often it is stepped in the whole run
    schedule_each_update: bool = False  # or else after each epoch
    ddp: dict[str, Any] = field(default_factory=dict)  # further arguments of DistributedDataParallel


def accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs.argmax(1) == targets).float().mean()


def build_task(name: str, seed: int, hidden: int) -> Task:
    """Model and data. Everything random is drawn from `seed`, so every rank builds exactly the same."""
    random = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    if name == "regression":  # y = w·x + b with a little noise; 4096 samples to learn from
        inputs = torch.randn(4096 + 1024, 20, generator=random)
        targets = inputs @ torch.randn(20, 1, generator=random) + 0.5
        targets += 0.1 * torch.randn(targets.shape, generator=random)
        data = TensorDataset(inputs[:4096], targets[:4096]), TensorDataset(inputs[4096:], targets[4096:])
        return Task(nn.Linear(20, 1), *data, nn.functional.mse_loss, lr=0.01)
    # 1797 handwritten digits of 8 x 8 pixels, in 10 classes
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=random)
    inputs = torch.tensor(pixels / 16, dtype=torch.float32)[order]
    targets = torch.tensor(labels, dtype=torch.int64)[order]
    layers = [nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 10)]
    data = TensorDataset(inputs[:1536], targets[:1536]), TensorDataset(inputs[1536:], targets[1536:])
    return Task(nn.Sequential(*layers), *data, nn.functional.cross_entropy, lr=0.1, measures={"accuracy": accuracy})


# --- training -------------------------------------------------------------------------------------------


class Trainer:
    def __init__(self, args: argparse.Namespace, device: torch.device, group: dist.ProcessGroup | None) -> None:
        self.args, self.device, self.group = args, device, group
        self.path = Path(args.snapshot_path).absolute()
        self.metrics = Metrics(Path(args.metrics_path))
        self.stop_requested = self.first_step_done = self.has_saved = self.save_due = False
        self.epoch = self.global_step = 0
        self.run = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self.patience = Patience(args.timeout, args.patience)

        with self.patience("building the task"):
            task = self.task = build_task(args.task, args.seed, args.hidden)
        self.sampler = training_sampler(task.train, args.seed)
        self.loader = make_loader(task.train, self.sampler, args.batch_size, args.workers, device, task.collate)
        self.held_out = held_out_loader(task.held_out, args.batch_size, args.workers, device, task.collate)
        self.steps = len(self.loader)
        self.module = task.model.to(device)
        self.optimizer = task.optimizer(self.module, args.lr or task.lr)
        if task.schedule:
            each = -(-self.steps // args.accumulate) if task.schedule_each_update else 1
            self.scheduler = task.schedule(self.optimizer, args.total_epochs * each)
        else:
            self.scheduler = LambdaLR(self.optimizer, lambda epoch: args.lr_decay**epoch)
        self.resume()
        device_ids = [device] if device.type == "cuda" else None
        self.model = DistributedDataParallel(self.module, device_ids=device_ids, process_group=group, **task.ddp)
        self.exchange = Exchange(self.model, device, group, args.compress)
        self.weights = Weights(self.module, self.global_step)
        self.requests = Requests(each_update=device.type == "cpu")
        self.save_at = time.monotonic() + args.save_every_seconds
        signal.signal(signal.SIGTERM, self.on_sigterm)

    def on_sigterm(self, *_: Any) -> None:
        self.stop_requested = True
        log("SIGTERM: all ranks will save at the end of this step and stop")

    def resume(self) -> None:
        snapshot, self.run = agreed_snapshot(self.path, self.patience), gather(self.run)[0]
        if snapshot:
            for name in ("task", "seed", "hidden"):
                if snapshot[name] != getattr(self.args, name):
                    sys.exit(f"error: {self.path} was made with --{name} {snapshot[name]}: use that, or another path")
            try:
                self.restore(snapshot)
            except (RuntimeError, ValueError, KeyError) as error:
                sys.exit(f"error: {self.path} does not fit this task: {first_sentence(error)}: use another path")
            self.run, self.epoch, self.global_step = snapshot["run"], snapshot["next_epoch"], snapshot["global_step"]
            self.sampler.seen = snapshot["seen"]
            if snapshot["world_size"] != world_size() and rank() == 0:
                before = snapshot["world_size"]
                log(f"world size changed from {before} to {world_size()} ranks: samples are dealt out anew")
            log(f"resuming from snapshot at epoch {self.epoch} | samples of it already seen: {self.sampler.seen}")
        parameters = digest(dict(self.module.named_parameters()))
        require_same("where to resume", (self.epoch, self.sampler.seen, parameters))
        self.metrics.begin(self.run, self.global_step)
        self.metrics.write("start", epoch=self.epoch, step=self.global_step, host=socket.gethostname())

    def restore(self, snapshot: dict[str, Any]) -> None:
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self.module.load_state_dict(snapshot["model"])
        self.optimizer.load_state_dict(snapshot["optimizer"])
        self.scheduler.load_state_dict(snapshot["scheduler"])
        if not self.task.schedule:  # then --lr and --lr_decay are this run's
            self.scheduler.base_lrs = rates
            for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
                group["initial_lr"], group["lr"] = rate, rate * self.args.lr_decay ** snapshot["next_epoch"]

    def save(self, epoch: int, next_epoch: int, seen: int) -> None:
        self.weights.check(self.global_step)
        share_buffers(self.module, self.group)
        with self.patience("saving a snapshot"):
            if rank() == 0:
                snapshot: dict[str, Any] = {"format": SNAPSHOT_FORMAT, "run": self.run, "world_size": world_size()}
                snapshot |= {name: getattr(self.args, name) for name in ("task", "seed", "hidden", "batch_size")}
                snapshot |= {"next_epoch": next_epoch, "seen": seen, "global_step": self.global_step}
                snapshot |= {"model": self.module.state_dict(), "optimizer": self.optimizer.state_dict()}
                snapshot |= {"scheduler": self.scheduler.state_dict(), "digest": digest(snapshot["model"])}
                write_snapshot(self.path, snapshot, self.args.keep, first=not self.has_saved)
                log(f"Epoch {epoch} | train snapshot saved at {self.args.snapshot_path}", prefix=False)
        self.has_saved, self.save_due, self.save_at = True, False, time.monotonic() + self.args.save_every_seconds

    def learn(self, inputs: Any, targets: Any, share: float, update: bool) -> torch.Tensor:
        """Forward, backward, and where `update` says so one step of all ranks together. Returns the loss."""
        with nullcontext() if update else self.model.no_sync():
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.args.amp):
                outputs = self.model(to_device(inputs, self.device))
                loss = self.task.loss(outputs, to_device(targets, self.device))
            (loss * share).backward()
        if update:
            if self.args.clip_grad_norm:
                nn.utils.clip_grad_norm_(self.module.parameters(), self.args.clip_grad_norm)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.global_step += 1
            if self.task.schedule_each_update:
                self.scheduler.step()
        return loss.detach()

    def train_epoch(self, epoch: int) -> None:
        """One epoch, or what was left of it. Ranks agree in passing when to save and when to stop: see `Requests`.

        So SIGTERM takes one update, not one epoch, and what follows continues with exactly the next sample.
        """
        log(f"epoch {epoch} | batch_size: {self.args.batch_size} | steps: {self.steps}")
        self.sampler.set_epoch(epoch)
        self.model.train()
        args, batches, mine = self.args, len(self.loader), len(self.sampler)
        seen, learned, started = self.sampler.seen, 0, time.perf_counter()
        self.exchange.seconds, loss_sum = 0.0, torch.zeros((), dtype=torch.float64, device=self.device)
        for batch, (inputs, targets) in enumerate(self.loader):
            together = min(args.accumulate, batches - batch // args.accumulate * args.accumulate)
            update = batch % args.accumulate == together - 1
            if update:
                self.requests.ask(stop=self.stop_requested, save=time.monotonic() >= self.save_at)
            seed_by(args.seed, rank(), epoch, seen, "model")
            loss, samples = self.learn(inputs, targets, 1 / together, update), min(args.batch_size, mine - learned)
            seen, learned = seen + samples * world_size(), learned + samples
            loss_sum += loss.double() * samples
            if not update:
                continue
            stop, save = self.requests.answer()
            if not self.first_step_done:
                self.first_step_done = True
                log(f"first step done | loss: {loss.item():.6f}")
                self.metrics.write("first_step", epoch=epoch, step=self.global_step, loss=loss.item())
            elif self.global_step % args.log_every == 0:
                self.metrics.write("step", epoch=epoch, step=self.global_step, loss=loss.item())
            if self.global_step % args.check_every == 0:
                self.weights.check(self.global_step)
            finished = seen >= self.sampler.total_size
            if stop:
                if finished:
                    self.end_epoch()
                self.save(epoch, epoch + finished, 0 if finished else seen)
                self.metrics.write("stopped", epoch=epoch, step=self.global_step)
                leave(EXIT_STOPPED)
            self.save_due |= save or self.global_step % args.save_every_steps == 0
            if self.save_due and not finished:  # at the end of an epoch, after its evaluation
                self.save(epoch, epoch, seen)
        totals = torch.tensor([loss_sum.item(), learned], dtype=torch.float64)
        seconds = time.perf_counter() - started
        dist.all_reduce(totals)
        loss_value, rate = (totals[0] / totals[1]).item(), totals[1].item() / seconds
        held_out = self.evaluate()
        shown = "".join(f" | held-out {name}: {value:.4f}" for name, value in held_out.items())
        log(f"epoch {epoch} | loss: {loss_value:.6f}{shown} | samples/s: {rate:.0f}")
        values: dict[str, Any] = {"held_out_loss" if key == "loss" else key: value for key, value in held_out.items()}
        values["comm_seconds"] = round(self.exchange.seconds, 6) if self.device.type == "cpu" else None
        values |= {"samples_per_s": round(rate, 1), "seconds": round(seconds, 6)}
        values["lr"] = self.optimizer.param_groups[0]["lr"]
        self.metrics.write("epoch", epoch=epoch, step=self.global_step, loss=loss_value, **values)
        self.end_epoch()

    def end_epoch(self) -> None:
        self.sampler.seen = 0
        if not self.task.schedule_each_update:
            self.scheduler.step()

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Each rank looks at its share of the samples that were kept out of the training."""
        share_buffers(self.module, self.group)
        self.module.eval()
        functions = {"loss": self.task.loss, **self.task.measures}
        totals = torch.zeros(len(functions) + 1, dtype=torch.float64)
        with self.patience("the evaluation"):
            for (inputs, targets), samples in with_sizes(self.held_out):
                outputs, right = self.module(to_device(inputs, self.device)), to_device(targets, self.device)
                means = [function(outputs, right).item() for function in functions.values()]
                totals += torch.tensor([*means, 1.0], dtype=torch.float64) * samples
        dist.all_reduce(totals)
        values = zip(functions, (totals[:-1] / totals[-1]).tolist(), strict=True)
        return dict(values) if totals[-1] else {}

    def run_all(self) -> None:
        total, save_every = self.args.total_epochs, self.args.save_every
        if self.epoch >= total:
            log(f"nothing left to train: snapshot is at epoch {self.epoch} of {total}")
        for epoch in range(self.epoch, total):
            self.train_epoch(epoch)
            if self.save_due or epoch % save_every == 0 or epoch == total - 1:
                self.save(epoch, epoch + 1, 0)
        self.weights.check(self.global_step)
        held_out = self.evaluate()
        weights = digest(self.module.state_dict())
        if rank() == 0:
            for name, value in held_out.items():
                log(f"final held-out {name}: {value:.4f}")
            log(f"weights are identical on all {world_size()} ranks | sha256: {weights}")
        self.metrics.write("end", epoch=max(self.epoch, total), step=self.global_step, weights=weights)


# --- command line ---------------------------------------------------------------------------------------


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(description="Train with DistributedDataParallel; start it with torchrun.")
    parser.add_argument("total_epochs", metavar="TOTAL_EPOCHS", type=count, help="epochs to train in all")
    parser.add_argument("save_every", metavar="SAVE_EVERY", type=count, help="save at each epoch divisible by this")
    parser.add_argument("--batch_size", type=count, default=32, help="samples per step and rank (default 32)")
    never = float("inf")
    parser.add_argument("--save_every_steps", type=count, default=never, help="save after so many updates as well")
    parser.add_argument("--save_every_seconds", type=positive, default=never, help="and after so many seconds")
    parser.add_argument("--snapshot_path", default="snapshot.pt", help="where rank 0 keeps its snapshot")
    parser.add_argument("--metrics_path", help="default: metrics.jsonl beside the snapshot; metrics-rank1.jsonl, ...")
    parser.add_argument("--task", choices=("regression", "digits"), default="regression", help="what to learn")
    backend = os.environ.get("DDP_BACKEND") or "auto"
    parser.add_argument("--backend", choices=("auto", "nccl", "gloo"), default=backend, help="default: $DDP_BACKEND")
    timeout = os.environ.get("DDP_TIMEOUT") or "120"
    parser.add_argument("--timeout", type=positive, default=timeout, help="seconds for a silent rank: $DDP_TIMEOUT")
    parser.add_argument("--patience", type=positive, default=1800.0, help="seconds for a busy one (default 1800)")
    parser.add_argument("--check_every", type=count, default=100, help="updates between two comparisons of weights")
    parser.add_argument("--seed", type=number(int, 0, "a whole number of at least 0"), default=0)
    parser.add_argument("--lr", type=positive, help="learning rate (default: one that suits the task)")
    parser.add_argument("--lr_decay", type=positive, default=1.0, help="factor on the learning rate after each epoch")
    parser.add_argument("--hidden", type=count, default=128, help="width of the hidden layers of digits (default 128)")
    parser.add_argument("--keep", type=count, default=2, help="snapshots to keep, the newest included (default 2)")
    parser.add_argument("--log_every", type=count, default=10, help="updates between two lines in the metrics")
    parser.add_argument("--accumulate", type=count, default=1, help="batches whose gradients make one update")
    parser.add_argument("--clip_grad_norm", type=positive, metavar="NORM", help="scale longer gradients down to this")
    parser.add_argument("--compress", choices=("bf16",), help="send gradients with half the bits")
    parser.add_argument("--amp", action="store_true", help="compute in bfloat16 where the GPU can")
    workers = number(int, -1, "a whole number of at least 0, or -1 for one on each core left")
    parser.add_argument("--workers", type=workers, default=0, help="processes per rank that load data, -1: by cores")
    args = parser.parse_args(argv)
    if args.backend not in ("auto", "nccl", "gloo"):  # argparse does not check a default
        parser.error(f"DDP_BACKEND must be auto, nccl or gloo, not {args.backend!r}")
    snapshot = Path(args.snapshot_path).absolute()
    args.metrics_path = args.metrics_path or str(snapshot.with_name("metrics.jsonl"))
    require_writable(parser, snapshot.parent, Path(args.metrics_path).absolute().parent)
    return args


@record
def main() -> None:
    args = parse_args()
    begin_heartbeat()
    cores = take_cores()
    if args.workers < 0:
        args.workers = cores
    Trainer(args, *meet(args)).run_all()
    leave(0)


if __name__ == "__main__":
    main()
