"""A disk that is full while a snapshot is written: a real one, of a megabyte, below rank 0's volume."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ddp_launcher import room
from launchers import Job, says
from waiting import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    made = Job(tmp_path, 2)
    volume = made.ranks[0].volume
    volume.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(volume)], check=True)
    try:
        yield made
    finally:
        made.end()
        subprocess.run(["umount", "--lazy", str(volume)], check=True)


def test_the_job_stops_with_a_sentence_and_its_last_snapshot_is_whole(job: Job) -> None:
    first, second = job.start().ranks
    for rank in job.ranks:
        says(rank, "starts at")
    first.save("step 5")
    until(lambda: second.copies() == ["step 5"])
    first.order("save", "x" * 2_000_000)
    assert first.wait() == 1
    assert "OSError: [Errno 28] No space left on device" in first.said
    assert "rank 0 ended with exit code 1: the disk of " in first.said
    assert f"on which {first.volume} lies is full (0." in first.said
    assert "What was saved last is whole. Free space on that host" in first.said
    # Swarm starts it again: it ends at once, and not after its next save.
    first.start()
    assert first.wait() == 1
    assert "[launcher] rank 0 does not start: the disk of " in first.said
    assert (first.volume / "ckpt.pt").read_text() == "step 5"
    assert second.copies() == ["step 5"]
    second.kill()
    (first.volume / "new").unlink()
    job.start()
    for rank in job.ranks:
        says(rank, f"rank {rank.rank} starts at step 5")


def test_a_disk_without_names_left_is_full_too(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m,nr_inodes=3", "tmpfs", str(tmp_path)], check=True)
    try:
        assert not room.is_full(str(tmp_path))
        for name in ("a", "b"):
            (tmp_path / name).touch()
        assert room.is_full(str(tmp_path))
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_what_is_gone_is_not_full_and_words_count_where_room_was_made_since(tmp_path: Path) -> None:
    assert not room.is_full(str(tmp_path / "gone"))
    assert room.ended_by(str(tmp_path), ["OSError: [Errno 122] Disk quota exceeded: 'x'"])
    assert not room.ended_by(str(tmp_path), ["ValueError"])
