"""What is left of a failed task's result."""

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.brief import LOG_LINES, brief, log_below, window

TRACEBACK = [
    "Traceback (most recent call last):",
    '  File "/workspace/train.py", line 1, in <module>',
    "    import nothere",
    "ModuleNotFoundError: No module named 'nothere'",
]


def test_a_rank_that_died_is_told_once_with_what_to_do() -> None:
    first = [f"  line {number}" for number in range(30)] + [f"  {line}" for line in TRACEBACK]
    again = [f"  W1129 torchrun says it again {number}" for number in range(30)]
    message = "\n".join(
        ["ddp failed. First to fail was ddp_node0 on host1:", *first, *again, "", "stack ddp:", *first, *again]
    )
    said = brief({"failed": True, "msg": message, "invocation": {"module_args": {}}})
    assert said[0] == "ddp failed. First to fail was ddp_node0 on host1:"
    assert said[LOG_LINES] == "  ModuleNotFoundError: No module named 'nothere'"
    assert said[LOG_LINES + 1 :] == ["stack ddp:", "Add what has nothere to requirements.txt, and run this again."]


@pytest.mark.parametrize("of", ["", "ddp_node1 on host2"])
def test_what_announces_a_log_goes_with_it(of: str) -> None:
    first, second = log_below(["a"] * 9), log_below(["b"] * 9, of)
    assert brief({"msg": f"ddp_node0 failed. {first}\nddp_node1 failed. {second}"})[-1] == "ddp_node1 failed."


@pytest.mark.parametrize(
    ("end", "advice"),
    [
        ("ModuleNotFoundError: No module named 'pandas.core'", ["Add what has pandas to requirements.txt, and run this again."]),
        ("ValueError: mine", []),
    ],
)  # fmt: skip
def test_the_package_is_that_of_the_failure_and_not_of_a_warning(end: str, advice: list[str]) -> None:
    warning = "  cpu.py:1: UserWarning: Failed to initialize NumPy: No module named 'numpy' (Triggered internally at x.cpp:84.)"
    told = [
        "ddp failed. First to fail was ddp_node1 on host2:",
        warning,
        *(f"  {line}" for line in [*TRACEBACK[:3], end]),
    ]
    said = brief({"failed": True, "msg": "\n".join(told)})
    assert said == [*told, *advice]


def test_a_log_that_is_left_out_is_not_announced() -> None:
    log = [f"  line {number}" for number in range(20)]
    ranks = [line for rank in (0, 1) for line in [f"ddp_node{rank} failed with exit code 1. Last 20 log lines:", *log]]
    said = brief({"failed": True, "msg": "\n".join(["First to fail was ddp_node1:", *log, *ranks])})
    assert said[-2:] == [f"ddp_node{rank} failed with exit code 1." for rank in (0, 1)]


@pytest.mark.parametrize("prefix", ["", "[rank1]: ", "  "])
def test_a_log_ends_with_the_first_traceback(prefix: str) -> None:
    lines = [prefix + line for line in TRACEBACK]
    assert window(["before", *lines, "after", *lines], 4) == lines


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"msg": "One sentence."}, ["One sentence."]),
        ({}, ["It failed, and gave no reason."]),
        ({"msg": "\x1b]52;c;Y2xp\x07no\x1b[2J"}, ["no"]),
        ({"censored": "hidden", "msg": "secret"}, ["It failed. What it said may hold a secret, so it is not shown."]),
        ({"msg": "non-zero return code", "rc": 3, "stderr": "no"}, ["non-zero return code", "  no"]),
        ({"msg": "no", "rc": 3, "stderr": "no"}, ["no"]),
        (
            {"msg": "One or more items failed", "results": [{"failed": True, "msg": "a"}, {"msg": "ok"}, {"failed": True, "msg": "b"}]},
            ["a", "b"],
        ),
        ({"msg": "x", "results": [{"failed": True, "msg": "same"}] * 9}, ["same"]),
    ],
)  # fmt: skip
def test_a_result(result: dict[str, Any], said: list[str]) -> None:
    assert brief(result) == said


def test_what_many_items_say_is_cut_and_counted() -> None:
    said = brief({"results": [{"failed": True, "msg": f"item {number}"} for number in range(100)]})
    assert (len(said), said[-1]) == (29, "(and 72 more lines: see them with -v)")


def test_a_long_message_without_a_log_is_cut() -> None:
    assert len(brief({"msg": "\n".join(f"line {number}" for number in range(500))})) <= 30
