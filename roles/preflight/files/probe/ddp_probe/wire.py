"""What ranks say to each other: lines of JSON over TCP, and datagrams."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

from .settings import Settings

UDP_MAGIC = b"DDPp"
UDP_HELLO, UDP_SIZED, UDP_ACK, UDP_COUNTED = 1, 2, 3, 4
UDP_HEADER = struct.Struct("!4sBHHH")  # magic, kind, source rank, round, size
LINE_LIMIT = 8192


def send_line(sock: socket.socket, message: dict[str, Any]) -> None:
    sock.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")


def read_line(sock: socket.socket, rest: bytearray) -> dict[str, Any]:
    """The next JSON line; `rest` keeps what arrived after it."""
    while b"\n" not in rest:
        block = sock.recv(65536)
        if not block:
            raise ConnectionError("the other side closed the connection")
        rest += block
        if len(rest) > LINE_LIMIT and b"\n" not in rest[:LINE_LIMIT]:
            raise ValueError("not a line of the probe")
    line, _, after = bytes(rest).partition(b"\n")
    rest[:] = after
    try:
        message = json.loads(line)
    except RecursionError:
        message = None
    if not isinstance(message, dict):
        raise ValueError("not a message of the probe")  # noqa: TRY004 - callers know one kind of bad talk
    return message


def ask(settings: Settings, address: str, message: dict[str, Any], timeout: float) -> dict[str, Any]:
    """One question to a rank's listener over a connection of its own."""
    with socket.create_connection((address, settings.port), timeout=timeout) as sock:
        sock.settimeout(timeout)
        send_line(sock, {"rank": settings.rank, **message})
        return read_line(sock, bytearray())


def describe(error: BaseException) -> str:
    """What a failed connection means, in words."""
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, (socket.timeout, TimeoutError)):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)[:200] or type(error).__name__
