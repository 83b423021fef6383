"""Rank 0's results directory: what is saved there is noticed, counted and offered to the other ranks."""

from __future__ import annotations

import os
import secrets
import threading
import time
from contextlib import suppress
from typing import IO

from .files import ARCHIVE, Entry, Key, Manifest, Unfit, hashed, is_torn, key_of, look, open_file
from .store import Book, Store

LOOK_SECONDS = 1.0
GROWN_SECONDS = 30.0  # between two copies of what only grows, such as a log
MOVING_SECONDS = 3.0  # for which a pause between two saves is waited for
PINNED = 64  # of the largest files: they stay readable for who is fetching them when the script replaces them


def new_lineage() -> str:
    """A later beginning has the greater name."""
    return f"{time.time_ns():020d}-{secrets.token_hex(8)}"


def grew(root: str, name: str, size: int, before: Key) -> bool:
    """Whether a file is the one it was, with more at its end: a log, and no snapshot."""
    if size <= before[0] or os.stat(os.path.join(root, name)).st_ino != before[3]:
        return False
    with open_file(root, name) as stream:
        return stream.read(4) != ARCHIVE


class Source:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.lock = threading.Lock()
        self.pins: dict[str, IO[bytes]] = {}
        self.looked: dict[str, Key] = {}
        self.refused: dict[str, Key] = {}
        self.moving_since = 0.0
        self.grown_at = time.monotonic()

    @property
    def manifest(self) -> Manifest:
        return self.store.book.manifest

    def refresh(self, settled: bool) -> bool:
        """Counts what has changed since the last time. Returns whether anything has.

        With `settled` only what has not changed since the last look counts, so that no file is taken while it is written. Where
        that is never so, as with a save each second, after a while each file counts that is whole by itself.
        """
        keys = {name: key_of(status) for name, status in look(self.store.root).items()}
        looked, self.looked = self.looked, dict(keys)
        with self.lock:
            book = self.store.book
            changed = {name for name, key in keys.items() if key not in (book.seen.get(name), self.refused.get(name))}
            saved = {name for name in changed if not self._grows(name, keys[name][0], book)}
            gone = set(book.manifest.files) - set(keys)
            now = time.monotonic()
            if settled and any(looked.get(name) != keys[name] for name in saved):
                self.moving_since = self.moving_since or now
                if now < self.moving_since + MOVING_SECONDS:
                    return False
            self.moving_since = 0.0
            if not changed and not gone:
                return False
            if settled and not saved and not gone and now < self.grown_at + GROWN_SECONDS:
                return False
            return self._take(book, keys, changed, bool(saved or gone))

    def _grows(self, name: str, size: int, book: Book) -> bool:
        before = book.seen.get(name)
        try:
            return before is not None and grew(self.store.root, name, size, before)
        except OSError:
            return False

    def _take(self, book: Book, keys: dict[str, Key], changed: set[str], saved: bool) -> bool:
        files = {name: entry for name, entry in book.manifest.files.items() if name in keys}
        seen = {name: key for name, key in book.seen.items() if name in keys}
        pins: dict[str, IO[bytes]] = {}
        for name in changed:
            taken = self._read(name, seen.get(name))
            if taken is None:  # the entry before stays; its content is in the second copy alone
                self.refused[name] = keys[name]
                continue
            files[name], seen[name], stream = taken
            pins[files[name].sha256] = stream
        if files == book.manifest.files:
            if seen != book.seen:
                self.store.write_book(Book(True, book.manifest, seen))
            self._close(pins)
            return False
        before = book.manifest
        lineage = before.lineage or new_lineage()
        self.store.write_book(Book(True, Manifest(lineage, before.counter + 1, before.saves + saved, files), seen))
        self._pin(pins)
        self.grown_at = time.monotonic()
        return True

    def _read(self, name: str, before: Key | None) -> tuple[Entry, Key, IO[bytes]] | None:
        """A file's entry; None where it is gone, or not ours to read, or not whole."""
        try:
            stream = open_file(self.store.root, name)
        except OSError:
            return None
        status = os.fstat(stream.fileno())
        logs = before is not None and status.st_ino == before[3] and status.st_size >= before[0]
        try:
            sha256 = hashed(stream, status.st_size) if not is_torn(stream) else ""
            if sha256 and (logs or key_of(os.fstat(stream.fileno())) == key_of(status)):
                entry = Entry(status.st_size, sha256, status.st_mtime_ns, status.st_mode & 0o777)
                return entry, key_of(status), stream
        except (OSError, Unfit):
            pass
        stream.close()
        return None

    def _pin(self, streams: dict[str, IO[bytes]]) -> None:
        wanted = sorted(self.manifest.files.values(), key=lambda entry: -entry.size)[:PINNED]
        pins = {**self.pins, **streams}
        self.pins = {entry.sha256: pins.pop(entry.sha256) for entry in wanted if entry.sha256 in pins}
        self._close(pins)

    @staticmethod
    def _close(streams: dict[str, IO[bytes]]) -> None:
        for stream in streams.values():
            stream.close()

    def open_content(self, sha256: str) -> IO[bytes]:
        with self.lock:
            pinned = self.pins.get(sha256)
            if pinned:  # with a position of its own
                return open(os.open(f"/proc/self/fd/{pinned.fileno()}", os.O_RDONLY), "rb")
        for name, entry in self.manifest.files.items():
            if entry.sha256 == sha256:  # a log may be longer by now: whoever gets its beginning verifies that
                with suppress(OSError):
                    return open_file(self.store.root, name)
        return self.store.open_content(sha256)
