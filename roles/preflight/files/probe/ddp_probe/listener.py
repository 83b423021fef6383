"""The ear of a rank."""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from .contract import COUNTED_TURNS
from .settings import Settings
from .sizes import MEBIBYTE
from .wire import UDP_ACK, UDP_COUNTED, UDP_HEADER, UDP_MAGIC, UDP_SIZED, read_line, send_line


class Listener:
    """Answers the other ranks over TCP and UDP for as long as the probe lives."""

    def __init__(self, settings: Settings, address: str, state: Callable[[], dict[str, Any]]) -> None:
        self.settings = settings
        self.state = state
        self.heard: dict[int, int] = {}
        self.counted: dict[tuple[int, int], int] = {}
        self.goodbyes: set[int] = set()
        self.callers: set[int] = set()
        self.tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.tcp.bind((address, settings.port))
        self.tcp.listen(128)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MEBIBYTE)
        self.udp.bind((address, settings.port))
        threading.Thread(target=self._accept, daemon=True).start()
        threading.Thread(target=self._datagrams, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.tcp.accept()
            except OSError:
                # A caller that hung up before says so here: the others are still to be answered.
                if self.tcp.fileno() < 0:
                    return
                continue
            threading.Thread(target=self._talk, args=(sock,), daemon=True).start()

    def _talk(self, sock: socket.socket) -> None:
        rest = bytearray()
        try:
            with sock:
                sock.settimeout(20)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while True:
                    request = read_line(sock, rest)
                    if isinstance(request.get("rank"), int):
                        self.callers.add(request["rank"])
                    if request.get("op") == "bulk":
                        send_line(sock, self._swallow(sock, rest, request))
                        continue
                    if request.get("op") == "counted":
                        key = (int(request.get("rank", -1)), int(request.get("turn", -1)))
                        send_line(sock, {"counted": self.counted.get(key, 0)})
                        continue
                    if request.get("op") == "bye":
                        self.goodbyes.add(int(request.get("rank", -1)))
                    send_line(sock, {"rank": self.settings.rank, "time": time.time(), **self.state()})
        except (OSError, ValueError, TypeError):
            return

    def _swallow(self, sock: socket.socket, rest: bytearray, request: dict[str, Any]) -> dict[str, Any]:
        size = int(request.get("size", 0))
        if not 0 < size <= 64 * MEBIBYTE:
            raise ValueError("size")
        digest = hashlib.sha256() if request.get("checksum") else None
        got = min(len(rest), size)
        if digest:
            digest.update(bytes(rest[:got]))
        del rest[:got]
        while got < size:
            block = sock.recv(min(MEBIBYTE, size - got))
            if not block:
                raise ConnectionError("closed")
            got += len(block)
            if digest:
                digest.update(block)
        return {"size": got, "sha256": digest.hexdigest() if digest else None}

    def _datagrams(self) -> None:
        while True:
            try:
                data, sender = self.udp.recvfrom(65535)
                magic, kind, rank, turn, size = UDP_HEADER.unpack_from(data)
                if magic != UDP_MAGIC:
                    continue
                self.heard[rank] = self.heard.get(rank, 0) + 1
                if kind == UDP_COUNTED and rank < len(self.settings.peers) and turn < COUNTED_TURNS:
                    self.counted[rank, turn] = self.counted.get((rank, turn), 0) + 1
                if kind == UDP_SIZED and len(data) == size:
                    self.udp.sendto(UDP_HEADER.pack(UDP_MAGIC, UDP_ACK, self.settings.rank, turn, size), sender)
            except (OSError, struct.error):
                if self.udp.fileno() < 0:
                    return
