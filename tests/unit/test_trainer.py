"""The trainer on its real tasks: what the documented command prints, that it learns, and that no end of a run costs a digit.

Torchrun itself is where torchrun is what counts; the other runs are its ranks alone, forked.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
import sklearn.datasets  # noqa: F401 - here, not in each rank of each run
import torch
from ports import free_port
from trainer_runs import TRAINER, difference, records, saved, start, with_torchrun

from ddp_trainer import snapshots

# Runs the trainer, of which rank 1 stops without a word in its 50th step.
FREEZES = f"""
import os, signal, sys
sys.path.insert(0, {str(TRAINER.parent)!r})
import torch, training_code
from ddp_trainer import process

step, count = torch.optim.SGD.step, 0

def frozen_step(self, *args, **kwargs):
    global count
    count += 1
    if count == 50:
        os.kill(os.getpid(), signal.SIGSTOP)
    return step(self, *args, **kwargs)

process.HANG_SECONDS = 3.0
if os.environ["RANK"] == "1":
    torch.optim.SGD.step = frozen_step
training_code.main()
"""
DIGITS = ("10", "2", "--task", "digits", "--batch_size", "32")
LINEAR = ("2", "2", "--task", "regression")


def run(folder: Path, *args: str, ranks: int = 2, prepare: Callable[[int], object] | None = None) -> list[forked.Ended]:
    path = ["--snapshot_path", str(folder / "snapshot.pt"), "--backend", "gloo"]
    return start(folder, *[[*args, *path]] * ranks, prepare=prepare)


def train(folder: Path, *args: str, ranks: int = 2) -> list[str]:
    """What each rank said."""
    ended = run(folder, *args, ranks=ranks)
    assert [rank.code for rank in ended] == [0] * ranks, ended
    return [rank.output for rank in ended]


def at(
    number: int, act: Callable[..., object], sent: signal.Signals, matters: Callable[..., bool]
) -> Callable[..., object]:
    """`act`, and this process gets a signal before the call with that number of those that matter."""
    count = 0

    def counting(*args: object, **kwargs: object) -> object:
        nonlocal count
        count += matters(*args)
        if count == number and matters(*args):
            os.kill(os.getpid(), sent)
        return act(*args, **kwargs)

    return counting


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The run to compare with: two ranks, digits, ten epochs, undisturbed."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(folder, *DIGITS)


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear model that two ranks trained, 32 samples each per update."""
    folder = tmp_path_factory.mktemp("linear")
    train(folder, *LINEAR, "--batch_size", "32")
    return folder


@pytest.fixture
def copy_of_whole(whole: tuple[Path, list[str]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole[0], tmp_path / "copy"))


