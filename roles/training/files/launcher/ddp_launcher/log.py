"""What a rank writes, kept in the volume by start, so that no removal of a container loses it. Its size is bounded."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import threading
import time

LONGEST = 2**16  # bytes of a line without an end


def say(message: str) -> None:
    """One line, one write, on standard error."""
    sys.stderr.write(f"[launcher] {message}\n")
    sys.stderr.flush()


class Log:
    """The first quarter of what a start writes stays, and the last; what lies between is left out, and that is said.

    Half of `limit` bytes are this start's; the starts before share the other half, and the oldest go first.
    """

    def __init__(self, folder: str, limit: int, about: dict[str, str] | None = None) -> None:
        self.limit, self.lock, self.failed = limit, threading.Lock(), False
        self.lines = [b"", b""]  # what has no end yet, of each stream
        self.written = self.left_out = 0
        os.makedirs(folder, exist_ok=True)
        make_room(folder, limit // 2)
        name = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + "-" + secrets.token_hex(3)
        self.folder = os.path.join(folder, name)
        os.mkdir(self.folder)
        with open(os.path.join(self.folder, "about.json"), "w") as file:
            json.dump(about or {}, file)
        self.parts = ["000000"]
        self.file = self._open(self.parts[0])

    def _open(self, name: str) -> int:
        return os.open(os.path.join(self.folder, name + ".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, stream: int, data: bytes) -> None:
        """Whole lines only: those of two streams must not mix."""
        with self.lock:
            whole, end, rest = (self.lines[stream] + data).rpartition(b"\n")
            if len(rest) > LONGEST:
                whole, end, rest = whole + end + rest, b"\n", b""
            self.lines[stream] = rest
            if whole or end:
                self._add(whole + end)

    def close(self) -> None:
        with self.lock:
            for line in self.lines:
                if line:
                    self._add(line + b"\n")
            self.lines = [b"", b""]

    def _add(self, text: bytes) -> None:
        if self.failed:
            return
        try:
            if self.written and self.written + len(text) > self.limit // 8:
                self._turn()
            os.write(self.file, text)
            self.written += len(text)
        except OSError as error:
            self.failed = True
            say(f"the log in the volume ends here ({error.strerror})")

    def _turn(self) -> None:
        """Begins a part; the parts between the first and the last but one go."""
        os.close(self.file)
        self.parts.append(f"{len(self.parts) + self.left_out:06}")
        self.file, self.written = self._open(self.parts[-1]), 0
        if len(self.parts) > 4:
            os.unlink(os.path.join(self.folder, self.parts.pop(1) + ".log"))
            self.left_out += 1
            note = os.open(os.path.join(self.folder, "000000a.log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.write(note, f"[launcher] {self.left_out} parts of this log are left out here\n".encode())
            os.close(note)


def size_of(folder: str) -> int:
    with os.scandir(folder) as entries:
        return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)


def make_room(folder: str, limit: int) -> None:
    """Removes the logs of the oldest starts until the others fit."""
    with os.scandir(folder) as entries:
        starts = sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    sizes = {start: size_of(start) for start in starts}
    for start in starts:
        if sum(sizes.values()) <= limit:
            return
        shutil.rmtree(start, ignore_errors=True)
        del sizes[start]
