"""A small GPT learns to add, one character at a time. Plain DDP, in the shape that many training scripts have.

Run it with torchrun. Every rank loads the same checkpoint if there is one; rank 0 alone saves.
"""

import argparse
import math
import os
import random
import time
import zlib
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

CHARACTERS = "\n 0123456789+=."


def sums(count: int) -> str:
    """Lines such as "27 + 5 = 32.", always the same ones."""
    draw = random.Random(1234)
    pairs = [(draw.randrange(50), draw.randrange(50)) for _ in range(count)]
    return "".join(f"{a} + {b} = {a + b}.\n" for a, b in pairs)


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        split = self.attention(self.before_attention(x)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.projection(attended.transpose(1, 2).reshape(batch, length, width))
        x = x + self.mlp(self.before_mlp(x))
        return x


class GPT(nn.Module):
    def __init__(self, length: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.length = length
        self.characters, self.places = nn.Embedding(len(CHARACTERS), width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)), nn.LayerNorm(width))
        self.head = nn.Linear(width, len(CHARACTERS), bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = torch.arange(x.shape[1], device=x.device)
        scores: torch.Tensor = self.head(self.blocks(self.characters(x) + self.places(places)))
        return scores

    @torch.no_grad()
    def write(self, prompt: str, limit: int = 12) -> str:
        """Goes on with the prompt, to the end of the line."""
        text = prompt
        device = self.places.weight.device
        while len(text) < len(prompt) + limit and not text.endswith("\n"):
            known = torch.tensor([[CHARACTERS.index(c) for c in text[-self.length :]]], device=device)
            text += CHARACTERS[int(self(known)[0, -1].argmax())]
        return text.strip()


def batch(text: torch.Tensor, step: int, rank: int, args: argparse.Namespace) -> tuple[torch.Tensor, torch.Tensor]:
    """Drawn by step and rank, so that a run that resumes sees what it would have seen."""
    draw = torch.Generator().manual_seed(step * 1000 + rank)
    starts = torch.randint(len(text) - args.length - 1, (args.batch_size,), generator=draw)
    windows = torch.stack([text[start : start + args.length + 1] for start in starts])
    return windows[:, :-1], windows[:, 1:]


def save(path: Path, content: dict[str, object]) -> None:
    """Whole or not at all: the old file stays until the new one is complete."""
    beside = path.with_suffix(".tmp")
    torch.save(content, beside)
    beside.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--save_every", type=int, default=50)
    parser.add_argument("--checkpoint", type=Path, default=Path("/snapshots/ckpt.pt"))
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--length", type=int, default=48)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--sleep", type=float, default=0, help="seconds to wait after each step")
    args = parser.parse_args()

    cuda = torch.cuda.is_available()
    dist.init_process_group("nccl" if cuda else "gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)

    torch.manual_seed(0)
    text = torch.tensor([CHARACTERS.index(c) for c in sums(20000)])
    model = GPT(args.length, args.width, args.heads, args.layers).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    first = 0
    if args.checkpoint.exists():
        known = torch.load(args.checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(known["model"])
        optimizer.load_state_dict(known["optimizer"])
        first = known["step"]
    print(f"rank {rank} of {world} begins at step {first}", flush=True)

    ddp = DistributedDataParallel(model, device_ids=[device.index] if cuda else None)
    began = time.monotonic()
    for step in range(first, args.steps):
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1, (step + 1) / 50) * (0.55 + 0.45 * math.cos(math.pi * step / args.steps))
        inputs, targets = (part.to(device) for part in batch(text, step, rank, args))
        loss = functional.cross_entropy(ddp(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        done = step + 1
        if rank == 0 and done % 10 == 0:
            speed = (done - first) * args.batch_size * world / (time.monotonic() - began)
            # Of the batch of this step: the same in a run that resumes and in one that nothing disturbs.
            data = f"#{zlib.crc32(bytes(inputs.flatten().tolist())):08x}"
            print(
                f"step {done} of {args.steps}: loss {loss.item():.4f}, {speed:.0f} samples/s, data {data}", flush=True
            )
        if rank == 0 and (done % args.save_every == 0 or done == args.steps):
            save(args.checkpoint, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": done})
        time.sleep(args.sleep)

    if rank == 0:
        print(f"the model says: {model.write('17 + 25 =')}", flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
