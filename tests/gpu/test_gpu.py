"""What only a GPU can show: NCCL, and the trainer on CUDA. Elsewhere all of it is skipped, and says so."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ports import free_port

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU is visible here (torch.cuda.is_available() is false)"
)

TRAINER = Path(__file__).resolve().parents[2] / "training" / "training_code.py"
GPUS = torch.cuda.device_count()
several = pytest.mark.skipif(GPUS < 2, reason=f"{GPUS} GPU is visible here, and this takes two")
# The rule is a GPU for each process; with two processes on one GPU the last test shows what NCCL says to that.
COUNTS = sorted({1, GPUS or 1})

# Each rank sends rank + 1 and so knows the sum. Bus bandwidth: doc/PERFORMANCE.md in NVIDIA/nccl-tests.
ALL_REDUCE = """
import json, os, time
import torch
import torch.distributed as dist

rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % int(os.environ["USE_GPUS"]))
dist.init_process_group("nccl")
report = {}
for count in (1, 16 * 1024, 4 * 1024 * 1024, 64 * 1024 * 1024):
    values = torch.full((count,), float(rank + 1), device="cuda")
    dist.all_reduce(values)
    right = bool((values == size * (size + 1) / 2).all())
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(10):
        dist.all_reduce(values)
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - started) / 10
    report[4 * count] = {"right": right, "bus_mb_s": 4 * count / seconds * 2 * (size - 1) / size / 1e6}
dist.barrier()
dist.destroy_process_group()
print("REPORT " + json.dumps(report), flush=True)
"""


def torchrun(folder: Path, script: Path, *args: str, ranks: int, timeout: float = 180, **env: str) -> tuple[int, str]:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nproc_per_node={ranks}",
        "--nnodes=1",
        "--node_rank=0",
    ]
    command += ["--master_addr=127.0.0.1", f"--master_port={port}", str(script), *args]
    clean = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    done = subprocess.run(
        command, cwd=folder, env={**clean, "NCCL_DEBUG": "INFO", **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=timeout, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def train(folder: Path, *args: str, ranks: int = 1, **env: str) -> str:
    code, output = torchrun(folder, TRAINER, *args, "--snapshot_path", "snapshot.pt", ranks=ranks, **env)
    assert code == 0, output[-6000:]
    return output


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["event"] == "epoch"]


def all_reduce(folder: Path, ranks: int, gpus: int) -> tuple[int, str, dict[str, Any]]:
    script = folder / "all_reduce.py"
    script.write_text(ALL_REDUCE)
    code, output = torchrun(folder, script, ranks=ranks, USE_GPUS=str(gpus))
    found = re.search(r"^REPORT (.*)$", output, re.MULTILINE)
    return code, output, json.loads(found[1]) if found else {}


@pytest.mark.parametrize("ranks", COUNTS)
def test_all_reduce_is_right_at_every_size(tmp_path: Path, ranks: int) -> None:
    code, output, report = all_reduce(tmp_path, ranks, GPUS)
    assert code == 0, output[-6000:]
    assert len(report) == 4
    assert all(entry["right"] for entry in report.values()), report
    print(f"{ranks} rank(s): {report}")


@several
def test_bus_bandwidth(tmp_path: Path) -> None:
    """A floor that PCIe 3.0 with 8 lanes exceeds: less than 1 GB/s means that the way goes through something else."""
    _code, output, report = all_reduce(tmp_path, GPUS, GPUS)
    largest = report[max(report, key=int)]
    assert largest["bus_mb_s"] > 1000, (report, output[-3000:])


@several
def test_without_direct_access_between_gpus_it_goes_through_shared_memory(tmp_path: Path) -> None:
    """What training_nccl_p2p=false sets."""
    script = tmp_path / "all_reduce.py"
    script.write_text(ALL_REDUCE)
    code, output = torchrun(tmp_path, script, ranks=GPUS, USE_GPUS=str(GPUS), NCCL_P2P_DISABLE="1")
    assert code == 0, output[-6000:]
    assert "via SHM" in output


@pytest.mark.parametrize("ranks", COUNTS)
def test_trainer_chooses_nccl_and_learns(tmp_path: Path, ranks: int) -> None:
    output = train(tmp_path, "5", "2", "--task", "digits", ranks=ranks)
    for rank in range(ranks):
        assert f"device cuda:{rank}, backend nccl" in output
    assert f"weights are identical on all {ranks} ranks" in output
    assert losses(tmp_path)[-1] < losses(tmp_path)[0] / 2


def test_trainer_goes_on_from_its_snapshot(tmp_path: Path) -> None:
    for name, runs in (("whole", ["6"]), ("parts", ["3", "6"])):
        (tmp_path / name).mkdir()
        for epochs in runs:
            output = train(tmp_path / name, epochs, "1", "--task", "digits", ranks=GPUS)
    assert "resuming from snapshot at epoch 3" in output
    # Not bit for bit, as on CPUs: sums on a GPU have no fixed order.
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-3)


def test_what_is_done_in_another_way_on_a_gpu(tmp_path: Path) -> None:
    """Pinned memory that workers fill, bfloat16, clipped and compressed gradients, communicators at once, seldom asked."""
    options = ("--amp", "--workers", "2", "--clip_grad_norm", "1", "--compress", "bf16", "--save_every_seconds", "1")
    output = train(tmp_path, "6", "9", "--task", "digits", "--check_every", "10", *options, ranks=GPUS)
    assert "[GPU0] creating NCCL communicators: this process ends if that takes more than 120 s" in output
    assert losses(tmp_path)[-1] < losses(tmp_path)[0]


def test_a_snapshot_goes_from_gpu_to_cpu_and_back(tmp_path: Path) -> None:
    train(tmp_path, "1", "1")
    train(tmp_path, "2", "1", DDP_BACKEND="gloo")
    assert "resuming from snapshot at epoch 2" in train(tmp_path, "3", "1")
    assert len(losses(tmp_path)) == 3


def test_gpu_and_cpu_learn_the_same(tmp_path: Path) -> None:
    for backend in ("nccl", "gloo"):
        (tmp_path / backend).mkdir()
        train(tmp_path / backend, "5", "5", "--task", "digits", DDP_BACKEND=backend)
    assert losses(tmp_path / "nccl") == pytest.approx(losses(tmp_path / "gloo"), rel=1e-2)


def test_compression_and_mixed_precision(tmp_path: Path) -> None:
    output = train(tmp_path, "5", "5", "--task", "digits", "--compress", "bf16", "--amp", ranks=GPUS)
    assert ("--amp is left out" in output) is not torch.cuda.is_bf16_supported()
    assert losses(tmp_path)[-1] < losses(tmp_path)[0]


def test_more_processes_than_gpus(tmp_path: Path) -> None:
    code, output = torchrun(
        tmp_path, TRAINER, "1", "1", "--backend", "nccl", "--snapshot_path", "snapshot.pt", ranks=GPUS + 1
    )
    assert code != 0
    assert "backend nccl needs a GPU for each rank" in output
    output = train(tmp_path, "1", "1", ranks=GPUS + 1, DDP_BACKEND="auto")
    assert "device cpu, backend gloo" in output


def test_two_processes_on_one_gpu(tmp_path: Path) -> None:
    """NCCL refuses that, in words that the preflight knows (GROUP_WORDS in nccl_check.py)."""
    code, output, report = all_reduce(tmp_path, 2, 1)
    assert code != 0
    assert report == {}
    assert "duplicate gpu" in output.lower(), output[-6000:]
