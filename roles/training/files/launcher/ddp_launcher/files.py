"""Files below a directory: their names, checked, and their content, as a manifest that other hosts can be told."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

OWN = ".ddp-launcher"  # the launcher's own, in the results directory
ASIDE = (OWN, ".ddp-caches", "runs")  # no part of what was saved
DEPTH = 32
MOST = 10_000  # files
PIECE = 2**20  # bytes
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a named pipe in the place of a file must not hold us up
ARCHIVE = b"PK\3\4"  # how what torch.save writes begins

Key = tuple[int, int, int, int]


class Unfit(Exception):
    """A sentence about what cannot be used."""


def parts_of(name: Any) -> list[str]:
    """The parts of a name below the results directory. Unfit, if it is none."""
    if not isinstance(name, str) or len(name) > 4096 or "\0" in name:
        raise Unfit(f"{name!r:.100} is no name of a file")
    parts = name.split("/")
    if len(parts) > DEPTH or parts[0] in ASIDE or any(part in ("", ".", "..") or len(part) > 255 for part in parts):
        raise Unfit(f"{name!r:.100} is no name below the results directory")
    return parts


@dataclass(frozen=True)
class Entry:
    """A file's content, and what else of it is brought along."""

    size: int
    sha256: str
    mtime_ns: int
    mode: int

    @staticmethod
    def read(value: Any) -> Entry:
        numbers = isinstance(value, list) and len(value) == 4 and [value[0], value[2], value[3]]
        if not numbers or not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
            raise Unfit("a manifest has an entry that cannot be read")
        if not isinstance(value[1], str) or not re.fullmatch("[0-9a-f]{64}", value[1]):
            raise Unfit("a manifest has a checksum that is none")
        return Entry(value[0], value[1], value[2], value[3] & 0o777 | 0o600)

    def shown(self) -> list[Any]:
        return [self.size, self.sha256, self.mtime_ns, self.mode]


@dataclass
class Manifest:
    """What rank 0 had saved at a time.

    `lineage` names the beginning that all of it goes back to, `counter` counts each change, and `saves` those that were
    more than a log that grew.
    """

    lineage: str = ""
    counter: int = 0
    saves: int = 0
    files: dict[str, Entry] = field(default_factory=dict)

    @property
    def age(self) -> tuple[str, int]:
        return self.lineage, self.counter

    @staticmethod
    def read(value: Any) -> Manifest:
        if not isinstance(value, dict) or not isinstance(value.get("files"), dict) or len(value["files"]) > MOST:
            raise Unfit("a manifest cannot be read")
        lineage, counter, saves = value.get("lineage"), value.get("counter"), value.get("saves")
        if not isinstance(lineage, str) or not re.fullmatch("[0-9a-f-]{0,64}", lineage):
            raise Unfit("a manifest has no lineage")
        if type(counter) is not int or type(saves) is not int or not 0 <= saves <= counter < 2**53:
            raise Unfit("a manifest has no counter")
        files = {}
        for name, entry in value["files"].items():
            parts_of(name)
            files[name] = Entry.read(entry)
        return Manifest(lineage, counter, saves, files)

    def shown(self) -> dict[str, Any]:
        files = {name: entry.shown() for name, entry in self.files.items()}
        return {"lineage": self.lineage, "counter": self.counter, "saves": self.saves, "files": files}


def key_of(status: os.stat_result) -> Key:
    """As long as it is the same, the content is: a change of a file always changes its ctime."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def look(root: str) -> dict[str, os.stat_result]:
    """The regular files by their names; a link to a file counts as that file if it is below the root too."""
    found: dict[str, os.stat_result] = {}
    real = os.path.realpath(root)
    for name, entry in _walk(root, "", 1):
        try:
            status = entry.stat()
        except OSError:  # it is gone meanwhile, or leads nowhere
            continue
        if not stat.S_ISREG(status.st_mode):
            continue
        if entry.is_symlink():
            target = os.path.relpath(os.path.realpath(entry.path), real)
            if target.split("/")[0] in ("..", *ASIDE):
                continue
        found[name] = status
        if len(found) > MOST:
            raise Unfit(f"more than {MOST} files are in the results directory")
    return found


def _walk(folder: str, prefix: str, depth: int) -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in listed:
        name = prefix + entry.name
        if name in ASIDE or not _is_text(name):
            continue
        if entry.is_dir(follow_symlinks=False):
            if depth < DEPTH:
                yield from _walk(entry.path, name + "/", depth + 1)
        else:
            yield name, entry


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def open_file(root: str, name: str) -> IO[bytes]:
    """A file of `look`, to read."""
    path = os.path.realpath(os.path.join(root, *parts_of(name)))
    if os.path.relpath(path, os.path.realpath(root)).split("/")[0] == "..":
        raise FileNotFoundError(name)
    stream = open(os.open(path, FILE), "rb")  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise FileNotFoundError(name)
    return stream


def hashed(stream: IO[bytes], size: int) -> str:
    """Of the first `size` bytes. Unfit, if there are fewer."""
    sha = hashlib.sha256()
    while size:
        piece = stream.read(min(size, PIECE))
        if not piece:
            raise Unfit("a file became shorter while it was read")
        sha.update(piece)
        size -= len(piece)
    return sha.hexdigest()


def is_torn(stream: IO[bytes]) -> bool:
    """Whether it begins as an archive and does not end as one, as a torch.save that was cut off."""
    stream.seek(0)
    torn = stream.read(4) == ARCHIVE and not zipfile.is_zipfile(stream)
    stream.seek(0)
    return torn


def folder_of(root: str, name: str, make: bool) -> tuple[int, str]:
    """A descriptor of the directory that a name is in, reached without a link, and the name's last part."""
    *parts, last = parts_of(name)
    folder = os.open(root, FOLDER)
    try:
        for part in parts:
            try:
                inner = os.open(part, FOLDER, dir_fd=folder)
            except OSError:
                if not make:
                    raise
                _clear(folder, part)
                os.mkdir(part, 0o755, dir_fd=folder)
                inner = os.open(part, FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
    except BaseException:
        os.close(folder)
        raise
    return folder, last


def _clear(folder: int, name: str) -> None:
    """A file or a link that stands where a directory has to be."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass


def remove(root: str, name: str) -> None:
    """A file, and the directories above it that are empty then."""
    try:
        folder, last = folder_of(root, name, make=False)
    except OSError:
        return
    try:
        os.unlink(last, dir_fd=folder)
    except OSError:
        return
    finally:
        os.close(folder)
    above = os.path.dirname(name)
    while above:
        try:
            os.rmdir(os.path.join(root, above))
        except OSError:
            return
        above = os.path.dirname(above)


def sync_folder(path: str) -> None:
    """Makes new names survive a power cut."""
    folder = os.open(path, FOLDER)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
