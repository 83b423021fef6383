"""One look at the swarm's jobs: playbooks/status.yml, run without a terminal, and what it wrote for programs."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.ddp.swarm.plugins.module_utils.logs import moment_of
from ansible_collections.ddp.swarm.plugins.module_utils.names import is_name
from ansible_collections.ddp.swarm.plugins.module_utils.typed import did_you_mean

from . import ROOT
from .command import Settings, Usage, command
from .progress import Track
from .run import unattended

STATUS = "playbooks/status.yml"
LINES = 200
BUSY = ("running", "starting")
NOTHING_TOLD = "No host answered: the inventory has none in its groups managers and workers, or --limit leaves none."


@dataclass
class Look:
    """What the swarm said, or why it said nothing."""

    at: str = ""
    jobs: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""
    nodes: list[dict[str, Any]] = field(default_factory=list)


def status_command(settings: Settings, lines: int = LINES, usage: bool = True) -> list[str]:
    return command(settings, STATUS, training_status_lines=lines, training_status_usage=usage)


def look(words: list[str], names: list[str], stopped: Callable[[], bool] = lambda: False) -> Look:
    """The jobs of these names, or all. `words` are those of status_command."""
    if any(word == "--check" for word in words):
        raise Usage("--check writes nothing down, so there is nothing to show: leave it out.")
    with tempfile.TemporaryDirectory(prefix="ddp-", ignore_cleanup_errors=True) as place:
        file = Path(place) / "status.json"
        done = unattended([*words, "-e", json.dumps({"training_status_file": str(file)})], stopped)
        if done.rc != 0 or not file.exists():
            return Look(problem=explained(done.sentence, words) or NOTHING_TOLD)
        told = json.loads(file.read_text())
    jobs = told["jobs"]
    unknown = [name for name in names if name not in [job["name"] for job in jobs]]
    if unknown:
        raise Usage(no_such_job(unknown[0], [job["name"] for job in jobs]))
    return Look(told["at"], [job for job in jobs if not names or job["name"] in names], nodes=told.get("nodes") or [])


def explained(sentence: str, words: list[str]) -> str:
    """Ansible's own words for a limit that fits no host name none."""
    if "leaves us with no hosts to target" in sentence and "--limit" in words:
        return f"--limit {words[words.index('--limit') + 1]} names no host of the inventory."
    return sentence


def no_such_job(name: str, known: list[str], results: Path = ROOT / "artifacts") -> str:
    if is_name("stack", name) and (results / name).is_dir():
        return (
            f"{name} is not in the swarm any more. What was collected of it is in artifacts/{name}; 'ddp up {name}' with the settings (-e) of its run "
            "goes on from its last snapshot."
        )
    if not known:
        return f"There is no job {name} in the swarm, and no other: 'ddp up' starts one."
    return f"There is no job {name} in the swarm, which has {', '.join(known)}.{did_you_mean(name, known)}"


class Memory:
    """What is kept from one look to the next: of each rank its curve, and what its network had carried."""

    def __init__(self) -> None:
        self.tracks: dict[tuple[str, int], Track] = {}
        self.carried: dict[tuple[str, int], tuple[float, float]] = {}
        self.fresh: list[tuple[str, int, dict[str, Any]]] = []

    def take(self, seen: Look) -> list[dict[str, Any]]:
        """The jobs as they are shown and told: with each rank's `progress`."""
        now = moment_of(seen.at)
        self.fresh = []
        return [
            {
                **{key: job[key] for key in ("name", "state", "since", "restarts", "planned")},
                "slow": job.get("slow", ""),
                "ended": job.get("ended", ""),
                "failure": job.get("failure"),
                "ranks": [self.rank(job, rank, now) for rank in job["ranks"]],
            }
            for job in seen.jobs
        ]

    def rank(self, job: dict[str, Any], rank: dict[str, Any], now: float) -> dict[str, Any]:
        key = (job["name"], rank["rank"])
        track = self.tracks.setdefault(key, Track())
        track.planned = job["planned"]
        self.fresh += [(*key, line) for line in track.add(rank["lines"])]
        usage = rank["usage"] or {}
        loads = [card["percent"] for card in usage.get("gpus", []) if card["percent"] is not None]
        runs = rank["state"] == "running"
        kept = ("rank", "host", "state", "exit_code", "error", "since", "restarts", "last")
        return {
            **{name: rank[name] for name in kept},
            "epoch": track.now.epoch,
            "epochs": track.epochs,
            "step": track.now.step,
            "steps": track.steps,
            "loss": finite(track.now.loss),
            "held_out_loss": finite(track.now.held_out),
            "losses": [finite(loss) for loss in track.losses],
            "samples_per_s": track.now.rate if runs else None,
            "iterations_per_s": track.now.iterations if runs else None,
            "eta_s": track.eta(now) if runs else None,
            "silent_s": track.age(now),
            "cpu_percent": usage.get("cpu_percent"),
            "memory_bytes": usage.get("memory_bytes"),
            "gpu_percent": sum(loads) / len(loads) if loads else None,
            "network_bytes_per_s": self.pace(key, usage, now),
        }

    def pace(self, key: tuple[str, int], usage: dict[str, Any], now: float) -> float | None:
        """Bytes that a rank's container receives and sends in a second, between this look and the one before."""
        amounts = [usage.get(name) for name in ("received_bytes", "sent_bytes")]
        if None in amounts:
            self.carried.pop(key, None)
            return None
        total = float(sum(amount for amount in amounts if amount is not None))
        before, self.carried[key] = self.carried.get(key), (now, total)
        if before is None or now <= before[0] or total < before[1]:
            return None
        return (total - before[1]) / (now - before[0])


def finite(value: float | None) -> float | None:
    """JSON has neither infinity nor NaN."""
    return value if value is not None and math.isfinite(value) else None


def outcome(jobs: list[dict[str, Any]]) -> str:
    """One word of all jobs: failed, running, done (all have ended well or were stopped), or none."""
    states = [job["state"] for job in jobs]
    if "failed" in states:
        return "failed"
    if any(state in BUSY for state in states):
        return "running"
    return "done" if states else "none"


EXIT = {"done": 0, "none": 0, "failed": 1, "running": 3}
