"""The engine's API on its own socket, for what the docker command takes only as an argument, which every user of the host can read.

Standard library only, Python 3.9 or newer.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from typing import Any

from .cli import DockerError

SOCKET = "/var/run/docker.sock"


class LocalConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def socket_of(docker_host: str | None) -> str:
    """The socket of the engine that the docker command would call. One on another machine has none."""
    host = docker_host or os.environ.get("DOCKER_HOST") or f"unix://{SOCKET}"
    if not host.startswith("unix://"):
        raise DockerError(f"{host} is no socket of this host: a host joins a swarm through its own engine")
    return host[len("unix://") :]


def post(path: str, body: dict[str, Any], docker_host: str | None, timeout: float) -> None:
    """POST as JSON. What the engine answers but success is a DockerError with its own words."""
    connection = LocalConnection(socket_of(docker_host), timeout)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        status, text = answer.status, answer.read().decode("utf-8", "replace")
    except TimeoutError as error:
        raise DockerError(f"{path}: no answer within {timeout:g} s") from error
    except (OSError, http.client.HTTPException) as error:
        raise DockerError(f"{path}: {error}") from error
    finally:
        connection.close()
    if status >= 300:
        raise DockerError(f"Error response from daemon: {message(text) or f'status {status}'}")


def message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return text.strip()[:500]
