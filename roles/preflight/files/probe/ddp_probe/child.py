"""The process that holds torch, as its parent sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from typing import Any

# The folder or the archive that Python was told to run.
PROBE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOG_LINES = 2000  # NCCL says a line for every channel


class Child:
    """The process with torch in it: its events come over a pipe of their own, its prints are kept as a log."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.events: dict[str, dict[str, Any]] = {}
        self.facts: dict[str, Any] = {}
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self.changed = threading.Condition()
        self.ended = False

    def start(self) -> None:
        reader, writer = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, PROBE, "--child", str(writer)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(writer,),
            env=child_environment(dict(os.environ)),
        )
        os.close(writer)
        threading.Thread(target=self._read_events, args=(reader,), daemon=True).start()
        threading.Thread(target=self._read_log, daemon=True).start()

    def _read_events(self, reader: int) -> None:
        with os.fdopen(reader, "r", encoding="utf-8") as stream:
            for line in stream:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                with self.changed:
                    if event["event"] in ("versions", "missing"):
                        self.facts.update(event)
                    self.events[event["event"]] = event
                    self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def _read_log(self) -> None:
        if self.process is not None and self.process.stdout is not None:
            for line in self.process.stdout:
                self.log.append(line.decode(errors="replace").rstrip()[:400])

    def tell(self, order: dict[str, Any]) -> None:
        try:
            if self.process is not None and self.process.stdin is not None:
                self.process.stdin.write(json.dumps(order).encode() + b"\n")
                self.process.stdin.flush()
        except OSError:
            pass

    def wait_for(self, event: str, deadline: float) -> dict[str, Any] | None:
        """The event, or None when it will not come any more."""
        with self.changed:
            while event not in self.events:
                left = deadline - time.monotonic()
                if left <= 0 or self.ended or "failed" in self.events:
                    break
                self.changed.wait(left)
            return self.events.get(event)

    def exit_code(self) -> int | None:
        """None while it runs. Of a process that a signal ended, the signal's number below 0."""
        with self.changed:
            ended = self.ended
        if not ended or self.process is None:
            return None
        try:
            return self.process.wait(1)
        except subprocess.TimeoutExpired:
            return None

    def failure(self) -> str:
        with self.changed:
            failed = self.events.get("failed")
        if failed:
            return str(failed.get("error"))[:600]
        code = self.exit_code()
        return "" if code is None else f"the process with torch ended with exit code {code}"

    def last_words(self) -> str:
        return (self.failure() + " " + " | ".join(list(self.log)[-3:])).strip()[:600]

    def kill(self) -> None:
        if self.process is not None:
            try:
                self.process.kill()
                self.process.wait(2)
            except (OSError, subprocess.TimeoutExpired):
                pass


def child_environment(env: dict[str, str]) -> dict[str, str]:
    """The training's environment, but for what NCCL prints and where: the probe reads which way NCCL took."""
    env = {name: value for name, value in env.items() if name not in ("NCCL_DEBUG_FILE", "NCCL_DEBUG_SUBSYS")}
    if env.get("NCCL_DEBUG", "").upper() not in ("INFO", "TRACE"):
        env["NCCL_DEBUG"] = "INFO"
    return {**env, "NCCL_DEBUG_SUBSYS": "INIT,BOOTSTRAP,ENV,NET,P2P,SHM", "PYTHONDONTWRITEBYTECODE": "1"}
