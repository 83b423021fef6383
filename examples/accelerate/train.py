"""Accelerate fits a plane, started by `accelerate launch` in place of torchrun.

Each state is saved whole in a directory of its own; every rank loads the last one that is complete.
"""

import argparse
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--save_every", type=int, default=20)
    parser.add_argument("--directory", type=Path, default=Path("/snapshots"))
    args = parser.parse_args()

    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    torch.manual_seed(0)
    inputs = torch.randn(2048, 8)
    targets = inputs @ torch.arange(1.0, 9.0)[:, None] + 0.1 * torch.randn(2048, 1)
    model = nn.Linear(8, 1)
    model, optimizer, loader = accelerator.prepare(
        model,
        torch.optim.SGD(model.parameters(), lr=0.01),
        DataLoader(TensorDataset(inputs, targets), batch_size=32, shuffle=True),
    )
    # Written last and by rank 0, it names the state that is complete.
    newest = args.directory / "newest.txt"
    first = int(newest.read_text()) if newest.exists() else 0
    if first:
        accelerator.load_state(str(args.directory / f"state-{first}"))
    rank, world = accelerator.process_index, accelerator.num_processes
    print(f"rank {rank} of {world} begins at epoch {first}", flush=True)

    for epoch in range(first, args.epochs):
        for features, wanted in loader:
            loss = nn.functional.mse_loss(model(features), wanted)
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
        accelerator.print(f"epoch {epoch + 1} of {args.epochs}: loss {loss.item():.4f}", flush=True)
        if (epoch + 1) % args.save_every:
            continue
        accelerator.save_state(str(args.directory / f"state-{epoch + 1}"))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            beside = newest.with_suffix(".tmp")
            beside.write_text(str(epoch + 1))
            beside.replace(newest)
    accelerator.end_training()


if __name__ == "__main__":
    main()
