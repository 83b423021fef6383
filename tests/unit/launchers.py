"""Launchers as they run in containers: processes of their own on loopback, each with a directory for its volume."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible_collections.ddp.swarm.plugins.filter.zipapp import archive
from by_path import ROOT
from ports import free_port
from waiting import until

LAUNCHER = ROOT / "roles/training/files/launcher"
# Loads what lies there, as nanoGPT does; then it obeys files beside its volume. The first argument is its volume.
SCRIPT = """
import os, sys, time
from pathlib import Path
volume, rank = Path(sys.argv[1]), sys.argv[2]
orders = volume.with_name(volume.name + ".orders")
orders.mkdir(exist_ok=True)
path = volume / "ckpt.pt"
print(f"rank {rank} starts at", path.read_text() if path.exists() else "nothing", flush=True)
while True:
    time.sleep(0.02)
    for order in sorted(orders.iterdir(), reverse=True):
        what, value = order.name.split("."), order.read_text()
        order.unlink()
        if what[0] == "save":
            new = volume / "new"
            new.write_text(value)
            os.replace(new, path)
        elif what[0] == "exit":
            sys.exit(int(value))
        elif what[0] == "raise":
            raise RuntimeError(value)
        elif what[0] == "print":
            print(value, flush=True)
"""


class Rank:
    def __init__(self, job: Job, rank: int) -> None:
        self.job, self.rank = job, rank
        self.volume = job.folder / f"volume{rank}"
        self.output = job.folder / f"output{rank}"
        self.stacks = job.folder / f"stacks{rank}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, command: list[str] | None = None) -> Rank:
        self.volume.mkdir(exist_ok=True)
        own = command or [sys.executable, "-c", SCRIPT, str(self.volume), str(self.rank)]
        launcher = [self.job.python, str(self.job.archive), f"--rank={self.rank}", *self.job.options]
        launcher += [
            f"--listen=127.0.1.{self.rank + 1}",
            f"--results={self.volume}",
            f"--stacks={self.stacks}",
            "--",
            *own,
        ]
        with open(self.output, "ab") as file:
            self.process = subprocess.Popen(launcher, stdout=file, stderr=subprocess.STDOUT)
        return self

    @property
    def said(self) -> str:
        """The lines that are whole: a process that runs may be in the middle of one."""
        text = self.output.read_text() if self.output.exists() else ""
        running = self.process is not None and self.process.poll() is None
        return text[: text.rfind("\n") + 1] if running else text

    def order(self, what: str, value: object = "") -> None:
        folder = self.volume.with_name(self.volume.name + ".orders")
        new = folder.with_name("new-order")
        new.write_text(str(value))
        os.replace(new, folder / what)

    def save(self, value: object) -> None:
        self.order("save", value)
        until(lambda: (self.volume / "ckpt.pt").exists() and (self.volume / "ckpt.pt").read_text() == str(value))

    def wait(self, timeout: float = 30) -> int:
        assert self.process
        return self.process.wait(timeout)

    def dump(self) -> dict[str, Any]:
        """What somebody learns who asks in the rank's container."""
        asked = [self.job.python, str(self.job.archive), "--dump", str(self.stacks)]
        said: dict[str, Any] = json.loads(subprocess.run(asked, capture_output=True, check=False).stdout)
        return said

    def exit(self, code: int) -> int:
        self.order("exit", code)
        return self.wait()

    def kill(self) -> None:
        """As a container is: nothing of it is left, and nothing was asked."""
        assert self.process
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in [self.process.pid, *map(int, children)]:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def copies(self) -> list[str]:
        """The saves of which a whole second copy lies here."""
        return sorted(content.decode() for content in self.copied("ckpt.pt"))

    def copied(self, name: str) -> list[bytes]:
        """What the second copies that lie here have of a file. One may go while it is read: a newer one has come."""
        found = []
        for path in self.volume.glob(f".ddp-launcher/copy/*:*/files/{name}"):
            with suppress(FileNotFoundError):
                found.append(path.read_bytes())
        return found


class Job:
    def __init__(
        self, folder: Path, size: int, snapshots: str = "shared", patience: float = 20, more: tuple[str, ...] = ()
    ) -> None:
        self.folder, self.python = folder, os.environ.get("LAUNCHER_PYTHON", sys.executable)
        self.archive = folder / "launcher"
        self.archive.write_bytes(archive(str(LAUNCHER)))
        secret = folder / "secret"
        secret.write_text(secrets.token_hex(32))
        hosts = ",".join(f"127.0.1.{rank + 1}" for rank in range(size))
        self.options = [
            f"--hosts={hosts}",
            f"--port={free_port()}",
            f"--snapshots={snapshots}",
            f"--secret_file={secret}",
        ]
        self.options += [f"--patience={patience}", "--log_max_mb=1", *more]
        self.ranks = [Rank(self, rank) for rank in range(size)]

    def start(self) -> Job:
        for rank in self.ranks:
            rank.start()
        return self

    def end(self) -> None:
        for rank in self.ranks:
            if rank.process and rank.process.poll() is None:
                rank.kill()


def says(rank: Rank, text: str, timeout: float = 15) -> None:
    end = time.monotonic() + timeout
    while text not in rank.said:
        assert time.monotonic() < end, f"rank {rank.rank} says {rank.said!r}, not {text!r}"
        time.sleep(0.02)
