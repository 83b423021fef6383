"""What a host finds out over the network, outside of the containers: ports, the path's MTU, bandwidth between hosts."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import struct
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...text import lines_of
from ..contract import Json
from .engine import inspected

BANDWIDTH_MAGIC = b"ddp-swarm bandwidth\n"
# As engines 20.10 and 26.1 word it, in the journal.
GOSSIP_WARNING = re.compile(
    r"(?P<time>[\d.]+) .*memberlist: Was able to connect to (?P<name>\w+) .*probes failed, network may be misconfigured"
)
GOSSIP_WARNINGS = 4  # of about seven in ten turns
RTF_REJECT = 0x0200  # linux/route.h
SITE_PREFIX = 16  # a route to a network of this size, or smaller, leads to a place


def check_port(address: str, port: int, tries: int = 2, timeout: float = 2.0) -> str:
    """An empty string when the port answers, else why not."""
    problem = ""
    for attempt in range(tries):
        try:
            with socket.create_connection((address, port), timeout=timeout):
                return ""
        except OSError as error:
            problem = (error.strerror or str(error) or "timed out").lower()
        if attempt + 1 < tries:
            time.sleep(0.5)
    return problem


def check_ports(peers: list[Json]) -> list[Json]:
    """All at once, because each closed port takes seconds."""
    wanted = [(peer["host"], peer["address"], port) for peer in peers for port in peer["ports"]]
    if not wanted:
        return []
    with ThreadPoolExecutor(len(wanted)) as pool:
        errors = pool.map(lambda entry: check_port(entry[1], entry[2]), wanted)
        return [
            {"host": host, "address": address, "port": port, "error": error}
            for (host, address, port), error in zip(wanted, errors)
        ]


def silent_gossip(docker: Any, network: str) -> list[str]:
    """Addresses of nodes whose 7946/tcp answers this engine and whose 7946/udp does not.

    The gossip is encrypted and answers members alone, so that no packet of ours can tell. The engine itself asks each node
    in turn, one a second, and warns of every one that only tcp can reach (hashicorp/memberlist, state.go, probeNode).
    """
    networks = inspected(docker, "network", "inspect", "ingress", network)
    peers = {peer["Name"]: peer["IP"] for row in networks for peer in row.get("Peers") or []}
    turn = max(1, len(peers) - 1)
    # Again and again: not just in a busy moment.
    warned = gossip_warnings(time.time() - 10 * turn)
    silent = {name for name in peers if warned.count(name) >= GOSSIP_WARNINGS}
    if silent:
        # And still: not a port that has just been opened.
        looked = time.time()
        time.sleep(5 * turn)
        silent &= set(gossip_warnings(looked))
    return sorted(peers[name] for name in silent)


def gossip_warnings(since: float) -> list[str]:
    """Names of the nodes that the engine has warned of since then (seconds of the epoch), once for each warning."""
    command = ["journalctl", "--quiet", "--no-pager", "--output=short-unix", "--identifier=dockerd"]
    command += [f"--since=@{int(since)}"]
    try:
        log = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    found = (GOSSIP_WARNING.match(line) for line in lines_of(log))
    return [match["name"] for match in found if match and float(match["time"]) > since]


def path_mtu(address: str, wanted: int) -> Json:
    """The largest IP packet of at most `wanted` bytes that reaches a host, by unfragmentable ICMP echoes of many sizes.

    V(mtu) is None where echoes are not answered at all, or may not be sent.
    """
    ip_mtu_discover, ip_pmtudisc_probe, ip_mtu, headers = 10, 3, 14, 28
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
            route.connect((address, 9))
            top = min(wanted, route.getsockopt(socket.IPPROTO_IP, ip_mtu))
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    except OSError:
        return {"mtu": None, "tried": wanted}
    mark = os.urandom(2)
    words = int.from_bytes(mark, "big") + 0x0800

    def echoes(sizes: list[int]) -> set[int]:
        heard: set[int] = set()
        for _ in range(3):
            for size in set(sizes) - heard:
                # The words of an echo, of which all others are zero, are with its checksum a multiple of 0xFFFF.
                checksum = 0xFFFF - (words + size) % 0xFFFF
                echo = struct.pack("!HH2sH", 0x0800, checksum, mark, size) + bytes(size - headers)
                try:
                    sock.sendto(echo, (address, 0))
                except OSError:
                    continue
            end = time.monotonic() + 0.4
            while len(heard) < len(sizes) and time.monotonic() < end:
                sock.settimeout(max(0.01, end - time.monotonic()))
                try:
                    packet = sock.recv(65535)
                except OSError:
                    break
                answer = packet[(packet[0] & 15) * 4 :]
                if answer[:1] == b"\x00" and answer[4:6] == mark:
                    heard.add(int.from_bytes(answer[6:8], "big"))
        return heard

    with sock:
        sock.setsockopt(socket.IPPROTO_IP, ip_mtu_discover, ip_pmtudisc_probe)
        floor = min(400, top)
        heard = echoes(sorted({floor, top}))
        if heard and top not in heard:
            heard |= echoes(list(range(floor, top, 32)))
            heard |= echoes(list(range(max(heard), min(max(heard) + 33, top))))
    return {"mtu": max(heard, default=None), "tried": top}


def local_networks(root: str = "/") -> list[Json]:
    """The IPv4 networks that this host is attached to, and those that it has a route to, by the kernel's routing table.

    Left out are the default route and such as are nearly one, like a company's 10.0.0.0/8: to have a part of that to
    itself is what every overlay does.
    """
    found = []
    try:
        with open(os.path.join(root, "proc/net/route"), encoding="ascii") as stream:
            rows = [line.split() for line in stream.readlines()[1:]]
    except OSError:
        return []
    for row in rows:
        if len(row) < 8 or row[7] == "00000000" or int(row[3], 16) & RTF_REJECT:
            continue
        address, gateway, mask = (socket.inet_ntoa(struct.pack("=L", int(row[i], 16))) for i in (1, 2, 7))
        network = ipaddress.IPv4Network(f"{address}/{mask}")
        if row[2] == "00000000":
            found.append({"interface": row[0], "network": str(network)})
        elif network.prefixlen >= SITE_PREFIX:
            found.append({"interface": row[0], "network": str(network), "gateway": gateway})
    return found


class HostNetwork:
    """Bandwidth to the peers outside the training's network, measured as the probe does inside of it.

    Every host sends to every other, over one TCP connection, for a quarter of a second or so.
    """

    PATIENCE, STALLED = 5.0, 6.0  # seconds

    def __init__(self, port: int, peers: list[Json]) -> None:
        self.peers = peers
        self.port = port
        self.results: dict[str, Json] = {}
        self.served = 0
        self.began = time.monotonic()
        self.listener: socket.socket | None = None
        self.thread = threading.Thread(target=self._measure, daemon=True)
        try:
            self.listener = socket.create_server(("", port), backlog=64)
            threading.Thread(target=self._accept, daemon=True).start()
        except OSError as error:
            self.results = {peer["host"]: {"error": f"port {port}: {error.strerror}"} for peer in peers}
            return
        self.thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()  # type: ignore[union-attr]
            except OSError:
                return
            threading.Thread(target=self._swallow, args=(sock,), daemon=True).start()

    def _swallow(self, sock: socket.socket) -> None:
        try:
            with sock, sock.makefile("rb") as stream:
                if stream.readline(64) != BANDWIDTH_MAGIC:
                    return
                block = memoryview(bytearray(2**20))
                while blocks := int(stream.readline(64)):
                    for _ in range(blocks):
                        if stream.readinto(block) < len(block):
                            return
                    sock.sendall(b"+")
            self.served += 1
        except (OSError, ValueError):
            return

    def _measure(self) -> None:
        for peer in self.peers:
            try:
                with self._connect(peer["address"]) as sock:
                    self.results[peer["host"]] = {"error": "stalled"}
                    self.results[peer["host"]] = {"bandwidth_mb_s": self._send(sock)}
            except socket.timeout:
                self.results.setdefault(peer["host"], {"error": "timed out"})
            except OSError as error:
                self.results[peer["host"]] = {"error": (error.strerror or str(error)).lower()}

    def _connect(self, address: str) -> socket.socket:
        while True:
            left = self.began + self.PATIENCE - time.monotonic()
            try:
                return socket.create_connection((address, self.port), timeout=max(0.5, left))
            except ConnectionRefusedError:  # it has not started yet
                if left < 0:
                    raise
                time.sleep(0.1)

    def _send(self, sock: socket.socket) -> float:
        """The better of two rounds: one MiB, and as much as a quarter of a second takes at that speed."""
        sock.settimeout(self.STALLED)
        sock.sendall(BANDWIDTH_MAGIC)
        best = self._round(sock, 1)
        if blocks := min(64, int(best * 0.25) // 2**20):
            best = max(best, self._round(sock, blocks))
        sock.sendall(b"0\n")
        return round(best / 1e6, 1)

    def _round(self, sock: socket.socket, blocks: int) -> float:
        """Bytes per second."""
        block = bytes(2**20)
        began = time.monotonic()
        sock.sendall(b"%d\n" % blocks)
        for _ in range(blocks):
            sock.sendall(block)
        if sock.recv(1) != b"+":
            raise OSError("the other host closed the connection")
        return blocks * len(block) / max(time.monotonic() - began, 1e-6)

    def result(self) -> dict[str, Json]:
        """Ends when this host has measured, and the others have had the time to."""
        if self.listener is not None:
            self.thread.join(self.PATIENCE + 25)
            while self.served < len(self.peers) and time.monotonic() < self.began + self.PATIENCE:
                time.sleep(0.05)
            # Closing alone leaves the port open for as long as a thread waits in accept.
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
        return dict(self.results)
