"""Logs as programs write them: progress bars, long lines, several processes of one host."""

import re

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.logs import (
    matching,
    process_of,
    settled,
    stamped,
    states,
    time_key,
)

STAMP = "2026-01-01T10:00:0{}.000000000Z"


def bar(percent: int, what: str = "") -> str:
    return f"{what}{percent:3d}%|{'#' * (percent // 10):10}| {percent}/100 [00:{percent:02d}<00:09,  9.9it/s]"


def test_a_line_has_the_states_that_it_showed() -> None:
    assert states("plain") == ["plain"]
    assert states("\r 10%\r     \r 20%\r") == [" 10%", " 20%"]
    assert states("\x1b[31mred\x1b[0m \r\x1b[A") == ["red"]
    assert states("") == [""]
    assert states(" \r ") == [""]


def test_a_bar_of_one_line_is_its_last_state() -> None:
    lines = ["begin", "\r".join(bar(percent) for percent in (0, 50, 100)), "", "end"]
    assert list(settled(lines)) == ["begin", bar(100), "", "end"]


def test_what_a_script_says_over_its_bar_is_kept() -> None:
    """As tqdm.write does, which clears the bar, says it, and draws the bar again."""
    lines = [f"\r{bar(1)}\r{' ' * 60}\r{{'loss': 0.5}}", f"\r{bar(2)}\r{' ' * 60}\r{{'loss': 0.4}}", f"\r{bar(3)}"]
    assert list(settled(lines)) == ["{'loss': 0.5}", "{'loss': 0.4}", bar(3)]


def test_a_failure_behind_a_bar_is_kept() -> None:
    (line,) = settled([f"\r{bar(1)}Traceback (most recent call last):"])
    assert line.endswith("Traceback (most recent call last):")


@pytest.mark.parametrize(
    "drawn",
    [[bar(percent, "train: ") for percent in (1, 2, 50)], [f"{count}it [00:0{count}, 1it/s]" for count in (1, 2, 50)]],
    ids=["percent", "count"],
)
def test_a_bar_with_a_line_for_each_state(drawn: list[str]) -> None:
    """Torchrun's --tee ends each state as a line."""
    lines = [f"[default0]:{state}" for state in drawn]
    assert list(settled(["[default0]:begin", *lines, "[default0]:end"])) == [
        "[default0]:begin",
        lines[-1],
        "[default0]:end",
    ]
    assert list(settled(lines)) == lines[-1:]


def test_the_bars_of_two_processes_beside_each_other() -> None:
    lines = [f"[default{process}]:{bar(percent)}" for percent in (1, 2, 3) for process in (0, 1)]
    assert list(settled(["begin", *lines])) == ["begin", *lines[-2:]]
    assert list(settled([*lines, "[default1]:done"])) == [lines[-1], "[default1]:done", lines[-2]]


def test_a_bar_that_begins_anew_is_another() -> None:
    lines = [bar(99), bar(100), bar(0), bar(30), bar(40, "valid: "), bar(50)]
    assert list(settled(lines)) == [bar(100), bar(30), bar(40, "valid: "), bar(50)]


def test_what_only_looks_like_a_bar_is_kept() -> None:
    lines = ["GPU 10%| memory 20%|", "GPU 11%| memory 21%|", "45% done", "46% done", "3 it [x", "4 it [x"]
    assert list(settled(lines)) == lines


def test_the_streams_in_the_order_of_time() -> None:
    out = f"{STAMP.format(2)} second\n{STAMP.format(4)} fourth\n"
    err = f"{STAMP.format(1)} first\n{STAMP.format(3)} third\n  of it\n"
    assert [text for _stamp, text in stamped(out, err)] == ["first", "second", "third", "  of it", "fourth"]


def test_a_line_that_docker_cut_is_whole_and_has_the_time_of_its_end() -> None:
    """Each piece of 16 KiB has the time of the first, and nothing ends it but the last one's line feed."""
    first, later, now = STAMP.format(1), STAMP.format(3), STAMP.format(5)
    out = f"{later} in between\n"
    err = f"{first} {bar(1)}\r 4{first} 5%|#\rTrace{first} back (most recent call last):\n{now}   File\n"
    assert stamped(out, err) == [
        (later, "in between"),
        (now, f"{bar(1)}\r 45%|#\rTraceback (most recent call last):"),
        (now, "  File"),
    ]


def test_a_cut_line_that_is_still_written_has_the_time_of_its_beginning() -> None:
    first = STAMP.format(1)
    assert stamped(f"{first} {bar(1)}\r 4{first} 5%|#") == [(first, f"{bar(1)}\r 45%|#")]


def test_lines_without_a_time_stay_behind_their_line() -> None:
    out = f"{STAMP.format(2)} second\n  of it\n{STAMP.format(4)} fourth\n"
    err = f"no time at all\n{STAMP.format(1)} first\n{STAMP.format(3)} third\n  of it\n"
    texts = [text for _stamp, text in stamped(out, err)]
    assert texts == ["no time at all", "first", "second", "  of it", "third", "  of it", "fourth"]


@pytest.mark.parametrize("end", ["\x85", "\u2028", "\x0c", "\r"])
def test_a_container_gives_no_line_a_time(end: str) -> None:
    forged = f"text{end}{STAMP.format(1)} forged"
    assert stamped(f"{STAMP.format(2)} {forged}\n") == [(STAMP.format(2), forged)]


def test_times_sort_as_text() -> None:
    stamps = [
        "",
        "2026-01-01T10:00:05Z",
        "2026-01-01T10:00:05.000000001Z",
        "2026-01-01T10:00:05.12Z",
        "2026-01-01T10:00:05.5Z",
    ]
    assert sorted([*stamps[2:], *stamps[:2]], key=time_key) == stamps


@pytest.mark.parametrize(
    ("line", "process"),
    [
        ("[default0]:epoch 1", "default0"),
        ("[default12]: epoch 1", "default12"),
        ("[trainer_a3]:x", "trainer_a3"),
        ("[rank0]:[W1129 torch] warning", "rank0"),
        ("[default]:x", ""),
        ("[ 10]: x", ""),
        ("epoch [default0]:", ""),
        ("", ""),
    ],
)
def test_torchruns_prefix_names_the_process(line: str, process: str) -> None:
    assert process_of(line) == process


@pytest.mark.parametrize(
    ("pattern", "line", "found"),
    [
        (r"^epoch \d", "[default1]:epoch 3", ["[default1]:epoch 3"]),
        (r"^\[default1\]:epoch", "[default1]:epoch 3", ["[default1]:epoch 3"]),
        (r"^epoch", "an epoch", []),
        (r"^ *epoch", "then [default1]:epoch", []),
        (r"then epoch", "then [default1]:epoch", []),
        (r"\bloss\b", "1%| loss 0.5\r2%| loss 0.4\r3%|", ["1%| loss 0.5", "2%| loss 0.4"]),
        (r"^epoch 1", "0%|\rloading\repoch 1 begins", ["epoch 1 begins"]),
        (r"\bloss\b", "\x1b[31mloss\x1b[0m 0.5", ["loss 0.5"]),
        ("", "anything\r", ["anything"]),
    ],
)
def test_a_pattern_is_looked_for_in_each_state(pattern: str, line: str, found: list[str]) -> None:
    """Without the colours of a terminal, and behind torchrun's prefix as well as with it."""
    assert matching(re.compile(pattern), line) == found
