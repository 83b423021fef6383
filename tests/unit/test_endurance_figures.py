"""What `make endurance` counts, on invented steps."""

import sys

from by_path import ROOT

sys.path.append(str(ROOT / "tests/faults"))
import endurance


def rows(*starts: list[tuple[int, float]]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for steps in starts:
        found.append({"event": "start", "rank": 0, "time": steps[0][1] - 1, "step": steps[0][0] - 1})
        for number, (step, when) in enumerate(steps):
            found.append({"event": "step" if number else "first_step", "rank": 0, "step": step, "time": when})
        found.append({"event": "step", "rank": 1, "step": 99, "time": 1e9})
    return found


FIRST = [(step, 100.0 + step) for step in range(1, 11)]  # to 110
AGAIN = [(step, 122.0 + step) for step in range(8, 21)]  # from 130 to 142, and steps 8 to 10 a second time


def test_what_was_made_again_is_not_kept() -> None:
    starts = endurance.steps_of(rows(FIRST, AGAIN))
    assert starts == [FIRST, AGAIN]
    # Of 42 seconds: steps 2 to 8 of the first start, 9 to 20 of the second.
    assert endurance.kept_seconds([FIRST]) == 9
    assert endurance.kept_seconds(starts) == 7 + 12


def test_the_longest_time_without_a_step() -> None:
    times = [when for steps in (FIRST, AGAIN) for _, when in steps]
    assert endurance.longest_gap(times, 105.5, 142) == 20
    assert endurance.longest_gap(times, 135.5, 142) == 1
    # Faults after which nothing came, or not much.
    assert endurance.longest_gap(times, 142.5, 180) == 37.5
    assert endurance.longest_gap(times, 135.5, 180) == 38
