"""Snapshots: written so that no crash costs the last good one, read as data, and handed from rank 0 to the others."""

import hashlib
import io
import itertools
import os
import re
import sys
from pathlib import Path
from typing import Any, BinaryIO

import torch
import torch.distributed as dist

from .agreement import Patience
from .ranks import PIECE_BYTES, gather, log, rank

SNAPSHOT_FORMAT = "ddp-swarm/3"
READABLE = (SNAPSHOT_FORMAT, "ddp-swarm/2")  # which has random states beside, of no use since each batch is seeded


def digest(state: dict[str, Any]) -> str:
    """Of the names and bytes of tensors, and of what else a module's get_extra_state() may give."""
    sha = hashlib.sha256()
    for name, value in state.items():
        sha.update(str(name).encode())
        if isinstance(value, torch.Tensor):
            sha.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        else:
            sha.update(digest(value).encode() if isinstance(value, dict) else repr(value).encode())
    return sha.hexdigest()


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def older(path: Path) -> list[Path]:
    """The snapshots before `path`, newest first: path.1, path.2, ..."""
    found = path.parent.glob(f"{path.name}.*")
    return sorted((p for p in found if p.suffix[1:].isdigit()), key=lambda p: int(p.suffix[1:]))


def write_snapshot(path: Path, snapshot: dict[str, Any], keep: int, first: bool = False) -> None:
    """A crash at any point leaves a complete snapshot at `path` or, if there was one before, at an older name.

    The `first` of a process is read again before it takes its name: what a task's optimizer or schedule keeps may be
    nothing that weights_only takes, which must not come out when the run depends on it.
    """
    temporary = beside(path, ".tmp")
    with open(temporary, "wb") as file:
        torch.save(snapshot, file)
        file.flush()
        os.fsync(file.fileno())
    if first:
        try:
            read_snapshot(temporary)
        except Exception as error:  # noqa: BLE001 - as in find_snapshot
            kind = re.search(r"GLOBAL (\S+)", str(error))
            held = f"it holds {kind[1]}" if kind else first_sentence(error)
            sentence = (
                f"a snapshot of this task cannot be read again: {held}. Keep tensors, numbers, texts, lists and dicts"
            )
            raise RuntimeError(sentence) from None
    names = [path, *(beside(path, f".{number}") for number in range(1, keep))]
    for newer, name in reversed(list(itertools.pairwise(names))):
        if newer.exists():
            os.replace(newer, name)
    os.replace(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # makes the new names, not only the new bytes, survive a power cut
    finally:
        os.close(directory)


def read_snapshot(file: Path | BinaryIO) -> dict[str, Any]:
    # weights_only: torch's own unpickler, which builds tensors and plain values, and calls nothing that the bytes name.
    snapshot = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(snapshot, dict) or snapshot.get("format") not in READABLE:
        raise ValueError("it was not written by this trainer")
    if digest(snapshot["model"]) != snapshot["digest"]:
        raise ValueError("its weights do not match their checksum")
    return snapshot


def first_sentence(error: Exception) -> str:
    """Torch goes on with the advice to trust the file; of an empty one it says nothing at all."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]


def find_snapshot(path: Path) -> dict[str, Any] | str | None:
    """The newest good snapshot; None where there is none yet; a sentence where all there are, are bad."""
    bad = []
    for candidate in [path, *older(path)]:
        if not candidate.exists():
            continue
        candidate.open("rb").close()  # not being allowed to read it is an error, not damage
        try:
            snapshot = read_snapshot(candidate)
        except Exception as error:  # noqa: BLE001 - torch.load raises whatever the damaged bytes trigger
            bad.append(candidate)
            log(f"snapshot {candidate} cannot be used: {first_sentence(error)}")
            continue
        for damaged in bad:  # out of the way, or the next save would make it an older good one
            os.replace(damaged, beside(damaged, ".bad"))
            log(f"{damaged} was kept as {beside(damaged, '.bad')}")
        if candidate != path:
            log(f"using the previous good snapshot {candidate}")
        return snapshot
    if bad:
        return f"no usable snapshot in {path.parent}: move {' and '.join(map(str, bad))} away to start from scratch"
    return None


def agreed_snapshot(path: Path, patience: Patience) -> dict[str, Any] | None:
    """The snapshot that rank 0 finds, on every rank: none ever trusts a file of its own."""
    with patience("reading the snapshot"):
        found = find_snapshot(path) if rank() == 0 else None
    problem = gather(found if isinstance(found, str) else None)[0]
    if problem:
        sys.exit(f"error: {problem}")
    return hand_out(None if isinstance(found, str) else found)


def hand_out(snapshot: dict[str, Any] | None) -> dict[str, Any] | None:
    """Rank 0's snapshot, if it has one, on every rank. Beside it, memory is needed for its bytes once, no more."""
    file = io.BytesIO()
    if snapshot:
        torch.save(snapshot, file)
    size = gather(file.tell())[0]
    if not size:
        return None
    if rank() != 0:
        file.seek(size - 1)
        file.write(b"\0")  # makes room for all of it
    for piece in torch.frombuffer(file.getbuffer(), dtype=torch.uint8).split(PIECE_BYTES):
        dist.broadcast(piece, src=0)
    if rank() == 0:
        return snapshot
    try:
        file.seek(0)
        return read_snapshot(file)
    except Exception as error:  # noqa: BLE001 - as in find_snapshot
        raise RuntimeError(f"the snapshot that rank 0 sent cannot be used: {first_sentence(error)}") from None
