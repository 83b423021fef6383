"""Data-parallel training for `torchrun`, one process per rank, on CPUs (gloo) or GPUs (nccl).

    torchrun --nproc_per_node=2 training_code.py 10 2 --batch_size 32 --snapshot_path snapshot.pt

Killed at any moment and started again with the same command, it goes on from its last snapshot and, on
CPUs, ends with bit for bit the weights of a run that was never interrupted. To train something of your
own, replace `build_task`: the rest does not know what is being learned.
"""

import argparse
import hashlib
import itertools
import json
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.elastic.multiprocessing.errors import record
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler, TensorDataset

RANK = int(os.environ.get("RANK", "0"))
WORLD_SIZE = int(os.environ.get("WORLD_SIZE", "1"))
LOCAL_RANK = int(os.environ.get("LOCAL_RANK", "0"))
LOCAL_WORLD_SIZE = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
SNAPSHOT_FORMAT = "ddp-swarm/1"
EXIT_STOPPED = 128 + signal.SIGTERM  # not 0: swarm restarts a task only when it failed


def log(message: str, prefix: bool = True) -> None:
    """One line, one write: lines of ranks that share a pipe must not mix."""
    sys.stdout.write(f"[GPU{RANK}] {message}\n" if prefix else f"{message}\n")
    sys.stdout.flush()


# --- what is learned ------------------------------------------------------------------------------------


@dataclass
class Task:
    model: nn.Module
    train: Dataset[Any]
    held_out: tuple[torch.Tensor, torch.Tensor]
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    lr: float
    classifies: bool


def build_task(name: str, seed: int) -> Task:
    """Model and data. Everything random is drawn from `seed`, so every rank builds exactly the same."""
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
        model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
        train_size, loss, lr = 1536, nn.functional.cross_entropy, 0.1
    train = TensorDataset(inputs[:train_size], targets[:train_size])
    return Task(model, train, (inputs[train_size:], targets[train_size:]), loss, lr, name == "digits")


class ResumableSampler(DistributedSampler):
    """DistributedSampler that can start in the middle of an epoch.

    Sample i of the shuffled epoch goes to rank i mod WORLD_SIZE, so after any number of steps the samples
    seen by all ranks together are the first `seen` of that order, whatever the world size was.
    """

    seen = 0

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(super().__iter__(), self.seen // self.num_replicas, None)


# --- snapshots ------------------------------------------------------------------------------------------


def digest(state: dict[str, torch.Tensor]) -> str:
    sha = hashlib.sha256()
    for name, tensor in state.items():
        sha.update(name.encode())
        sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def write_snapshot(path: Path, snapshot: dict[str, Any]) -> None:
    """A crash at any point leaves a complete snapshot at `path` or at `path`.prev."""
    temporary = beside(path, ".tmp")
    with open(temporary, "wb") as file:
        torch.save(snapshot, file)
        file.flush()
        os.fsync(file.fileno())
    if path.exists():
        os.replace(path, beside(path, ".prev"))
    os.replace(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # makes the new names, not only the new bytes, survive a power cut
    finally:
        os.close(directory)


def read_snapshot(path: Path) -> dict[str, Any]:
    snapshot = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(snapshot, dict) or snapshot.get("format") != SNAPSHOT_FORMAT:
        raise ValueError("it was not written by this trainer")
    if digest(snapshot["model"]) != snapshot["digest"]:
        raise ValueError("its weights do not match their checksum")
    return snapshot


def find_snapshot(path: Path) -> dict[str, Any] | str | None:
    """The newest good snapshot; None where there is none yet; a sentence where all there are, are bad."""
    previous, bad = beside(path, ".prev"), []
    for candidate in (path, previous):
        if not candidate.exists():
            continue
        candidate.open("rb").close()  # not being allowed to read it is an error, not damage
        try:
            snapshot = read_snapshot(candidate)
        except Exception as error:  # noqa: BLE001 - torch.load raises whatever the damaged bytes trigger
            bad.append(candidate)
            log(f"snapshot {candidate} cannot be used: {str(error).strip().splitlines()[0]}")
            continue
        if bad:  # out of the way, or the next save would make it the previous good one
            os.replace(path, beside(path, ".bad"))
            log(f"{path} was kept as {beside(path, '.bad')}")
        if candidate == previous:
            log(f"using the previous good snapshot {previous}")
        return snapshot
    if bad:
        return f"no usable snapshot in {path.parent}: move {' and '.join(map(str, bad))} away to start from scratch"
    return None


def rng_state(device: torch.device) -> list[torch.Tensor]:
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])


