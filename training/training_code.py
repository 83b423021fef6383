"""Data-parallel training for `torchrun`, one process per rank, on CPUs (gloo) or GPUs (nccl).

    torchrun --nproc_per_node=2 training_code.py 10 2 --batch_size 32 --snapshot_path snapshot.pt

Killed at any moment and started again with the same command, it goes on from its last snapshot and, on
CPUs, ends with bit for bit the weights of a run that was never interrupted. To train something of your
own, replace `build_task`: the rest does not know what is being learned.

Here are the task, the training loop and the command line. The folder `ddp_trainer`, which belongs beside this
file, has the rest: `ranks` (which one this is, and what they agree on), `snapshots`, `sampler` (which samples
are whose), `gradients` (how they travel), `metrics`, and `process` (its cores, its signs of life, its end).
"""

import argparse
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.elastic.multiprocessing.errors import record
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ddp_trainer.gradients import Exchange
from ddp_trainer.metrics import Metrics
from ddp_trainer.process import begin_heartbeat, cpu_cores, leave, try_to_write
from ddp_trainer.ranks import choose_backend, gather, local_rank, local_world_size, log, rank, require_same, world_size
from ddp_trainer.sampler import ResumableSampler
from ddp_trainer.snapshots import SNAPSHOT_FORMAT, agreed_snapshot, digest, gather_rng, set_rng_state, write_snapshot

EXIT_STOPPED = 128 + signal.SIGTERM  # not 0: swarm restarts a task only when it failed


# --- what is learned ------------------------------------------------------------------------------------


@dataclass
class Task:
    model: nn.Module
    train: Dataset[Any]
    held_out: tuple[torch.Tensor, torch.Tensor]
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    lr: float
    classifies: bool


def build_task(name: str, seed: int, hidden: int) -> Task:
    """Model and data. Everything random is drawn from `seed`, so every rank builds exactly the same."""
    model: nn.Module
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    random = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    if name == "regression":  # y = w·x + b with a little noise; 4096 samples to learn from
        inputs = torch.randn(4096 + 1024, 20, generator=random)
        targets = inputs @ torch.randn(20, 1, generator=random) + 0.5
        targets += 0.1 * torch.randn(targets.shape, generator=random)
        train_size, model, loss, lr = 4096, nn.Linear(20, 1), nn.functional.mse_loss, 0.01
    else:  # 1797 handwritten digits of 8 x 8 pixels, in 10 classes
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        order = torch.randperm(len(labels), generator=random)
        inputs = torch.tensor(pixels / 16, dtype=torch.float32)[order]
        targets = torch.tensor(labels, dtype=torch.int64)[order]
        layers = [nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 10)]
        model = nn.Sequential(*layers)
        train_size, loss, lr = 1536, nn.functional.cross_entropy, 0.1
    train = TensorDataset(inputs[:train_size], targets[:train_size])
    return Task(model, train, (inputs[train_size:], targets[train_size:]), loss, lr, name == "digits")


# --- training -------------------------------------------------------------------------------------------


