"""How the ranks meet: their process groups, and the device of each."""

import argparse
import faulthandler
import os
import socket
import sys
from datetime import timedelta

import torch
import torch.distributed as dist

from .ranks import gather, local_rank, local_world_size, log, rank, require_same, world_size

MAY_DIFFER = ("snapshot_path", "metrics_path", "workers")  # of the arguments, from rank to rank


def meet(args: argparse.Namespace) -> tuple[torch.device, dist.ProcessGroup | None]:
    """Gloo for what the ranks agree on, always; the gradients take nccl, the group returned, where each has a GPU.

    Leaves out args.amp where a rank cannot compute in bfloat16.
    """
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 12355}.items():
        os.environ.setdefault(name, str(value))  # plain `python training_code.py ...` is one rank
    dist.init_process_group("gloo", timeout=timedelta(seconds=args.timeout))
    require_same("the arguments", {name: value for name, value in vars(args).items() if name not in MAY_DIFFER})
    backend = choose_backend(args.backend)
    device = torch.device("cuda", local_rank()) if backend == "nccl" else torch.device("cpu")
    group = make_nccl_group(device, args.timeout) if backend == "nccl" else None
    bfloat16 = backend == "nccl" and torch.cuda.is_bf16_supported(including_emulation=False)
    if args.amp and not all(gather(bfloat16)):
        args.amp = False
        log("--amp is left out: not every rank has a device that computes in bfloat16")
    log(f"rank {rank()} of {world_size()} on host {socket.gethostname()}, device {device}, backend {backend}")
    log("Process group ready")
    return device, group


def choose_backend(wanted: str) -> str:
    has_gpu = gather(torch.cuda.is_available() and torch.cuda.device_count() >= local_world_size())
    if wanted == "nccl" and not all(has_gpu):
        without = ", ".join(str(peer) for peer, has in enumerate(has_gpu) if not has)
        sys.exit(f"error: backend nccl needs a GPU for each rank, and there is none for rank {without}")
    return ("nccl" if all(has_gpu) else "gloo") if wanted == "auto" else wanted


def make_nccl_group(device: torch.device, timeout: float) -> dist.ProcessGroup:
    """All ranks, with their communicators made at once. If that takes more than `timeout` seconds, the process ends.

    NCCL's own watchdog looks at collectives only, and not at what comes before the first one (pytorch#88103).
    """
    torch.cuda.set_device(device)
    log(f"creating NCCL communicators: this process ends if that takes more than {timeout:g} s")
    faulthandler.dump_traceback_later(timeout, exit=True)  # a thread of C, which no lock of Python holds up
    group: dist.ProcessGroup = dist.new_group(backend="nccl", timeout=timedelta(seconds=timeout), device_id=device)
    dist.all_reduce(torch.zeros(1, device=device), group=group)
    torch.cuda.synchronize(device)
    faulthandler.cancel_dump_traceback_later()
    return group
