"""Data-parallel training for `torchrun`, one process per rank, on CPUs (gloo) or GPUs (nccl).

    torchrun --nproc_per_node=2 training_code.py 10 2 --batch_size 32 --snapshot_path snapshot.pt

Killed at any moment and started again with the same command, it goes on from its last snapshot and, on
CPUs, ends with bit for bit the weights of a run that was never interrupted. To train something of your
own, replace `build_task`: the rest does not know what is being learned.
"""

import argparse
import hashlib
import io
import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import torch
import torch.distributed as dist
from tensorboardX import SummaryWriter
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook, bf16_compress_hook
from torch.distributed.elastic.multiprocessing.errors import record
from torch.distributed.elastic.timer import FileTimerClient
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler, TensorDataset

RANK = int(os.environ.get("RANK", "0"))
WORLD_SIZE = int(os.environ.get("WORLD_SIZE", "1"))
LOCAL_RANK = int(os.environ.get("LOCAL_RANK", "0"))
LOCAL_WORLD_SIZE = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
SNAPSHOT_FORMAT = "ddp-swarm/2"
HANG_SECONDS = 30.0  # a process that gives no sign of life for so long is killed by torchrun
EXIT_STOPPED = 128 + signal.SIGTERM  # not 0: swarm restarts a task only when it failed
MESSAGE_BYTES = 2**20  # far more than the ranks ever tell each other
PIECE_BYTES = 2**26  # of a snapshot: --timeout counts for each piece, and gloo sends no more than 2 GiB at once


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


def build_task(name: str, seed: int, hidden: int) -> Task:
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
        layers = [nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 10)]
        model = nn.Sequential(*layers)
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

    def __len__(self) -> int:
        return self.num_samples - self.seen // self.num_replicas


# --- snapshots ------------------------------------------------------------------------------------------


def digest(state: dict[str, torch.Tensor]) -> str:
    sha = hashlib.sha256()
    for name, tensor in state.items():
        sha.update(name.encode())
        sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def older(path: Path) -> list[Path]:
    """The snapshots before `path`, newest first: path.1, path.2, ..."""
    found = path.parent.glob(f"{path.name}.*")
    return sorted((p for p in found if p.suffix[1:].isdigit()), key=lambda p: int(p.suffix[1:]))


