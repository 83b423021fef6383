"""TensorBoard on what a job has written: fetched again and again, shown on this machine's loopback, until Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .command import Usage
from .run import Done, unattended
from .watch import Unanswered

HOME = "127.0.0.1"
EVENTS = "events.out.tfevents.*"
START = 60.0  # seconds that TensorBoard has to answer
STOP = 10.0


def board(words: list[str], job: str, every: float, port: int, say: Callable[[str], None]) -> int:
    """Shows the job's curves until Ctrl-C. `words` are the command that fetches what TensorBoard reads."""
    refuse_port(port)
    # Whatever ends the console ends TensorBoard.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        done = unattended(words)
        folder = shown_folder(done, job)
        if done.rc:
            say(f"No host tells anything new, so this is what was fetched before: {done.sentence}")
        with tensorboard(folder, port) as process:
            say(f"TensorBoard: http://{HOME}:{port}/ (Ctrl-C ends it; the job goes on)")
            keep_fetching(words, process, every, say, failed=bool(done.rc))
    except KeyboardInterrupt:
        return 0
    raise Unanswered("TensorBoard has ended by itself.")


def keep_fetching(
    words: list[str], process: subprocess.Popen[bytes], every: float, say: Callable[[str], None], failed: bool
) -> None:
    """Returns when TensorBoard has ended. A failure is said once, until it is over."""
    while process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(every)
            return
        done = unattended(words, lambda: process.poll() is not None)
        if bool(done.rc) != failed:
            failed = bool(done.rc)
            say(f"Nothing new could be fetched: {done.sentence}" if failed else "Fetching works again.")


def refuse_port(port: int, option: str = "--port") -> None:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((HOME, port))
        except OSError:
            raise Usage(f"Port {port} of this machine is in use: name another with {option}.") from None


def shown_folder(done: Done, job: str) -> Path:
    """Where the job's artifacts are, if there is anything to show among them."""
    name = str(done.told.get("training_board") or "")
    found = bool(name) and next(Path(name).rglob(EVENTS), None) is not None
    if not found and done.rc:
        raise Unanswered(done.sentence)
    if not found:
        raise Unanswered(
            f"{job or 'The job'} has written no files for TensorBoard: they are to lie in training_results_dir, where training_board_files names "
            "them. ./ddp report draws curves of metrics.jsonl and of logs."
        )
    return Path(name)


@contextlib.contextmanager
def tensorboard(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A TensorBoard that answers on the loopback, and is gone afterwards."""
    # The fast reader keeps files open, and does not see those that took their places.
    words = ["--logdir", str(folder), "--host", HOME, "--port", str(port), "--load_fast=false", "--reload_interval=5"]
    with subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            wait_for(process, port)
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Also where Ctrl-C comes again meanwhile."""
    process.terminate()
    try:
        process.wait(STOP)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()


def wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end:
        if process.poll() is not None:
            said = (process.stderr.read() if process.stderr else b"").decode(errors="replace").strip().splitlines()
            raise Unanswered(f"TensorBoard did not start: {said[-1] if said else f'exit code {process.returncode}'}")
        with contextlib.suppress(OSError), socket.create_connection((HOME, port), timeout=1):
            return
        time.sleep(0.2)
    raise Unanswered(f"TensorBoard did not answer within {START:.0f} s.")
