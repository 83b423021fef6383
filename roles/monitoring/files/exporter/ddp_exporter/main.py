"""Answers a scrape with what is in the results directory at that moment."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn

from .launcher import container
from .records import read
from .text import Family, of_ranks, render

TYPE = "text/plain; version=0.0.4; charset=utf-8"
PATIENCE = 10  # seconds for a request to come


def options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ddp-exporter")
    parser.add_argument("--stack", required=True, help="name of the job")
    parser.add_argument("--host", required=True, help="name of this host")
    parser.add_argument("--node_rank", type=int, required=True, help="this host among those of the job")
    parser.add_argument("--hosts", type=int, required=True, help="how many hosts the job has")
    parser.add_argument("--results", required=True, help="the results directory")
    parser.add_argument("--listen", default="", help="address to listen on")
    parser.add_argument("--port", type=int, required=True)
    return parser.parse_args(words)


def metrics(asked: argparse.Namespace) -> str:
    labels = {"stack": asked.stack, "host": asked.host}
    families = of_ranks(read(asked.results, asked.node_rank, asked.hosts), labels)
    own = {**labels, "node_rank": str(asked.node_rank)}
    named = container(asked.results)
    if named:
        about = {**own, "container": named}
        families.append(Family("ddp_container_info", "gauge", "The rank's newest container.", [(about, 1)]))
    try:
        disk = os.statvfs(asked.results)
    except OSError:
        return render(families)
    for name, what, blocks in (
        ("ddp_results_free_bytes", "Free", disk.f_bavail),
        ("ddp_results_size_bytes", "Size", disk.f_blocks),
    ):
        words = f"{what} of the file system with the results, in bytes."
        families.append(Family(name, "gauge", words, [(own, blocks * disk.f_frsize)]))
    return render(families)


class Server(ThreadingMixIn, TCPServer):
    """Not http.server's, which asks name servers for its own name first."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        super().__init__((asked.listen, asked.port), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = PATIENCE

    def do_GET(self) -> None:
        if self.path != "/metrics":
            self.send_error(404)
            return
        body = metrics(self.server.asked).encode()
        self.send_response(200)
        self.send_header("Content-Type", TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """A line for each scrape would tell nothing."""


def main(words: list[str] | None = None) -> int:
    asked = options(sys.argv[1:] if words is None else words)
    # The first process of a container gets no signal that it does not ask for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Server(asked) as server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0
