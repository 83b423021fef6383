"""The trainer, as torchrun starts it: real processes, gloo on loopback, small runs."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from by_path import ROOT, load

TRAINER = ROOT / "training" / "training_code.py"

trainer = load("training/training_code.py")

# Runs the trainer with one fault planted in one rank, at a moment that does not depend on the machine's speed.
FAULTY = f"""
import os, signal, sys
sys.path.insert(0, {str(TRAINER.parent)!r})
import torch, training_code

fault, count = os.environ["FAULT"], 0

def at(number, sent):
    global count
    count += 1
    if count == number:
        os.kill(os.getpid(), sent)

replace, step = os.replace, torch.optim.SGD.step

def killed_replace(source, target):  # rank 0 saves for the third time, and dies between its two renames
    if str(source).endswith(".tmp"):
        at(3, signal.SIGKILL)
    replace(source, target)

def stopped_step(self, *args, **kwargs):  # rank 1 is told to stop in the middle of an epoch
    at(100, signal.SIGTERM)
    return step(self, *args, **kwargs)

def frozen_step(self, *args, **kwargs):  # rank 1 stops without a word
    at(50, signal.SIGSTOP)
    return step(self, *args, **kwargs)

def wrong_step(self, *args, **kwargs):  # rank 1 applies an update of its own
    self.param_groups[0]["lr"] *= 1.001
    return step(self, *args, **kwargs)

if fault == "kill in save" and training_code.RANK == 0:
    os.replace = killed_replace
elif fault == "stop" and training_code.RANK == 1:
    torch.optim.SGD.step = stopped_step
elif fault == "freeze" and training_code.RANK == 1:
    training_code.HANG_SECONDS = 3.0
    torch.optim.SGD.step = frozen_step
elif fault == "diverge" and training_code.RANK == 1:
    torch.optim.SGD.step = wrong_step
training_code.main()
"""


def start(folder: Path, *args: str, ranks: int = 2, fault: str | None = None) -> subprocess.Popen[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = TRAINER
    env = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "DDP_BACKEND")}
    env |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "DDP_BACKEND": "gloo"}
    if fault:
        script = folder / "faulty.py"
        script.write_text(FAULTY)
        env["FAULT"] = fault
    if fault == "freeze":
        env["TORCHELASTIC_ENABLE_FILE_TIMER"] = "1"
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={ranks}", "--nnodes=1"]
    command += ["--node_rank=0", "--master_addr=127.0.0.1", f"--master_port={port}", str(script), *args]
    return subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )


def train(folder: Path, *args: str, ranks: int = 2, fault: str | None = None, code: int = 0) -> str:
    process = start(folder, *args, ranks=ranks, fault=fault)
    try:
        output, _ = process.communicate(timeout=80)
    finally:
        process.kill()
    assert process.returncode == code, output
    return output


def ends_of_ranks(output: str) -> dict[int, int]:
    """The exit codes in torchrun's summary, of the ranks that failed by themselves."""
    found = re.findall(r"rank +: (\d+) .*\n +exitcode +: (-?\d+) ", output)
    return {int(rank): int(code) for rank, code in found}


def weights(snapshot: Path) -> dict[str, Any]:
    return torch.load(snapshot, weights_only=True)["model"]


def assert_identical(one: Path, other: Path) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def records(path: Path, event: str) -> list[dict[str, Any]]:
    return [record for line in path.read_text().splitlines() if (record := json.loads(line))["event"] == event]