class Trainer:
    def __init__(self, args: argparse.Namespace, device: torch.device, group: dist.ProcessGroup | None) -> None:
        self.args, self.device = args, device
        self.path = Path(args.snapshot_path).absolute()
        self.metrics = Metrics(Path(args.metrics_path))
        self.stop_requested = self.first_step_done = False
        self.epoch = self.global_step = 0
        self.run = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())

        task = self.task = build_task(args.task, args.seed, args.hidden)
        self.held_out = [tensor[rank() :: world_size()].to(device) for tensor in task.held_out]
        self.sampler = ResumableSampler(task.train, world_size(), rank(), shuffle=True, seed=args.seed)
        # A generator of its own: the loader draws from it at each epoch, and must not move the saved RNG.
        self.loader = DataLoader(
            task.train,
            args.batch_size,
            sampler=self.sampler,
            num_workers=args.workers,
            generator=torch.Generator(),
            pin_memory=device.type == "cuda",
        )
        self.steps = len(self.loader)
        self.module = task.model.to(device)
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=args.lr or task.lr, momentum=0.9)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda epoch: args.lr_decay**epoch)
        torch.manual_seed(args.seed + 1 + rank())  # from here on each rank has random numbers of its own
        self.resume()
        self.model = DistributedDataParallel(
            self.module, device_ids=[device] if device.type == "cuda" else None, process_group=group
        )
        self.exchange = Exchange(self.model, device, group, args.compress)
        signal.signal(signal.SIGTERM, self.on_sigterm)

    def on_sigterm(self, *_: Any) -> None:
        self.stop_requested = True
        log("SIGTERM: all ranks will save at the end of this step and stop")

    def resume(self) -> None:
        snapshot, self.run = agreed_snapshot(self.path), gather(self.run)[0]
        if snapshot:
            for name in ("task", "seed", "hidden"):
                if snapshot[name] != getattr(self.args, name):
                    sys.exit(f"error: {self.path} was made with --{name} {snapshot[name]}: use that, or another path")
            self.module.load_state_dict(snapshot["model"])
            self.optimizer.load_state_dict(snapshot["optimizer"])
            self.scheduler.load_state_dict(snapshot["scheduler"])
            self.scheduler.base_lrs = [self.args.lr or self.task.lr]  # this run's, if it asks for another
            self.run, self.epoch, self.global_step = snapshot["run"], snapshot["next_epoch"], snapshot["global_step"]
            self.sampler.seen = snapshot["seen"]
            self.optimizer.param_groups[0]["lr"] = self.scheduler.base_lrs[0] * self.args.lr_decay**self.epoch
            if snapshot["world_size"] == world_size():
                set_rng_state(snapshot["rng"][rank()], self.device)
            elif rank() == 0:
                before = snapshot["world_size"]
                log(f"world size changed from {before} to {world_size()} ranks: samples are dealt out anew")
            log(f"resuming from snapshot at epoch {self.epoch} | samples of it already seen: {self.sampler.seen}")
        require_same("where to resume", (self.epoch, self.sampler.seen, digest(self.module.state_dict())))
        self.metrics.begin(self.run, self.global_step)
        self.metrics.write("start", epoch=self.epoch, step=self.global_step, host=socket.gethostname())

    def save(self, epoch: int, next_epoch: int, seen: int) -> None:
        rng = gather_rng(self.device)
        if rank() == 0:
            snapshot: dict[str, Any] = {"format": SNAPSHOT_FORMAT, "run": self.run, "world_size": world_size()}
            snapshot |= {name: getattr(self.args, name) for name in ("task", "seed", "hidden", "batch_size")}
            snapshot |= {"next_epoch": next_epoch, "seen": seen, "global_step": self.global_step, "rng": rng}
            snapshot |= {"model": self.module.state_dict(), "optimizer": self.optimizer.state_dict()}
            snapshot |= {"scheduler": self.scheduler.state_dict(), "digest": digest(snapshot["model"])}
            write_snapshot(self.path, snapshot, self.args.keep)
            log(f"Epoch {epoch} | train snapshot saved at {self.args.snapshot_path}", prefix=False)

    def learn(self, inputs: torch.Tensor, targets: torch.Tensor, share: float, update: bool) -> torch.Tensor:
        """Forward, backward, and where `update` says so one step of all ranks together. Returns the loss."""
        with nullcontext() if update else self.model.no_sync():
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.args.amp):
                loss = self.task.loss(self.model(inputs.to(self.device)), targets.to(self.device))
            (loss * share).backward()
        if update:
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.global_step += 1
        return loss.detach()

    def train_epoch(self, epoch: int) -> None:
        """One epoch, or what was left of it. Each update ends with all ranks knowing whether one was told to stop.

        That costs an all-reduce of 4 bytes per update, hidden behind the forward and backward passes; in return
        SIGTERM takes one update, not one epoch, and what follows continues with exactly the next sample.
        """
        log(f"epoch {epoch} | batch_size: {self.args.batch_size} | steps: {self.steps}")
        self.sampler.set_epoch(epoch)
        self.model.train()
        accumulate, batches = self.args.accumulate, len(self.loader)
        seen, started, stop = self.sampler.seen, time.perf_counter(), torch.zeros(1)
        self.exchange.seconds, totals = 0.0, torch.zeros(2, dtype=torch.float64, device=self.device)
        for number, (inputs, targets) in enumerate(self.loader):
            together = min(accumulate, batches - number // accumulate * accumulate)
            update = number % accumulate == together - 1
            if update:
                stop[0] = self.stop_requested
                agreement = dist.all_reduce(stop, op=dist.ReduceOp.MAX, async_op=True)
            loss = self.learn(inputs, targets, 1 / together, update)
            seen += len(inputs) * world_size()
            totals[0] += loss.double() * len(inputs)
            totals[1] += len(inputs)
            if not update:
                continue
            agreement.wait()
            if not self.first_step_done:
                self.first_step_done = True
                log(f"first step done | loss: {loss.item():.6f}")
                self.metrics.write("first_step", epoch=epoch, step=self.global_step, loss=loss.item())
            elif self.global_step % self.args.log_every == 0:
                self.metrics.write("step", epoch=epoch, step=self.global_step, loss=loss.item())
            if stop.item():
                finished = seen >= self.sampler.total_size
                if finished:
                    self.scheduler.step()
                self.save(epoch, epoch + finished, 0 if finished else seen)
                self.metrics.write("stopped", epoch=epoch, step=self.global_step)
                leave(EXIT_STOPPED)
        self.sampler.seen = 0
        totals = totals.cpu()
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
        self.scheduler.step()

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Each rank looks at its share of the samples that were kept out of the training."""
        self.module.eval()
        inputs, targets = self.held_out
        totals = torch.zeros(3, dtype=torch.float64)
        if len(inputs):
            outputs = self.module(inputs)
            right = (outputs.argmax(1) == targets).sum().item() if self.task.classifies else 0
            loss_sum = self.task.loss(outputs, targets).item() * len(inputs)
            totals = torch.tensor([loss_sum, right, len(inputs)], dtype=torch.float64)
        dist.all_reduce(totals)
        loss, accuracy = (totals[:2] / totals[2]).tolist()
        return {"loss": loss, "accuracy": accuracy} if self.task.classifies else {"loss": loss}

    def run_all(self) -> None:
        total, save_every = self.args.total_epochs, self.args.save_every
        if self.epoch >= total:
            log(f"nothing left to train: snapshot is at epoch {self.epoch} of {total}")
        for epoch in range(self.epoch, total):
            self.train_epoch(epoch)
            if epoch % save_every == 0 or epoch == total - 1:
                self.save(epoch, epoch + 1, 0)
        weights = digest(self.module.state_dict())
        require_same("the weights", weights)
        held_out = self.evaluate()
        if rank() == 0:
            for name, value in held_out.items():
                log(f"final held-out {name}: {value:.4f}")
            log(f"weights are identical on all {world_size()} ranks | sha256: {weights}")
        self.metrics.write("end", epoch=max(self.epoch, total), step=self.global_step, weights=weights)


# --- command line ---------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def number(kind: Callable[[str], Any], least: float, words: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be {words}, not {text!r}")
        return value

    return parse


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    count = number(int, 1, "a whole number of at least 1")
    positive = number(float, 1e-12, "a number above 0")
    parser = Parser(description="Train with DistributedDataParallel; start it with torchrun.")
    parser.add_argument("total_epochs", metavar="TOTAL_EPOCHS", type=count, help="epochs to train in all")
    parser.add_argument("save_every", metavar="SAVE_EVERY", type=count, help="save at each epoch divisible by this")
    parser.add_argument("--batch_size", type=count, default=32, help="samples per step and rank (default 32)")
    parser.add_argument("--snapshot_path", default="snapshot.pt", help="where rank 0 keeps its snapshot")
    parser.add_argument("--metrics_path", help="default: metrics.jsonl beside the snapshot; metrics-rank1.jsonl, ...")
    parser.add_argument("--task", choices=("regression", "digits"), default="regression", help="what to learn")
    backend = os.environ.get("DDP_BACKEND") or "auto"
    parser.add_argument("--backend", choices=("auto", "nccl", "gloo"), default=backend, help="default: $DDP_BACKEND")
    timeout = os.environ.get("DDP_TIMEOUT") or "120"
    parser.add_argument(
        "--timeout", type=positive, default=timeout, help="seconds to wait for a silent rank: $DDP_TIMEOUT"
    )
    parser.add_argument("--seed", type=number(int, 0, "a whole number of at least 0"), default=0)
    parser.add_argument("--lr", type=positive, help="learning rate (default: one that suits the task)")
    parser.add_argument("--lr_decay", type=positive, default=1.0, help="factor on the learning rate after each epoch")
    parser.add_argument("--hidden", type=count, default=128, help="width of the hidden layers of digits (default 128)")
    parser.add_argument("--keep", type=count, default=2, help="snapshots to keep, the newest included (default 2)")
    parser.add_argument("--log_every", type=count, default=10, help="updates between two lines in the metrics")
    parser.add_argument("--accumulate", type=count, default=1, help="batches whose gradients make one update")
    parser.add_argument("--compress", choices=("bf16",), help="send gradients with half the bits")
    parser.add_argument("--amp", action="store_true", help="compute in bfloat16 where the GPU can")
    workers = number(int, -1, "a whole number of at least 0, or -1 for one on each core left")
    parser.add_argument("--workers", type=workers, default=0, help="processes per rank that load data, -1: by cores")
    args = parser.parse_args(argv)
    if args.backend not in ("auto", "nccl", "gloo"):  # argparse does not check a default
        parser.error(f"DDP_BACKEND must be auto, nccl or gloo, not {args.backend!r}")
    snapshot = Path(args.snapshot_path).absolute()
    args.metrics_path = args.metrics_path or str(snapshot.with_name("metrics.jsonl"))
    for directory in {snapshot.parent, Path(args.metrics_path).absolute().parent}:
        try:
            try_to_write(directory)
        except OSError as error:
            parser.error(f"cannot write to {directory}: {error.strerror}")
    return args


@record
def main() -> None:
    args = parse_args()
    begin_heartbeat()
    cores = max(1, cpu_cores() // local_world_size() - 1)  # one core for communication
    if "OMP_NUM_THREADS" not in os.environ:  # torchrun sets it to 1 when it starts several ranks on a host
        torch.set_num_threads(cores)
    if args.workers < 0:
        args.workers = cores
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 12355}.items():
        os.environ.setdefault(name, str(value))  # plain `python training_code.py ...` is one rank
    # Gloo for what the ranks agree on, always; the gradients take nccl as well where each rank has a GPU.
    timeout = timedelta(seconds=args.timeout)
    dist.init_process_group("gloo", timeout=timeout)
    may_differ = ("snapshot_path", "metrics_path", "workers")
    require_same("the arguments", {name: value for name, value in vars(args).items() if name not in may_differ})
    backend = choose_backend(args.backend)
    device = torch.device("cuda", local_rank()) if backend == "nccl" else torch.device("cpu")
    if backend == "nccl":
        torch.cuda.set_device(device)
    if args.amp and not (backend == "nccl" and torch.cuda.is_bf16_supported()):
        args.amp = False
        log("--amp is left out: this device does not compute in bfloat16")
    group = dist.new_group(backend="nccl", timeout=timeout) if backend == "nccl" else None
    log(f"rank {rank()} of {world_size()} on host {socket.gethostname()}, device {device}, backend {backend}")
    log("Process group ready")
    Trainer(args, device, group).run_all()
    leave(0)


if __name__ == "__main__":
    main()
