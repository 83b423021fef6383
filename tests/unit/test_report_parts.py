"""The report's small parts: bounds, scales, phases, and what ended a container."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.report import charts, ends, logs, read, timeline
from ansible_collections.ddp.swarm.plugins.module_utils.report.ends import Container
from ansible_collections.ddp.swarm.plugins.module_utils.report.metrics import (
    Record,
    Series,
    curves,
    median,
    read_metrics,
)
from ansible_collections.ddp.swarm.plugins.module_utils.results.tree import Tree
from report_artifacts import BEGAN, attempt, lines, put


def test_of_a_large_file_the_whole_lines_at_both_ends(root: Path) -> None:
    put(root, log="".join(f"line {n:03}\n" for n in range(100)))
    with Tree(root) as tree:
        reader = read.Reader(tree)
        (part,) = reader.parts("log", 95)
    # 47 bytes at each end hold five lines of nine, and pieces of others.
    assert part.lines == [f"line {n:03}" for n in (0, 1, 2, 3, 4, 95, 96, 97, 98, 99)]
    assert (part.before, part.size, part.skipped, part.torn) == (5, 900, 810, False)
    assert reader.notes == ["log has 900 bytes: the 810 in its middle are not read."]


@pytest.mark.parametrize("size", [899, 900])
def test_where_a_file_begins_to_be_large(root: Path, size: int) -> None:
    put(root, log="x" * 899 + "\n")
    with Tree(root) as tree:
        (part,) = read.Reader(tree).parts("log", size)
        assert bool(part.skipped) == (size == 899)
        assert bool(read.Reader(tree).text("log", size)) == (size == 900)


def test_what_all_files_take_is_bounded(root: Path) -> None:
    put(root, a="a" * 100, b="b" * 100)
    os.utime(root / "a", (BEGAN, BEGAN))
    os.utime(root / "b", (BEGAN - 1, BEGAN - 1))
    with Tree(root) as tree:
        reader = read.Reader(tree, 150)
        assert reader.text("a", 100) == "a" * 100
        assert reader.text("b", 100) == ""
        assert (reader.left, reader.newest) == (50, BEGAN)
        assert reader.notes == ["b has 100 bytes and is left out."]
        assert len(reader.parts("*", most=1)) == 1


def test_many_lines_are_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "LINES", 4)
    put(root, log="1\n2\n3\n4\n5\n6")
    with Tree(root) as tree:
        (part,) = read.Reader(tree).parts("log")
    assert (part.lines, part.before, part.skipped, part.torn) == (["1", "2", "5", "6"], 2, 4, True)


@pytest.mark.parametrize(
    ("value", "number", "finite", "whole", "moment"),
    [
        (True, None, None, None, None),
        ("1", None, None, None, None),
        (7, 7, 7, 7, None),
        (8, 8, 8, None, None),
        (0, 0, 0, 0, None),
        (-1, -1, -1, None, None),
        (1.5, 1.5, 1.5, None, None),
        (1e9, 1e9, 1e9, None, 1e9),
        (7.27e9, 7.27e9, 7.27e9, None, None),
        (1e30, 1e30, 1e30, None, None),
        (-2e30, -float("inf"), None, None, None),
    ],
)
def test_numbers(value: object, number: object, finite: object, whole: object, moment: object) -> None:
    assert (read.number(value), read.finite(value), read.whole(value, 7), read.moment(value)) == (
        number,
        finite,
        whole,
        moment,
    )


def test_a_long_text_is_cut_and_on_one_line() -> None:
    assert read.shown("a\n\x1b[31mb\tc", 10) == "a b c"
    assert (read.shown("x" * 10, 10), read.shown("x" * 11, 10)) == ("x" * 10, "x" * 9 + "…")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1, "1"), (0.25, "0.25"), (100.0, "100"), (1234.5, "1,234"), (9999.6, "1e+04"), (12345.6, "12,346"),
     (0.001, "0.001"), (0.000833, "0.000833"), (1e6, "1e+06"), (-2.50, "-2.5")],
)  # fmt: skip
def test_figures(value: float, text: str) -> None:
    assert charts.figure(value) == text


@pytest.mark.parametrize(
    ("low", "high", "steps"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (1, 641, [0, 200, 400, 600, 800]),
        (0.011, 0.029, [0.01, 0.015, 0.02, 0.025, 0.03]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (4, 4, [2, 3, 4, 5, 6]),
    ],
)
def test_round_numbers_on_an_axis(low: float, high: float, steps: list[float]) -> None:
    assert charts.steps(low, high) == pytest.approx(steps)


def test_powers_of_ten_on_an_axis() -> None:
    assert charts.decades(0.02, 30) == [-2, -1, 0, 1, 2]
    assert charts.decades(1, 1) == [0, 1]
    assert len(charts.decades(1e-30, 1e30)) <= 8


def test_an_axis_is_logarithmic_only_for_losses_that_vary_widely() -> None:
    def log(title: str, *values: float) -> bool:
        chart = charts.draw(title, [Series("x", list(enumerate(values)))])
        assert chart
        return chart.log

    assert log("Loss", 1, 30)
    assert not log("Loss", 1, 29)
    assert not log("Loss", 0, 30)
    assert not log("Accuracy", 1, 30)


def test_a_drawing_is_shapes_and_labels_alone() -> None:
    series = [Series(f"s{n}", [(0, 1.0), (1, 2.0), (1, None), (0.5, 3.0), (2, 5.0)]) for n in range(charts.COLOURS + 2)]
    chart = charts.draw("Loss", [*series, Series("empty")])
    assert chart
    assert (len(chart.legend), chart.more) == (charts.COLOURS, 2)
    assert [entry["last"] for entry in chart.legend][:1] == ["5"]
    for word in ("legend", "<style", "<script", "<desc", "<defs", "http", "Pygal", "id="):
        assert word not in chart.svg
    # A break makes two lines of one.
    assert chart.svg.count('class="line reactive') == 2 * charts.COLOURS
    assert chart.svg.count("<circle") == 4 * charts.COLOURS


def test_curves_come_in_an_order(root: Path) -> None:
    put(root, **{"metrics.jsonl": lines(*attempt(0)), "metrics-rank1.jsonl": lines(*attempt(1))})
    with Tree(root) as tree:
        found = curves(read_metrics(read.Reader(tree)))
    assert [series.label for series in found["Loss"]] == [
        "loss, each epoch", "held_out_loss, each epoch", "loss, each step, rank 0", "loss, each step, rank 1",
    ]  # fmt: skip


def test_medians() -> None:
    assert [median(values) for values in ([], [3], [9, 1], [5, 1, 9])] == [None, 3, 5, 5]


def test_lines_are_counted_where_they_are() -> None:
    log = logs.Log(0, 1, times=[BEGAN, BEGAN + 0.1, BEGAN + 60])
    (series,) = logs.rates([log])
    assert [point for point in series.points if point[1]] == [(0.5, 2.0), (59.5, 1.0)]


BLOCKS = """\
E text
Traceback (most recent call last):
Failures:
[1]:
  time      : 2027-01-15_08:00:13
  exitcode  : -15 (pid: 15809)  (SIGTERM)
  traceback : Signal 15 (SIGTERM) received by PID 15809
