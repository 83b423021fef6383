"""How the trainer lets gradients travel: what DDP is told for each device. What comes of it, test_trainer_steps shows."""

from typing import Any

import pytest
import torch
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

from ddp_trainer.gradients import Exchange


class Model:
    """In place of a model that DDP wraps: it keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, Any]] = []

    def register_comm_hook(self, state: Any, hook: Any) -> None:
        self.told.append((state, hook))


@pytest.mark.parametrize("compress", [None, "bf16"])
def test_on_a_cpu_the_transfers_are_timed(compress: str | None) -> None:
    model: Any = Model()
    exchange = Exchange(model, torch.device("cpu"), None, compress)
    assert model.told == [(None, exchange.timed_reduce)]
    assert exchange.seconds == 0.0
    assert (exchange.reduce is bf16_compress_hook) is (compress == "bf16")


@pytest.mark.parametrize("compress", [None, "bf16"])
def test_on_a_gpu_ddp_does_it_unless_they_are_compressed(compress: str | None) -> None:
    """The time of a launch there says nothing about the transfer."""
    model, group = Model(), object()
    arguments: Any = (model, torch.device("cuda"), group, compress)
    Exchange(*arguments)
    assert model.told == ([(group, bf16_compress_hook)] if compress else [])
