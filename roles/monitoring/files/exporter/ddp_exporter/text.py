"""Prometheus' text format, version 0.0.4."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .records import Rank

# For each kind of value its metric, the type of that, and what it is.
METRICS = {
    "loss": ("ddp_train_loss", "gauge", "The last loss that the rank has written."),
    "step": ("ddp_train_step", "gauge", "The optimizer step of the last record."),
    "epoch": ("ddp_epoch", "gauge", "The epoch of the last record, counted as the script does."),
    "samples_per_second": ("ddp_samples_per_second", "gauge", "Samples in a second, as the script has written them."),
    "restarts": ("ddp_restarts_total", "counter", "How often the run was started again."),
    "time": ("ddp_last_record_timestamp_seconds", "gauge", "When the last record was written, in seconds since 1970."),
}


@dataclass
class Family:
    """All samples of one metric."""

    name: str
    kind: str
    help: str
    samples: list[tuple[dict[str, str], float]] = field(default_factory=list)


def value_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value)) if abs(value) < 2**53 and value == int(value) else repr(value)


def label_text(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def render(families: Iterable[Family]) -> str:
    lines = []
    for family in families:
        if family.samples:
            lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
        for labels, value in family.samples:
            named = ",".join(f'{name}="{label_text(text)}"' for name, text in labels.items())
            lines.append(f"{family.name}{{{named}}} {value_text(value)}")
    return "".join(f"{line}\n" for line in lines)


def of_ranks(ranks: Iterable[Rank], labels: Mapping[str, str]) -> list[Family]:
    families = {kind: Family(*words) for kind, words in METRICS.items()}
    for rank in ranks:
        for kind, value in rank.values.items():
            if kind in families:
                families[kind].samples.append(({**labels, "rank": str(rank.number)}, value))
    return list(families.values())
