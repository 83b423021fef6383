"""Which rank this process is, and what the ranks tell each other."""

import json
import os
import sys
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

MESSAGE_BYTES = 2**20  # far more than the ranks ever tell each other
PIECE_BYTES = 2**26  # of what is long: --timeout counts for each piece, and gloo sends no more than 2 GiB at once


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world_size() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def log(message: str, prefix: bool = True) -> None:
    """One line, one write: lines of ranks that share a pipe must not mix."""
    sys.stdout.write(f"[GPU{rank()}] {message}\n" if prefix else f"{message}\n")
    sys.stdout.flush()


# Never by all_gather_object or broadcast_object_list: they unpickle what a peer sends, so they run what it wants, and
# whoever reaches the port is taken for a peer.


def gather_bytes(own: torch.Tensor) -> list[torch.Tensor]:
    """The bytes of each rank, which need not be equally many."""
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(world_size())]
    dist.all_gather(sizes, torch.tensor([len(own)]))
    lengths = [int(size) for size in sizes]
    for peer, length in enumerate(lengths):
        if not 0 <= length <= MESSAGE_BYTES:
            raise RuntimeError(f"rank {peer} wants to send {length} bytes: at most {MESSAGE_BYTES} are taken")
    own = nn.functional.pad(own, (0, max(lengths) - len(own)))
    parts = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(parts, own)
    return [part[:length].clone() for part, length in zip(parts, lengths, strict=True)]


def gather(value: Any) -> list[Any]:
    """The value of each rank, as JSON brings it: a tuple arrives as a list."""
    own, values = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8), []
    for peer, part in enumerate(gather_bytes(own)):
        try:
            values.append(json.loads(part.numpy().tobytes()))
        except (ValueError, RecursionError):
            sentence = f"what rank {peer} sent cannot be read: does it run the same training_code.py?"
            raise RuntimeError(sentence) from None
    return values


def require_same(what: str, value: Any) -> None:
    values = gather(value)
    if any(other != values[0] for other in values):
        seen = ", ".join(f"rank {peer} has {other}" for peer, other in enumerate(values))
        raise RuntimeError(f"the ranks do not agree on {what}: {seen}")
