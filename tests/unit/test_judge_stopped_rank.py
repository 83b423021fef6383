"""A rank that stops in the middle of the check: whatever it and the others have said until then, the message has a finding and a cure."""

from __future__ import annotations

from typing import Any

import pytest
from preflight_ranks import fail, healthy_report, verdict

PAIRS: list[Any] = [
    {},
    {"PEER": {}},
    {"PEER": {"latency_us": 80.0}},
    {"PEER": {"latency_us": None, "bandwidth_mb_s": None, "path_mtu": None}},
]
STATES = ["running", "paused", "exited", "dead", "created", "removing", "restarting", "None"]


def reports(stopped: int, layer: int, pairs: Any, state: str, tail: list[str]) -> list[dict[str, Any]]:
    both = [healthy_report(rank, 2) for rank in range(2)]
    other = fail(both[1 - stopped], layer, stopped, observed="", expected="", name="")
    other["probe"].update(
        pairs={str(stopped): pairs.get("PEER", {})} if pairs else {}, clock={}, heard={}, allreduce=None, compute=None
    )
    both[stopped]["probe"] = None
    both[stopped]["host_checks"].update(
        container={"id": "0" * 12, "state": state, "exit_code": None}, log_tail=tail, waited_s=None
    )
    return both


@pytest.mark.parametrize("stopped", [0, 1])
@pytest.mark.parametrize("layer", range(4, 15))
def test_the_message_is_never_empty(stopped: int, layer: int) -> None:
    for pairs in PAIRS:
        for state in STATES:
            for tail in ([], [""], ["a line"]):
                told = verdict(reports(stopped, layer, pairs, state, tail))
                assert not told["ok"]
                assert told["findings"]
                for one in told["findings"]:
                    assert one["observed"].strip(" .?"), one
                    assert one["hint"].strip(" ."), one
                assert ": ." not in told["message"]
                assert told["message"].startswith("Layer ")


@pytest.mark.parametrize("stopped", [0, 1])
def test_without_a_container_or_a_host(stopped: int) -> None:
    for checks in (
        {"container": None, "tasks": []},
        {"container": None, "tasks": [{"name": f"t-preflight_node{stopped}", "state": "", "node": "", "error": ""}]},
    ):
        both = reports(stopped, 8, {}, "running", [])
        both[stopped]["host_checks"].update(checks)
        told = verdict(both)
        assert all(one["observed"].strip(" .?") and one["hint"].strip(" .") for one in told["findings"]), told
    both = reports(stopped, 8, {}, "running", [])
    told = verdict([both[1 - stopped]], 2, {f"host{stopped + 1}": ""})
    assert told["message"].startswith(f"Layer 2 (engine and kernel) fails on host{stopped + 1}")
    assert "no answer" in told["message"]
