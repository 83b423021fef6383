"""What a rank learns from: its batches, the random numbers of each, and how they come to its device."""

import ctypes
import hashlib
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, Subset

from .ranks import rank, world_size
from .sampler import ResumableSampler

try:
    import numpy
except ImportError:  # torch works without it, and so does the trainer
    numpy = None  # type: ignore[assignment]

PR_SET_PDEATHSIG = 1  # of Linux
Place = tuple[Any, ...]  # such as (seed, rank, epoch, sample): where in the training something is drawn


def seed_by(*place: Any) -> None:
    """Seed the global generators of `random`, NumPy and torch, so that what follows draws what belongs to this place."""
    number = int.from_bytes(hashlib.blake2b(repr(place).encode(), digest_size=8).digest(), "big")
    random.seed(number)
    torch.default_generator.manual_seed(number)  # torch.manual_seed asks every kind of device, which takes 80 us
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(number)
    if numpy:
        numpy.random.seed(number % 2**32)


class Seeded(Dataset[Any]):
    """A dataset that draws random numbers by place: the same ones whichever worker loads the batch, and after a restart."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset
        self.many: Callable[[list[int]], Any] | None = getattr(dataset, "__getitems__", None)

    def __getitems__(self, batch: tuple[Place, list[int]]) -> Any:
        place, indices = batch
        seed_by(*place)
        return self.many(indices) if self.many else [self.dataset[index] for index in indices]


class Batches(Sampler[Any]):
    """What is left of the sampler's epoch, in batches: of each its place, and the indices of its samples."""

    def __init__(self, sampler: ResumableSampler, size: int) -> None:
        self.sampler, self.batches = sampler, BatchSampler(sampler, size, drop_last=False)

    def __iter__(self) -> Iterator[tuple[Place, list[int]]]:
        sampler = self.sampler
        first = sampler.seen // sampler.num_replicas
        for number, indices in enumerate(self.batches):
            sample = first + number * self.batches.batch_size
            yield (sampler.seed, rank(), sampler.epoch, sample, "data"), indices

    def __len__(self) -> int:
        return len(self.batches)


def outlive_sigterm(_: int) -> None:
    """Torchrun sends signals to a rank's whole process group. The rank is to save at SIGTERM, for which its workers must live.

    They end with the rank, however it ends.
    """
    os.setpgrp()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def make_loader(
    dataset: Dataset[Any],
    sampler: ResumableSampler,
    batch_size: int,
    workers: int,
    device: torch.device,
    collate: Callable[[list[Any]], Any] | None = None,
) -> DataLoader[Any]:
    batches = Batches(sampler, batch_size)
    return DataLoader(
        Seeded(dataset),
        batch_sampler=batches,
        num_workers=min(workers, len(batches)),
        worker_init_fn=outlive_sigterm,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
    )


def training_sampler(dataset: Any, seed: int) -> ResumableSampler:
    if not hasattr(dataset, "__len__") or not len(dataset):
        sys.exit("error: the task's training data must be a dataset with a length (len(dataset)) of at least 1")
    return ResumableSampler(dataset, world_size(), rank(), shuffle=True, seed=seed)


def held_out_loader(data: Any, batch_size: int, workers: int, device: torch.device, collate: Any) -> Any:
    """Of a dataset this rank's share; anything else, such as a DataLoader, gives batches and is taken as it is."""
    if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        return () if data is None else data
    share: Subset[Any] = Subset(data, range(rank(), len(data), world_size()))
    sampler = ResumableSampler(share, 1, 0, shuffle=False)
    return make_loader(share, sampler, batch_size, workers, device, collate) if len(share) else ()


def with_sizes(loader: Any) -> Iterator[tuple[Any, int]]:
    """Each batch, and how many samples it is of. In another's batches they are counted by the inputs."""
    own = isinstance(getattr(loader, "batch_sampler", None), Batches)
    sizes = (len(indices) for _, indices in loader.batch_sampler) if own else None
    for batch in loader:
        yield batch, next(sizes) if sizes else samples_in(batch[0])


def to_device(value: Any, device: torch.device) -> Any:
    """A tensor, or what a dict, list or tuple has of them, on the device. From pinned memory nobody waits for it."""
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {name: to_device(part, device) for name, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(to_device(part, device) for part in value))
    if isinstance(value, list | tuple):
        return type(value)(to_device(part, device) for part in value)
    return value


def samples_in(value: Any) -> int:
    """The samples in a batch: the length of its first tensor or, where there is none, of what there is."""
    while isinstance(value, dict | list | tuple) and value:
        first = next(iter(value.values())) if isinstance(value, dict) else value[0]
        if not isinstance(first, torch.Tensor | dict | list | tuple):
            break
        value = first
    return len(value)