def set_rng_state(states: list[torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1], device)


# --- talking to the other ranks ---------------------------------------------------------------------------


def gather(value: Any) -> list[Any]:
    values: list[Any] = [None] * WORLD_SIZE
    dist.all_gather_object(values, value)
    return values


def require_same(what: str, value: Any) -> None:
    values = gather(value)
    if any(other != values[0] for other in values):
        seen = ", ".join(f"rank {rank} has {other}" for rank, other in enumerate(values))
        raise RuntimeError(f"the ranks do not agree on {what}: {seen}")


def choose_backend(wanted: str) -> str:
    has_gpu = gather(torch.cuda.is_available() and torch.cuda.device_count() >= LOCAL_WORLD_SIZE)
    if wanted == "nccl" and not all(has_gpu):
        without = ", ".join(str(rank) for rank, has in enumerate(has_gpu) if not has)
        sys.exit(f"error: backend nccl needs a GPU for each rank, and there is none for rank {without}")
    return ("nccl" if all(has_gpu) else "gloo") if wanted == "auto" else wanted


def cpu_cores() -> int:
    """Cores that this container may use: its CPU set, or less where a cgroup sets a quota."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = (Path(f"/sys/fs/cgroup/cpu/cpu.cfs_{part}_us").read_text() for part in ("quota", "period"))
        except OSError:
            return cores
    limited = quota.strip() not in ("max", "-1")
    return max(1, min(cores, int(quota) // int(period))) if limited else cores


class Metrics:
    """JSON lines, one file per rank, appended to; each line is one unbuffered write."""

    def __init__(self, path: Path) -> None:
        path = path if RANK == 0 else path.with_name(f"{path.stem}-rank{RANK}{path.suffix}")
        self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        size = os.fstat(self.file).st_size
        if size and os.pread(self.file, 1, size - 1) != b"\n":
            os.write(self.file, b"\n")  # the last run was cut off in the middle of a line
        self.common: dict[str, Any] = {"rank": RANK, "world_size": WORLD_SIZE}
        self.common["restarts"] = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))

    def write(self, event: str, **values: Any) -> None:
        record = {"event": event, "time": round(time.time(), 3), **self.common, **values}
        os.write(self.file, json.dumps(record).encode() + b"\n")


# --- training -------------------------------------------------------------------------------------------


class Trainer:
    def __init__(self, args: argparse.Namespace, device: torch.device, group: dist.ProcessGroup | None) -> None:
        self.args, self.device = args, device
        self.path = Path(args.snapshot_path).absolute()
        self.metrics = Metrics(Path(args.metrics_path))
        self.stop_requested = self.first_step_done = False
        self.comm_seconds, self.epoch, self.global_step, self.run = 0.0, 0, 0, uuid.uuid4().hex[:8]

        task = self.task = build_task(args.task, args.seed)
        self.held_out = [tensor[RANK::WORLD_SIZE].to(device) for tensor in task.held_out]
        self.sampler = ResumableSampler(task.train, WORLD_SIZE, RANK, shuffle=True, seed=args.seed)
        # A generator of its own: the loader draws from it at each epoch, and must not move the saved RNG.
        self.loader = DataLoader(task.train, args.batch_size, sampler=self.sampler, generator=torch.Generator())
        self.steps = -(-self.sampler.num_samples // args.batch_size)
        self.module = task.model.to(device)
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=args.lr or task.lr, momentum=0.9)
        torch.manual_seed(args.seed + 1 + RANK)  # from here on each rank has random numbers of its own
        self.resume()
        self.model = DistributedDataParallel(
            self.module, device_ids=[device] if device.type == "cuda" else None, process_group=group
        )
        if device.type == "cpu":  # on a GPU the time of a launch says nothing about the transfer
            self.model.register_comm_hook(None, self.timed_all_reduce)
        signal.signal(signal.SIGTERM, self.on_sigterm)

    def timed_all_reduce(self, _: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        started = time.perf_counter()

        def done(future: torch.futures.Future[torch.Tensor]) -> torch.Tensor:
            self.comm_seconds += time.perf_counter() - started
            return future.value()

        return allreduce_hook(dist.group.WORLD, bucket).then(done)

    def on_sigterm(self, *_: Any) -> None:
        self.stop_requested = True
        log("SIGTERM: all ranks will save at the end of this step and stop")

    def resume(self) -> None:
        """Rank 0 reads its snapshot and hands it to the others: no rank ever trusts a file of its own."""
        box: list[Any] = [find_snapshot(self.path) if RANK == 0 else None, self.run]
        dist.broadcast_object_list(box, src=0)
        snapshot, self.run = box
        if isinstance(snapshot, str):
            sys.exit(f"error: {snapshot}")
        if snapshot:
            for name in ("task", "seed"):
                if snapshot[name] != getattr(self.args, name):
                    sys.exit(f"error: {self.path} was made with --{name} {snapshot[name]}: use that, or another path")
            self.module.load_state_dict(snapshot["model"])
            self.optimizer.load_state_dict(snapshot["optimizer"])
            for parameters in self.optimizer.param_groups:
                parameters["lr"] = self.args.lr or self.task.lr
            self.run, self.epoch, self.global_step = snapshot["run"], snapshot["next_epoch"], snapshot["global_step"]
            self.sampler.seen = snapshot["seen"]
            if snapshot["world_size"] == WORLD_SIZE:
                set_rng_state(snapshot["rng"][RANK], self.device)
            elif RANK == 0:
                before = snapshot["world_size"]
                log(f"world size changed from {before} to {WORLD_SIZE} ranks: samples are dealt out anew")
            log(f"resuming from snapshot at epoch {self.epoch} | samples of it already seen: {self.sampler.seen}")
        require_same("where to resume", (self.epoch, self.sampler.seen, digest(self.module.state_dict())))
        self.metrics.common["run"] = self.run
        self.metrics.write("start", epoch=self.epoch, step=self.global_step, host=socket.gethostname())

    def save(self, epoch: int, next_epoch: int, seen: int) -> None:
        rng = gather(rng_state(self.device))
        if RANK == 0:
            snapshot = {"format": SNAPSHOT_FORMAT, "run": self.run, "task": self.args.task, "seed": self.args.seed}
            snapshot |= {"world_size": WORLD_SIZE, "batch_size": self.args.batch_size, "rng": rng}
            snapshot |= {"next_epoch": next_epoch, "seen": seen, "global_step": self.global_step}
            snapshot |= {"model": self.module.state_dict(), "optimizer": self.optimizer.state_dict()}
            write_snapshot(self.path, snapshot | {"digest": digest(snapshot["model"])})
            log(f"Epoch {epoch} | train snapshot saved at {self.args.snapshot_path}", prefix=False)

    def train_epoch(self, epoch: int) -> None:
        """One epoch, or what was left of it. Each step ends with all ranks knowing whether one was told to stop.

        That costs an all-reduce of 4 bytes per step, hidden behind the forward and backward passes; in return
        SIGTERM takes one step, not one epoch, and what follows continues with exactly the next sample.
        """
        log(f"epoch {epoch} | batch_size: {self.args.batch_size} | steps: {self.steps}")
        self.sampler.set_epoch(epoch)
        self.model.train()
        seen, started = self.sampler.seen, time.perf_counter()
        self.comm_seconds, totals = 0.0, torch.zeros(2, dtype=torch.float64)
        for inputs, targets in self.loader:
            stop = torch.tensor([float(self.stop_requested)])
            agreement = dist.all_reduce(stop, op=dist.ReduceOp.MAX, async_op=True)
            loss = self.task.loss(self.model(inputs.to(self.device)), targets.to(self.device))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            agreement.wait()
            self.global_step += 1
            seen += len(inputs) * WORLD_SIZE
            totals += torch.tensor([loss.item() * len(inputs), len(inputs)], dtype=torch.float64)
            if not self.first_step_done:
                self.first_step_done = True
                log(f"first step done | loss: {loss.item():.6f}")
                self.metrics.write("first_step", epoch=epoch, step=self.global_step, loss=loss.item())
            if stop.item():
                finished = seen >= self.sampler.total_size
                self.save(epoch, epoch + finished, 0 if finished else seen)
                self.metrics.write("stopped", epoch=epoch, step=self.global_step)
                leave(EXIT_STOPPED)
        self.sampler.seen = 0
        seconds = time.perf_counter() - started
        dist.all_reduce(totals)
        loss_value, rate = (totals[0] / totals[1]).item(), totals[1].item() / seconds
        held_out = self.evaluate()
        shown = "".join(f" | held-out {name}: {value:.4f}" for name, value in held_out.items())
        log(f"epoch {epoch} | loss: {loss_value:.6f}{shown} | samples/s: {rate:.0f}")
        values = {f"held_out_{name}" if name == "loss" else name: value for name, value in held_out.items()}
        values["comm_seconds"] = round(self.comm_seconds, 6) if self.device.type == "cpu" else None
        values |= {"samples_per_s": round(rate, 1), "seconds": round(seconds, 6)}
        self.metrics.write("epoch", epoch=epoch, step=self.global_step, loss=loss_value, **values)

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
        if RANK == 0:
            for name, value in held_out.items():
                log(f"final held-out {name}: {value:.4f}")
            log(f"weights are identical on all {WORLD_SIZE} ranks | sha256: {weights}")
        self.metrics.write("end", epoch=max(self.epoch, total), step=self.global_step, weights=weights)


def leave(code: int) -> NoReturn:
    dist.barrier()  # a rank that goes while another is still in its last collective would abort that one
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # gloo's threads sometimes abort a finished rank while the interpreter is taken down


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
    parser.add_argument("--timeout", type=positive, default=120.0, help="seconds to wait for a silent rank (120)")
    parser.add_argument("--seed", type=number(int, 0, "a whole number of at least 0"), default=0)
    parser.add_argument("--lr", type=positive, help="learning rate (default: one that suits the task)")
    args = parser.parse_args(argv)
    if args.backend not in ("auto", "nccl", "gloo"):  # argparse does not check a default
        parser.error(f"DDP_BACKEND must be auto, nccl or gloo, not {args.backend!r}")
    snapshot = Path(args.snapshot_path).absolute()
    args.metrics_path = args.metrics_path or str(snapshot.with_name("metrics.jsonl"))
    for directory in {snapshot.parent, Path(args.metrics_path).absolute().parent}:
        probe = directory / f".write-test-{RANK}-{os.getpid()}"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            parser.error(f"cannot write to {directory}: {error.strerror}")
    return args


@record
def main() -> None:
    args = parse_args()
    if "OMP_NUM_THREADS" not in os.environ:  # torchrun sets it to 1 when it starts several ranks on a host
        torch.set_num_threads(max(1, cpu_cores() // LOCAL_WORLD_SIZE - 1))  # one core for communication
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 12355}.items():
        os.environ.setdefault(name, str(value))  # plain `python training_code.py ...` is one rank
    # Gloo for what the ranks agree on, always; the gradients take nccl as well where each rank has a GPU.
    timeout = timedelta(seconds=args.timeout)
    dist.init_process_group("gloo", timeout=timeout)
    paths = ("snapshot_path", "metrics_path")  # these may differ from host to host
    require_same("the arguments", {name: value for name, value in vars(args).items() if name not in paths})
    backend = choose_backend(args.backend)
    device = torch.device("cuda", LOCAL_RANK) if backend == "nccl" else torch.device("cpu")
    if backend == "nccl":
        torch.cuda.set_device(device)
    group = dist.new_group(backend="nccl", timeout=timeout) if backend == "nccl" else None
    log(f"rank {RANK} of {WORLD_SIZE} on host {socket.gethostname()}, device {device}, backend {backend}")
    log("Process group ready")
    Trainer(args, device, group).run_all()
    leave(0)


if __name__ == "__main__":
    main()
