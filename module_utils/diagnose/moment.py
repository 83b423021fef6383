"""What a host's journal says of a moment: what ends or holds up a rank from outside. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timezone

from ..text import printable

LINES = 2000
SECONDS = "20"
MOST = 12
LINE = re.compile(r"(\d{9,11})\.\d{1,9} \S+ ([^\s:\[]{1,80})(?:\[\d+\])?: (.*)")
# What is said of it, and in which words the kernel or systemd has it.
KINDS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (words, re.compile(pattern))
    for words, pattern in (
        ("the kernel killed {0} ({1}) for its memory", r"[Oo]ut of memory: Kill(?:ed)? process (\d+) \(([^)]{0,40})\)"),
        ("a GPU reported Xid {0}", r"NVRM: Xid [^,]{0,60}: (\d+),"),
        ("the link of {0} went down", r"(?:^|\s)([\w.-]{1,15}):? (?:NIC )?[Ll]ink is [Dd]own"),
        ("NFS server {0} did not respond", r"nfs: server (\S{1,100}) not responding"),
        ("a disk failed", r"I/O error, dev|EXT4-fs error|[Rr]emounting filesystem read-only|XFS \(.{1,40}\): (?:Corruption|.{0,40}[Ss]hut)"),
        ("a disk was full", r"[Nn]o space left on device"),
        ("{0} waited in the kernel for minutes", r"INFO: task (\S{1,60}):\d+ blocked for more than"),
        ("{0} crashed", r"^(\S{1,60})\[\d+\]: segfault at"),
        ("the engine was stopped", r"^Stopped (?:docker\.service - )?Docker Application Container Engine"),
        ("the engine was started", r"^Started (?:docker\.service - )?Docker Application Container Engine"),
        ("the host was started", r"^Linux version \d"),
    )
)  # fmt: skip


def commands(since: float, until: float) -> list[list[str]]:
    """The kernel's lines, and those of the engine's service."""
    window = [
        f"--since=@{since:.0f}",
        f"--until=@{until:.0f}",
        "--output=short-unix",
        f"--lines={LINES}",
        "--quiet",
        "--no-pager",
    ]
    return [["journalctl", "--dmesg", *window], ["journalctl", "--unit=docker.service", *window]]


def events(lines: Iterable[str]) -> list[dict[str, str]]:
    """In the order of time, each kind of event with its first line, the newest of them if there are too many."""
    found: dict[str, tuple[float, dict[str, str]]] = {}
    for line in lines:
        parts = LINE.match(line[:2000])
        if not parts:
            continue
        for words, pattern in KINDS:
            named = pattern.search(parts[3])
            if named:
                what = printable(words.format(*named.groups()))
                at = datetime.fromtimestamp(int(parts[1]), timezone.utc)
                found.setdefault(
                    what,
                    (
                        int(parts[1]),
                        {"time": at.strftime("%Y-%m-%dT%H:%M:%SZ"), "what": what, "line": printable(parts[3][:300])},
                    ),
                )
                break
    return [event for _time, event in sorted(found.values(), key=lambda one: one[0])][-MOST:]
