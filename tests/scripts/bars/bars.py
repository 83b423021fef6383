"""A script as many are: a progress bar that ends no line, a key in the environment, a download in a cache. It trains nothing."""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

import torch.distributed as dist


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--fail", action="store_true", help="rank 1 fails half way")
    args = parser.parse_args()

    dist.init_process_group("gloo")
    rank = dist.get_rank()
    weights = Path(os.environ["HF_HOME"]) / "weights"
    found = "kept" if weights.exists() else "downloaded"
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_text("weights")
    print(
        f"rank {rank}: key of {len(os.environ['API_KEY'])} letters, {shutil.which('jq')}, weights {found}", flush=True
    )
    for step in range(args.steps + 1):
        done = step * 100 // args.steps
        bar = f"{done:3d}%|{'#' * (done // 2):50}| {step}/{args.steps} [00:{step % 60:02d}<00:10, loss={1 / (step + 1):.4f}]"
        print(f"\r{bar}", end="", file=sys.stderr, flush=True)
        time.sleep(0.02)
        if step % 50 == 0:
            dist.barrier()
        if args.fail and rank == 1 and step == args.steps // 2:
            raise RuntimeError("the data are not here")
    print(file=sys.stderr, flush=True)
    print(f"rank {rank} is done", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
