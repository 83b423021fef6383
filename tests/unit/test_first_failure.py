"""Which rank failed first: told from the clock of what each container wrote."""

from types import ModuleType
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter import first_failure

CAUSE = "ValueError: the data are not here"


@pytest.fixture(scope="module")
def plugin() -> ModuleType:
    return first_failure


def log(container: str, second: str, error: str) -> str:
    stamp = f"2026-03-01T10:00:{second}Z"
    texts = ["epoch 0", "Traceback (most recent call last):", error, "E0301 torch: failed (exitcode: 1) local_rank: 0"]
    return "".join(f"{container} {stamp} {text}\n" for text in texts)


def seen(*outputs: str) -> list[dict[str, Any]]:
    return [{"item": f"host{number}", "stdout": output} for number, output in enumerate(outputs, start=1)]


def test_the_cause_comes_before_its_consequence(plugin: ModuleType) -> None:
    found = plugin.first_failure(seen(log("a", "05.5", "Connection closed by peer"), log("b", "05.123456789", CAUSE)))
    assert (found["rank"], found["host"]) == (1, "host2")
    assert found["log"][:3] == ["epoch 0", "Traceback (most recent call last):", CAUSE]
    assert found["says"] == CAUSE


def clocks(**ahead: float) -> dict[str, Any]:
    return {host: {"offset": offset, "error": 0.02} for host, offset in ahead.items()}


def test_what_the_clocks_differ_by_is_taken_off(plugin: ModuleType) -> None:
    """By its own clock host1 was first: it is 3 s behind."""
    both = seen(log("a", "05.1", "Connection closed by peer"), log("b", "08.0", CAUSE))
    assert plugin.first_failure(both)["rank"] == 0
    found = plugin.first_failure(both, clocks=clocks(host1=-3.0, host2=0.0))
    assert (found["rank"], found["time"][:21], found["at"]) == (1, "2026-03-01T10:00:08.0", "2026-03-01T10:00:08.000")
    assert (found["ahead"], found["beside"]) == (0.0, [])
    # The other one is ahead of both, and of the controller.
    found = plugin.first_failure(
        seen(log("a", "05.1", "EOFError"), log("b", "12.0", CAUSE)), clocks=clocks(host1=0.0, host2=7.0)
    )
    assert (found["rank"], found["at"], found["time"][17:21], found["ahead"]) == (
        1,
        "2026-03-01T10:00:05.000",
        "12.0",
        7.0,
    )


def test_of_failures_that_the_clocks_cannot_tell_apart_the_one_that_is_a_cause(plugin: ModuleType) -> None:
    both = seen(log("a", "05.10", "Connection closed by peer"), log("b", "05.13", CAUSE))
    found = plugin.first_failure(both, clocks=clocks(host1=0.0, host2=0.0))
    assert (found["rank"], found["beside"], found["within"]) == (1, [0], 0.04)
    later = seen(log("a", "05.10", "Connection closed by peer"), log("b", "05.15", CAUSE))
    assert plugin.first_failure(later, clocks=clocks(host1=0.0, host2=0.0))["rank"] == 0
    assert plugin.first_failure(both)["beside"] == []


@pytest.mark.parametrize("said", [None, "x", {}, {"failed": True, "msg": "no"}, {"offset": "1", "error": 2}])
def test_a_host_whose_clock_nobody_knows(plugin: ModuleType, said: Any) -> None:
    both = seen(log("a", "05.5", "Connection closed by peer"), log("b", "05.1", CAUSE))
    assert plugin.first_failure(both, clocks={"host1": said, "host2": said})["rank"] == 1


def test_a_whole_second_comes_before_its_parts(plugin: ModuleType) -> None:
    found = plugin.first_failure(seen(log("a", "05.1", "Connection closed by peer"), log("b", "05", CAUSE)))
    assert (found["rank"], found["time"]) == (1, "2026-03-01T10:00:05.000000000")


def test_an_incident_that_was_survived_is_not_the_cause(plugin: ModuleType) -> None:
    rank0 = log("a", "01.1", CAUSE) + log("c", "09.2", CAUSE)
    rank1 = log("b", "01.2", "Connection closed by peer") + log("d", "09.1", "MemoryError")
    found = plugin.first_failure(seen(rank0, rank1))
    assert (found["rank"], found["log"][2]) == (1, "MemoryError")


def test_a_rank_that_fails_alone_time_and_again(plugin: ModuleType) -> None:
    found = plugin.first_failure(seen("", log("b", "01", CAUSE) + log("c", "05", CAUSE) + log("d", "09", CAUSE)))
    assert (found["rank"], found["time"][17:19]) == (1, "09")


def test_an_earlier_incident_ends_with_the_first_rank_that_failed_twice(plugin: ModuleType) -> None:
    """Rank 2 failed in the first incident only: it did not begin the second one."""
    rank0 = log("a", "02", "Connection closed by peer") + log("d", "09.2", "Connection closed by peer")
    rank1 = log("b", "03", "Connection closed by peer") + log("e", "09.1", "MemoryError")
    rank2 = log("c", "01", CAUSE)
    found = plugin.first_failure(seen(rank0, rank1, rank2))
    assert (found["rank"], found["log"][2]) == (1, "MemoryError")


def test_what_stands_before_and_after_the_failure(plugin: ModuleType) -> None:
    """Of a failure near the beginning everything before it, of one far in so many lines."""
    for number, first in ((0, 0), (3, 0), (10, 0), (11, 1), (25, 15)):
        texts = [f"line {each}" for each in range(200)]
        texts[number] = "Traceback (most recent call last):"
        output = "".join(f"a 2026-03-01T10:00:{each / 10:09.6f}Z {text}\n" for each, text in enumerate(texts))
        found = plugin.first_failure(seen(output))
        assert found["log"] == texts[first : number + 70], number
        assert plugin.first_failure(seen(output), before=2, after=1)["log"] == texts[max(0, number - 2) : number + 1]


