"""What the kernel says of a TCP connection (struct tcp_info in linux/tcp.h)."""

from __future__ import annotations

import socket
import struct

TCP_INFO = getattr(socket, "TCP_INFO", 11)
SO_MAX_PACING_RATE = getattr(socket, "SO_MAX_PACING_RATE", 47)
TOTAL_RETRANS, DATA_SEGS_OUT, LENGTH = 100, 156, 160


def segments(sock: socket.socket) -> tuple[int, int] | None:
    """How many segments with data were sent, and how many of them once more; None from a kernel before 4.6."""
    try:
        raw = sock.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 256)
    except OSError:
        return None
    if len(raw) < LENGTH:
        return None
    (again,) = struct.unpack_from("=I", raw, TOTAL_RETRANS)
    (sent,) = struct.unpack_from("=I", raw, DATA_SEGS_OUT)
    return sent, again


def pace(sock: socket.socket, rate: float) -> None:
    """Send no faster than so many bytes per second. A kernel that cannot (before 4.13) sends as fast as it likes."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, int(rate))
    except OSError:
        pass
