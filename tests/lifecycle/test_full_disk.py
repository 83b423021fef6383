"""A disk that is full while a snapshot is written: the job ends with a sentence, and goes on from its last snapshot once there is room."""

import base64
import io
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from labs import Lab, Run
from waiting import until

# The job's volume on each host, on a disk of its own.
SMALL = "/var/lib/docker/volumes/simple-training_snapshots/_data"


@pytest.fixture(scope="module")
def pair() -> Iterator[Lab]:
    with Lab("fulldisk").running("docker", "swarm", "image") as lab:
        for host in lab.hosts:
            lab.on(host, "docker", "volume", "create", "simple-training_snapshots")
            lab.on(host, "mount", "-t", "tmpfs", "-o", "size=64m,uid=1000", "tmpfs", SMALL)
        yield lab


def play(lab: Lab, playbook: str, **variables: Any) -> Run:
    own = {"training_args": "100000 1 --snapshot_path /snapshots/snapshot.pt"}
    return lab.play(f"playbooks/{playbook}.yml", **{**own, **variables})


def said(lab: Lab) -> str:
    return lab.on("host1", "sh", "-c", "docker service logs simple-training_node0 2>&1")


def epoch(lab: Lab) -> int:
    """Of the snapshot that is there, which is whole."""
    text = lab.on("host1", "base64", f"{SMALL}/snapshot.pt")
    return int(torch.load(io.BytesIO(base64.b64decode(text)), map_location="cpu")["next_epoch"])


def test_it_ends_with_a_sentence_and_leaves_the_last_snapshot(pair: Lab) -> None:
    run = play(pair, "training")
    assert run.rc == 0, run.stdout[-4000:]
    until(lambda: pair.on("host1", "ls", SMALL).split().count("snapshot.pt"), timeout=60)
    pair.on("host1", "sh", "-c", f"dd if=/dev/zero of={SMALL}/full bs=4k 2>/dev/null", check=False)
    end = time.monotonic() + 180
    while "does not start: the disk of" not in said(pair):
        assert time.monotonic() < end, said(pair)[-4000:]
        time.sleep(2)
    assert re.search(r"rank 0 ended with exit code \d+: the disk of \S+ on which /snapshots lies is full", said(pair))
    assert epoch(pair) > 0
    shown = play(pair, "status").stdout
    assert "is full" in shown, shown[-3000:]


def test_with_room_again_it_goes_on(pair: Lab) -> None:
    before = epoch(pair)
    pair.on("host1", "rm", f"{SMALL}/full")
    run = play(pair, "training")
    assert run.rc == 0, run.stdout[-4000:]
    until(lambda: epoch(pair) > before, timeout=90)
    assert f"resuming from snapshot at epoch {before}" in said(pair)
