"""How gradients travel between the ranks, and how long that takes."""

import time
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook, bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel


class Exchange:
    """With half the bits if `compress` is bf16. On CPUs `seconds` adds up what the transfers take."""

    def __init__(
        self,
        model: DistributedDataParallel,
        device: torch.device,
        group: dist.ProcessGroup | None,
        compress: str | None,
    ) -> None:
        self.seconds = 0.0
        self.reduce = bf16_compress_hook if compress == "bf16" else allreduce_hook
        if device.type == "cpu":  # on a GPU the time of a launch says nothing about the transfer
            model.register_comm_hook(None, self.timed_reduce)
        elif compress:
            model.register_comm_hook(group, self.reduce)

    def timed_reduce(self, _: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:  # type: ignore[name-defined]
        started = time.perf_counter()

        def done(future: torch.futures.Future[torch.Tensor]) -> torch.Tensor:
            self.seconds += time.perf_counter() - started
            return future.value()

        return self.reduce(dist.group.WORLD, bucket).then(done)  # type: ignore[arg-type]
