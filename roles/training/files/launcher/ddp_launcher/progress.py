"""What a command has written last, and when: by that a rank's progress is known, whatever the script is."""

from __future__ import annotations

import re
import time

KEPT = 2**14  # bytes of each stream: torchrun's own words about a failure, which come last, are about 4 KB
BEFORE, MOST = 3, 12  # lines before a traceback, and of it
# Torch puts the rank before each line of a traceback, and torchrun may put the process before that.
PREFIX = re.compile(r"^(?:\[[\w.]+\]:\s?)+")


class Output:
    def __init__(self) -> None:
        self.time = time.monotonic()
        self.kept = [b"", b""]

    def add(self, stream: int, data: bytes) -> None:
        self.time = time.monotonic()
        self.kept[stream] = data[-KEPT:] if len(data) >= KEPT else (self.kept[stream] + data)[-KEPT:]

    @property
    def silent(self) -> float:
        """Seconds since anything was written."""
        return time.monotonic() - self.time

    def lines(self) -> list[str]:
        """The last of standard error, or of standard output where there is nothing."""
        for stream in (1, 0):
            # Of a progress bar the last state; of a line that was cut off at its beginning nothing.
            found = [line.rsplit("\r", 1)[-1].rstrip() for line in self._text(stream).replace("\r\n", "\n").split("\n")]
            if any(found):
                return [line for line in found if line]
        return []

    def _text(self, stream: int) -> str:
        data = self.kept[stream]
        return (data.partition(b"\n")[2] if len(data) >= KEPT else data).decode(errors="replace")

    def last(self) -> list[str]:
        """Lines that say how it ended: the first traceback that is still kept, else the last lines."""
        lines = self.lines()
        plain = [PREFIX.sub("", line) for line in lines]
        begins = next((number for number, line in enumerate(plain) if line.startswith("Traceback (most")), None)
        if begins is None:
            return lines[-MOST:]
        ends = next((n for n in range(begins + 1, len(plain)) if not plain[n].startswith((" ", "\t"))), len(plain) - 1)
        return [*lines[max(0, begins - BEFORE) : begins], *lines[max(begins, ends + 1 - MOST) : ends + 1]]
