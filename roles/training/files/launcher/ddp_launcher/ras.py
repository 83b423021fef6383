"""Asks the NCCL in this container for its report, over the text protocol that ncclras speaks. Where there is none, nothing listens."""

from __future__ import annotations

import re
import socket
import time
from contextlib import suppress

from .nccl import BYTES, is_report

HOME = "localhost:28028"  # NCCL_RAS_ADDR, unless that says otherwise
SECONDS = 8.0
QUESTION = b"timeout 4\nverbose status\n"


def address_of(environment: str) -> tuple[str, int] | None:
    """Where the RAS of a process listens, by its environment as /proc has it; None where it was switched off."""
    if re.search(r"(?:^|\0)NCCL_RAS_ENABLE=0(?:\0|$)", environment):
        return None
    found = re.search(r"(?:^|\0)NCCL_RAS_ADDR=([^\0]{1,200})", environment)
    host, _colon, port = (found[1] if found else HOME).rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdecimal() and int(port) < 65536 else None


def report(address: tuple[str, int], seconds: float = SECONDS) -> str:
    """Empty where nobody answers, or somebody else does."""
    until = time.monotonic() + seconds
    said = bytearray()
    with suppress(OSError), socket.create_connection(address, 1.0) as sock:
        sock.sendall(QUESTION)
        while time.monotonic() < until and len(said) < BYTES:
            sock.settimeout(max(0.05, until - time.monotonic()))
            piece = sock.recv(2**14)
            if not piece:
                break
            said += piece
    text = said[:BYTES].decode(errors="replace")
    return text if is_report(text) else ""
