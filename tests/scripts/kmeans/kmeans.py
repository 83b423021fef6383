"""K-means over points that are spread over the ranks: torch.distributed without DDP, without gradients. Run it with torchrun."""

import argparse
import csv
import json
from pathlib import Path

import torch
import torch.distributed as dist


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("points", type=Path, help="CSV of coordinates, one point a line")
    parser.add_argument("--clusters", type=int, default=3)
    parser.add_argument("--seed_file", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    dist.init_process_group("gloo")
    with args.points.open() as file:
        points = torch.tensor([[float(value) for value in row] for row in csv.reader(file)])
    mine = points[dist.get_rank() :: dist.get_world_size()]
    torch.manual_seed(int(args.seed_file.read_text()))
    centres = points[torch.randperm(len(points))[: args.clusters]]
    for _ in range(20):
        nearest = torch.cdist(mine, centres).argmin(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, mine)
        counts = torch.bincount(nearest, minlength=args.clusters).float()
        dist.all_reduce(sums)
        dist.all_reduce(counts)
        centres = sums / counts.clamp(min=1).unsqueeze(1)

    print(f"rank {dist.get_rank()} looked at {len(mine)} of {len(points)} points", flush=True)
    if dist.get_rank() == 0:
        args.out.write_text(json.dumps({"centres": centres.tolist(), "counts": counts.tolist()}))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
