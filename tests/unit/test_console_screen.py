"""Jobs on terminals of all widths."""

import re
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from console.look import no_such_job
from console.screen import PLAIN_BARS, frame, short, span, sparkline, swarm


def rank(number: int, **more: Any) -> dict[str, Any]:
    return {
        "rank": number, "host": f"host{number + 1}", "state": "running", "exit_code": None, "error": "", "since": "", "restarts": 0, "last": "x",
        "epoch": 3.0, "epochs": 10, "step": None, "steps": None, "loss": 0.5123, "losses": [2.0, 1.0, 0.8, 0.6, 0.5123] * 8,
        "held_out_loss": None,
        "samples_per_s": 412.0, "iterations_per_s": None, "eta_s": 125.0, "silent_s": 3.0, "cpu_percent": 101.0, "memory_bytes": 5,
        "gpu_percent": None, "network_bytes_per_s": 1234567.0, **more,
    }  # fmt: skip


def job(*ranks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": "simple-training",
        "state": "running",
        "since": "2026-01-02T03:04:05Z",
        "restarts": 0,
        "planned": {},
        "ended": "",
        "failure": None,
        "ranks": list(ranks),
        **more,
    }


def shown(jobs: list[dict[str, Any]], width: int, height: int | None = None) -> list[str]:
    lines = [line.plain for line in frame(jobs, width, height)]
    assert all(cell_len(line) <= width for line in lines), lines
    assert height is None or len(lines) <= height
    return lines


def test_at_80_columns() -> None:
    assert shown([job(rank(0), rank(1))], 80, 22) == [
        "simple-training: running, since 2026-01-02 03:04 UTC",
        "rank  host   state    at          train loss          samples/s  ETA    restarts",
        "0     host1  running  epoch 3/10  0.5123      █▂▆▃▁▄  412        2m05s  0",
        "1     host2  running  epoch 3/10  0.5123      █▂▆▃▁▄  412        2m05s  0",
    ]


def test_at_40_columns_the_most_important() -> None:
    assert shown([job(rank(0))], 40, 22)[1:] == [
        "rank  state    at          train loss",
        "0     running  epoch 3/10  0.5123",
    ]


def test_at_200_columns_all_that_is_known() -> None:
    head = shown([job(rank(0), rank(1))], 200, 48)[1]
    assert head.split() == [
        "rank",
        "host",
        "state",
        "at",
        "train",
        "loss",
        "samples/s",
        "ETA",
        "restarts",
        "last",
        "line",
        "CPU",
        "net/s",
    ]
    assert "GPU" in shown([job(rank(0, gpu_percent=97.0))], 200)[1]
    assert "1.23MB" in shown([job(rank(0))], 200)[2]


def test_the_held_out_loss_has_its_own_name() -> None:
    lines = shown([job(rank(0, held_out_loss=0.71), rank(1))], 110)
    assert re.split(" {2,}", lines[1])[4:7] == ["train loss", "held-out loss", "samples/s"]
    assert re.split(" {2,}", lines[2])[4:8:2] == ["0.5123", "0.71"]
    assert re.split(" {2,}", lines[3])[4:8:2] == ["0.5123", "-"]
    only = shown([job(rank(0, loss=None, losses=[], held_out_loss=0.71, epoch=None, last="x"))], 110)
    assert "train loss" not in only[1]
    assert "held-out loss" in only[1]
    assert only[-1].startswith("0 ")


@pytest.mark.parametrize("width", [1, 10, 20, 40, 60, 80, 120, 200, 400])
@pytest.mark.parametrize("height", [1, 2, 5, 10, 22, 48])
def test_no_line_is_too_long_and_no_screen_too_high(width: int, height: int) -> None:
    failed = rank(2, state="failed", exit_code=1, error="task: non-zero exit (1)", last="Über 日本語 " * 20)
    jobs = [job(*(rank(number) for number in range(30)), failed), job(rank(0)), job(rank(0), name="b" * 60)]
    assert shown(jobs, width, height)
    assert shown(jobs, width)


def test_of_many_ranks_those_in_trouble_are_shown() -> None:
    lines = shown([job(*(rank(number) for number in range(40)), rank(40, state="failed", exit_code=1))], 80, 10)
    assert any(line.startswith("40 ") and "failed (1)" in line for line in lines)
    assert lines[-1] == "and 34 more ranks, all well"


