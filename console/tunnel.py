"""An SSH tunnel to what runs in containers of a host, from this machine's loopback, until Ctrl-C."""

from __future__ import annotations

import contextlib
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

from .board import HOME, end, refuse_port
from .run import unattended
from .watch import Unanswered

START = 60.0  # seconds that ssh has to reach the host; it may ask for a password
# A host that is gone ends it within a minute, and so does a port that is taken.
OPTIONS = ("-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3")
SHOWN = {"grafana": "Grafana", "prometheus": "Prometheus"}


def monitoring(words: list[str], ports: Mapping[str, int], say: Callable[[str], None]) -> int:
    """Shows it until Ctrl-C. `words` are the command that deploys it and tells where it is, `ports` are this machine's by the parts."""
    for part, port in ports.items():
        refuse_port(port, "--port" if part == "grafana" else f"--{part}-port")
    # Whatever ends the console ends ssh.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        say("Deploys the monitoring, or finds it as it should be. The first time takes minutes, for its images.")
        done = unattended(words)
        if done.rc:
            raise Unanswered(done.sentence)
        told = done.told.get("monitoring") or {}
        ways = told.get("addresses") or {}
        if not ways:
            raise Unanswered("The playbook has not told where Prometheus is: run it by itself, as it is printed above.")
        if not told.get("ssh"):
            for part, way in ways.items():
                say(f"{SHOWN[part]}: http://{way['address']}:{way['port']}/")
            return 0
        keep_open(tunnel_words(told["ssh"], ways, ports), {part: ports[part] for part in SHOWN if part in ways}, say)
    except KeyboardInterrupt:
        return 0
    return 0


def tunnel_words(ssh: list[str], ways: Mapping[str, Mapping[str, Any]], ports: Mapping[str, int]) -> list[str]:
    forwards = [
        word for part, way in ways.items() for word in ("-L", f"{HOME}:{ports[part]}:{way['address']}:{way['port']}")
    ]
    return [ssh[0], "-N", *OPTIONS, *forwards, *ssh[1:]]


def keep_open(words: list[str], ports: Mapping[str, int], say: Callable[[str], None]) -> None:
    """Ends with a sentence where ssh ends by itself."""
    say(f"$ {shlex.join(words)}")
    with subprocess.Popen(words) as process:
        try:
            until = time.monotonic() + START
            while not all(map(listens, ports.values())):
                if process.poll() is not None:
                    raise Unanswered(f"The tunnel was not opened: ssh ended with exit code {process.returncode}.")
                if time.monotonic() > until:
                    raise Unanswered(f"The tunnel was not opened within {START:.0f} s.")
                time.sleep(0.2)
            for part, port in ports.items():
                say(f"{SHOWN[part]}: http://{HOME}:{port}/")
            say("Ctrl-C closes the tunnel; the monitoring goes on.")
            process.wait()
        finally:
            end(process)
    raise Unanswered(f"The tunnel has ended: ssh ended with exit code {process.returncode}.")


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOME, port), timeout=1):
        return True
    return False
