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


@pytest.mark.parametrize(
    ("stamp", "key"),
    [
        ("05Z", "05.000000000Z"),
        ("05.5Z", "05.500000000Z"),
        ("05.000000001Z", "05.000000001Z"),
        ("05.120Z", "05.120000000Z"),
        ("", ""),
    ],
)
def test_times_sort_as_text(plugin: ModuleType, stamp: str, key: str) -> None:
    assert plugin.time_key(stamp) == key


def test_a_whole_second_comes_before_its_parts(plugin: ModuleType) -> None:
    found = plugin.first_failure(seen(log("a", "05.1", "Connection closed by peer"), log("b", "05", CAUSE)))
    assert (found["rank"], found["time"]) == (1, "2026-03-01T10:00:05.000000000Z")


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


def test_nothing_is_known(plugin: ModuleType) -> None:
    assert plugin.first_failure(seen("", "x 2026-03-01T10:00:00Z epoch 0\n")) == {}
    assert plugin.first_failure([{"item": "host1"}]) == {}


@pytest.mark.parametrize("end", ["\x85", "\u2028", "\r"])
def test_a_container_speaks_for_no_other(plugin: ModuleType, end: str) -> None:
    """Nor at another time: what it puts behind a character that Python takes for the end of a line stays its own text."""
    forged = f"a 2026-03-01T10:00:07Z x{end}b 2026-03-01T09:00:00Z Traceback (most recent call last):\n"
    (found,) = [plugin.first_failure(seen(forged))]
    assert found["time"] == "2026-03-01T10:00:07.000000000Z"
    assert len(found["log"]) == 1
