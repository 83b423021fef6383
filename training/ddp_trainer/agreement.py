"""What ranks must have in common while they train: their weights, when they stop or save, and patience."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from .ranks import PIECE_BYTES, rank, world_size

ASK_SECONDS = 0.5  # on GPUs
PAUSE_SECONDS = 1.0

# --- weights ----------------------------------------------------------------------------------------------


def quick_digest(parameters: list[nn.Parameter]) -> torch.Tensor:
    """The bytes of all parameters, added up as int64: one pass, about as long as one addition takes, in any order the same.

    Returns: a tensor of one int64, on the CPU.
    """
    sums = []
    for parameter in parameters:
        data = parameter.detach()
        if not data.is_contiguous() or data.storage_offset() * data.itemsize % 8:
            data = data.clone(memory_format=torch.contiguous_format)
        data = data.reshape(-1).view(torch.uint8)
        whole = len(data) // 8 * 8
        sums += [data[:whole].view(torch.int64).sum(), data[whole:].sum()]
    total = torch.stack([part.to(sums[0].device) for part in sums])
    places = torch.arange(1, 2 * len(total), 2, device=total.device)  # what moves from one tensor to another counts
    return (total * places).sum().reshape(1).cpu()


def name_ranks(ranks: list[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"


class Weights:
    """Notices ranks whose parameters drift apart. Buffers may differ: those of rank 0 count, see `share_buffers`."""

    def __init__(self, module: nn.Module, update: int) -> None:
        self.parameters, self.agreed = list(module.parameters()), update

    def check(self, update: int) -> None:
        """Raises RuntimeError that names the ranks, and the updates between which it happened."""
        own = quick_digest(self.parameters)
        parts = [torch.zeros_like(own) for _ in range(world_size())]
        dist.all_gather(parts, own)
        digests = [int(part) for part in parts]
        common = Counter(digests).most_common(1)[0][0]  # of equally many, rank 0's
        others = [peer for peer, digest in enumerate(digests) if digest != common]
        if others:
            rest = [peer for peer, digest in enumerate(digests) if digest == common]
            raise RuntimeError(
                f"the ranks do not agree on the weights: {name_ranks(others)} differ{'s' * (len(others) == 1)} from "
                f"{name_ranks(rest)}: they agreed at update {self.agreed}, and no longer at update {update}"
            )
        self.agreed = update


@torch.no_grad()
def share_buffers(module: nn.Module, group: dist.ProcessGroup | None) -> None:
    """Rank 0's buffers on every rank, as DDP hands them out before each forward pass. In between they differ."""
    buffers = [buffer for buffer in module.buffers() if buffer.numel()]
    if buffers:
        data = torch.cat([buffer.reshape(-1).view(torch.uint8) for buffer in buffers])
        for piece in data.split(PIECE_BYTES):
            dist.broadcast(piece, src=0, group=group)
        parts = data.split([buffer.numel() * buffer.itemsize for buffer in buffers])
        for buffer, part in zip(buffers, parts, strict=True):
            buffer.copy_(part.clone().view(buffer.dtype).reshape(buffer.shape))


# --- when to stop, when to save ---------------------------------------------------------------------------


class Requests:
    """What one rank asks for and all do after the same update: any may ask to stop, and rank 0, by its clock, to save.

    An all-reduce of 24 bytes, hidden behind the forward and backward passes: at each update or, on GPUs, whose host
    should run ahead of them, about every ASK_SECONDS, by rank 0's clock.
    """

    def __init__(self, each_update: bool) -> None:
        self.each_update = each_update
        self.period = self.left = 1  # updates from one question to the next, and still to go
        self.asked_at = time.monotonic()
        self.sent: tuple[dist.Work, torch.Tensor] | None = None

    def ask(self, stop: bool, save: bool) -> None:
        self.left -= 1
        if self.left:
            return
        own = [stop, False, 0] if rank() else [stop, save, self.next_period()]
        values = torch.tensor(own, dtype=torch.int64)
        self.sent = dist.all_reduce(values, op=dist.ReduceOp.MAX, async_op=True), values

    def next_period(self) -> int:
        seconds, self.asked_at = time.monotonic() - self.asked_at, time.monotonic()
        fitting = int(ASK_SECONDS * self.period / max(seconds, 1e-9))
        return 1 if self.each_update else max(1, min(fitting, 2 * self.period))  # the first updates say little

    def answer(self) -> tuple[bool, bool]:
        """Whether to stop, and whether to save."""
        if not self.sent:
            return False, False
        work, values = self.sent
        self.sent = None
        work.wait()
        stop, save, self.period = values.tolist()
        self.left = self.period
        return bool(stop), bool(save)


# --- patience ---------------------------------------------------------------------------------------------


class Patience:
    """Lets ranks take longer than the timeout for what they do alone, and others wait for them.

    Meanwhile a thread of each rank asks the others whether they are done. So one that has gone, or says nothing any
    more, is noticed as ever. One that works for long is waited for, `limit` seconds at most; while all work, none waits.
    """

    def __init__(self, timeout: float, limit: float) -> None:
        self.limit, self.pause = limit, min(PAUSE_SECONDS, timeout / 4)
        # Of its own, as what is being done may have collectives as well.
        self.group = dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout))

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """`what` is told in the RuntimeError that other ranks get where one fails, or is not done in time."""
        done, failed = threading.Event(), threading.Event()
        problem: list[BaseException] = []
        thread = threading.Thread(target=self.wait, args=(what, done, failed, problem), daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            failed.set()
            raise
        finally:
            done.set()
            thread.join()
        if problem:
            raise problem[0]

    def wait(self, what: str, done: threading.Event, failed: threading.Event, problem: list[BaseException]) -> None:
        try:
            busy, began = [True], time.monotonic()
            while any(busy):
                own = (not done.wait(self.pause)) + 2 * failed.is_set() + 4 * (time.monotonic() - began > self.limit)
                states = [torch.zeros(1, dtype=torch.int64) for _ in range(world_size())]
                dist.all_gather(states, torch.tensor([own]), group=self.group)
                busy, gone, weary = ([int(state) & bit > 0 for state in states] for bit in (1, 2, 4))
                if any(gone):
                    raise RuntimeError(f"{name_ranks(where(gone))} failed at {what}, and says why in its own lines")
                if all(busy):
                    began = time.monotonic()
                elif any(busy) and any(weary):
                    raise RuntimeError(f"{name_ranks(where(busy))} took more than {self.limit:g} s for {what}")
        except RuntimeError as error:
            problem.append(error)


def where(values: list[Any]) -> list[int]:
    return [number for number, value in enumerate(values) if value]