DIGITS = ("10", "2", "--task", "digits", "--batch_size", "32", "--snapshot_path", "snapshot.pt")
LINEAR = ("4", "4", "--task", "regression", "--snapshot_path", "snapshot.pt")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run to compare with: two ranks, digits, ten epochs, undisturbed."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(folder, *DIGITS)


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The snapshot of a linear model that two ranks trained, 32 samples each per update."""
    folder = tmp_path_factory.mktemp("linear")
    train(folder, *LINEAR, "--batch_size", "32")
    return folder / "snapshot.pt"


@pytest.fixture
def copy_of_whole(whole: tuple[Path, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole[0], tmp_path / "copy"))


def test_seed_command_line_prints_the_seed_lines_and_learns(tmp_path: Path) -> None:
    output = train(tmp_path, "10", "2", "--batch_size", "32", "--snapshot_path", "snapshot.pt")
    lines = output.splitlines()
    for rank in (0, 1):
        assert f"[GPU{rank}] Process group ready" in lines
        for epoch in range(10):
            assert f"[GPU{rank}] epoch {epoch} | batch_size: 32 | steps: 64" in lines
        assert re.search(
            rf"^\[GPU{rank}\] rank {rank} of 2 on host \S+, device cpu, backend gloo$", output, re.MULTILINE
        )
    saved = re.findall(r"^Epoch (\d+) \| train snapshot saved at snapshot\.pt$", output, re.MULTILINE)
    assert saved == ["0", "2", "4", "6", "8", "9"]
    losses = [record["loss"] for record in records(tmp_path / "metrics.jsonl", "epoch")]
    assert len(losses) == 10
    assert losses[-1] < losses[0] / 10
    assert "weights are identical on all 2 ranks" in output


def test_digits_are_learned(whole: tuple[Path, str]) -> None:
    folder, output = whole
    accuracy = re.search(r"final held-out accuracy: ([\d.]+)", output)
    assert accuracy
    assert float(accuracy[1]) >= 0.95
    for rank, name in enumerate(("metrics.jsonl", "metrics-rank1.jsonl")):
        (first_step,) = records(folder / name, "first_step")
        epochs = records(folder / name, "epoch")
        assert first_step["rank"] == rank
        assert [record["epoch"] for record in epochs] == list(range(10))
        assert epochs[-1]["loss"] < epochs[0]["loss"] / 5
        assert epochs[-1]["accuracy"] >= 0.95
        assert epochs[-1]["step"] == 240
        for record in epochs:
            assert record["samples_per_s"] > 0
            assert 0 < record["comm_seconds"] < record["seconds"]
            assert record["restarts"] == 0


def test_snapshot_holds_all_that_an_exact_resume_needs(whole: tuple[Path, str]) -> None:
    snapshot = torch.load(whole[0] / "snapshot.pt", weights_only=True)
    assert snapshot["next_epoch"] == 10
    assert snapshot["seen"] == 0
    assert snapshot["world_size"] == len(snapshot["rng"]) == 2
    assert not torch.equal(snapshot["rng"][0][0], snapshot["rng"][1][0])
    assert snapshot["optimizer"]["state"]
    assert torch.load(whole[0] / "snapshot.pt.1", weights_only=True)["next_epoch"] == 9
    assert not (whole[0] / "snapshot.pt.tmp").exists()


def test_killed_while_saving_then_resumed_is_bit_identical(whole: tuple[Path, str], tmp_path: Path) -> None:
    assert ends_of_ranks(train(tmp_path, *DIGITS, fault="kill in save", code=1))[0] == -signal.SIGKILL
    assert not (tmp_path / "snapshot.pt").exists()  # it died between the two renames: the worst moment
    output = train(tmp_path, *DIGITS)
    assert "using the previous good snapshot" in output
    assert "[GPU0] resuming from snapshot at epoch 3 |" in output
    assert "[GPU1] resuming from snapshot at epoch 3 |" in output
    assert_identical(tmp_path / "snapshot.pt", whole[0] / "snapshot.pt")


def test_sigterm_in_one_rank_saves_within_the_epoch_and_resumes_exactly(
    whole: tuple[Path, str], tmp_path: Path
) -> None:
    output = train(tmp_path, *DIGITS, fault="stop", code=1)
    assert "[GPU1] SIGTERM" in output
    assert set(ends_of_ranks(output).values()) == {128 + signal.SIGTERM}
    snapshot = torch.load(tmp_path / "snapshot.pt", weights_only=True)
    assert (snapshot["next_epoch"], snapshot["global_step"]) == (4, 101)
    assert snapshot["seen"] == 5 * 32 * 2
    assert "samples of it already seen: 320" in train(tmp_path, *DIGITS)
    assert_identical(tmp_path / "snapshot.pt", whole[0] / "snapshot.pt")


def test_sigterm_to_torchrun_saves_and_stops_within_the_epoch(tmp_path: Path) -> None:
    process = start(tmp_path, "2", "1", "--batch_size", "1", "--snapshot_path", "snapshot.pt")
    assert process.stdout
    try:
        for line in process.stdout:
            if "[GPU1] first step done" in line:
                break
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=25)[0]  # torchrun kills after 30 s what has not stopped
    finally:
        process.kill()
    assert process.returncode == 1, output  # with 0 swarm would take the job for finished
    snapshot = torch.load(tmp_path / "snapshot.pt", weights_only=True)
    assert snapshot["next_epoch"] == 0
    assert 0 < snapshot["seen"] == 2 * snapshot["global_step"] < 4096
    for rank, name in enumerate(("metrics.jsonl", "metrics-rank1.jsonl")):
        assert f"[GPU{rank}] SIGTERM" in output
        (stopped,) = records(tmp_path / name, "stopped")
        assert stopped["step"] == snapshot["global_step"]


def test_truncated_snapshot_is_named_and_the_previous_one_used(whole: tuple[Path, str], copy_of_whole: Path) -> None:
    snapshot = copy_of_whole / "snapshot.pt"
    os.truncate(snapshot, snapshot.stat().st_size // 2)
    output = train(copy_of_whole, *DIGITS)
    assert re.search(r"^\[GPU0\] snapshot \S+snapshot\.pt cannot be used: ", output, re.MULTILINE)
    assert re.search(r"using the previous good snapshot \S+snapshot\.pt\.1", output)
    assert (copy_of_whole / "snapshot.pt.bad").exists()
    assert torch.load(copy_of_whole / "snapshot.pt.1", weights_only=True)["next_epoch"] == 9
    assert_identical(snapshot, whole[0] / "snapshot.pt")


def test_nothing_left_to_train(whole: tuple[Path, str], copy_of_whole: Path) -> None:
    before = (copy_of_whole / "snapshot.pt").read_bytes()
    output = train(copy_of_whole, *DIGITS, ranks=1)  # another number of ranks is fine as well
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
    ours, theirs = weights(tmp_path / "snapshot.pt"), weights(linear)
    assert max((ours[name] - theirs[name]).abs().max().item() for name in ours) < 1e-6


def test_a_stopped_process_ends_the_run_long_before_the_timeout(tmp_path: Path) -> None:
    """Without the heartbeat rank 0 would wait for --timeout, and torchrun for ever: `train` gives up after 80 s.

    Torchrun's watchdog kills the stopped rank and then torchrun itself; any other failure has another exit code.
    """
    args = ("100", "9", "--snapshot_path", "snapshot.pt", "--timeout", "600", "--log_every", "1")
    train(tmp_path, *args, fault="freeze", code=-signal.SIGKILL)
    assert records(tmp_path / "metrics-rank1.jsonl", "step")[-1]["step"] == 49  # it was stopped in the 50th


def test_ranks_that_drift_apart_fail_the_run(tmp_path: Path) -> None:
    output = train(tmp_path, "1", "1", "--snapshot_path", "snapshot.pt", fault="diverge", code=1)
    assert "the ranks do not agree on the weights: rank 0 has" in output


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["0", "2"], "argument TOTAL_EPOCHS: must be a whole number of at least 1, not '0'"),
        (["ten", "2"], "argument TOTAL_EPOCHS: must be a whole number of at least 1, not 'ten'"),
        (["10", "0"], "argument SAVE_EVERY: must be a whole number of at least 1, not '0'"),
        (["10", "2", "--batch_size", "-3"], "argument --batch_size: must be a whole number of at least 1, not '-3'"),
        (["10", "2", "--lr", "nan"], "argument --lr: must be a number above 0, not 'nan'"),
        (["10", "2", "--timeout", "0"], "argument --timeout: must be a number above 0, not '0'"),
        (["10", "2", "--snapshot_path", "/dev/null/snapshot.pt"], "cannot write to /dev/null: "),
    ],
)
def test_bad_arguments_give_one_sentence(args: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        trainer.parse_args(args)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {sentence}")
    assert error.count("\n") == 1


def test_bad_backend_variable_gives_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DDP_BACKEND", "mpi")
    with pytest.raises(SystemExit):
        trainer.parse_args(["10", "2"])
    assert capsys.readouterr().err == "error: DDP_BACKEND must be auto, nccl or gloo, not 'mpi'\n"


def test_foreign_and_damaged_snapshots_are_refused(whole: tuple[Path, str], tmp_path: Path) -> None:
    path = tmp_path / "snapshot.pt"
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="not written by this trainer"):
        trainer.read_snapshot(path)
    snapshot = torch.load(whole[0] / "snapshot.pt", weights_only=True)
    snapshot["model"]["0.bias"][0] += 1
    torch.save(snapshot, path)
    with pytest.raises(ValueError, match="do not match their checksum"):
        trainer.read_snapshot(path)
    assert "no usable snapshot" in trainer.find_snapshot(path)
    assert path.exists()
    assert trainer.find_snapshot(tmp_path / "none.pt") is None


@pytest.mark.parametrize(("before", "ranks"), [(2, 2), (2, 4), (4, 2), (3, 1), (1, 2)])
def test_sampler_goes_on_within_an_epoch_whatever_the_world_size(before: int, ranks: int) -> None:
    data = list(range(96))

    def deal(world: int, seen: int) -> list[list[int]]:
        samplers = [trainer.ResumableSampler(data, world, rank, seed=7) for rank in range(world)]
        for sampler in samplers:
            sampler.set_epoch(5)
            sampler.seen = seen
        return [list(sampler) for sampler in samplers]

    steps, batch = 3, 4
    first = [index for share in deal(before, 0) for index in share[: steps * batch]]
    rest = [index for share in deal(ranks, steps * batch * before) for index in share]
    assert sorted(first + rest) == data


def test_metrics_survive_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "epo')
    trainer.Metrics(path).write("epoch", epoch=3)
    torn, good = path.read_text().splitlines()
    assert torn == '{"event": "epo'
    assert json.loads(good)["epoch"] == 3