----
Root Cause (first observed failure):
[0]:
  time      : 2027-01-15_08:00:12
  host      : localhost
  rank      : 1 (local_rank: 1)
  exitcode  : -9 (pid: 15810)  (SIGKILL)
  error_file: <N/A>
  traceback : Signal 9 (SIGKILL) received by PID 15810
====
  exitcode  : 77 (pid: 1)
"""


def test_the_root_cause_is_torchrun_s_and_not_the_process_that_it_ended() -> None:
    one = ends.judged(read.Part("node2.20270115T080000.0123456789ab.log", 1, BLOCKS.split("\n")))
    assert one
    assert (one.rank, one.id, one.begun) == (2, "0123456789ab", BEGAN)
    assert (one.exit_code, one.time, one.exact, one.failed) == (-9, BEGAN + 12, True, True)
    assert (one.says, one.consequence) == ("Signal 9 (SIGKILL) received by PID 15810", False)


def test_the_year_of_a_failure_after_new_year() -> None:
    line = "E0101 00:00:05.500000 1 torch/api.py:1] failed (exitcode: 3) local_rank: 0"
    one = ends.judged(read.Part("node0.20261231T235900.0123456789ab.log", 1, [line]))
    assert one
    assert (one.time, one.exit_code) == (1798761605.5, 3)


def test_between_a_good_end_and_the_next_start_nothing_is_down() -> None:
    for end, phases in (("finished", []), ("stopped", []), ("failed", ["down"]), ("interrupted", ["down"])):
        first = timeline.Attempt(0, start=BEGAN, first_step=BEGAN, last=BEGAN + 5, end=end)
        later = timeline.Attempt(0, start=BEGAN + 20, first_step=BEGAN + 20, last=BEGAN + 30)
        (row,) = timeline.bars({0: [first, later]})["rows"]
        bars = [bar["phase"] for bar in row["segments"] if bar["seconds"]]
        assert bars == ["training", *phases, "training"]
        assert [mark["kind"] for mark in row["marks"]] == [end, "restart"]


def life(*ends: str) -> list[timeline.Attempt]:
    return [timeline.Attempt(0, start=BEGAN, end=end) for end in ends]


@pytest.mark.parametrize(
    ("lives", "outcome", "restarts"),
    [
        ({}, "unknown", 0),
        ({0: life("finished"), 1: life("interrupted", "finished")}, "finished", 1),
        ({0: life("finished"), 1: life("failed")}, "failed", 0),
        ({0: life("finished"), 1: life("stopped")}, "stopped", 0),
        ({0: life("finished"), 1: life("")}, "no end recorded", 0),
        ({0: life("failed", "failed", "")}, "no end recorded", 2),
    ],
)
def test_how_a_run_ended(lives: dict[int, list[timeline.Attempt]], outcome: str, restarts: int) -> None:
    assert (timeline.outcome(lives), timeline.restarts(lives)) == (outcome, restarts)


def at(event: str, after: float, **values: float) -> Record:
    return Record(event, 0, BEGAN + after, None, None, "", values)


@pytest.mark.parametrize(
    ("code", "end"),
    [(0, "finished"), (143, "stopped"), (1, "")],
)
def test_of_a_script_without_metrics_its_engine_tells_the_end(tmp_path: Path, code: int, end: str) -> None:
    folder = tmp_path / ".ddp-swarm" / "logs"
    folder.mkdir(parents=True)
    for rank in (0, 1):
        (folder / f"node{rank}.20270115T080000.0123456789ab.log").write_text("epoch 1\n")
        ended = {"0123456789ab": {"exit_code": code, "finished": "2027-01-15T08:00:42.5Z"}}
        (folder / f"ended.node{rank}.json").write_text(json.dumps(ended))
    with Tree(tmp_path) as tree:
        lives = timeline.attempts({}, ends.containers(read.Reader(tree), ".ddp-swarm/logs/"))
    assert [life[0].end for life in lives.values()] == [end, end]
    whole = timeline.span(lives)
    assert whole is not None and round(whole[1] - whole[0], 1) == 42.5


@pytest.mark.parametrize(
    "text", ["", "[]", '{"0123456789ab": 1}', '{"0123456789ab": {"exit_code": "x", "finished": 1}}']
)
def test_an_end_that_cannot_be_read_is_none(text: str) -> None:
    found = [Container(0, "0123456789ab", BEGAN)]
    ends.note_ends(found, text)
    assert (found[0].finished, found[0].ended, found[0].exit_code) == (False, None, None)


def test_a_container_is_that_of_the_attempt_that_follows_it() -> None:
    """Its name has whole seconds, so it may look younger by less than one."""
    records = [at("start", 0.2), at("step", 1, loss=1), at("start", 9.5), at("step", 12, loss=1)]
    found = [
        Container(0, "a", BEGAN + 1),
        Container(0, "b", BEGAN + 5),
        Container(0, "c", BEGAN + 9),
        Container(1, "d", BEGAN),
    ]
    lives = timeline.attempts_of(0, records, found)
    assert [(one.container and one.container.id, one.start and one.start - BEGAN, one.end) for one in lives] == [
        ("a", pytest.approx(0.2), "interrupted"),
        ("b", None, "interrupted"),
        ("c", 9.5, ""),
    ]
    assert [one.begun for one in lives] == [BEGAN + 0.2, BEGAN + 5, BEGAN + 9]


def test_bars_fill_the_whole_and_ticks_divide_it() -> None:
    lives = {
        0: timeline.attempts_of(0, [at("start", 10), at("step", 20, loss=1), at("end", 50)], [Container(0, "a", BEGAN)])
    }
    found = timeline.bars(lives)
    assert [(bar["phase"], bar["left"], bar["width"]) for bar in found["rows"][0]["segments"]] == [
        ("container", 0, 20), ("starting", 20, 20), ("training", 40, 60),
    ]  # fmt: skip
    assert [(tick["left"], tick["seconds"]) for tick in found["ticks"]] == [
        (0, 0),
        (25, 12.5),
        (50, 25),
        (75, 37.5),
        (100, 50),
    ]
    assert (found["begin"], found["seconds"]) == (BEGAN, 50)
    assert timeline.bars({}) == {}


def test_a_crowded_curve_lies_behind_the_others() -> None:
    epochs = Series("each epoch", [(n, 1.0 + n) for n in range(0, 30, 10)])
    steps = Series("each step", [(n, 2.0 + n) for n in range(30)])
    chart = charts.draw("Loss", [epochs, steps])
    assert chart
    order = re.findall(r'<g class="series (serie-\d) color-\d( behind)?"', chart.svg)
    assert order[:2] == [("serie-1", " behind"), ("serie-0", "")]
    assert 'aria-label="Loss by step: each epoch, each step"' in chart.svg
    alone = charts.draw("Loss", [steps])
    assert alone
    assert "behind" not in alone.svg