def write_snapshot(path: Path, snapshot: dict[str, Any], keep: int) -> None:
    """A crash at any point leaves a complete snapshot at `path` or, if there was one before, at an older name."""
    temporary = beside(path, ".tmp")
    with open(temporary, "wb") as file:
        torch.save(snapshot, file)
        file.flush()
        os.fsync(file.fileno())
    names = [path, *(beside(path, f".{number}") for number in range(1, keep))]
    for newer, name in reversed(list(itertools.pairwise(names))):
        if newer.exists():
            os.replace(newer, name)
    os.replace(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # makes the new names, not only the new bytes, survive a power cut
    finally:
        os.close(directory)


def read_snapshot(file: Path | BinaryIO) -> dict[str, Any]:
    # weights_only: torch's own unpickler, which builds tensors and plain values, and calls nothing that the bytes name.
    snapshot = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(snapshot, dict) or snapshot.get("format") != SNAPSHOT_FORMAT:
        raise ValueError("it was not written by this trainer")
    if digest(snapshot["model"]) != snapshot["digest"]:
        raise ValueError("its weights do not match their checksum")
    return snapshot


def first_sentence(error: Exception) -> str:
    """Torch goes on with the advice to trust the file; of an empty one it says nothing at all."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]


def find_snapshot(path: Path) -> dict[str, Any] | str | None:
    """The newest good snapshot; None where there is none yet; a sentence where all there are, are bad."""
    bad = []
    for candidate in [path, *older(path)]:
        if not candidate.exists():
            continue
        candidate.open("rb").close()  # not being allowed to read it is an error, not damage
        try:
            snapshot = read_snapshot(candidate)
        except Exception as error:  # noqa: BLE001 - torch.load raises whatever the damaged bytes trigger
            bad.append(candidate)
            log(f"snapshot {candidate} cannot be used: {first_sentence(error)}")
            continue
        for damaged in bad:  # out of the way, or the next save would make it an older good one
            os.replace(damaged, beside(damaged, ".bad"))
            log(f"{damaged} was kept as {beside(damaged, '.bad')}")
        if candidate != path:
            log(f"using the previous good snapshot {candidate}")
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


# Never by all_gather_object or broadcast_object_list: they unpickle what a peer sends, so they run what it wants, and
# whoever reaches the port is taken for a peer.


def gather_bytes(own: torch.Tensor) -> list[torch.Tensor]:
    """The bytes of each rank, which need not be equally many."""
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(WORLD_SIZE)]
    dist.all_gather(sizes, torch.tensor([len(own)]))
    lengths = [int(size) for size in sizes]
    for rank, length in enumerate(lengths):
        if not 0 <= length <= MESSAGE_BYTES:
            raise RuntimeError(f"rank {rank} wants to send {length} bytes: at most {MESSAGE_BYTES} are taken")
    own = nn.functional.pad(own, (0, max(lengths) - len(own)))
    parts = [torch.empty_like(own) for _ in range(WORLD_SIZE)]
    dist.all_gather(parts, own)
    return [part[:length].clone() for part, length in zip(parts, lengths, strict=True)]


def gather(value: Any) -> list[Any]:
    """The value of each rank, as JSON brings it: a tuple arrives as a list."""
    own, values = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8), []
    for rank, part in enumerate(gather_bytes(own)):
        try:
            values.append(json.loads(part.numpy().tobytes()))
        except (ValueError, RecursionError):
            sentence = f"what rank {rank} sent cannot be read: does it run the same training_code.py?"
            raise RuntimeError(sentence) from None
    return values


def hand_out(snapshot: dict[str, Any] | None) -> dict[str, Any] | None:
    """Rank 0's snapshot, if it has one, on every rank. Beside it, memory is needed for its bytes once, no more."""
    file = io.BytesIO()
    if snapshot:
        torch.save(snapshot, file)
    size = gather(file.tell())[0]
    if not size:
        return None
    if RANK != 0:
        file.seek(size - 1)
        file.write(b"\0")  # makes room for all of it
    for piece in torch.frombuffer(file.getbuffer(), dtype=torch.uint8).split(PIECE_BYTES):
        dist.broadcast(piece, src=0)
    if RANK == 0:
        return snapshot
    try:
        file.seek(0)
        return read_snapshot(file)
    except Exception as error:  # noqa: BLE001 - as in find_snapshot
        raise RuntimeError(f"the snapshot that rank 0 sent cannot be used: {first_sentence(error)}") from None


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


class Heartbeat:
    """Lets torchrun's watchdog kill this process when it is stopped or stuck, so that the other ranks notice soon.

    A process that waits for a silent peer is alive: that ends by --timeout. The watchdog listens where
    TORCHELASTIC_ENABLE_FILE_TIMER=1 is set.
    """

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.client = FileTimerClient(os.environ["TORCHELASTIC_TIMER_FILE"])
        self.thread = threading.Thread(target=self.beat, daemon=True)
        self.thread.start()

    def beat(self) -> None:
        while not self.ended.is_set():
            self.client.acquire("heartbeat", time.time() + HANG_SECONDS)
            self.ended.wait(HANG_SECONDS / 6)

    def end(self) -> None:
        self.ended.set()
        self.thread.join()
        self.client.release("heartbeat")


class Metrics:
    """JSON lines, one file per rank, appended to; each line is one unbuffered write. TensorBoard's events from rank 0."""

    def __init__(self, path: Path) -> None:
        self.path = path if RANK == 0 else path.with_name(f"{path.stem}-rank{RANK}{path.suffix}")
        self.file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        size = os.fstat(self.file).st_size
        if size and os.pread(self.file, 1, size - 1) != b"\n":
            os.write(self.file, b"\n")  # the last run was cut off in the middle of a line
        self.common: dict[str, Any] = {"rank": RANK, "world_size": WORLD_SIZE}
        self.board: SummaryWriter | None = None

    def begin(self, run: str, step: int) -> None:
        starts = (line for line in self.path.read_text().splitlines() if line.startswith('{"event": "start"'))
        self.common |= {"run": run, "restarts": sum(f'"run": "{run}"' in line for line in starts)}
        if RANK == 0:  # what an interrupted run wrote after its last snapshot happens again: hidden by purge_step
            # Not flush(), which does not wait for what is still on its way to the file.
            where = str(self.path.parent / "tensorboard" / run)
            self.board = SummaryWriter(where, purge_step=step + 1, flush_secs=1)

    def write(self, event: str, **values: Any) -> None:
        record = {"event": event, "time": round(time.time(), 3), **self.common, **values}
        os.write(self.file, json.dumps(record).encode() + b"\n")
        if self.board and event in ("step", "epoch"):
            for name, value in values.items():
                if isinstance(value, float):
                    self.board.add_scalar(f"{event}/{name}", value, values["step"])
        elif self.board and event in ("stopped", "end"):
            self.board.close()  # the process is about to end without waiting for its threads


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
        self.held_out = [tensor[RANK::WORLD_SIZE].to(device) for tensor in task.held_out]
        self.sampler = ResumableSampler(task.train, WORLD_SIZE, RANK, shuffle=True, seed=args.seed)
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
        torch.manual_seed(args.seed + 1 + RANK)  # from here on each rank has random numbers of its own
        self.resume()
        self.model = DistributedDataParallel(
            self.module, device_ids=[device] if device.type == "cuda" else None, process_group=group
        )
        self.reduce = bf16_compress_hook if args.compress == "bf16" else allreduce_hook
        if device.type == "cpu":  # on a GPU the time of a launch says nothing about the transfer
            self.model.register_comm_hook(None, self.timed_reduce)
        elif args.compress:
            self.model.register_comm_hook(group, self.reduce)
        signal.signal(signal.SIGTERM, self.on_sigterm)

    def timed_reduce(self, _: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        started = time.perf_counter()

        def done(future: torch.futures.Future[torch.Tensor]) -> torch.Tensor:
            self.comm_seconds += time.perf_counter() - started
            return future.value()

        return self.reduce(dist.group.WORLD, bucket).then(done)

    def on_sigterm(self, *_: Any) -> None:
        self.stop_requested = True
        log("SIGTERM: all ranks will save at the end of this step and stop")

    def resume(self) -> None:
        """Rank 0 reads its snapshot and hands it to the others: no rank ever trusts a file of its own."""
        found = find_snapshot(self.path) if RANK == 0 else None
        problem, self.run = gather((found if isinstance(found, str) else None, self.run))[0]
        if problem:
            sys.exit(f"error: {problem}")
        snapshot = hand_out(found)
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
            if snapshot["world_size"] == WORLD_SIZE:
                set_rng_state(snapshot["rng"][RANK], self.device)
            elif RANK == 0:
                before = snapshot["world_size"]
                log(f"world size changed from {before} to {WORLD_SIZE} ranks: samples are dealt out anew")
            log(f"resuming from snapshot at epoch {self.epoch} | samples of it already seen: {self.sampler.seen}")
        require_same("where to resume", (self.epoch, self.sampler.seen, digest(self.module.state_dict())))
        self.metrics.begin(self.run, self.global_step)
        self.metrics.write("start", epoch=self.epoch, step=self.global_step, host=socket.gethostname())

    def save(self, epoch: int, next_epoch: int, seen: int) -> None:
        kinds = [gather_bytes(state) for state in rng_state(self.device)]
        if RANK == 0:
            rng = [list(states) for states in zip(*kinds, strict=True)]  # of each rank: the CPU's, the GPU's
            snapshot = {"format": SNAPSHOT_FORMAT, "run": self.run, "world_size": WORLD_SIZE, "rng": rng}
            snapshot |= {name: getattr(self.args, name) for name in ("task", "seed", "hidden", "batch_size")}
            snapshot |= {"next_epoch": next_epoch, "seen": seen, "global_step": self.global_step}
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
        self.comm_seconds, totals = 0.0, torch.zeros(2, dtype=torch.float64, device=self.device)
        for number, (inputs, targets) in enumerate(self.loader):
            together = min(accumulate, batches - number // accumulate * accumulate)
            update = number % accumulate == together - 1
            if update:
                stop[0] = self.stop_requested
                agreement = dist.all_reduce(stop, op=dist.ReduceOp.MAX, async_op=True)
            loss = self.learn(inputs, targets, 1 / together, update)
            seen += len(inputs) * WORLD_SIZE
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
        values = {f"held_out_{name}" if name == "loss" else name: value for name, value in held_out.items()}
        values["comm_seconds"] = round(self.comm_seconds, 6) if self.device.type == "cpu" else None
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
        if RANK == 0:
            for name, value in held_out.items():
                log(f"final held-out {name}: {value:.4f}")
            log(f"weights are identical on all {WORLD_SIZE} ranks | sha256: {weights}")
        self.metrics.write("end", epoch=max(self.epoch, total), step=self.global_step, weights=weights)


heartbeat: Heartbeat | None = None


def leave(code: int) -> NoReturn:
    dist.barrier()  # a rank that goes while another is still in its last collective would abort that one
    dist.destroy_process_group()
    if heartbeat:
        heartbeat.end()
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
    global heartbeat
    args = parse_args()
    if "TORCHELASTIC_TIMER_FILE" in os.environ:
        heartbeat = Heartbeat()
    cores = max(1, cpu_cores() // LOCAL_WORLD_SIZE - 1)  # one core for communication
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
    device = torch.device("cuda", LOCAL_RANK) if backend == "nccl" else torch.device("cpu")
    if backend == "nccl":
        torch.cuda.set_device(device)
    if args.amp and not (backend == "nccl" and torch.cuda.is_bf16_supported()):
        args.amp = False
        log("--amp is left out: this device does not compute in bfloat16")
    group = dist.new_group(backend="nccl", timeout=timeout) if backend == "nccl" else None
    log(f"rank {RANK} of {WORLD_SIZE} on host {socket.gethostname()}, device {device}, backend {backend}")
    log("Process group ready")
    Trainer(args, device, group).run_all()
    leave(0)


if __name__ == "__main__":
    main()
