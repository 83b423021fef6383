"""By how much a host's clock is ahead: this machine's own, and what else a host may say."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible_collections.ddp.swarm.plugins.action.host_clock import ActionModule


class Task:
    def __init__(self, **args: Any) -> None:
        self.args, self.async_val, self.check_mode, self.diff = args, 0, False, False
        self.delegate_to = None


def action(monkeypatch: pytest.MonkeyPatch, says: Any, **args: Any) -> dict[str, Any]:
    made = ActionModule(Task(**args), None, None, None, None, None)
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_words: {})
    monkeypatch.setattr(made, "_low_level_execute_command", lambda *_words, **_options: says())
    return made.run()


def clock(ahead: float, ways: list[float]) -> Any:
    """A host's, whose way there takes so long each time."""

    def says() -> dict[str, Any]:
        time.sleep(ways.pop(0))
        return {"rc": 0, "stdout": f"{time.time() + ahead:.9f}\r\n"}

    return says


@pytest.mark.parametrize("ahead", [0.0, 7.25, -3600.0])
def test_the_shortest_way_counts(monkeypatch: pytest.MonkeyPatch, ahead: float) -> None:
    found = action(monkeypatch, clock(ahead, [0.5, 0.01, 0.3, 0.2, 0.4]))
    assert found["offset"] == pytest.approx(ahead, abs=0.05)
    assert abs(found["offset"] - ahead) <= found["error"] + 0.001
    assert found["changed"] is False


@pytest.mark.parametrize(
    "said", [{"rc": 1, "stdout": "1.1"}, {"rc": 0, "stdout": "1800000000.%N"}, {"rc": 0, "stdout": "soon"}, {}]
)
def test_a_host_that_does_not_tell(monkeypatch: pytest.MonkeyPatch, said: dict[str, Any]) -> None:
    found = action(monkeypatch, lambda: said)
    assert found["failed"]
    assert "does not tell its time" in found["msg"]


@pytest.mark.parametrize("tries", [0, "x", -1, 101])
def test_tries(monkeypatch: pytest.MonkeyPatch, tries: Any) -> None:
    with pytest.raises(AnsibleError, match="number from 1 to 100"):
        action(monkeypatch, dict, tries=tries)
