"""How two launchers talk over TCP: JSON in frames that a secret of the job authenticates, then content that has a checksum.

Both sides send a number that is used once. The key made of them and of the secret is this connection's, and each frame
is authenticated with its direction and its place, so that none can be forged, repeated or left out. What is said is no secret.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import socket
import struct
from typing import Any

GREETING = b"ddp-swarm launcher 1"
NONCE = 32
REQUEST_BYTES = 2**12
ANSWER_BYTES = 2**25
TIMEOUT = 10.0  # seconds in which nothing moves


class WireError(Exception):
    """A sentence about a peer that cannot be talked to."""


class Channel:
    def __init__(self, sock: socket.socket, secret: bytes, server: bool) -> None:
        self.sock, self.server = sock, server
        self.sent = self.received = 0
        sock.settimeout(TIMEOUT)
        own = secrets.token_bytes(NONCE)
        sock.sendall(own)
        theirs = self.exactly(NONCE)
        both = own + theirs if server else theirs + own
        self.key = hmac.new(secret, GREETING + both, hashlib.sha256).digest()

    def exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self.sock.recv(min(size - len(data), 2**20))
            if not piece:
                raise WireError("the connection was closed")
            data += piece
        return bytes(data)

    def _mac(self, by_server: bool, number: int, body: bytes) -> bytes:
        head = struct.pack("!?QI", by_server, number, len(body))
        return hmac.new(self.key, head + body, hashlib.sha256).digest()

    def send(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.sock.sendall(struct.pack("!I", len(body)) + self._mac(self.server, self.sent, body) + body)
        self.sent += 1

    def receive(self) -> dict[str, Any]:
        (size,) = struct.unpack("!I", self.exactly(4))
        limit = REQUEST_BYTES if self.server else ANSWER_BYTES
        if size > limit:
            raise WireError(f"a message of {size} bytes: at most {limit} are taken")
        mac, body = self.exactly(32), self.exactly(size)
        if not hmac.compare_digest(mac, self._mac(not self.server, self.received, body)):
            raise WireError("a message is not authentic: is it another job's launcher?")
        self.received += 1
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise WireError("a message cannot be read")
        return value