def test_seed_command_line_prints_the_seed_lines_and_learns(tmp_path: Path) -> None:
    """The one run for which nothing is prepared: torchrun, and its ranks, as processes of their own."""
    port = free_port()
    env = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    env |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "DDP_BACKEND": "gloo"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--nnodes=1", "--node_rank=0"]
    command += ["--master_addr=127.0.0.1", f"--master_port={port}", str(TRAINER)]
    command += ["10", "2", "--batch_size", "32", "--snapshot_path", "snapshot.pt"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done
    output = done.stdout
    lines = output.splitlines()
    for rank in (0, 1):
        assert f"[GPU{rank}] Process group ready" in lines
        for epoch in range(10):
            assert f"[GPU{rank}] epoch {epoch} | batch_size: 32 | steps: 64" in lines
        assert re.search(
            rf"^\[GPU{rank}\] rank {rank} of 2 on host \S+, device cpu, backend gloo$", output, re.MULTILINE
        )
    saves = re.findall(r"^Epoch (\d+) \| train snapshot saved at snapshot\.pt$", output, re.MULTILINE)
    assert saves == ["0", "2", "4", "6", "8", "9"]
    losses = [record["loss"] for record in records(tmp_path, "epoch")]
    assert len(losses) == 10
    assert losses[-1] < losses[0] / 10
    assert "weights are identical on all 2 ranks" in output


def test_digits_are_learned(whole: tuple[Path, list[str]]) -> None:
    folder, (output, _) = whole
    accuracy = re.search(r"final held-out accuracy: ([\d.]+)", output)
    assert accuracy
    assert float(accuracy[1]) >= 0.95
    for rank, name in enumerate(("metrics.jsonl", "metrics-rank1.jsonl")):
        (first_step,) = records(folder, "first_step", name)
        epochs = records(folder, "epoch", name)
        assert first_step["rank"] == rank
        assert [record["epoch"] for record in epochs] == list(range(10))
        assert epochs[-1]["loss"] < epochs[0]["loss"] / 5
        assert epochs[-1]["accuracy"] >= 0.95
        assert epochs[-1]["step"] == 240
        for record in epochs:
            assert record["samples_per_s"] > 0
            assert 0 < record["comm_seconds"] < record["seconds"]
            assert record["restarts"] == 0


def test_snapshot_holds_all_that_an_exact_resume_needs(whole: tuple[Path, list[str]]) -> None:
    snapshot = saved(whole[0])
    assert snapshot["next_epoch"] == 10
    assert snapshot["seen"] == 0
    assert snapshot["world_size"] == 2
    assert snapshot["optimizer"]["state"]
    assert saved(whole[0], "snapshot.pt.1")["next_epoch"] == 9
    assert not (whole[0] / "snapshot.pt.tmp").exists()


def test_killed_while_saving_then_resumed_is_bit_identical(whole: tuple[Path, list[str]], tmp_path: Path) -> None:
    def prepare(rank: int) -> None:  # rank 0 saves for the third time, and dies between its two renames
        if rank == 0:
            os.replace = at(3, os.replace, signal.SIGKILL, lambda source, _: str(source).endswith(".tmp"))  # type: ignore[assignment]

    assert run(tmp_path, *DIGITS, prepare=prepare)[0].code == -signal.SIGKILL
    assert not (tmp_path / "snapshot.pt").exists()  # it died between the two renames: the worst moment
    zero, one = train(tmp_path, *DIGITS)
    assert "using the previous good snapshot" in zero
    assert "[GPU0] resuming from snapshot at epoch 3 |" in zero
    assert "[GPU1] resuming from snapshot at epoch 3 |" in one
    assert difference(tmp_path, whole[0]) == 0


def test_sigterm_in_one_rank_saves_within_the_epoch_and_resumes_exactly(
    whole: tuple[Path, list[str]], tmp_path: Path
) -> None:
    def prepare(rank: int) -> None:  # rank 1 is told to stop in the middle of an epoch
        if rank == 1:
            torch.optim.SGD.step = at(100, torch.optim.SGD.step, signal.SIGTERM, lambda *_: True)  # type: ignore[method-assign]

    ended = run(tmp_path, *DIGITS, prepare=prepare)
    assert "[GPU1] SIGTERM" in ended[1].output
    assert [rank.code for rank in ended] == [128 + signal.SIGTERM] * 2
    snapshot = saved(tmp_path)
    assert (snapshot["next_epoch"], snapshot["global_step"]) == (4, 101)
    assert snapshot["seen"] == 5 * 32 * 2
    assert "samples of it already seen: 320" in train(tmp_path, *DIGITS)[0]
    assert difference(tmp_path, whole[0]) == 0


def test_sigterm_to_torchrun_saves_and_stops_within_the_epoch(tmp_path: Path) -> None:
    process, log = with_torchrun(tmp_path, "2", "1", "--batch_size", "1", "--snapshot_path", "snapshot.pt")
    try:
        deadline = time.monotonic() + 240
        while "[GPU1] first step done" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.terminate()
        process.join(25)  # torchrun kills after 30 s what has not stopped
    finally:
        process.kill()
    output = log.read_text()
    assert process.exitcode == 1, output  # with 0 swarm would take the job for finished
    snapshot = saved(tmp_path)
    assert snapshot["next_epoch"] == 0
    assert 0 < snapshot["seen"] == 2 * snapshot["global_step"] < 4096
    for rank, name in enumerate(("metrics.jsonl", "metrics-rank1.jsonl")):
        assert f"[GPU{rank}] SIGTERM" in output
        (stopped,) = records(tmp_path, "stopped", name)
        assert stopped["step"] == snapshot["global_step"]


def test_truncated_snapshot_is_named_and_the_previous_one_used(
    whole: tuple[Path, list[str]], copy_of_whole: Path
) -> None:
    snapshot = copy_of_whole / "snapshot.pt"
    os.truncate(snapshot, snapshot.stat().st_size // 2)
    output = train(copy_of_whole, *DIGITS)[0]
    assert re.search(r"^\[GPU0\] snapshot \S+snapshot\.pt cannot be used: ", output, re.MULTILINE)
    assert re.search(r"using the previous good snapshot \S+snapshot\.pt\.1", output)
    assert (copy_of_whole / "snapshot.pt.bad").exists()
    assert saved(copy_of_whole, "snapshot.pt.1")["next_epoch"] == 9
    assert difference(copy_of_whole, whole[0]) == 0


def test_nothing_left_to_train(copy_of_whole: Path) -> None:
    before = (copy_of_whole / "snapshot.pt").read_bytes()
    (output,) = train(copy_of_whole, *DIGITS, ranks=1)  # another number of ranks is fine as well
    assert "[GPU0] world size changed from 2 to 1" in output
    assert "[GPU0] nothing left to train: snapshot is at epoch 10 of 10" in output
    assert "epoch 9 | batch_size" not in output
    assert (copy_of_whole / "snapshot.pt").read_bytes() == before


@pytest.mark.parametrize("ranks, per_rank", [(1, 64), (4, 16)])
def test_same_global_batch_gives_the_same_weights(linear: Path, tmp_path: Path, ranks: int, per_rank: int) -> None:
    """Only the order in which float32 gradients are summed differs, so a rounding error remains, no more.

    On a linear model, that is: where a rounding error moves an input of a ReLU across zero, the gradient jumps, and
    digits end up to 1e-1 apart, by the seed and by the CPU's instructions.
    """
    train(tmp_path, *LINEAR, "--batch_size", str(per_rank), ranks=ranks)
    assert difference(tmp_path, linear) < 1e-6


def test_a_stopped_process_ends_the_run_long_before_the_timeout(tmp_path: Path) -> None:
    """Without the heartbeat rank 0 would wait for --timeout, and torchrun for ever.

    Torchrun's watchdog kills the stopped rank and then torchrun itself; any other failure has another exit code.
    """
    script = tmp_path / "freezes.py"
    script.write_text(FREEZES)
    args = ("100", "9", "--snapshot_path", "snapshot.pt", "--timeout", "600", "--log_every", "1")
    process, log = with_torchrun(tmp_path, *args, script=script, TORCHELASTIC_ENABLE_FILE_TIMER="1")
    try:
        process.join(240)
    finally:
        process.kill()
    assert process.exitcode == -signal.SIGKILL, log.read_text()
    assert records(tmp_path, "step", "metrics-rank1.jsonl")[-1]["step"] == 49  # it was stopped in the 50th


def test_ranks_that_drift_apart_fail_the_run(tmp_path: Path) -> None:
    step = torch.optim.SGD.step

    def wrong(self: torch.optim.SGD, *args: object, **kwargs: object) -> object:  # an update of its own
        self.param_groups[0]["lr"] *= 1.001
        return step(self, *args, **kwargs)  # type: ignore[arg-type]

    def prepare(rank: int) -> None:
        if rank == 1:
            torch.optim.SGD.step = wrong  # type: ignore[method-assign]

    for args, updates in (([], (0, 64)), (["--check_every", "7"], (0, 7))):  # also before a snapshot is saved
        for rank in run(tmp_path, "1", "1", *args, prepare=prepare):
            assert rank.code == 1
            assert rank.output.strip().splitlines()[-1] == (
                "RuntimeError: the ranks do not agree on the weights: rank 1 differs from rank 0: they agreed at update "
                f"{updates[0]}, and no longer at update {updates[1]}"
            )
    assert not (tmp_path / "snapshot.pt").exists()


def test_foreign_and_damaged_snapshots_are_refused(whole: tuple[Path, list[str]], tmp_path: Path) -> None:
    path = tmp_path / "snapshot.pt"
    snapshot = saved(whole[0])
    for foreign in ({"weights": torch.zeros(3)}, [1, 2], {**snapshot, "format": "ddp-swarm/1"}):
        torch.save(foreign, path)
        with pytest.raises(ValueError, match="not written by this trainer"):
            snapshots.read_snapshot(path)
    snapshot["model"]["0.bias"][0] += 1
    torch.save(snapshot, path)
    with pytest.raises(ValueError, match="do not match their checksum"):
        snapshots.read_snapshot(path)
    assert "no usable snapshot" in snapshots.find_snapshot(path)
    assert path.exists()
    assert snapshots.find_snapshot(tmp_path / "none.pt") is None
