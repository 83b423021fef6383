"""The command that is started: its signals, its exit code, and what it writes, passed on as it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress

from .log import Log, say
from .progress import Output

PASSED_ON = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCONT", "SIGWINCH")
GRACE = 35.0  # seconds between SIGTERM and SIGKILL where the launcher itself ends the command: torchrun takes 30
DRAIN = 0.3  # seconds for what processes that outlive the command still write


class Child:
    """Signals that come before the command runs end the launcher, with the code that the command would have had."""

    def __init__(self, log: Log | None) -> None:
        self.log, self.output = log, Output()
        self.pid = 0
        self.stopping = self.cancelled = False
        for name in PASSED_ON:
            signal.signal(getattr(signal, name), self.on_signal)

    def on_signal(self, number: int, _frame: object) -> None:
        self.stopping = self.stopping or number in (signal.SIGTERM, signal.SIGINT)
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
        elif self.stopping:
            raise SystemExit(128 + number)

    def run(self, command: list[str], environment: dict[str, str]) -> int:
        """Returns the exit code as a shell tells it."""
        try:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, env=environment
            )
        except OSError as error:
            say(f"{command[0]} cannot be started: {error.strerror}")
            return 126 if isinstance(error, PermissionError) else 127
        self.pid = process.pid
        if self.cancelled:
            os.kill(self.pid, signal.SIGTERM)
        assert process.stdout and process.stderr
        pumps = [
            threading.Thread(target=self.pass_on, args=(stream.fileno(), index), daemon=True)
            for index, stream in enumerate((process.stdout, process.stderr))
        ]
        for pump in pumps:
            pump.start()
        status = self.wait()
        self.pid = 0
        process.returncode = 0  # waited for, by ourselves
        until = time.monotonic() + DRAIN
        for pump in pumps:
            pump.join(max(0.0, until - time.monotonic()))
        return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)

    def wait(self) -> int:
        """As the container's first process the launcher inherits processes: they are waited for as well."""
        while True:
            pid, status = os.wait()
            if pid == self.pid:
                return status

    def pass_on(self, source: int, index: int) -> None:
        target = index + 1
        while True:
            data = os.read(source, 2**16)
            if not data:
                return
            view = memoryview(data)
            try:
                while view:
                    view = view[os.write(target, view) :]
            except OSError:  # nobody reads it any more; the command need not notice
                pass
            self.output.add(index, data)
            if self.log:
                self.log.write(index, data)

    def end(self) -> None:
        """SIGTERM, and SIGKILL where that does not help. From another thread than the one that runs it."""
        self.cancelled, pid = True, self.pid
        until = time.monotonic() + GRACE
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not pid or self.pid != pid:
                return
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            while number == signal.SIGTERM and self.pid == pid and time.monotonic() < until:
                time.sleep(0.1)

    @staticmethod
    def end_the_rest() -> None:
        """What the command has left behind: in a container all that there is."""
        if os.getpid() == 1:
            with suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
