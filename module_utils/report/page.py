"""The page of a job, made of its artifacts."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import jinja2

from ..names import is_name
from ..results.tree import NEW, Tree
from ..text import printable
from . import logs, metrics, stack, timeline
from .charts import Chart, draw, figure
from .ends import Container, containers, folded, incidents
from .logs import Log
from .metrics import Record, Series
from .preflight import read_preflight
from .read import ALL, Reader, shown
from .timeline import Attempt

# Bytes of the page, and what it is made with, each smaller than the one before, until it fits.
LARGEST = 5_000_000
LEVELS = (
    {"points": 24_000, "tail": 60, "text": True},
    {"points": 6_000, "tail": 20, "text": True},
    {"points": 1_500, "tail": 1, "text": False},
)
RUNS = 12
CHARTS = 12
LOG = 4 << 20
RANKS_OF_LOGS = 64
# Of whose logs numbers are drawn where there are no metrics.
RANKS_OF_CURVES = 4
OWN_LOGS = ".ddp-swarm/logs/"


@dataclass
class Run:
    """One run of a job, and what is shown of it beside the others."""

    name: str
    records: dict[int, list[Record]]
    containers: list[Container]
    lives: dict[int, list[Attempt]]
    logs: list[Log]
    curves: dict[str, list[Series]]
    stack: dict[str, Any]

    @property
    def span(self) -> tuple[float, float] | None:
        """When it began and ended, as far as metrics, containers or else the lines of logs tell."""
        times = [when for log in self.logs for when in log.times]
        return timeline.span(self.lives) or ((min(times), max(times)) if times else None)

    def summary(self) -> dict[str, Any]:
        span = self.span
        losses = self.curves.get("Loss", [])
        loss = next((one for one in losses if one.count), None)
        held = next(
            (one for one in losses if one.count and one.label.startswith(("held", "val", "eval", "test"))), None
        )
        accuracy = next((one for one in self.curves.get("Accuracy", []) if one.count), None)
        rates = metrics.throughput(self.records)
        return {
            "name": self.name,
            "begun": span[0] if span else None,
            "seconds": span[1] - span[0] if span else None,
            "ranks": len(self.lives) or len(self.logs),
            "step": max(
                (e.step for records in self.records.values() for e in records if e.step is not None), default=None
            ),
            "loss": loss.last if loss else None,
            "loss_label": loss.label if loss else "",
            "held_out": held.last if held else None,
            "accuracy": accuracy.last if accuracy else None,
            "rate": metrics.median(row["median"] for row in rates),
            "restarts": timeline.restarts(self.lives),
            "outcome": timeline.outcome(self.lives),
            "tag": self.stack.get("tag", ""),
        }


def read_run(reader: Reader, name: str, prefix: str, folder: str, tail: int) -> Run:
    """A run whose results lie below the prefix, and the logs of its containers below the folder."""
    # First what is small: a page has a bound for all that it reads.
    deployed = stack.read_stack(reader, f"{prefix}stack.yml")
    found = metrics.read_metrics(reader, prefix)
    ended = containers(reader, folder)
    own = []
    if tail or not found:
        for part in reader.parts(f"{prefix}node*.log", LOG, RANKS_OF_LOGS):
            rank = part.name[len(prefix) + 4 : -4]
            if rank.isdecimal() and len(rank) < 5:
                number = int(rank)
                own.append(logs.read_log(part, number, reader, tail, not found and number < RANKS_OF_CURVES))
        own.sort(key=lambda log: log.rank)
    curves = metrics.curves(found) if found else logs.charts(own)
    return Run(name, found, ended, timeline.attempts(found, ended), own, curves, deployed)


def run_names(tree: Tree) -> list[str]:
    """Earlier runs, the newest last."""
    patterns = [f"runs/*/{name}" for name in ("stack.yml", "metrics.jsonl", "node*.log")]
    return sorted(
        {name for name in (found.name.split("/")[1] for found in tree.files(patterns)) if is_name("run", name)}
    )


def charts_of(run: Run, points: int) -> list[Chart]:
    chosen = dict(list(run.curves.items())[:CHARTS])
    most = max(20, min(1000, points // max(1, sum(min(8, len(series)) for series in chosen.values()))))
    return [chart for title, series in chosen.items() for chart in [draw(title, series, most)] if chart]


def compared(runs: list[Run], points: int) -> list[Chart]:
    """The first curve of each run for the charts that at least two of them have."""
    found = []
    for title in ("Loss", "Accuracy", "Throughput"):
        # Newest first, because only so many fit.
        series = [(run, run.curves[title][0]) for run in reversed(runs) if run.curves.get(title)]
        if len(series) > 1:
            labelled = [replace(one, label=f"{run.name}: {one.label}") for run, one in series]
            chart = draw(title, labelled, max(20, points // (8 * len(labelled))))
            found += [chart] if chart else []
    return found


def context(
    path: Path, name: str, versions: dict[str, str], level: dict[str, Any], budget: int = ALL
) -> dict[str, Any]:
    with Tree(path) as tree:
        reader = Reader(tree, budget)
        verdict = read_preflight(reader)
        run_id = shown(reader.text(".ddp-swarm/run_id", 1024), 128)
        run = read_run(reader, run_id if is_name("run", run_id) else "this run", "", OWN_LOGS, level["tail"])
        earlier = run_names(tree)
        if len(earlier) > RUNS:
            reader.note(f"There are {len(earlier)} earlier runs; the newest {RUNS} are compared.")
        runs = [read_run(reader, one, f"runs/{one}/", f"runs/{one}/logs/", 0) for one in earlier[-RUNS:]]
        runs.append(run)
        hosts = hosts_of(run, verdict)
        if not run.records and not run.logs:
            reader.note(
                "No log or metrics of this run is among the artifacts: collect them first (./ddp collect, playbooks/collect.yml)."
            )
        notes = reader.done()
    return {
        "name": name,
        "now": run.summary(),
        "charts": charts_of(run, level["points"]),
        "from_logs": not run.records,
        "rates": metrics.throughput(run.records),
        "line_rates": draw("Lines of log", logs.rates(run.logs), 200, "seconds"),
        "preflight": verdict,
        "timeline": timeline.bars(run.lives),
        "incidents": folded(incidents(run.containers, run.lives)),
        "hosts": hosts,
        "logs": run.logs,
        "stack": run.stack,
        "show_text": level["text"],
        "reproduce": stack.reproduce(run.stack, name),
        "versions": versions,
        "runs": [one.summary() for one in reversed(runs)] if len(runs) > 1 else [],
        "compared": compared(runs, level["points"]) if len(runs) > 1 else [],
        "notes": notes,
        "newest": reader.newest,
    }


def hosts_of(run: Run, verdict: dict[str, Any]) -> dict[int, str]:
    """The names of the ranks' hosts: as the ranks say themselves, else as the preflight had them."""
    found: dict[int, str] = {rank: host for rank, host in verdict.get("hosts", {}).items() if host}
    for rank, records in run.records.items():
        own = [entry.host for entry in records if entry.host]
        found |= {rank: own[-1]} if own else {}
    return found


