"""Filter: from which snapshot a job went on, as rank 0's log says it."""

from __future__ import annotations

import re
from typing import Any

from ..module_utils.logs import PROCESS, matching
from ..module_utils.text import lines_of

# What the project's trainer writes, and what the launcher does where the snapshot came from another rank.
TRAINER = re.compile(r"\[GPU0\] resuming from snapshot at epoch (\d{1,12}) \| samples of it already seen: (\d{1,15})")
LAUNCHER = re.compile(r"\[launcher\] rank 0 goes on from what rank (\d{1,5}) kept: save (\d{1,12}), .{0,200}")
ANY = re.compile("resuming from snapshot|goes on from what rank")
# As other scripts say it: "Continuing training from global step 48" (transformers' Trainer), "resumed at epoch 3", "begins at step 250".
SCRIPT = re.compile(
    r"\b(?:resum(?:ed|ing|es)|continu(?:ed|ing|es) training|restored|begins)\b[^\d=]{0,80}?\b(?:from|at)\b[^\d=]{0,40}?\b(step|epoch|iteration)\b"
    r"[^\d=]{0,3}(\d{1,12})(?!\d)",
    re.IGNORECASE,
)
DENIED = re.compile(r"\b(?:no|not|none|false|cannot|without)\b", re.IGNORECASE)


def resumed(*streams: str) -> str:
    """The end of a sentence that begins with "It goes on from"; empty where the log tells of no snapshot."""
    lines = [PROCESS.sub("", state) for stream in streams for line in lines_of(stream) for state in matching(ANY, line)]
    told = [found for line in lines if (found := TRAINER.fullmatch(line))]
    kept = [found for line in lines if (found := LAUNCHER.fullmatch(line))]
    words = ""
    if told:
        epoch, samples = told[-1].groups()
        words = (
            f"its snapshot in epoch {epoch}, after {samples} of its samples"
            if int(samples)
            else f"its snapshot at epoch {epoch}"
        )
    elif kept:
        words = f"save {kept[-1][2]}"
    if not told:
        # Later lines may tell of each epoch in the same words.
        others = [
            line for stream in streams for line in lines_of(stream) if not (ANY.search(line) or DENIED.search(line))
        ]
        said = next((found for line in others if (found := SCRIPT.search(line))), None)
        # Some count from 1, and begin there.
        if said and int(said[2]) > said[0].lower().startswith("begins"):
            words = f"{said[1].lower()} {int(said[2])}"
    return words + (f", which rank {kept[-1][1]} had kept" if kept and words else "")


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"resumed": resumed}
