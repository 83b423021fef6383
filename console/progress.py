"""How far a rank is, of what it writes: epoch or step, the losses, samples per second, and when it will be done. Any script, as far as its log says it."""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.ddp.swarm.plugins.module_utils.logs import moment_of, time_key
from ansible_collections.ddp.swarm.plugins.module_utils.report.logs import numbers
from ansible_collections.ddp.swarm.plugins.module_utils.report.metrics import kind

NUMBER = r"\d{1,12}(?:\.\d{1,6})?"
# "epoch 3", "Epoch: [3]", "epoch 3/10", "'epoch': 1.5", "step 30 of 100"
PLACE = re.compile(
    rf"\b(epoch|global_step|step|iteration|iter)\b[\s:=#\[(]{{0,4}}({NUMBER})(?:\s?(?:/|of)\s?(\d{{1,12}}))?",
    re.IGNORECASE,
)
# The names of losses that are not of the training: "held-out loss", "val_loss", "eval_loss", "Test loss".
HELD_OUT = re.compile(
    r"(?<![a-z])(?:held[ _-]?out|val|valid|validation|eval|evaluation|test|dev)(?![a-z])", re.IGNORECASE
)
# "Test: [ 10/196]  Loss 6.59e+00", "Test set: Average loss: 0.0322": lines that are of held-out data as a whole.
OF_HELD_OUT = re.compile(rf"\s*(?:\[[^\]]{{0,40}}\]\s*)?{HELD_OUT.pattern}(?: set)?(?::| \|)", re.IGNORECASE)
# tqdm: " 37%|###   | 370/1000 [00:37<01:03, 9.95it/s, loss=0.5]"
BAR = re.compile(
    r"\d{1,3}%\|[^|]{0,400}\|\s*(\d{1,12})/(\d{1,12}) \[[\d:]{1,12}<([\d:]{1,12}|\?),\s*([\d.]{1,12})(it/s|s/it)"
)
POINTS = 4000


@dataclass
class Reading:
    """What one line says."""

    loss: float | None = None
    rate: float | None = None
    iterations: float | None = None
    epoch: float | None = None
    epochs: int | None = None
    step: float | None = None
    steps: int | None = None
    held_out: float | None = None


def read(line: str) -> Reading:
    told = Reading()
    pairs = numbers(line)
    losses = [(key.lower().strip(), value) for key, value in pairs if kind(key) == "Loss"]
    whole = OF_HELD_OUT.match(line)
    held_out = [value for key, value in losses if whole or HELD_OUT.search(key)]
    told.held_out = held_out[0] if held_out else None
    training = [(key != "loss", value) for key, value in losses if not whole and not HELD_OUT.search(key)]
    told.loss = min(training, key=lambda pair: pair[0])[1] if training else None
    told.rate = next((value for key, value in pairs if kind(key) == "Throughput" and math.isfinite(value)), None)
    for unit, number, total in PLACE.findall(line.replace("'", "").replace('"', "")):
        if unit.lower() == "epoch":
            told.epoch, told.epochs = float(number), int(total) if total else told.epochs
        else:
            told.step, told.steps = float(number), int(total) if total else told.steps
    bar = BAR.search(line)
    if bar:
        told.step, told.steps = float(bar[1]), int(bar[2])
        speed = float(bar[4]) if bar[4].count(".") < 2 and bar[4].strip(".") else 0.0
        told.iterations = speed if bar[5] == "it/s" else 1 / speed if speed else None
    return told


@dataclass
class Track:
    """One rank over time. `planned` is what its command asks for."""

    planned: dict[str, int] = field(default_factory=dict)
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=POINTS))
    places: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=200))
    now: Reading = field(default_factory=Reading)
    last: str = ""
    texts: set[str] = field(default_factory=set)

    def add(self, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Takes the lines that are new, and returns them."""
        fresh = []
        for line in lines:
            key, text = time_key(str(line.get("time", ""))), str(line.get("text", ""))
            if not key or key < self.last or (key == self.last and text in self.texts):
                continue
            if key != self.last:
                self.last, self.texts = key, set()
            self.texts.add(text)
            fresh.append(line)
            self.take(read(text), moment_of(str(line["time"])))
        return fresh

    def take(self, told: Reading, when: float) -> None:
        if told.loss is not None:
            self.losses.append(told.loss)
        for name in ("loss", "held_out", "rate", "iterations", "epochs", "steps"):
            if getattr(told, name) is not None:
                setattr(self.now, name, getattr(told, name))
        if told.epoch is not None and told.epoch != self.now.epoch:
            self.now.epoch, self.now.step = told.epoch, told.step
        elif told.step is not None:
            self.now.step = told.step
        if told.epoch is None and told.step is None:
            return
        place = self.place
        if place is None:
            return
        if self.places and place < self.places[-1][1]:
            # It went back to its snapshot, or begins another bar.
            self.places.clear()
        if not self.places or place > self.places[-1][1]:
            self.places.append((when, place))

    @property
    def epochs(self) -> int | None:
        return self.now.epochs or self.planned.get("epochs")

    @property
    def steps(self) -> int | None:
        return self.now.steps or (self.planned.get("steps") if self.now.epoch is None or not self.epochs else None)

    @property
    def by_epoch(self) -> bool:
        """Whether what is left is counted in epochs: where they have an end, or nothing else is counted."""
        return self.now.epoch is not None and (self.epochs is not None or self.now.step is None)

    @property
    def place(self) -> float | None:
        if not self.by_epoch:
            return self.now.step
        part = (self.now.step or 0) / self.now.steps if self.now.steps else 0.0
        return (self.now.epoch or 0.0) + (min(part, 1.0) if self.now.epoch == int(self.now.epoch or 0) else 0.0)

    def eta(self, when: float) -> float | None:
        """Seconds until the end at the pace of what was seen; None where no end or no pace is known."""
        end = self.epochs if self.by_epoch else self.steps
        if end is None or len(self.places) < 2:
            return None
        (began, first), (ended, last) = self.places[0], self.places[-1]
        if ended <= began or last <= first:
            return None
        left = (end - last) * (ended - began) / (last - first)
        return max(0.0, left - max(0.0, when - ended))

    def age(self, when: float) -> float | None:
        """Seconds since its last line."""
        return max(0.0, when - moment_of(f"{self.last}Z")) if self.last else None