def when(value: float | None) -> str:
    return datetime.fromtimestamp(value, timezone.utc).strftime("%Y-%m-%d %H:%M:%S") if value else "–"


def clock(value: float | None) -> str:
    """A time of day with milliseconds, in UTC."""
    return datetime.fromtimestamp(value, timezone.utc).strftime("%H:%M:%S.%f")[:-3] if value else "–"


def lasting(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {left:02} s"


def number(value: float | None) -> str:
    return "–" if value is None else figure(value)


def clean(value: Any) -> Any:
    """Whatever comes onto the page, before it is escaped."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def render(templates: Path, values: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        autoescape=True,
        finalize=clean,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"when": when, "clock": clock, "lasting": lasting, "number": number}
    return environment.get_template("report.html.j2").render(values)


def make(path: Path, name: str, templates: Path, versions: dict[str, str]) -> tuple[str, list[str]]:
    """The page of the job whose artifacts lie below the path, at most LARGEST bytes, and what it lacks."""
    text, notes = "", []
    for level in LEVELS:
        values = context(path, name, versions, level)
        if level is not LEVELS[0]:
            values["notes"].append("To keep the page small, there are fewer points and lines than there could be.")
        text, notes = render(templates, values), values["notes"]
        if len(text.encode()) <= LARGEST:
            return text, notes
    raise ValueError(f"the page would have {len(text.encode()):,} bytes, more than {LARGEST:,}")


def write(path: Path, text: str, file: str = "report.html") -> bool:
    """Put the page among the artifacts, readable by whoever can read stack.yml. Returns whether it differs from what was there."""
    content = text.encode()
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    part = f".{file}.part"
    try:
        try:
            with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=root), "rb") as stream:
                if stream.read(len(content) + 1) == content:
                    return False
        except OSError:
            pass
        try:
            os.unlink(part, dir_fd=root)
        except FileNotFoundError:
            pass
        with open(os.open(part, NEW, 0o600, dir_fd=root), "wb") as stream:
            stream.write(content)
        os.rename(part, file, src_dir_fd=root, dst_dir_fd=root)
        return True
    finally:
        os.close(root)
