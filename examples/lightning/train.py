"""Lightning fits a curve. It takes the ranks as torchrun has made them.

Rank 0 saves last.ckpt; every rank goes on from it if it is there.
"""

import argparse
import os
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Curve(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _index: int) -> torch.Tensor:
        inputs, targets = batch
        loss = nn.functional.mse_loss(self.net(inputs), targets)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=2e-3)


class Lines(Callback):
    """A line for each epoch, in place of a bar."""

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        print(f"rank {trainer.global_rank} of {trainer.world_size} begins at step {trainer.global_step}", flush=True)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if trainer.is_global_zero:
            loss = trainer.callback_metrics["loss"].item()
            print(f"epoch {trainer.current_epoch + 1}: step {trainer.global_step}, loss {loss:.5f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--directory", type=Path, default=Path("/snapshots"))
    args = parser.parse_args()

    lightning.seed_everything(0)
    places = torch.linspace(-3, 3, 2048)[:, None]
    loader = DataLoader(TensorDataset(places, torch.sin(2 * places)), batch_size=32, shuffle=True)
    last = args.directory / "last.ckpt"
    trainer = lightning.Trainer(
        max_epochs=args.epochs,
        accelerator="auto",
        devices=int(os.environ["LOCAL_WORLD_SIZE"]),
        num_nodes=int(os.environ["GROUP_WORLD_SIZE"]),
        strategy="ddp",
        callbacks=[Lines(), ModelCheckpoint(args.directory, save_last=True)],
        logger=False,
        enable_progress_bar=False,
    )
    trainer.fit(Curve(), loader, ckpt_path=last if last.exists() else None)
    print(f"rank {trainer.global_rank} is at step {trainer.global_step}", flush=True)


if __name__ == "__main__":
    main()
