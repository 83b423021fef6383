"""What a log gives: numbers, times, and failures in their order."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.report import ends, logs, timeline
from ansible_collections.ddp.swarm.plugins.module_utils.report.read import LINE, LINES, Reader
from ansible_collections.ddp.swarm.plugins.module_utils.results.tree import Tree
from report_artifacts import BEGAN, attempt, failed_log, lines, put


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("epoch 0 | loss: 0.5 | held-out loss: 0.25 | samples/s: 200", {"loss": 0.5, "held-out loss": 0.25, "samples/s": 200}),
        ("Epoch 3, loss=0.5 acc=.9", {"loss": 0.5, "acc": 0.9}),
        ("{'loss': 0.69, 'grad_norm': 1.2, 'learning_rate': 5e-05}", {"loss": 0.69, "grad_norm": 1.2, "learning_rate": 5e-5}),
        ("[GPU0] first step done | loss: -1.5e+3", {"loss": -1500}),
        ("acc: 93.1%", {"acc": 93.1}),
        ("2026-01-02 10:39:11 INFO loss: 1.", {"INFO loss": 1}),
        ("time 10:39:11, torch=2.13.0, at 10.0.0.1:29500, https://x:80/y", {}),
        ("batch: 1/100, date=2026-01-02, id=0x7f, n: 12ab, size: 1GB", {}),
        ("7: 8, : 3, =4", {}),
        ("step 80 of 600: loss 1.0485, 20 steps/s", {"loss": 1.0485}),
        ("Epoch: [0][10/196]  Loss 6.59e+00 (6.95e+00)", {"loss": 6.59}),
        ("packet loss 3rd time", {}),
        ("", {}),
        ("E0115 08:00:01.5 1 torch/distributed/elastic/multiprocessing/api.py:1002] failed (code: 1)", {"code": 1.0}),
        ("failed (exitcode: 1) local_rank: 0 (pid: 33), PID=3 loss: 2", {"loss": 2.0}),
    ],
)  # fmt: skip
def test_numbers_in_a_line(line: str, found: dict[str, float]) -> None:
    assert dict(logs.numbers(line)) == found


def test_values_that_are_no_numbers_are_seen() -> None:
    found = dict(logs.numbers("loss: nan, grad=inf, other=-inf"))
    assert math.isnan(found["loss"])
    assert (found["grad"], found["other"]) == (math.inf, -math.inf)


@pytest.mark.parametrize(
    "line",
    [
        ":1" * 5000,
        "=" * 10_000,
        "a:" + " " * 10_000,
        "a=" + "1" * 10_000,
        "x " * 5000 + "=1",
        ": 1e" * 3000,
        "-=1" * 4000,
    ],
)
def test_no_line_takes_long(line: str) -> None:
    began = time.perf_counter()
    for _ in range(20):
        logs.numbers(line)
        logs.stamp(line)
        ends.EXIT.match(line)
        ends.error_of(line)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("2027-01-15 08:00:00,250 INFO", BEGAN + 0.25),
        ("[2027-01-15T08:00:01Z] x", BEGAN + 1),
        ("2027-01-15_08:00:02", BEGAN + 2),
        ("2027-99-15 08:00:00", None),
        ("0001-01-01 00:00:00", None),
        ("at 2027-01-15 08:00:00", None),
    ],
)
def test_the_time_that_a_line_begins_with(line: str, seconds: float | None) -> None:
    assert logs.stamp(line) == seconds


def part(root: Path, name: str, limit: int = 4 << 20) -> tuple[logs.Log, list[str]]:
    with Tree(root) as tree:
        reader = Reader(tree)
        return logs.read_log(reader.parts(name, limit)[0], 0, reader), reader.done()


def test_a_log_of_100_megabytes_is_read_in_part(root: Path) -> None:
    line = b"step | loss: 1.5 " + b"x" * 1006 + b"\n"
    with open(root / "node0.log", "wb") as stream:
        stream.writelines(line * 1024 for _ in range(100))
        stream.write(b"step | loss: 0.5\n")
    began = time.perf_counter()
    log, notes = part(root, "node0.log")
    assert time.perf_counter() - began < 5
    assert log.size > 100_000_000
    assert 4000 < log.lines <= 4096
    assert log.series["loss"].last == 0.5
    assert len(notes) == 1
    assert "in its middle are not read" in notes[0]


@pytest.mark.parametrize(
    "content", [b"\n" * (3 << 20), b"x" * (3 << 20), b"\0\xff\x1b[2J" * 100_000], ids=["empty", "long", "bytes"]
)
def test_odd_logs_are_bounded(root: Path, content: bytes) -> None:
    put(root, **{"node0.log": content})
    with Tree(root) as tree:
        reader = Reader(tree)
        found = reader.parts("node0.log")[0]
    assert len(found.lines) <= LINES
    assert max(len(line) for line in found.lines) <= LINE
    log = logs.read_log(found, 0, reader)
    assert len(log.tail) <= 60
    assert logs.read_log(found, 0, reader, tail=0).tail == []
    assert all(line.isprintable() or not line for line in log.tail)


def test_a_number_that_never_changes_is_no_curve(root: Path) -> None:
    put(root, **{"node0.log": "".join(f"batch_size: 32 | loss: {10 - n} | once{n}: 1\n" for n in range(5))})
    log, _notes = part(root, "node0.log")
    found = logs.charts([log])
    assert {name: [series.count for series in all_] for name, all_ in found.items()} == {"Loss": [5]}


def test_lines_over_time(root: Path) -> None:
    put(root, **{"node0.log": "".join(f"2027-01-15 08:0{n % 10}:00 line\n" for n in range(10)) + "no time\n"})
    log, _notes = part(root, "node0.log")
    (series,) = logs.rates([log])
    assert sum(y or 0 for _x, y in series.points) == 10
    assert series.points[-1][0] < 540
    assert logs.rates([]) == []


def read_containers(root: Path) -> list[ends.Container]:
    with Tree(root) as tree:
        return ends.containers(Reader(tree), "logs/")


def name(rank: int, second: int, number: int = 0) -> str:
    return f"logs__node{rank}.20270115T0800{second:02}.{number:012x}.log"


KILLED = {"says": "x", "code": -9, "trace": "Signal 9 (SIGKILL) received by PID 9"}
LOST = "[rank0]: torch.distributed.DistBackendError: Connection closed by peer [10.0.1.3]:4711"


def groups(root: Path) -> list[list[ends.Container]]:
    return [incident.failures for incident in ends.incidents(read_containers(root), {0, 1})]


def test_the_rank_that_was_killed_failed_first_though_the_other_was_quicker(root: Path) -> None:
    put(root, **{name(0, 0): failed_log(0, 20.1, LOST), name(1, 1): failed_log(1, 20.3, **KILLED)})
    ((first, second),) = groups(root)
    assert (first.rank, first.exit_code, first.says, first.exact) == (
        1,
        -9,
        "Signal 9 (SIGKILL) received by PID 9",
        True,
    )
    assert first.time == pytest.approx(BEGAN + 20.3)
    assert (second.rank, second.consequence) == (0, True)


def test_of_two_causes_the_earlier_is_the_first(root: Path) -> None:
    put(root, **{name(0, 0): failed_log(0, 20.2, "ValueError: b"), name(1, 1): failed_log(1, 20.1, "KeyError: 'a'")})
    ((first, second),) = groups(root)
    assert (first.rank, first.says, second.rank, second.says) == (1, "KeyError: 'a'", 0, "ValueError: b")


def test_a_rank_that_fails_twice_begins_a_second_incident(root: Path) -> None:
    logs_of = {name(0, n, n): failed_log(0, 10.0 + n, "ValueError: x") for n in (0, 20)}
    put(root, **logs_of, **{name(1, 1): failed_log(1, 11, LOST)})
    assert [[one.rank for one in group] for group in groups(root)] == [[0, 1], [0]]


def test_the_same_failure_again_is_told_once_with_a_count(root: Path) -> None:
    again = {
        name(rank, n + rank, n): failed_log(rank, 10.0 + n + rank, f"ValueError: {rank}")
        for n in (0, 20)
        for rank in (0, 1)
    }
    put(root, **again, **{name(0, 40, 40): failed_log(0, 50, "ValueError: else")})
    found = ends.folded(ends.incidents(read_containers(root), {0, 1}))
    assert [(one.first.says, one.times) for one in found if one.first] == [
        ("ValueError: 0", 2),
        ("ValueError: else", 1),
    ]
    # The newest stands for them.
    assert found[0].failures[0].begun == BEGAN + 20


def test_ranks_that_only_lost_another_one_do_not_name_themselves(root: Path) -> None:
    """Of a container that was killed as a whole there is no last word."""
    put(root, **{name(0, 0): failed_log(0, 20.1, LOST), name(1, 1): "epoch 0\n"})
    (incident,) = ends.incidents(read_containers(root), {0, 1})
    assert (incident.first, incident.silent) == (None, [1])
    put(root, **{name(1, 1): failed_log(1, 20.3, **KILLED)})
    (incident,) = ends.incidents(read_containers(root), {0, 1})
    assert (incident.first and incident.first.rank, incident.silent) == (1, [])


def test_a_rank_that_was_told_to_stop_has_not_failed(root: Path) -> None:
    told = "torch.distributed.elastic.multiprocessing.api.SignalException: Process 1 got signal: 15"
    put(root, **{name(0, 0): f"Traceback (most recent call last):\n{told}\n"})
    (one,) = read_containers(root)
    assert (one.failed, one.stopped) == (False, True)
    lives = timeline.attempts({}, [one])
    assert (lives[0][0].end, timeline.outcome(lives)) == ("stopped", "stopped")


def test_names_that_are_no_container_s(root: Path) -> None:
    put(root, **{"logs__node0.99999999T000000.000000000000.log": "x", "logs__nodeX.log": "x", name(0, 0): "fine\n"})
    assert [(one.rank, one.failed, one.exact) for one in read_containers(root)] == [(0, False, False)]


def test_the_phases_of_a_rank_that_was_started_again(root: Path) -> None:
    put(root, **{name(0, 0): failed_log(0, 25, "ValueError: x"), name(0, 30, 1): "fine\n"})
    put(
        root,
        **{"metrics.jsonl": lines(*attempt(0, after=5, until=10, end=""), *attempt(0, after=35, since=5, until=10))},
    )
    from ansible_collections.ddp.swarm.plugins.module_utils.report.metrics import read_metrics

    with Tree(root) as tree:
        reader = Reader(tree)
        lives = timeline.attempts(read_metrics(reader), ends.containers(reader, "logs/"))
    assert [(a.begun, a.start, a.first_step, a.last, a.end) for a in lives[0]] == [
        (BEGAN, BEGAN + 5, BEGAN + 6, BEGAN + 25, "failed"),
        (BEGAN + 30, BEGAN + 35, BEGAN + 36, BEGAN + 41, "finished"),
    ]
    assert (timeline.outcome(lives), timeline.restarts(lives)) == ("finished", 1)
    (row,) = timeline.bars(lives)["rows"]
    assert [(bar["phase"], round(bar["seconds"])) for bar in row["segments"]] == [
        ("container", 5), ("starting", 1), ("training", 19), ("down", 5), ("container", 5), ("starting", 1), ("training", 5),
    ]  # fmt: skip
    assert [mark["kind"] for mark in row["marks"]] == ["failed", "restart", "finished"]
    assert all(0 <= bar["left"] <= 100 and bar["left"] + bar["width"] <= 100.01 for bar in row["segments"])
