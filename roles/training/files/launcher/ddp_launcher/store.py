"""What a launcher keeps in the volume, in `.ddp-launcher`: the book of what lies beside it, and the second copy.

A copy is a directory that gets its name once all of it is there and verified, so it is whole or there is none.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from .files import (
    ASIDE,
    OWN,
    PIECE,
    Entry,
    Key,
    Manifest,
    Unfit,
    folder_of,
    hashed,
    key_of,
    look,
    open_file,
    remove,
    sync_folder,
)

COPY = re.compile("([0-9a-f-]{1,64}):([0-9]{1,16})")


@dataclass
class Book:
    """What lies in the results directory, as far as it is rank 0's: `source` where this is rank 0 or was."""

    source: bool = False
    manifest: Manifest = field(default_factory=Manifest)
    seen: dict[str, Key] = field(default_factory=dict)  # of each file when its content was what the manifest says

    def shown(self) -> dict[str, Any]:
        return {"source": self.source, "manifest": self.manifest.shown(), "seen": self.seen}

    @staticmethod
    def read(value: Any) -> Book:
        seen = {name: tuple(key) for name, key in value["seen"].items()}
        return Book(value["source"] is True, Manifest.read(value["manifest"]), seen)


@dataclass
class Copy:
    manifest: Manifest
    path: str

    def names(self) -> dict[str, str]:
        return {entry.sha256: name for name, entry in self.manifest.files.items()}