def lines_at(container: str, second: int, *texts: str) -> str:
    return "".join(f"{container} 2026-03-01T10:00:{second:02d}Z {text}\n" for text in texts)


BAR = [f" {step}%|#| {step}/9 [00:0{step}<00:09]" for step in range(9)]


def test_a_failure_behind_a_progress_bar(plugin: ModuleType) -> None:
    """With no more of the bar than its last state, and before what another rank said of it."""
    bar = "\r".join(BAR)
    rank0 = lines_at("a", 5, "begin", f"\r{bar}Traceback (most recent call last):", CAUSE)
    rank1 = lines_at("b", 6, f"\r{bar}", "Traceback (most recent call last):", "Connection closed by peer")
    found = plugin.first_failure(seen(rank0, rank1))
    assert (found["rank"], found["log"]) == (0, ["begin", f"{BAR[-1]}Traceback (most recent call last):", CAUSE])
    assert plugin.first_failure(seen("", rank1))["log"][:2] == [BAR[-1], "Traceback (most recent call last):"]


def test_a_long_bar_does_not_make_its_failure_the_first(plugin: ModuleType) -> None:
    """Docker gives what it cut the time at which it began."""
    began = "2026-03-01T10:00:01Z"
    cut = f"a {began} \r{BAR[0]}\r 1%{began} |#| 1/9 [00:01Traceback (most recent call last):\n"
    rank0 = cut + lines_at("a", 9, "Connection closed by peer")
    found = plugin.first_failure(seen(rank0, lines_at("b", 8, "Traceback (most recent call last):", CAUSE)))
    assert (found["rank"], found["log"][1]) == (1, CAUSE)


def test_what_is_on_the_other_stream_cuts_no_line(plugin: ModuleType) -> None:
    """Docker ends a piece of a long line with nothing, so that the streams may not be put together before."""
    cut = f"a 2026-03-01T10:00:01Z {BAR[0]}\r {BAR[1]}2026-03-01T10:00:01Z \rTraceback (most recent call last):\n"
    err = cut + lines_at("a", 7, CAUSE)
    entry = {"item": "host1", "stdout": lines_at("a", 3, "epoch 0") + "\n", "stderr": err + "\n"}
    found = plugin.first_failure([entry])
    assert found["log"] == ["epoch 0", "Traceback (most recent call last):", CAUSE]
    assert found["time"].startswith("2026-03-01T10:00:07")


def test_the_processes_of_a_rank_are_told_apart(plugin: ModuleType) -> None:
    """The first of them to fail, with its own lines and those that are from torchrun itself."""
    texts = [
        "[default0]:epoch 0",
        "[default1]:epoch 0",
        "[default1]:Traceback (most recent call last):",
        "[default0]:Traceback (most recent call last):",
        "[default0]:Connection closed by peer",
        f"[default1]:{CAUSE}",
        "E0301 torch: failed (exitcode: 1) local_rank: 1",
    ]
    found = plugin.first_failure(seen(lines_at("a", 5, *texts)))
    assert found["process"] == "default1"
    assert found["log"] == [texts[1], texts[2], texts[5], texts[6]]
    # Where only torchrun tells of it, what each process said before.
    found = plugin.first_failure(seen(lines_at("a", 5, texts[0], texts[1], texts[6])))
    assert (found["process"], found["log"]) == ("", [texts[0], texts[1], texts[6]])


def test_many_states_of_a_bar_hide_nothing_that_stands_before(plugin: ModuleType) -> None:
    texts = ["[default0]:begin", *[f"[default0]:{state}" for state in BAR], "Traceback (most recent call last):"]
    found = plugin.first_failure(seen(lines_at("a", 5, *texts)), before=2)
    assert found["log"] == [texts[0], texts[-2], texts[-1]]


def test_nothing_is_known(plugin: ModuleType) -> None:
    assert plugin.first_failure(seen("", "x 2026-03-01T10:00:00Z epoch 0\n")) == {}
    assert plugin.first_failure([{"item": "host1"}]) == {}


@pytest.mark.parametrize("end", ["\x85", "\u2028", "\r"])
def test_a_container_speaks_for_no_other(plugin: ModuleType, end: str) -> None:
    """Nor at another time: what it puts behind a character that Python takes for the end of a line stays its own text."""
    forged = f"a 2026-03-01T10:00:07Z x{end}b 2026-03-01T09:00:00Z Traceback (most recent call last):\n"
    (found,) = [plugin.first_failure(seen(forged))]
    assert found["time"] == "2026-03-01T10:00:07.000000000"
    assert len(found["log"]) == 1


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["[default0]:[rank3]: Traceback (most recent call last):", "[default0]:[rank3]: KeyError: 'x'"], "KeyError: 'x'"),
        (["Traceback (most recent call last):", "KeyError: 1", "During handling of the above, another", "OSError"], "KeyError: 1"),
        (["E0301 failed (exitcode: -9) local_rank: 0", "x.errors.ChildFailedError:", "===="], "E0301 failed (exitcode: -9) local_rank: 0"),
        (["  Fatal Python error: Segmentation fault"], "Fatal Python error: Segmentation fault"),
    ],
)  # fmt: skip
def test_a_failure_says_what_it_was(plugin: ModuleType, texts: list[str], says: str) -> None:
    assert plugin.first_failure(seen(lines_at("a", 5, *texts)))["says"] == says
