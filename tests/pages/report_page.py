"""A report in the browser, held against the artifacts that it is made of."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.ddp.swarm.plugins.module_utils.report.charts import COLOURS, DOTS
from browser import LOOKS, Look

# By chart: what its legend says of each curve, and how many dots there are and can be seen.
CURVES = """() => [...document.querySelectorAll('#curves figure')].map(figure => {
  const box = figure.querySelector('svg').getBoundingClientRect();
  const dots = [...figure.querySelectorAll('svg circle')].map(dot => dot.getBoundingClientRect());
  const inside = dots.filter(dot => dot.width > 1 && dot.left >= box.left && dot.right <= box.right
    && dot.top >= box.top && dot.bottom <= box.bottom);
  return {title: figure.querySelector('figcaption b').innerText, dots: dots.length, inside: inside.length,
    legend: [...figure.querySelectorAll('.legend li')].map(line => line.innerText)};
})"""
CELLS = """() => [...document.querySelectorAll('.heat tbody tr')].map(row =>
  [...row.querySelectorAll('td')].map(cell => [...cell.childNodes].map(node => node.textContent)))"""


def metrics(folder: Path) -> dict[str, Counter[str]]:
    """By chart how many values the ranks wrote for each of its curves; of what all ranks agree on, rank 0's."""
    found: dict[str, Counter[str]] = {
        "Loss": Counter(),
        "Accuracy": Counter(),
        "Learning rate": Counter(),
        "Throughput": Counter(),
    }
    charts = {
        "loss": "Loss",
        "held_out_loss": "Loss",
        "held_out_accuracy": "Accuracy",
        "lr": "Learning rate",
        "samples_per_s": "Throughput",
    }
    for rank, file in enumerate(["metrics.jsonl", *(f"metrics-rank{rank}.jsonl" for rank in range(1, 64))]):
        lines = (folder / file).read_text().splitlines() if (folder / file).exists() else []
        for record in map(json.loads, lines):
            for key in charts.keys() & record.keys():
                per_rank = key == "samples_per_s" or (key == "loss" and record["event"] != "epoch")
                if record[key] is not None and (per_rank or rank == 0):
                    event = "step" if record["event"] == "first_step" else record["event"]
                    found[charts[key]][f"{key}, each {event}" + (f", rank {rank}" if per_rank else "")] += 1
    return {title: counts for title, counts in found.items() if counts}


def holds_its_artifacts(look: Look, folder: Path) -> None:
    """The page shows what the files say, and no more."""
    wanted = metrics(folder)
    shown = {chart["title"]: chart for chart in look.page.evaluate(CURVES)}
    assert wanted.keys() <= shown.keys()
    for title, counts in wanted.items():
        told = {line.rsplit(" ", 3)[0].strip(): line for line in shown[title]["legend"]}
        for label, count in list(counts.items())[:COLOURS]:
            assert f"{count:,} points" in told[label], (title, label, count, told)
        # A curve without dots is thinned where it is long: of that the unit tests have the numbers.
        if max(counts.values()) <= DOTS and len(counts) <= COLOURS:
            assert shown[title]["dots"] == shown[title]["inside"] == sum(counts.values()), (title, shown[title], counts)
    verdict: dict[str, Any] = json.loads((folder / "preflight.json").read_text())
    measured = {(pair["rank"], pair["peer_rank"]): pair for pair in verdict["pairs"]}
    cells = look.page.evaluate(CELLS)
    assert measured
    for rank, row in enumerate(cells):
        for peer, cell in enumerate(row):
            pair = measured.get((rank, peer))
            assert cell == ([str(round(pair["bandwidth"])), str(round(pair["latency"]))] if pair else []), (rank, peer)


def looked_at(window: Callable[..., Look], page: Path, folder: Path, name: str) -> None:
    """At each width, light and dark: complete, without a complaint of the browser or of axe-core; its picture is kept."""
    for width, scheme in LOOKS:
        look = window(width, scheme).open(page)
        look.keep(name)
        holds_its_artifacts(look, folder)
        look.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        look.keep(f"{name}-unfolded")
        assert look.complaints == [], (width, scheme)
        assert look.beyond() == [], (width, scheme)
        assert look.faults() == [], (width, scheme)
        look.page.context.close()
