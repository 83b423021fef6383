"""Files in directories to which somebody else may write at the same moment, such as a container's volume, worked on by root.

A name is opened relative to the descriptor of its directory and never through a link (O_NOFOLLOW in open(2)); what was opened is then
judged, read and linked by its own descriptor. Standard library only, Python 3.9 or newer.
"""

from __future__ import annotations

import fnmatch
import math
import os
import re
import shutil
import stat
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path
from typing import IO, Any, NamedTuple

from ..names import CACHES, LAUNCHER, is_name
from ..text import printable

# Python itself leaves no descriptor open in a child process, and O_EXCL follows no link.
FOLDER = os.O_RDONLY | os.O_DIRECTORY
LOOK = os.O_PATH | os.O_NOFOLLOW
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
# The names under which a host lays out results and logs to be fetched: what they are called is said apart.
STAGED = re.compile(r"(?:log)?[0-9]{5}")
# What is not of one run alone.
STAYS = {"runs", CACHES}
# No results, though they lie among them.
ASIDE = {CACHES, LAUNCHER}
DAY = 86400
DEPTH = 32
FILES = 10_000
LEFT_OUT = 100
TOO_DEEP = f"it lies more than {DEPTH} directories deep"
KINDS = {stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


class Found(NamedTuple):
    """A file: its name from the root, and a descriptor that only tells about it (O_PATH), open until the next one is asked for."""

    name: str
    descriptor: int
    status: os.stat_result


def unfit(name: str) -> str:
    """Why this cannot be one part of a file's name; empty if it can."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        return "it is no file name"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if printable(name) != name or "\n" in name or "\t" in name:
        return "its name holds control characters"
    return "its name is longer than 255 bytes" if size > 255 else ""


def kind(mode: int) -> str:
    return KINDS.get(stat.S_IFMT(mode), "a device")


class Tree:
    """A directory, without the caches in it. `left_out` says what was not taken and why: mappings of `name` and `why`, and at most LEFT_OUT of them.

    `linked` counts the names that files were given here, which are not those of somebody else.
    """

    def __init__(self, path: str | Path) -> None:
        self.root = os.open(path, FOLDER)
        self.left_out: list[dict[str, str]] = []
        self.inodes: Counter[tuple[int, int]] = Counter()
        self.linked: Counter[tuple[int, int]] = Counter()

    def __enter__(self) -> Tree:  # noqa: PYI034 - Self is newer than Python 3.9
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.root)

    def leave_out(self, name: str, why: str) -> None:
        entry = {"name": name if name.isprintable() else ascii(name), "why": why}
        if len(self.left_out) > LEFT_OUT or entry in self.left_out:
            return
        full = {"name": "others", "why": f"more than {LEFT_OUT} are left out"}
        self.left_out.append(full if len(self.left_out) == LEFT_OUT else entry)

    def files(self, patterns: list[str]) -> Iterator[Found]:
        """Regular files that match, as a shell's patterns do, or lie below a directory that matches."""
        seen: set[str] = set()
        for pattern in patterns:
            for found in self._below(self.root, "", pattern.split("/"), whole=False):
                if found.name in seen:
                    continue
                if len(seen) == FILES:
                    self.leave_out(pattern, f"there are more than {FILES} files")
                    return
                seen.add(found.name)
                yield found

    def contents(self) -> list[dict[str, Any]]:
        """What lies right below the root, but the caches, the launcher's own and earlier runs: each `name`, with how many `files` and bytes (`size`)."""
        found: dict[str, dict[str, Any]] = {}
        for name in sorted(set(os.listdir(self.root)) - STAYS - ASIDE):
            if not unfit(name) and not name.startswith("."):
                found[name] = {"name": name, "files": 0, "size": 0}
        for one in self.all():
            top = found.get(one.name.split("/")[0])
            if top and stat.S_ISREG(one.status.st_mode):
                top["files"] += 1
                top["size"] += one.status.st_size
        return [top for top in found.values() if top["files"]]

    def all(self) -> Iterator[Found]:
        """Every directory, regular file and symbolic link below the root, whatever its name, a directory before what is in it."""
        return self._below(self.root, "", [], whole=True)

    def _below(self, folder: int, prefix: str, parts: list[str], whole: bool, depth: int = 0) -> Iterator[Found]:
        for name in sorted(os.listdir(folder)):
            if (parts and not matches(name, parts[0])) or prefix + name in ASIDE:
                continue
            path, why = prefix + name, "" if whole else unfit(name)
            try:
                descriptor = os.open(name, LOOK, dir_fd=folder)
            except OSError:  # it is gone meanwhile
                continue
            try:
                status = os.fstat(descriptor)
                if why:
                    self.leave_out(path, why)
                elif stat.S_ISDIR(status.st_mode):
                    if whole:
                        yield Found(path, descriptor, status)
                    if depth == DEPTH:
                        self.leave_out(path, TOO_DEEP)
                        continue
                    inner = os.open(".", FOLDER, dir_fd=descriptor)
                    try:
                        yield from self._below(inner, f"{path}/", parts[1:], whole, depth + 1)
                    finally:
                        os.close(inner)
                elif len(parts) > 1:
                    continue
                elif stat.S_ISLNK(status.st_mode) and whole:
                    yield Found(path, descriptor, status)
                elif not stat.S_ISREG(status.st_mode):
                    self.leave_out(path, f"it is {kind(status.st_mode)}")
                elif status.st_nlink > 1 and self._has_name_outside(status):
                    self.leave_out(path, "it is a hard link to a file that has another name outside of the directory")
                else:
                    yield Found(path, descriptor, status)
            finally:
                os.close(descriptor)

    def _has_name_outside(self, status: os.stat_result) -> bool:
        if not self.inodes:
            self._count(self.root, "")
        inode = (status.st_dev, status.st_ino)
        return status.st_nlink > self.inodes[inode] + self.linked[inode]

    def _count(self, folder: int, prefix: str, depth: int = 0) -> None:
        """Take the names of all files below into `inodes`, but those that are too deep."""
        for name in sorted(os.listdir(folder)):
            if prefix + name in ASIDE:
                continue
            with suppress(OSError):  # it is gone meanwhile
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if not stat.S_ISDIR(status.st_mode):
                    self.inodes[status.st_dev, status.st_ino] += 1
                elif depth == DEPTH:
                    self.leave_out(prefix + name, TOO_DEEP)
                else:
                    inner = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=folder)
                    try:
                        self._count(inner, f"{prefix}{name}/", depth + 1)
                    finally:
                        os.close(inner)


def matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) and (pattern.startswith(".") or not name.startswith("."))


@contextmanager
def reading(descriptor: int) -> Iterator[IO[bytes]]:
    """The content of a file that was opened only to look at it."""
    with open(f"/proc/self/fd/{descriptor}", "rb") as stream:
        yield stream


def tail(tree: Tree, name: str, size: int) -> bytes:
    """The last bytes of a file right below the root; none where there is no such file."""
    for found in tree.files([name]):
        with reading(found.descriptor) as stream:
            stream.seek(max(0, found.status.st_size - size))
            return stream.read(size)
    return b""


def folder_in(folder: int, name: str, mode: int = 0o755) -> int:
    """A descriptor of a directory in another one, which is made, with the same owner, where it is missing."""
    try:
        os.mkdir(name, mode, dir_fd=folder)
    except FileExistsError:
        return os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    inner = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    owner = os.fstat(folder)
    if os.geteuid() == 0:
        os.fchown(inner, owner.st_uid, owner.st_gid)
    return inner


def lay_out(
    tree: Tree, patterns: list[str], stage: int, owner: int, first: int = 0, limit: float = math.inf
) -> list[dict[str, Any]]:
    """Put files that match into another directory, under numbers from `first` on, where their owner may read them, up to `limit` bytes together.

    As hard links where others may read the file anyway, so that a large snapshot needs no second place on the disk. Returns `name`, `file` and
    `size` (bytes) of each.
    """
    laid: list[dict[str, Any]] = []
    taken = 0
    for found in tree.files(patterns):
        if not found.status.st_size:
            continue
        if taken + found.status.st_size > limit:
            tree.leave_out(found.name, f"with it, it would be more than {limit / 1e6:g} MB")
            continue
        taken += found.status.st_size
        file = f"{first + len(laid):05}"
        public = bool(found.status.st_mode & stat.S_IROTH)
        try:
            if not public:
                raise PermissionError
            os.link(f"/proc/self/fd/{found.descriptor}", file, dst_dir_fd=stage, follow_symlinks=True)
            tree.linked[found.status.st_dev, found.status.st_ino] += 1
        except OSError:  # another file system, or nobody else's to read
            copy = os.open(file, NEW, 0o600, dir_fd=stage)
            with reading(found.descriptor) as source, open(copy, "wb") as target:
                shutil.copyfileobj(source, target)
                os.fchown(copy, owner, -1)
        laid.append({"name": found.name, "file": file, "public": public, "size": found.status.st_size})
    return laid


def remove_old(folder: str | Path, is_ours: Callable[[str], bool]) -> None:
    """Directories right below that were last changed more than a day ago, by their names. A link is none."""
    before = time.time() - DAY
    for entry in list(os.scandir(folder)):
        old = is_ours(entry.name) and entry.is_dir(follow_symlinks=False)
        if old and entry.stat(follow_symlinks=False).st_mtime < before:
            shutil.rmtree(entry.path, ignore_errors=True)


