"""What a launcher asks the others, and what it answers them."""

from __future__ import annotations

import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, Protocol

from .files import PIECE, Entry, Manifest, Unfit
from .store import Store, receive
from .wire import TIMEOUT, Channel, WireError

CONNECT_SECONDS = 2.0
AT_ONCE = 64  # connections

ERRORS = (OSError, WireError, Unfit)
# What another launcher may ask for besides, by its name.
MORE: dict[str, Callable[[], dict[str, Any]]] = {}


class Answers(Protocol):
    def state(self, asked: dict[str, Any]) -> dict[str, Any]: ...
    def manifest(self) -> Manifest: ...
    def open_content(self, sha256: str) -> IO[bytes]: ...


# --- answering ------------------------------------------------------------------------------------------


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = AT_ONCE

    def __init__(self, address: tuple[str, int], secret: bytes, answers: Answers) -> None:
        self.secret, self.answers = secret, answers
        self.heard: Callable[[dict[str, Any]], dict[str, Any]] = (
            lambda asked: {}
        )  # what is told to whoever tells others
        self.free = threading.BoundedSemaphore(AT_ONCE)
        super().__init__(address, Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.5}, daemon=True).start()

    def handle_error(self, *_: Any) -> None:
        """Who is not one of us, or went away, is no concern of the log."""


class Handler(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        if not self.server.free.acquire(blocking=False):
            return
        try:
            with suppress(*ERRORS):
                channel = Channel(self.request, self.server.secret, server=True)
                while True:
                    self.answer(channel, channel.receive())
        finally:
            self.server.free.release()

    def answer(self, channel: Channel, asked: dict[str, Any]) -> None:
        what, answers = asked.get("ask"), self.server.answers
        if what == "state":
            channel.send(answers.state(asked))
        elif what == "manifest":
            channel.send(answers.manifest().shown())
        elif what == "content":
            self.send_content(channel, asked)
        elif what == "event":
            channel.send(self.server.heard(asked))
        elif isinstance(what, str) and what in MORE:
            channel.send(MORE[what]())
        else:
            raise WireError("a question that nobody asks")

    def send_content(self, channel: Channel, asked: dict[str, Any]) -> None:
        sha256, size, offset = asked.get("sha256"), asked.get("size"), asked.get("offset")
        if not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
            raise WireError("a question that cannot be read")
        if not isinstance(size, int) or not isinstance(offset, int) or not 0 <= offset <= size:
            raise WireError("a question that cannot be read")
        try:
            stream = self.server.answers.open_content(sha256)
        except OSError:
            channel.send({"size": -1})
            return
        with stream:
            channel.send({"size": size - offset})
            sent = channel.sock.sendfile(stream, offset, size - offset) if size > offset else 0
        if sent != size - offset:
            raise WireError("a file became shorter")


# --- asking ---------------------------------------------------------------------------------------------


class Peer:
    """Another rank's launcher, asked over a connection of its own each time."""

    def __init__(self, rank: int, host: str, port: int, secret: bytes) -> None:
        self.rank, self.host, self.port, self.secret = rank, host, port, secret

    @contextmanager
    def channel(self) -> Iterator[Channel]:
        with socket.create_connection((self.host, self.port), CONNECT_SECONDS) as sock:
            yield Channel(sock, self.secret, server=False)

    def state(self, **told: Any) -> dict[str, Any]:
        with self.channel() as channel:
            channel.send({"ask": "state", **told})
            return channel.receive()

    def manifest(self) -> Manifest:
        with self.channel() as channel:
            channel.send({"ask": "manifest"})
            return Manifest.read(channel.receive())

    def fetch(self, store: Store, manifest: Manifest) -> None:
        """Content that this host has nowhere, into `incoming`. What an interruption has left there is gone on with."""
        missing = list(store.missing(manifest))
        if not missing:
            return
        with self.channel() as channel:
            for entry in missing:
                self.fetch_one(channel, store, entry)

    def fetch_one(self, channel: Channel, store: Store, entry: Entry) -> None:
        offset = store.arrived(entry)
        channel.send({"ask": "content", "sha256": entry.sha256, "size": entry.size, "offset": offset})
        if channel.receive().get("size") != entry.size - offset:
            raise Unfit(f"rank {self.rank} has no longer what it promised")
        receive(store, entry, pieces(channel, entry.size - offset), offset)


def pieces(channel: Channel, size: int) -> Iterator[bytes]:
    while size:
        piece = channel.sock.recv(min(size, PIECE))
        if not piece:
            raise WireError("the connection was closed")
        size -= len(piece)
        yield piece


def bound_server(address: tuple[str, int], secret: bytes, answers: Answers) -> Server:
    """The port may be a former launcher's for a moment."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            return Server(address, secret, answers)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
