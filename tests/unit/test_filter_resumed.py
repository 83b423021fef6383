"""What rank 0's log says of a start from a snapshot."""

from __future__ import annotations

import pytest
from ansible_collections.ddp.swarm.plugins.filter.resumed import resumed

AT = "[GPU0] resuming from snapshot at epoch {} | samples of it already seen: 0"


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("[GPU0] resuming from snapshot at epoch 4 | samples of it already seen: 0\n[GPU0] epoch 4 | batch_size: 32", "its snapshot at epoch 4"),
        ("[GPU0] resuming from snapshot at epoch 0 | samples of it already seen: 24", "its snapshot in epoch 0, after 24 of its samples"),
        ("[default0]:[GPU0] resuming from snapshot at epoch 4 | samples of it already seen: 0", "its snapshot at epoch 4"),
        (
            "[launcher] rank 0 goes on from what rank 1 kept: save 7, 3 files, 2.5 MB\nloss: 3",
            "save 7, which rank 1 had kept",
        ),
        (
            f"[launcher] rank 0 goes on from what rank 1 kept: save 7, 1 file, 2.5 MB\n{AT.format(4)}",
            "its snapshot at epoch 4, which rank 1 had kept",
        ),
        # Its own start is that of the last attempt within the container.
        (
            f"{AT.format(4)}\n{AT.format(6)}",
            "its snapshot at epoch 6",
        ),
        ("rank 0 of 2 begins at step 250\nstep 260 of 600: loss 1.2", "step 250"),
        ("rank 0 of 2 begins at step 0", ""),
        ("  Continuing training from checkpoint, will skip to saved global_step\n  Continuing training from global step 48", "step 48"),
        ("Resuming at epoch 3 (step 900)\nResuming epoch 4", "epoch 3"),
        ("Beginning epoch 1\nBeginning epoch 2", ""),
        ("Namespace(resume=None, epochs=90)\nNo checkpoint to resume from, starting at epoch 1", ""),
        ("Training begins at epoch 1\ncontinuing to epoch 2", ""),
        (
            "[launcher] rank 0 goes on from what rank 1 kept: save 7, 3 files, 2.5 MB\nrank 0 of 2 begins at step 250",
            "step 250, which rank 1 had kept",
        ),
        ("", ""),
        ("[GPU0] epoch 0 | batch_size: 32", ""),
        ("say: resuming from snapshot at epoch 4 | samples of it already seen: 0", ""),
        ("[GPU1] resuming from snapshot at epoch 4 | samples of it already seen: 0 ; rm -rf", ""),
        (f"[GPU0] resuming from snapshot at epoch {'9' * 40} | samples of it already seen: 0", ""),
        ("[launcher] rank 0 goes on from what rank {{ 7 }} kept: save 7, x", ""),
    ],
)  # fmt: skip
def test_where_it_went_on(log: str, words: str) -> None:
    assert resumed(log) == words


def test_the_streams_are_read_together() -> None:
    said = resumed("[GPU0] resuming from snapshot at epoch 4 | samples of it already seen: 0", "[launcher] begins\n")
    assert said == "its snapshot at epoch 4"
