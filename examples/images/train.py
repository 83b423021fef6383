"""A small convolutional network tells drawn shapes apart. The images lie in a directory that each host has.

Run it with torchrun. Every rank loads the same checkpoint if there is one; rank 0 alone saves.
"""

import argparse
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler


class Images(Dataset[tuple[torch.Tensor, int]]):
    """A directory with a subdirectory for each class."""

    def __init__(self, directory: Path) -> None:
        self.classes = sorted(entry.name for entry in directory.iterdir() if entry.is_dir())
        self.files = [
            (file, label)
            for label, name in enumerate(self.classes)
            for file in sorted((directory / name).glob("*.png"))
        ]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        file, label = self.files[index]
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("L"), dtype=np.float32) / 255
        return torch.from_numpy(pixels)[None], label


def network(classes: int) -> nn.Module:
    def stage(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(
        *stage(1, 16), *stage(16, 32), *stage(32, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes)
    )


def accuracy(model: nn.Module, loader: DataLoader[Any], device: torch.device) -> float:
    """Of all ranks together."""
    counts = torch.zeros(2, device=device)
    model.eval()
    with torch.no_grad():
        for images, labels in loader:
            right = model(images.to(device)).argmax(1) == labels.to(device)
            counts += torch.tensor([right.sum(), len(labels)], device=device)
    model.train()
    dist.all_reduce(counts)
    return (counts[0] / counts[1]).item()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("/data"))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--checkpoint", type=Path, default=Path("/snapshots/model.pt"))
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--lr", type=float, default=2e-3)
    args = parser.parse_args()

    cuda = torch.cuda.is_available()
    dist.init_process_group("nccl" if cuda else "gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")

    train, test = Images(args.data / "train"), Images(args.data / "test")
    sampler: DistributedSampler[tuple[torch.Tensor, int]] = DistributedSampler(train)
    loader = DataLoader(train, args.batch_size, sampler=sampler, num_workers=args.workers)
    held_out = DataLoader(test, args.batch_size, sampler=DistributedSampler(test, shuffle=False))

    torch.manual_seed(0)
    model = network(len(train.classes)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    first = 0
    if args.checkpoint.exists():
        known = torch.load(args.checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(known["model"])
        optimizer.load_state_dict(known["optimizer"])
        first = known["epoch"]
    print(f"rank {rank} of {world} begins at epoch {first}", flush=True)

    ddp = DistributedDataParallel(model, device_ids=[device.index] if cuda else None)
    for epoch in range(first, args.epochs):
        sampler.set_epoch(epoch)
        # A digest of the images in their order: the same in a run that resumes and in one that nothing disturbs.
        data = 0
        for images, labels in loader:
            data = zlib.crc32(images.numpy(), data)
            loss = functional.cross_entropy(ddp(images.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        right = accuracy(model, held_out, device)
        if rank == 0:
            told = f"loss {loss.item():.4f}, accuracy {right:.1%}, data #{data:08x}"
            print(f"epoch {epoch + 1} of {args.epochs}: {told}", flush=True)
            beside = args.checkpoint.with_suffix(".tmp")
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}, beside)
            beside.replace(args.checkpoint)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
