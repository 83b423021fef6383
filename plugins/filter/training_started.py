"""Filters: by which line a rank is known to train, and what is said of a job by that."""

from __future__ import annotations

from typing import Any

from ..module_utils.logs import FIRST_STEP
from ..module_utils.swarm.cluster import join_names

TRAINER = r"epoch \d+ \| batch_size"
# What every script shows at a step, if it shows anything: the launcher sees it, or the script writes a loss with its value. That a process group
# exists shows none: gloo writes so, and NCCL at a first barrier, before data are there.
STEP = rf"{FIRST_STEP}|\bloss\b\W{{0,8}}(?:tensor\()?\d"
PERIOD = 3  # seconds for which a rank runs that is known to train
UNKNOWN = 30  # and one of which nothing is known: longer than Python, torchrun and the imports of a script take to fail


def training_started(pattern: str, script: str, command: Any) -> dict[str, Any]:
    """The `pattern` of the line, the `period` for which a rank must run, and `within` which time the line must come; None waits for it."""
    own = script == "training_code.py" and not command
    within = UNKNOWN if pattern == "auto" and not own else None
    wanted = (TRAINER if own else STEP) if pattern == "auto" else pattern
    return {"pattern": wanted, "within": within, "period": PERIOD if wanted else UNKNOWN}


def started_words(unready: list[str], rule: dict[str, Any], hosts: list[str]) -> dict[str, str]:
    """Of a job whose ranks run: its `state` in one word, and `why` it is no better one. `unready` are services that have shown no step."""
    if rule["pattern"] and not unready:
        return {"state": "trains", "why": ""}
    why = "training_started_pattern is empty. The default, auto, looks for a first step."
    if rule["pattern"]:
        numbers = sorted(int(name.removeprefix("node")) for name in unready)
        ranks = [f"rank {number} ({hosts[number]})" for number in numbers]
        them = "any rank" if 1 < len(ranks) == len(hosts) else join_names(ranks)
        why = (
            f"no first step was seen of {them}, neither a reduction of gradients nor a line with the loss. To wait for one, set "
            "training_started_pattern to what your script writes then."
        )
    return {"state": "runs", "why": f"Whether it trains is not known: {why}"}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"training_started": training_started, "started_words": started_words}
