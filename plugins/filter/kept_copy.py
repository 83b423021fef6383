"""Filters: of what rank 0 and rank 1 answer, the name of the run, and whether rank 1's second copy takes the place of rank 0's results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def _age(answer: Mapping[str, Any], what: str) -> tuple[str, int]:
    told = answer.get(what) or {}
    return str(told.get("lineage", "")), int(told.get("counter", 0))


def copy_is_newer(answers: list[Mapping[str, Any]]) -> bool:
    """`answers` are those of training_results with state named, of rank 0 and of rank 1 if there is one.

    By what rank 0 has counted, not by a clock. A rank that did not answer has nothing, and results that were never counted stay.
    """
    if len(answers) < 2 or not (_age(answers[0], "saved")[0] or answers[0].get("empty", True)):
        return False
    return _age(answers[1], "copied") > _age(answers[0], "saved")


def named_run(answers: list[Mapping[str, Any]]) -> str:
    """The run's name, by rank 0 or, where that has lost it, by rank 1's copy; empty where neither knows."""
    return next((str(answer["run"]) for answer in answers if answer.get("run")), "")


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"copy_is_newer": copy_is_newer, "named_run": named_run}