def write_whole(path: str, value: Any) -> None:
    with open(path + ".new", "w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)


class Store:
    def __init__(self, root: str) -> None:
        self.root, self.own = root, os.path.join(root, OWN)
        for name in ("", "copy", "incoming", "placing"):
            os.makedirs(os.path.join(self.own, name), mode=0o755, exist_ok=True)
            if os.path.islink(os.path.join(self.own, name)):
                raise NotADirectoryError(20, "a link is in the place of a directory", f"{self.own}/{name}")
        self.first = not os.path.exists(self._path("book.json"))
        self.book = self._read_book()

    def _path(self, *parts: str) -> str:
        return os.path.join(self.own, *parts)

    # --- the book ---------------------------------------------------------------------------------------

    def _read_book(self) -> Book:
        try:
            with open(self._path("book.json")) as file:
                return Book.read(json.load(file))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, Unfit):
            return Book()

    def write_book(self, book: Book) -> None:
        self.book = book
        write_whole(self._path("book.json"), book.shown())

    def mark(self, attempt: str) -> None:
        write_whole(self._path("attempt"), attempt)

    def marked(self) -> Any:
        try:
            with open(self._path("attempt")) as file:
                return json.load(file)
        except (OSError, ValueError):
            return None

    def has(self, name: str) -> bool:
        """Whether a file lies there as the book says."""
        try:
            return key_of(os.stat(os.path.join(self.root, name))) == self.book.seen.get(name)
        except OSError:
            return False

    # --- the second copy --------------------------------------------------------------------------------

    def copies(self) -> list[Copy]:
        """Those that are whole, the newest first."""
        found = []
        for name in os.listdir(self._path("copy")):
            if not COPY.fullmatch(name):
                continue
            path = self._path("copy", name)
            try:
                with open(os.path.join(path, "manifest.json")) as file:
                    found.append(Copy(Manifest.read(json.load(file)), path))
            except (OSError, ValueError, RecursionError, Unfit):
                continue
        return sorted(found, key=lambda copy: copy.manifest.age, reverse=True)

    def best(self) -> Manifest:
        """The newest that this host can give: what lies in place, or a copy."""
        kept = [copy.manifest for copy in self.copies()]
        mine = [self.book.manifest] if self.book.manifest.files and all(map(self.has, self.book.manifest.files)) else []
        return max([Manifest(), *kept, *mine], key=lambda manifest: manifest.age)

    def open_content(self, sha256: str) -> IO[bytes]:
        """Of a file of a copy, or of one in place. FileNotFoundError, if it is in neither."""
        for copy in self.copies():
            name = copy.names().get(sha256)
            if name is not None:
                return open_file(os.path.join(copy.path, "files"), name)
        for name, entry in self.book.manifest.files.items():
            if entry.sha256 == sha256 and self.has(name):
                return open_file(self.root, name)
        raise FileNotFoundError(sha256)

    # --- what comes from another host -------------------------------------------------------------------

    def incoming(self, sha256: str) -> str:
        return self._path("incoming", sha256)

    def arrived(self, entry: Entry) -> int:
        """How many bytes of it an interruption has left."""
        try:
            size = os.stat(self.incoming(entry.sha256) + ".part").st_size
        except OSError:
            return 0
        return size if size <= entry.size else 0

    def missing(self, manifest: Manifest) -> Iterator[Entry]:
        """Content that is nowhere on this host, each once."""
        have = {sha256 for copy in self.copies() for sha256 in copy.names()}
        have |= {entry.sha256 for name, entry in self.book.manifest.files.items() if self.has(name)}
        have |= set(os.listdir(self._path("incoming")))
        for entry in manifest.files.values():
            if entry.sha256 not in have:
                have.add(entry.sha256)
                yield entry

    def _copy_content(self, entry: Entry, target: str) -> None:
        """Verified on the way."""
        sha = hashlib.sha256()
        with self.open_content(entry.sha256) as source, open(target, "wb") as file:
            while True:
                piece = source.read(PIECE)
                if not piece:
                    break
                sha.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if sha.hexdigest() != entry.sha256:
            raise Unfit("a file in the results directory or in the second copy is damaged")

    def keep(self, manifest: Manifest) -> None:
        """Makes the second copy of what is missing nowhere any more, and removes the one before."""
        building = self._path("copy", "building")
        shutil.rmtree(building, ignore_errors=True)
        os.mkdir(building)
        before = self.copies()
        for name, entry in manifest.files.items():
            target = os.path.join(building, "files", name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            kept = (os.path.join(c.path, "files", c.names()[entry.sha256]) for c in before if entry.sha256 in c.names())
            for source in (self.incoming(entry.sha256), *kept):
                try:
                    os.link(
                        source, target, follow_symlinks=False
                    )  # of the launcher's own files: nobody else writes to them
                    break
                except FileNotFoundError:
                    continue
            else:
                self._copy_content(entry, target)
        write_whole(os.path.join(building, "manifest.json"), manifest.shown())
        place = self._path("copy", f"{manifest.lineage}:{manifest.counter}")
        shutil.rmtree(place, ignore_errors=True)
        os.rename(building, place)
        sync_folder(self._path("copy"))
        for copy in before:
            if copy.path != place:
                shutil.rmtree(copy.path, ignore_errors=True)
        self.clear_incoming()

    def clear_incoming(self) -> None:
        for name in os.listdir(self._path("incoming")):
            os.unlink(self._path("incoming", name))

    # --- what is put in place ---------------------------------------------------------------------------

    def place(self, manifest: Manifest, source: bool) -> None:
        """Makes the results directory hold what the manifest says, file by file, each whole or not at all.

        Files that came from rank 0 earlier, and that it has no longer, go. All others stay.
        """
        before = self.book
        wanted, temporary = manifest.files, self._path("placing", "file")
        uses = Counter(entry.sha256 for entry in wanted.values())
        for name, entry in wanted.items():
            had = before.manifest.files.get(name)
            if had and had.sha256 == entry.sha256 and self.has(name):
                continue
            try:
                os.unlink(temporary)
            except FileNotFoundError:
                pass
            self._lay(entry, temporary, uses[entry.sha256] == 1)
            os.chmod(temporary, entry.mode)
            os.utime(temporary, ns=(entry.mtime_ns, entry.mtime_ns))
            folder, last = folder_of(self.root, name, make=True)
            try:
                os.rename(temporary, last, dst_dir_fd=folder)
                os.fsync(folder)
            except IsADirectoryError:
                raise Unfit(f"{name} is a directory on this host, and a file on rank 0's") from None
            finally:
                os.close(folder)
        for name in set(before.manifest.files) - set(wanted):
            if self.has(name):
                remove(self.root, name)
        self.clear_incoming()
        seen = {name: key_of(os.stat(os.path.join(self.root, name))) for name in wanted}
        self.write_book(Book(source, manifest, seen))

    def _lay(self, entry: Entry, target: str, once: bool) -> None:
        """A file of its own: a script may write into it, and another name must not change with it."""
        try:
            if once:
                os.rename(self.incoming(entry.sha256), target)
            else:
                shutil.copyfile(self.incoming(entry.sha256), target)
        except FileNotFoundError:
            self._copy_content(entry, target)

    def set_aside(self) -> None:
        """Moves what lies in place into `runs`, as a run of its own."""
        names = [name for name in os.listdir(self.root) if name not in ASIDE]
        if names:
            place = os.path.join(self.root, "runs", f"before-{time.time_ns()}")
            os.makedirs(place)
            for name in names:
                os.rename(os.path.join(self.root, name), os.path.join(place, name))

    def is_empty(self) -> bool:
        return not look(self.root)


def receive(store: Store, entry: Entry, pieces: Iterator[bytes], offset: int) -> None:
    """Adds to what has come of a file already. Unfit, if in the end it is not what it should be."""
    part = store.incoming(entry.sha256) + ".part"
    with open(part, "r+b" if offset else "wb") as file:
        file.truncate(offset)
        file.seek(offset)
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())
    with open(part, "rb") as file:
        if os.fstat(file.fileno()).st_size != entry.size or hashed(file, entry.size) != entry.sha256:
            os.unlink(part)
            raise Unfit("what came is not what was promised: its checksum differs")
    os.replace(part, store.incoming(entry.sha256))