def set_aside(root: int, run: str, keep: list[str]) -> str:
    """Move all in a directory but `runs`, the caches and what is to be kept into runs/RUN, or runs/RUN.1 and so on. Returns its name from the root.

    Nothing is moved, and nothing is returned, where there is nothing to move. An OSError says what is in the way.
    """
    names = sorted(set(os.listdir(root)) - STAYS - set(keep))
    if not names:
        return ""
    runs = folder_in(root, "runs")
    try:
        taken = set(os.listdir(runs))
        names_of_run = chain([run], (f"{run}.{number}" for number in count(1)))
        free = next(name for name in names_of_run if name not in taken)
        place = folder_in(runs, free)
        try:
            for name in names:
                os.rename(name, name, src_dir_fd=root, dst_dir_fd=place)
        finally:
            os.close(place)
    finally:
        os.close(runs)
    return f"runs/{free}"


def prune_runs(root: int, keep_runs: int, keep_days: int, check: bool = False, coming: int = 0) -> list[str]:
    """Remove earlier runs in `runs` that are neither among the newest nor young, and return their names from the root. 0 of `keep_runs` keeps all.

    A run is as old as its directory. What has no run's name was put there by somebody else, and stays. With `check` nothing is removed,
    and so many runs are `coming` that are not there yet.
    """
    try:
        runs = os.open("runs", FOLDER | os.O_NOFOLLOW, dir_fd=root)
    except OSError:  # there are none, or a link, which leads elsewhere
        return []
    try:
        found = {
            entry.name: entry.stat(follow_symlinks=False).st_mtime
            for entry in os.scandir(runs)
            if is_name("run", entry.name) and entry.is_dir(follow_symlinks=False)
        }
        newest = sorted(found, key=lambda name: (found[name], name), reverse=True)[
            : keep_runs - coming if keep_runs else len(found)
        ]
        before = time.time() - keep_days * DAY
        old = sorted(name for name, at in found.items() if name not in newest and at < before)
        for name in () if check else old:
            # By the descriptor, and rmtree itself follows no link, not even one that takes a directory's place meanwhile.
            shutil.rmtree(f"/proc/self/fd/{runs}/{name}")
    finally:
        os.close(runs)
    return [f"runs/{name}" for name in old]


class Padded:
    """A file's content, as long as its archive says, whatever its writer does meanwhile."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.short = False

    def read(self, size: int) -> bytes:
        content = self.stream.read(size)
        self.short = self.short or len(content) < size
        return content.ljust(size, b"\0")


def pack(tree: Tree, stream: IO[bytes]) -> None:
    """All of a directory as a compressed archive: directories, regular files, and symbolic links as links."""
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT, compresslevel=1) as archive:
        # The directory itself: in a volume that belongs to root, no other user could write again.
        own, root = os.fstat(tree.root), tarfile.TarInfo(".")
        root.type, root.mode, root.uid, root.gid, root.mtime = (
            tarfile.DIRTYPE,
            stat.S_IMODE(own.st_mode),
            own.st_uid,
            own.st_gid,
            own.st_mtime,
        )
        archive.addfile(root)
        for found in tree.all():
            status = found.status
            member = tarfile.TarInfo(found.name)
            member.mode, member.mtime = stat.S_IMODE(status.st_mode), status.st_mtime
            member.uid, member.gid = status.st_uid, status.st_gid
            if stat.S_ISDIR(status.st_mode):
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
            elif stat.S_ISLNK(status.st_mode):
                member.type, member.linkname = tarfile.SYMTYPE, os.readlink("", dir_fd=found.descriptor)
                archive.addfile(member)
            else:
                member.size = status.st_size
                with reading(found.descriptor) as content:
                    padded = Padded(content)
                    archive.addfile(member, padded)  # type: ignore[arg-type]
                if padded.short:
                    tree.leave_out(found.name, "it became shorter while it was read: the end is filled with zeros")


def place(root: int, name: str, source: str | Path, mode: int) -> None:
    """Move a file to a name below a directory, whose folders are made as need be. A ValueError says why the name does not serve."""
    parts = name.split("/")
    for part in parts:
        if unfit(part):
            raise ValueError(unfit(part))
    folder = os.dup(root)
    try:
        for part in parts[:-1]:
            inner = folder_in(folder, part)
            os.close(folder)
            folder = inner
        os.chmod(source, mode)
        os.rename(source, parts[-1], dst_dir_fd=folder)
    finally:
        os.close(folder)
