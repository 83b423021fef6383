"""Snapshots of the trainer: on the disk before they count, kept as many as asked for, found again after any crash."""

import os
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
import torch.distributed as dist
from trainer_runs import saved, train

from ddp_trainer import snapshots


def snapshot(number: int) -> dict[str, Any]:
    model = {"weight": torch.full((50_000,), float(number))}  # more than a buffer holds
    return {"format": snapshots.SNAPSHOT_FORMAT, "number": number, "model": model, "digest": snapshots.digest(model)}


class Crash(BaseException):
    pass


def watch(monkeypatch: pytest.MonkeyPatch, crash_at: int | None = None) -> list[tuple[str, ...]]:
    """What is asked of the disk, in order; the process ends just before the one with the number `crash_at`."""
    events: list[tuple[str, ...]] = []
    fsync, replace = os.fsync, os.replace

    def note(*event: str) -> None:
        if len(events) == crash_at:
            raise Crash
        events.append(event)

    def watched_fsync(number: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{number}"))
        note("fsync", path.name)
        if path.is_file():
            snapshots.read_snapshot(path)  # all of it has been handed to the kernel by now
        fsync(number)

    def watched_replace(source: Path, target: Path) -> None:
        note("rename", source.name, target.name)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    return events


def test_a_snapshot_is_on_the_disk_before_it_takes_the_name_of_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "snapshot.pt"
    for number in (1, 2):
        snapshots.write_snapshot(path, snapshot(number), keep=3)
    events = watch(monkeypatch)
    snapshots.write_snapshot(path, snapshot(3), keep=3)
    assert events == [
        ("fsync", "snapshot.pt.tmp"),
        ("rename", "snapshot.pt.1", "snapshot.pt.2"),
        ("rename", "snapshot.pt", "snapshot.pt.1"),
        ("rename", "snapshot.pt.tmp", "snapshot.pt"),
        ("fsync", tmp_path.name),
    ]


@pytest.mark.parametrize("keep, crash_at", [(keep, event) for keep in (1, 2, 3) for event in range(keep + 2)])
def test_a_crash_at_any_point_leaves_a_whole_snapshot(
    keep: int, crash_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "snapshot.pt"
    for number in (1, 2):
        snapshots.write_snapshot(path, snapshot(number), keep)
    with monkeypatch.context() as context:
        events = watch(context, crash_at)
        with pytest.raises(Crash):
            snapshots.write_snapshot(path, snapshot(3), keep)
    assert snapshots.find_snapshot(path)["number"] == (
        3 if ("rename", "snapshot.pt.tmp", "snapshot.pt") in events else 2
    )
    snapshots.write_snapshot(path, snapshot(4), keep)  # and nothing of the crash is in the way
    assert snapshots.find_snapshot(path)["number"] == 4


@pytest.mark.parametrize("keep", [1, 2, 4])
def test_as_many_snapshots_are_kept_as_asked_for(keep: int, tmp_path: Path) -> None:
    for number in range(6):
        snapshots.write_snapshot(tmp_path / "snapshot.pt", snapshot(number), keep)
    names = ["snapshot.pt", *(f"snapshot.pt.{older}" for older in range(1, keep))]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [saved(tmp_path, name)["number"] for name in names] == [5, 4, 3, 2][:keep]


def test_keep_reaches_the_snapshots_of_a_run(tmp_path: Path) -> None:
    train(tmp_path, "5", "1", "--batch_size", "24", "--keep", "3", ranks=1)
    names = sorted(path.name for path in tmp_path.glob("snapshot.pt*"))
    assert names == ["snapshot.pt", "snapshot.pt.1", "snapshot.pt.2"]
    assert [saved(tmp_path, name)["next_epoch"] for name in names] == [5, 4, 3]


def test_older_snapshots_are_tried_from_the_newest_on(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.pt"
    for number in (7, 10, 2, 11, 1, 9, 4, 12, 3, 8, 6, 5):
        torch.save(snapshot(number), tmp_path / f"snapshot.pt.{number}")
    for name in ("snapshot.pt.tmp", "snapshot.pt.1.bad", "snapshot.pt.old", "other.pt.1"):
        (tmp_path / name).write_bytes(b"")
    assert [older.name for older in snapshots.older(path)] == [f"snapshot.pt.{number}" for number in range(1, 13)]
    for number in range(1, 10):
        (tmp_path / f"snapshot.pt.{number}").unlink()
    assert snapshots.find_snapshot(path)["number"] == 10


@pytest.mark.parametrize("damage", [b"", b"x", b"\x80\x02."], ids=["empty", "one byte", "a pickle"])
def test_a_damaged_snapshot_is_named_and_the_one_before_it_is_used(
    damage: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "snapshot.pt"
    for number in (1, 2):
        snapshots.write_snapshot(path, snapshot(number), keep=2)
    path.write_bytes(damage)
    assert snapshots.find_snapshot(path)["number"] == 1
    named, moved, using = capsys.readouterr().out.splitlines()
    assert named.startswith(f"[GPU0] snapshot {path} cannot be used: ")
    assert moved == f"[GPU0] {path} was kept as {path}.bad"
    assert using == f"[GPU0] using the previous good snapshot {path}.1"
    assert (tmp_path / "snapshot.pt.bad").read_bytes() == damage
    assert not path.exists()


def test_a_snapshot_is_handed_out_in_pieces(tmp_path: Path) -> None:
    def work(rank: int) -> None:
        broadcast, sizes = dist.broadcast, []

        def watched(piece: torch.Tensor, src: int) -> None:
            sizes.append(len(piece))
            broadcast(piece, src)

        snapshots.dist.broadcast, snapshots.PIECE_BYTES = watched, 60_000
        handed = snapshots.hand_out(snapshot(5) if rank == 0 else None)
        print(handed["number"], snapshots.digest(handed["model"]) == handed["digest"], sizes)
        assert snapshots.hand_out(None) is None

    first, second = forked.run(2, work, tmp_path)
    assert (first.code, second.code) == (0, 0), (first, second)
    assert first.output == second.output
    assert first.output.startswith("5 True [60000, 60000, 60000, ")


def test_where_all_are_damaged_each_is_named_and_none_is_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "snapshot.pt"
    for name in ("snapshot.pt", "snapshot.pt.2"):
        (tmp_path / name).write_bytes(b"x")
    sentence = f"no usable snapshot in {tmp_path}: move {path} and {path}.2 away to start from scratch"
    assert snapshots.find_snapshot(path) == sentence
    assert sorted(file.name for file in tmp_path.iterdir()) == ["snapshot.pt", "snapshot.pt.2"]
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_snapshot_that_cannot_be_opened_is_an_error_and_no_damage(tmp_path: Path) -> None:
    snapshots.write_snapshot(tmp_path / "snapshot.pt.1", snapshot(1), keep=1)
    (tmp_path / "snapshot.pt").mkdir()
    with pytest.raises(IsADirectoryError):
        snapshots.find_snapshot(tmp_path / "snapshot.pt")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("it is bad"), "it is bad"),
        (ValueError("It is bad. Trust it with weights_only=False. Do."), "It is bad"),
        (ValueError("  it is bad\nat line 3"), "it is bad"),
        (EOFError(), "EOFError"),
        (ValueError("\n"), "ValueError"),
    ],
)
def test_of_an_error_the_first_sentence_is_told(error: Exception, sentence: str) -> None:
    assert snapshots.first_sentence(error) == sentence


def test_saving_and_reading_keep_no_file_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for number in range(3):
        snapshots.write_snapshot(tmp_path / "snapshot.pt", snapshot(number), keep=1)
        snapshots.find_snapshot(tmp_path / "snapshot.pt")
    assert os.listdir("/proc/self/fd") == before
