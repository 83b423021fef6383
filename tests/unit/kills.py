"""KILLS kills at moments that chance draws: whatever they hit, each run ends bit for bit as one that is left alone. SEED repeats the draw.

The trainer with two real ranks under torchrun, on this machine. A rank is killed, or all processes at once, as with a container.
"""

import os
import random
import signal
import time
from collections import Counter
from multiprocessing.context import ForkProcess
from pathlib import Path

from trainer_runs import TRAINER, records, with_torchrun

KILLS = int(os.environ.get("KILLS") or 100)
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
JOB = ["8", "3", "--log_every", "1"]
BATCHNORM = Path(__file__).with_name("batchnorm_task.py")
VARIANTS: list[tuple[Path, list[str]]] = [
    (TRAINER, []),
    (TRAINER, ["--workers", "2"]),
    (TRAINER, ["--save_every_steps", "17"]),
    (TRAINER, ["--accumulate", "3", "--save_every_steps", "5"]),
    (BATCHNORM, ["--workers", "2", "--save_every_steps", "17"]),
]


def below(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [every for child in map(int, children) for every in (child, *below(child))]


def kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def all_killed(process: ForkProcess) -> None:
    """At once, as the processes of a container are."""
    assert process.pid
    kill([process.pid, *below(process.pid)] if process.is_alive() else [])
    process.join()


def begun(folder: Path, script: Path, options: list[str]) -> ForkProcess:
    folder.mkdir(exist_ok=True)
    process, _ = with_torchrun(folder, *JOB, *options, "--snapshot_path", str(folder / "snapshot.pt"), script=script)
    return process


def weights(folder: Path) -> list[str]:
    return [record["weights"] for record in records(folder, "end")] if (folder / "metrics.jsonl").exists() else []


def waited(process: ForkProcess, folder: Path, seconds: float) -> str:
    """What comes first: the run has finished, torchrun has ended, or the time is over. Torchrun waits for ever for ranks that it has forked."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if weights(folder):
            return "finished"
        if not process.is_alive():
            return "ended"
        time.sleep(0.02)
    return "time"


def phase(folder: Path) -> str:
    if (folder / "snapshot.pt.tmp").exists():
        return "while saving"
    known = (folder / "metrics.jsonl").read_text().splitlines() if (folder / "metrics.jsonl").exists() else []
    last = next((line for line in reversed(known) if line.endswith("}")), "")
    return (
        "while training"
        if '"step"' in last[:20] or '"first_step"' in last[:20] or '"epoch"' in last[:20]
        else "while starting"
    )


def test_kills_at_any_moment(tmp_path: Path) -> None:
    chance, hit, kills, runs = random.Random(SEED), Counter[str](), 0, 0
    print(f"SEED={SEED} KILLS={KILLS}", flush=True)
    whole, took = {}, {}
    for number, variant in enumerate(VARIANTS):
        began, folder = time.monotonic(), tmp_path / f"whole{number}"
        process = begun(folder, *variant)
        assert waited(process, folder, 600) == "finished", (folder / "torchrun.log").read_text()[-4000:]
        took[number] = time.monotonic() - began
        (whole[number],) = weights(folder)
        all_killed(process)
    while kills < KILLS:
        number, folder = chance.randrange(len(VARIANTS)), tmp_path / f"run{runs}"
        runs += 1
        while True:
            process = begun(folder, *VARIANTS[number])
            moment, alone = chance.uniform(0, took[number]), chance.random() < 0.5
            came = waited(process, folder, moment if kills < KILLS else 600)
            if came != "time":
                break
            assert process.pid
            ranks = below(process.pid)
            alone = alone and bool(ranks)
            hit[f"{'a rank' if alone else 'all'} {phase(folder)}"] += 1
            kills += 1
            if alone:
                kill([chance.choice(ranks)])
                waited(process, folder, 120)
            all_killed(process)
        all_killed(process)
        assert came == "finished", (folder / "torchrun.log").read_text()[-4000:]
        assert weights(folder) == [whole[number]], f"{VARIANTS[number]}, SEED={SEED}"
        print(f"{kills} kills, {runs} runs, all bit for bit: {dict(hit)}", flush=True)
