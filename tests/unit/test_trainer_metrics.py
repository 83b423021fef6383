"""Metrics of the trainer: lines that no other writer and no sudden end can spoil."""

import json
import os
import stat
import time
from pathlib import Path

import pytest
from trainer_runs import events, records

from ddp_trainer.metrics import Metrics


def test_a_line_of_the_metrics_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, written, write = Metrics(tmp_path / "metrics.jsonl"), [], os.write

    def watched(number: int, data: bytes) -> int:
        written.append(data)
        return write(number, data)

    monkeypatch.setattr(os, "write", watched)
    metrics.write("step", epoch=1, loss=0.5)
    metrics.write("step", epoch=1, loss=0.25)
    assert [json.loads(line)["loss"] for line in written] == [0.5, 0.25]
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in written)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b"".join(written)


def test_two_writers_of_the_same_metrics_do_not_overwrite_each_other(tmp_path: Path) -> None:
    one, other = Metrics(tmp_path / "metrics.jsonl"), Metrics(tmp_path / "metrics.jsonl")
    for epoch in range(3):
        one.write("epoch", epoch=epoch)
        other.write("epoch", epoch=10 + epoch)
    assert [record["epoch"] for record in records(tmp_path, "epoch")] == [0, 10, 1, 11, 2, 12]


def test_restarts_are_the_starts_of_the_same_run_before(tmp_path: Path) -> None:
    counted = []
    for run in ("a", "b", "a", "a", "b"):
        metrics = Metrics(tmp_path / "metrics.jsonl")
        metrics.begin(run, 0)
        metrics.write("start", step=0)
        metrics.write("step", step=1)
        metrics.write("stopped", step=1)
        counted.append(metrics.common["restarts"])
    assert counted == [0, 0, 1, 2, 1]
    assert [record["restarts"] for record in records(tmp_path, "start")] == counted
    assert [record["restarts"] for record in records(tmp_path, "stopped")] == counted


def test_metrics_survive_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "epo')
    Metrics(path).write("epoch", epoch=3)
    torn, good = path.read_text().splitlines()
    assert torn == '{"event": "epo'
    assert json.loads(good)["epoch"] == 3


@pytest.mark.parametrize("before", ["", '{"event": "epoch"}\n'])
def test_metrics_that_are_whole_get_no_empty_line(before: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(before)
    Metrics(path).write("end")
    *kept, last = path.read_text().splitlines(keepends=True)
    assert ("".join(kept), json.loads(last)["event"]) == (before, "end")


def test_metrics_are_for_everybody_to_read(tmp_path: Path) -> None:
    """Then they are collected without a copy."""
    before = os.umask(0)
    try:
        Metrics(tmp_path / "metrics.jsonl")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "metrics.jsonl").stat().st_mode) == 0o644


@pytest.mark.parametrize("last", ["stopped", "end"])
def test_tensorboard_has_the_numbers_of_all_steps_and_epochs(last: str, tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.begin("first", 6)
    metrics.write("start", step=6, seconds=1.0)
    metrics.write("first_step", step=7, loss=0.5)
    metrics.write("step", step=8, epoch=1, loss=0.25)
    metrics.write("epoch", step=9, epoch=1, loss=0.125, comm_seconds=None, seconds=2.0)
    metrics.write(last, step=9, seconds=4.0)
    values = [
        (value.tag, event.step, value.simple_value) for event in events(tmp_path) for value in event.summary.value
    ]
    assert values == [("step/loss", 8, 0.25), ("epoch/loss", 9, 0.125), ("epoch/seconds", 9, 2.0)]
    assert [path.name for path in (tmp_path / "tensorboard").iterdir()] == ["first"]


def test_other_ranks_write_metrics_of_their_own_and_no_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.begin("first", 0)
    metrics.write("step", step=1, loss=0.5)
    metrics.write("end", step=1)
    (record,) = records(tmp_path, "step", "metrics-rank3.jsonl")
    assert abs(record.pop("time") - time.time()) < 60
    common = {"rank": 3, "world_size": 4, "run": "first", "restarts": 0}
    assert record == {"event": "step", **common, "step": 1, "loss": 0.5}
    assert [path.name for path in tmp_path.iterdir()] == ["metrics-rank3.jsonl"]