def test_trouble_is_said_in_words() -> None:
    failed = rank(1, state="failed", exit_code=1, error="task: non-zero exit (1)", last="ValueError: no")
    lines = shown([job(rank(0), failed, state="failed", restarts=3)], 80)
    assert lines[0].startswith("simple-training: failed, 3 restarts")
    assert lines[-4:] == [
        "node1: task: non-zero exit (1)",
        "node1: ValueError: no",
        "Whole log: 'ddp collect simple-training'.",
        "Start again: 'ddp up simple-training' with the settings (-e) of its run.",
    ]
    first = {"rank": 1, "host": "host2", "time": "2026-01-02T03:04:05Z", "error": "ValueError: no"}
    lines = shown([job(rank(0), failed, state="failed", failure=first, ended="2026-01-02T03:09:05Z")], 80)
    assert lines[0] == "simple-training: failed, ended 2026-01-02 03:09 UTC"
    assert lines[4] == "Failed first: rank 1 on host2: ValueError: no"
    assert "node1: ValueError: no" not in lines


def test_a_script_that_says_no_numbers_is_shown_by_its_last_line() -> None:
    mute = rank(0, epoch=None, epochs=None, loss=None, losses=[], samples_per_s=None, eta_s=None, last="counting sheep")
    lines = shown([job(mute)], 80)
    assert lines[-1] == "node0: counting sheep"
    assert "ETA" not in lines[1]


def test_nothing_to_show() -> None:
    assert shown([], 80) == ["No job is in the swarm: 'ddp up' starts one."]


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], 8, "▁▂▃▄▅▆▇█"),
        ([0, 0, 7, 7], 2, "▁█"),
        ([5, 5, 5], 8, "▁▁▁"),
        ([1, None, 0], 8, "█x▁"),
        ([None], 8, "x"),
        ([], 8, ""),
        ([1], 0, ""),
    ],
)  # fmt: skip
def test_sparklines(values: list[float | None], width: int, drawn: str) -> None:
    assert sparkline(values, width) == drawn
    assert sparkline(values, width, PLAIN_BARS).isascii()


def test_numbers_and_times() -> None:
    assert [short(value) for value in (None, 0.01234, 412.4, 12345, 3.4e6, -2e9)] == [
        "-",
        "0.0123",
        "412",
        "12.3k",
        "3.4M",
        "-2G",
    ]
    assert [span(value) for value in (None, 0.4, 59.6, 125, 7500, 4 * 86400 + 3600)] == [
        "-",
        "0s",
        "1m00s",
        "2m05s",
        "2h05m",
        "4d01h",
    ]


def test_of_a_job_that_is_gone_the_results_are_named(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    said = no_such_job("mine", ["other"], tmp_path)
    assert said.startswith(
        "mine is not in the swarm any more. What was collected of it is in artifacts/mine; 'ddp up mine'"
    )
    for name in ("mime", "../mine", "."):
        assert no_such_job(name, ["mine"], tmp_path).startswith(f"There is no job {name} in the swarm, which has mine.")


@pytest.mark.parametrize(("first", "marks"), [(3.0, ["running", "running"]), (150.0, ["silent 2m30s", "silent 3m20s"])])
def test_a_rank_that_leaves_the_writing_to_rank_0_is_as_well_as_that(first: float, marks: list[str]) -> None:
    lines = shown([job(rank(0, silent_s=first), rank(1, losses=[], loss=None, silent_s=200.0))], 120)
    assert [found for line in lines[2:] for found in re.findall(r"running|silent \S+", line)] == marks


def test_a_rank_that_says_nothing_is_marked_with_the_age_of_its_last_line() -> None:
    lines = shown([job(rank(0), rank(1, silent_s=200.0), rank(2, state="complete", silent_s=900.0))], 120)
    assert [re.findall(r"running|silent \S+|complete", line) for line in lines[2:]] == [
        ["running"],
        ["silent 3m20s"],
        ["complete"],
    ]


def test_nodes_that_are_well_are_one_line() -> None:
    well = {"name": "host1", "state": "Ready", "availability": "Active", "manager": "Leader", "engine": "26.1.5"}
    nodes = [well, {**well, "name": "host2", "manager": ""}, {**well, "name": "host3", "state": "Down", "manager": ""}]
    assert [line.plain for line in swarm(nodes)] == ["Nodes: host1 (leader), host2", "host3: Down, Active"]
    assert swarm([]) == []
