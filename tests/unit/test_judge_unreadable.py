"""Reports that are not shaped as a probe's: whoever can write to a container's output can write one."""

from __future__ import annotations

from typing import Any

import pytest
from preflight_ranks import healthy_report, record, verdict

WRONG = [
    ["x"],
    [None],
    [[]],
    [{}],
    [{"layer": []}],
    [{"layer": "4"}],
    [{"layer": True}],
    [{"layer": 4.0}],
    [{"layer": 0}],
    [{"layer": 15}],
    [{"layer": 4, "ok": False, "peer": []}],
    [{"layer": 4, "ok": False, "code": {}}],
    "x",
    {"layer": 4},
    7,
]


def judged(**probe: Any) -> dict[str, Any]:
    reports = [healthy_report(rank, 2) for rank in range(2)]
    reports[1]["probe"].update(probe)
    return verdict(reports)


@pytest.mark.parametrize("records", WRONG, ids=str)
def test_records_that_are_none(records: Any) -> None:
    """As if there were no report: what else it says is not believed either."""
    reports = [healthy_report(rank, 2) for rank in range(2)]
    reports[1]["probe"] = None
    mixed = [*healthy_report(1, 2)["probe"]["records"], *records] if isinstance(records, list) else records
    assert judged(records=records) == judged(records=mixed) == verdict(reports)


@pytest.mark.parametrize("part", ["identity", "clock", "heard", "pairs", "allreduce", "compute", "backend_reason"])
@pytest.mark.parametrize("content", ["x", ["x"], 7], ids=str)
def test_parts_that_are_no_mappings(part: str, content: Any) -> None:
    reports = [healthy_report(rank, 2) for rank in range(2)]
    reports[1]["probe"] = None
    assert judged(**{part: content}) == verdict(reports)


@pytest.mark.parametrize("probe", ["x", ["x"], 7], ids=str)
def test_a_probe_that_is_none(probe: Any) -> None:
    reports = [healthy_report(rank, 2) for rank in range(2)]
    reports[1]["probe"] = None
    nothing = verdict(reports)
    reports[1]["probe"] = probe
    assert verdict(reports) == nothing


@pytest.mark.parametrize("content", ["x", ["x"], 7], ids=str)
def test_what_a_host_says_that_is_no_mapping(content: Any) -> None:
    reports = [healthy_report(rank, 2) for rank in range(2)]
    reports[1]["host_checks"] = {}
    nothing = verdict(reports)
    reports[1]["host_checks"] = content
    assert verdict(reports) == nothing


@pytest.mark.parametrize("rank", [[], {}, "1", None], ids=str)
def test_a_report_of_no_rank(rank: Any) -> None:
    reports = [healthy_report(rank, 2) for rank in range(2)]
    stray = {**healthy_report(1, 2), "rank": rank}
    assert verdict([reports[0], stray], size=2) == verdict(reports[:1], size=2)


def test_records_that_are_as_a_probe_makes_them() -> None:
    assert judged(records=[record(layer, 1, peer=0, code="refused") for layer in range(4, 15)])["ok"] is True
