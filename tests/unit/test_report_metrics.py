"""Metrics as curves: each value is a point, and what is none is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.report import metrics
from ansible_collections.ddp.swarm.plugins.module_utils.report.metrics import (
    Record,
    Series,
    curves,
    kind,
    read_metrics,
    thinned,
    throughput,
)
from ansible_collections.ddp.swarm.plugins.module_utils.report.read import Reader
from ansible_collections.ddp.swarm.plugins.module_utils.results.tree import Tree
from report_artifacts import attempt, event, lines, put


def read(root: Path, prefix: str = "") -> tuple[dict[int, list[Record]], list[str]]:
    with Tree(root) as tree:
        reader = Reader(tree)
        return read_metrics(reader, prefix), reader.done()


def by_label(root: Path) -> dict[str, Series]:
    return {series.label: series for chart in curves(read(root)[0]).values() for series in chart}


def test_each_value_is_a_point(root: Path) -> None:
    put(root, **{"metrics.jsonl": lines(*attempt(0)), "metrics-rank1.jsonl": lines(*attempt(1))})
    found = by_label(root)
    assert {label: series.count for label, series in found.items()} == {
        "loss, each epoch": 4,
        "held_out_loss, each epoch": 4,
        "loss, each step, rank 0": 40,
        "loss, each step, rank 1": 40,
        "held_out_accuracy, each epoch": 4,
        "lr, each epoch": 4,
        "samples_per_s, each epoch, rank 0": 4,
        "samples_per_s, each epoch, rank 1": 4,
    }
    assert found["loss, each step, rank 1"].points[:2] == [(1, 41.0), (2, 21.0)]


def test_the_charts_come_in_an_order(root: Path) -> None:
    put(root, **{"metrics.jsonl": lines(event("step", step=1, zeal=1, lr=1, loss=1, samples_per_s=1, accuracy=1))})
    assert list(curves(read(root)[0])) == ["Loss", "Accuracy", "Learning rate", "Throughput", "zeal"]


@pytest.mark.parametrize(
    ("key", "chart"),
    [
        ("train_loss", "Loss"),
        ("acc", "Accuracy"),
        ("val_acc", "Accuracy"),
        ("top-1", "Accuracy"),
        ("accumulation", "accumulation"),
        ("lr", "Learning rate"),
        ("lr-Adam", "Learning rate"),
        ("learning_rate", "Learning rate"),
        ("lrs", "lrs"),
        ("samples/s", "Throughput"),
        ("tokens_per_sec", "Throughput"),
        ("train_samples_per_second", "Throughput"),
        ("seconds", "seconds"),
    ],
)
def test_the_chart_of_a_name(key: str, chart: str) -> None:
    assert kind(key) == chart


def test_values_that_no_curve_can_show_are_counted(root: Path) -> None:
    written = ['{"step": 1, "loss": 2}', '{"step": 2, "loss": NaN}', '{"step": 3, "loss": -Infinity}']
    written += [f'{{"step": 4, "loss": 1{"0" * 400}}}', '{"step": 5, "loss": 1e200}', '{"step": 6, "loss": 1}']
    put(root, **{"metrics.jsonl": lines(*written)})
    series = by_label(root)["loss, rank 0"]
    assert (series.points, series.lost, series.first_lost) == ([(1, 2.0), (6, 1.0)], 4, 2)


def test_a_rank_that_went_back_to_its_snapshot_breaks_the_curve(root: Path) -> None:
    put(root, **{"metrics.jsonl": lines(*attempt(0, until=5, end=""), *attempt(0, after=60, since=3, until=8))})
    series = by_label(root)["loss, each step, rank 0"]
    assert [x for x, y in series.points if y is None] == [4]
    assert series.count == 10


@pytest.mark.parametrize(
    ("torn", "note"),
    [
        ('{"event": "step", "lo', "The last line of metrics.jsonl is half written."),
        ("[" * 100_000 + "\n", "1 line that are"),
    ],
    ids=["half", "deep"],
)
def test_a_line_that_is_no_object_is_left_out_and_named(root: Path, torn: str, note: str) -> None:
    put(root, **{"metrics.jsonl": lines(event("step", step=1, loss=1.0)) + torn})
    found, notes = read(root)
    assert [record.values for record in found[0]] == [{"loss": 1.0}]
    assert len(notes) == 1
    assert note in notes[0]


ODD: list[Any] = [
    7, None, "text", [], {"loss": "high"}, {"loss": True}, {"loss": None}, {"loss": {"x": 1}},
    {"step": -1, "loss": 1}, {"step": 1.5, "loss": 1}, {"step": "x", "loss": 1}, {"epoch": 1e300, "loss": 1},
    {"time": "now", "loss": 1}, {"time": 1e18, "loss": 1}, {"event": ["x"], "host": 7, "loss": 1},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_records_of_an_odd_shape(root: Path, odd: Any) -> None:
    put(root, **{"metrics.jsonl": lines(odd, event("step", step=1, loss=1.0))})
    found, _notes = read(root)
    last = found[0][-1]
    assert (last.step, last.values) == (1, {"loss": 1.0})
    for record in found[0][:-1]:
        assert record.step is None
        assert record.time is None
        assert record.event == ""


def test_ranks_that_are_missing_and_names_that_are_none(root: Path) -> None:
    one = lines(event("step", 3, step=1, loss=1.0))
    put(root, **{"metrics-rank3.jsonl": one, "metrics-rank99999.jsonl": one, "metrics-x.jsonl": one})
    found, notes = read(root)
    assert list(found) == [3]
    assert [note.split()[0] for note in notes] == ["metrics-rank99999.jsonl", "metrics-x.jsonl"]


def test_the_values_of_all_ranks_are_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "VALUES", 50)
    one = lines(*(event("step", step=step, loss=1.0, lr=1.0) for step in range(20)))
    put(root, **{"metrics.jsonl": one, "metrics-rank1.jsonl": one})
    found, notes = read(root)
    assert [len(found[rank]) for rank in found] == [20, 5]
    assert notes == ["The metrics have more than 50 values; from metrics-rank1.jsonl on they are not read."]


def test_a_link_is_not_followed(root: Path) -> None:
    (root.parent / "outside" / "metrics").write_text(lines(event("step", step=1, loss=1.0)))
    (root / "metrics.jsonl").symlink_to(root.parent / "outside" / "metrics")
    found, notes = read(root)
    assert (found, notes) == ({}, ["metrics.jsonl is not read: it is a symbolic link."])


def test_thinned_curves_keep_their_extremes_and_their_ends() -> None:
    points: list[tuple[float, float | None]] = [(float(x), float(x % 7)) for x in range(10_000)]
    points[5000] = (5000.0, 99.0)
    points[7000] = (7000.0, -99.0)
    found = thinned(points, 100)
    assert 50 <= len(found) <= 100
    assert {(5000.0, 99.0), (7000.0, -99.0)} <= set(found)
    assert found == sorted(found, key=lambda point: point[0])
    assert thinned(points[:100], 100) == points[:100]


def test_throughput_of_each_rank(root: Path) -> None:
    put(root, **{"metrics.jsonl": lines(*attempt(0)), "metrics-rank1.jsonl": lines(*attempt(1))})
    rows = throughput(read(root)[0])
    assert [(row["rank"], row["median"], row["least"], row["most"], row["count"]) for row in rows] == [
        (0, 1025.0, 1010.0, 1040.0, 4),
        (1, 1125.0, 1110.0, 1140.0, 4),
    ]
    assert [round(row["share"], 1) for row in rows] == [91.1, 100.0]


def test_notes_are_bounded_and_printable(root: Path) -> None:
    put(root, **{f"metrics-{number}.jsonl": "x" for number in range(200)})
    notes = read(root)[1]
    assert len(notes) == 61
    assert notes[-1] == "More of this kind is not listed."
