"""A script as nanoGPT is: each rank loads the same path if it is there, and rank 0 saves to it, in place."""

import argparse
import os
import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--save_every", type=int, default=50)
parser.add_argument("--out", default="/snapshots/out")
args = parser.parse_args()

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
model = DistributedDataParallel(torch.nn.Linear(64, 64))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
step, path = 0, os.path.join(args.out, "ckpt.pt")
if os.path.exists(path):
    saved = torch.load(path, weights_only=True)
    model.module.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    step = saved["step"]
print(f"rank {rank} starts at step {step}", flush=True)
while step < args.steps:
    if rank == 0 and step % args.save_every == 0:
        os.makedirs(args.out, exist_ok=True)
        torch.save({"model": model.module.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, path)
    loss = model(torch.randn(8, 64)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    step += 1
    time.sleep(0.02)
    if rank == 0 and step % 10 == 0:
        print(f"step {step}: loss {loss.item():.4f}", flush=True)
digests = [torch.zeros(1) for _ in range(dist.get_world_size())]
dist.all_gather(digests, torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).sum().reshape(1))
print(f"rank {rank} ends at step {step}, alike: {len({float(digest) for digest in digests}) == 1}", flush=True)
dist.barrier()
dist.destroy_process_group()
