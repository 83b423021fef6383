"""By which lines a rank is known to train, and what is said where none was seen."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.training_started import started_words, training_started
from ansible_collections.ddp.swarm.plugins.module_utils.stack.wait import says

HOSTS = ["host1", "host2", "host3"]
ANY = training_started("auto", "own.py", "")


@pytest.mark.parametrize(
    ("pattern", "script", "command", "strict", "period"),
    [
        ("auto", "training_code.py", "", True, 3),
        ("auto", "own.py", "", False, 3),
        ("auto", "training_code.py", "python own.py", False, 3),
        ("auto", "training_code.py", ["python", "own.py"], False, 3),
        ("step 1", "own.py", "", True, 3),
        ("", "training_code.py", "", True, 30),
    ],
)
def test_only_a_line_that_is_known_to_come_is_waited_for(
    pattern: str, script: str, command: Any, strict: bool, period: int
) -> None:
    rule = training_started(pattern, script, command)
    assert (rule["within"] is None, rule["period"]) == (strict, period)
    assert bool(rule["pattern"]) == bool(pattern)


@pytest.mark.parametrize(
    ("line", "trains"),
    [
        ("[launcher] rank 12 has made its first step (all_reduce has ended)", True),
        ("[launcher] rank 1 has brought loss 3 of rank 0", False),
        ("step 3 of 60: loss 0.31", True),
        ("[default1]:{'loss': 0.5, 'epoch': 1}", True),
        ("epoch=1 loss=-0.02", True),
        ("loss: tensor(0.31)", True),
        (" 10%|#    | 10/100 [00:01<00:09,  9.9it/s, loss=2.3]", True),
        ("downloading 10/100", False),
        ("Namespace(loss='mse', epochs=3)", False),
        # That a process group exists is no step. This is gloo of torch 2.13 with GLOO_LOG_LEVEL=INFO, before the script loaded its data; older
        # versions write it unasked, and NCCL at the first barrier.
        ("[/__w/pytorch/pytorch/third_party/gloo/gloo/transport/tcp/context.cc:243] INFO Rank 0 is connected to 1. Expected number of connected peers is: 1", False),
        ("[Gloo] Rank 0 is connected to 7 peer ranks. Expected number of connected peer ranks is : 7", False),
        ("node0:57:88 [0] NCCL INFO ncclCommInitRankConfig comm 0x55d0 rank 0 nranks 2 busId 1e0 commId 0xe1a9 - Init COMPLETE", False),
    ],
)  # fmt: skip
def test_a_first_step_in_any_script(line: str, trains: bool) -> None:
    assert says(re.compile(ANY["pattern"]), [line]) == trains


def test_what_is_not_known_is_not_said() -> None:
    assert started_words([], ANY, HOSTS) == {"state": "trains", "why": ""}
    known = training_started("step 1", "own.py", "")
    assert started_words([], known, HOSTS) == {"state": "trains", "why": ""}
    one = started_words(["node1"], ANY, HOSTS)
    assert one["state"] == "runs"
    assert one["why"] == (
        "Whether it trains is not known: no first step was seen of rank 1 (host2), neither a reduction of gradients nor a line with the loss. "
        "To wait for one, set training_started_pattern to what your script writes then."
    )
    assert "seen of rank 0 (host1) and rank 2 (host3), n" in started_words(["node2", "node0"], ANY, HOSTS)["why"]
    assert "seen of any rank, n" in started_words(["node0", "node1", "node2"], ANY, HOSTS)["why"]
    empty = started_words([], training_started("", "own.py", ""), HOSTS)
    assert empty["state"] == "runs"
    assert (
        empty["why"]
        == "Whether it trains is not known: training_started_pattern is empty. The default, auto, looks for a first step."
    )
