"""Proves, from inside the training's container, that what DDP is about to use works.

One copy runs per rank, in the image, network, environment and mounts of the training. It needs Python 3.9 and torch,
no root and no other file. Whatever happens, it prints one line, `DDP_PROBE_REPORT {json}`, within PROBE_TIMEOUT
seconds, and exits 0 when it could.

Three kinds of work run side by side, so that no hang can swallow the report:
- the main thread only waits, prints and leaves;
- a worker thread does the checks, and every rank answers the others through a listener of its own;
- torch lives in a child process, which is killed when a collective hangs.

Ranks coordinate as little as possible: layers 5 to 9 need nobody's consent, so that every rank reports at the first
layer that fails, and the process group is only tried when every rank says that it is ready.
"""

from __future__ import annotations

import array
import fcntl
import hashlib
import ipaddress
import json
import os
import platform
import re
import resource
import select
import signal
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from typing import Any, Callable

MARKER = "DDP_PROBE_REPORT "
SCHEMA = 1
LAYERS = {
    4: "image identity",
    5: "GPU and memory",
    6: "interface",
    7: "names",
    8: "TCP between ranks",
    9: "path MTU",
    10: "master port",
    11: "process group",
    12: "all-reduce",
    13: "bus bandwidth",
    14: "straggler",
}
SMALL, MIDDLE, LARGE = 4, 64 * 1024, 16 * 1024 * 1024
MEBIBYTE = 1024 * 1024
UDP_MAGIC = b"DDPp"
UDP_HELLO, UDP_SIZED, UDP_ACK = 1, 2, 3
UDP_HEADER = struct.Struct("!4sBHHH")  # magic, kind, source rank, round, size
IP_UDP_OVERHEAD = 28
LINE_LIMIT = 8192
CHILD_LOG_LINES = 2000  # NCCL says a line for every channel
STEADY = 0.9
NOT_THE_NETWORK_MB_S = 200.0
COMPUTE_SECONDS = 0.4
COMPUTE_SUSPECT = 2.0


class Settings:
    """What the stack's environment says; anything that cannot be read is reported, not raised."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self.problems: list[str] = []
        self.peers = [name.strip() for name in env.get("PROBE_PEERS", "").split(",") if name.strip()]
        self.rank = int(self._number("PROBE_RANK", 0))
        self.world_size = int(self._number("PROBE_WORLD_SIZE", len(self.peers) or 1))
        self.master_port = int(self._number("PROBE_MASTER_PORT", 12355))
        self.port = int(self._number("PROBE_PORT", 12356))
        self.timeout = self._number("PROBE_TIMEOUT", 60)
        # Tasks of one stack start seconds apart on slow machines; less than half of the time goes into waiting.
        self.appear_timeout = self._number("PROBE_APPEAR_TIMEOUT", 0.45 * self.timeout)
        self.group_timeout = self._number("PROBE_GROUP_TIMEOUT", 30)
        self.backend = env.get("PROBE_BACKEND", "auto") or "auto"
        self.files = env.get("PROBE_FILES", ".") or "."
        self.host = env.get("PROBE_HOST") or socket.gethostname()
        self.run_id = env.get("PROBE_RUN_ID", "")
        self.subnet: ipaddress.IPv4Network | None = None
        text = env.get("PROBE_SUBNET", "")
        if text:
            try:
                self.subnet = ipaddress.IPv4Network(text, strict=False)
            except ValueError as error:
                self.problems.append(f"PROBE_SUBNET: {error}")
        if not self.peers:
            self.peers = [socket.gethostname()]
        if len(self.peers) != self.world_size:
            self.problems.append(f"PROBE_PEERS names {len(self.peers)} ranks, PROBE_WORLD_SIZE says {self.world_size}")
        if not 0 <= self.rank < len(self.peers):
            self.problems.append(f"PROBE_RANK {self.rank} is not a rank of {len(self.peers)}")
        if self.backend not in ("auto", "nccl", "gloo"):
            self.problems.append(f"PROBE_BACKEND is {self.backend}, not auto, nccl or gloo")

    def _number(self, name: str, default: float) -> float:
        try:
            return float(self.env.get(name) or default)
        except ValueError:
            self.problems.append(f"{name} is not a number: {self.env.get(name)}")
            return default

    def others(self) -> list[int]:
        """The other ranks, starting after the own one, so that not all of them begin with rank 0."""
        size = len(self.peers)
        return [(self.rank + step) % size for step in range(1, size)]


class Report:
    """Collects records from several threads. A layer that nobody wrote about is 'not reached', never passed."""

    def __init__(self, settings: Settings) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self.settings = settings
        self.started = time.monotonic()
        self.records: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}

    def add(
        self,
        layer: int,
        check: str,
        ok: bool | None,
        observed: Any = None,
        expected: Any = None,
        detail: str = "",
        peer: int | None = None,
        seconds: float = 0.0,
    ) -> bool:
        record = {
            "layer": layer,
            "name": check,
            "rank": self.settings.rank,
            "peer": peer,
            "ok": ok,
            "observed": observed,
            "expected": expected,
            "detail": detail,
            "seconds": round(seconds, 4),
        }
        with self._lock:
            if not self._closed:
                self.records.append(record)
        return bool(ok)

    def note(self, **facts: Any) -> None:
        with self._lock:
            if not self._closed:
                self.facts.update(facts)

    def first_failure(self) -> int | None:
        with self._lock:
            failed = [record["layer"] for record in self.records if record["ok"] is False]
        return min(failed) if failed else None

    def close(self, why_not_reached: str) -> dict[str, Any]:
        with self._lock:
            self._closed = True
            seen = {record["layer"] for record in self.records}
            for layer in LAYERS:
                if layer not in seen:
                    self.records.append(
                        {
                            "layer": layer,
                            "name": "not reached",
                            "rank": self.settings.rank,
                            "peer": None,
                            "ok": None,
                            "observed": None,
                            "expected": None,
                            "detail": f"not reached: {why_not_reached}",
                            "seconds": 0.0,
                        }
                    )
            self.records.sort(key=lambda record: record["layer"])
            return {
                "schema": SCHEMA,
                "rank": self.settings.rank,
                "world_size": self.settings.world_size,
                "host": self.settings.host,
                "run_id": self.settings.run_id,
                "peers": self.settings.peers,
                **self.facts,
                "seconds": round(time.monotonic() - self.started, 3),
                "records": list(self.records),
            }


# ---------------------------------------------------------------- what this container is


def file_identity(paths: str, limit_files: int = 2000, limit_bytes: int = 256 * MEBIBYTE) -> dict[str, Any]:
    """Hash what the image holds at these paths. Mounted files are left out: they are not the image's."""
    mounts = mount_points()
    found: list[tuple[str, str]] = []
    hidden = {".git", "__pycache__"}
    notes: list[str] = []
    size = 0
    for start in paths.replace(",", " ").split():
        top = os.path.abspath(start)
        if os.path.isfile(top):
            found.append((start, top))
            continue
        if not os.path.isdir(top):
            found.append((start, ""))
            continue
        for folder, folders, names in os.walk(top):
            folders[:] = sorted(n for n in folders if n not in hidden and os.path.join(folder, n) not in mounts)
            if top == "/":
                folders[:] = []
            for name in sorted(names):
                full = os.path.join(folder, name)
                if name.endswith(".pyc") or full in mounts or not os.path.isfile(full):
                    continue
                found.append((os.path.relpath(full, top), full))
            if len(found) > limit_files:
                notes.append(f"only the first {limit_files} files were read")
                found = found[:limit_files]
                break
    files: dict[str, str] = {}
    for shown, full in found:
        if not full:
            files[shown] = "missing"
            continue
        try:
            size += os.path.getsize(full)
            if size > limit_bytes:
                notes.append(f"only the first {limit_bytes // MEBIBYTE} MiB were read")
                break
            digest = hashlib.sha256()
            with open(full, "rb") as stream:
                for block in iter(lambda: stream.read(MEBIBYTE), b""):
                    digest.update(block)
            files[shown] = digest.hexdigest()[:16]
        except OSError as error:
            files[shown] = f"unreadable: {error.strerror}"
    whole = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    shown_files = dict(sorted(files.items())[:80])
    return {"hash": whole, "files": shown_files, "file_count": len(files), "notes": notes}


def mount_points() -> set[str]:
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as stream:
            return {line.split()[4].replace("\\040", " ") for line in stream if len(line.split()) > 4}
    except OSError:
        return set()


def interfaces() -> list[dict[str, Any]]:
    """Every IPv4 address of this network namespace with its interface and MTU."""
    siocgifconf = 0x8912
    entry = 40 if sys.maxsize > 2**32 else 32
    buffer = array.array("B", bytes(entry * 256))
    address, length = buffer.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock.fileno(), siocgifconf, struct.pack("iL", length, address))
    used = struct.unpack("iL", answer)[0]
    raw = buffer.tobytes()[:used]
    found = []
    for offset in range(0, used, entry):
        name = raw[offset : offset + 16].split(b"\0", 1)[0].decode(errors="replace").split(":")[0]
        found.append(
            {"name": name, "address": socket.inet_ntoa(raw[offset + 20 : offset + 24]), "mtu": interface_mtu(name)}
        )
    return found


def interface_mtu(name: str) -> int | None:
    try:
        with open(f"/sys/class/net/{name}/mtu", encoding="ascii") as stream:
            return int(stream.read())
    except (OSError, ValueError):
        return None


def nccl_selects(value: str, names: list[str]) -> list[str]:
    """The interfaces that NCCL_SOCKET_IFNAME stands for: prefixes, `=` for exact names, `^` for all but these."""
    exclude = value.startswith("^")
    exact = value.lstrip("^").startswith("=")
    wanted = [part for part in value.lstrip("^").lstrip("=").split(",") if part]

    def hit(name: str) -> bool:
        return any(name == part if exact else name.startswith(part) for part in wanted)

    return [name for name in names if hit(name) != exclude]


def gloo_selects(value: str, names: list[str]) -> list[str]:
    """GLOO_SOCKET_IFNAME is a list of exact names."""
    return [name for name in names if name in [part.strip() for part in value.split(",")]]


# ---------------------------------------------------------------- the wire


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


class Peer:
    """What is known about another rank. Written by its own thread, read by the others."""

    def __init__(self, rank: int, name: str) -> None:
        self.rank = rank
        self.name = name
        self.address: str | None = None
        self.reached = False
        self.bulk_ok = False
        self.hello: dict[str, Any] = {}
        self.pair: dict[str, Any] = {}
        self.clock: dict[str, Any] = {}


class Listener:
    """Answers the other ranks over TCP and UDP for as long as the probe lives."""

    def __init__(self, settings: Settings, address: str, state: Callable[[], dict[str, Any]]) -> None:
        self.settings = settings
        self.state = state
        self.heard: dict[int, int] = {}
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
                if kind == UDP_SIZED and len(data) == size:
                    self.udp.sendto(UDP_HEADER.pack(UDP_MAGIC, UDP_ACK, self.settings.rank, turn, size), sender)
            except (OSError, struct.error):
                if self.udp.fileno() < 0:
                    return


def ask(settings: Settings, address: str, message: dict[str, Any], timeout: float) -> dict[str, Any]:
    """One question to a rank's listener over a connection of its own."""
    with socket.create_connection((address, settings.port), timeout=timeout) as sock:
        sock.settimeout(timeout)
        send_line(sock, {"rank": settings.rank, **message})
        return read_line(sock, bytearray())


def describe(error: BaseException) -> str:
    """What a failed connection means, in words that the judge knows."""
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, (socket.timeout, TimeoutError)):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)[:200] or type(error).__name__


# ---------------------------------------------------------------- the checks


class Probe:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.report = Report(settings)
        self.deadline = self.report.started + settings.timeout
        # The last seconds belong to printing.
        self.work_deadline = self.deadline - max(3.0, min(5.0, 0.1 * settings.timeout))
        self.appear_deadline = self.report.started + settings.appear_timeout
        self.peers = {rank: Peer(rank, settings.peers[rank]) for rank in settings.others()}
        self.child = Child()
        self.listener: Listener | None = None
        self.master: socket.socket | None = None
        self.address: str | None = None
        self.mtu: int | None = None
        self.stage = "starting"
        self.status = "busy"
        self.finished = threading.Event()
        self.blocked_by = ""

    # -- life

    def run(self) -> None:
        """The worker thread: every check in its order."""
        try:
            self._run()
        except Exception:  # noqa: BLE001 - whatever it was, the report must say it
            lines = traceback.format_exc().strip().splitlines()
            self.report.note(error=" | ".join(lines[-3:])[:600])
            self.blocked_by = self.blocked_by or f"the probe itself failed: {lines[-1][:200]}"
        finally:
            self.finished.set()

    def _run(self) -> None:
        if self.settings.problems:
            self.report.note(error="; ".join(self.settings.problems))
            self.blocked_by = "; ".join(self.settings.problems)
            return
        self.child.start()
        identity: dict[str, Any] = {}
        hashing = threading.Thread(target=lambda: identity.update(file_identity(self.settings.files)), daemon=True)
        hashing.start()

        self.check_memory()
        self.check_interface()
        self.check_own_name()
        self.start_listener()
        threads = [threading.Thread(target=self.check_peer, args=(p,), daemon=True) for p in self.peers.values()]
        for thread in threads:
            thread.start()
        if not self.peers:
            for layer, check in ((7, "peers"), (8, "peers"), (9, "peers")):
                self.report.add(layer, check, True, "one rank", detail="a single rank has no peer to reach")
        if self.settings.rank == 0:
            self.open_master_port()

        self.stage = "importing torch"
        torch_facts = self.child.wait_for("versions", self.until(0.6 * self.settings.timeout))
        hashing.join(max(0.0, self.until(0.6 * self.settings.timeout) - time.monotonic()))
        self.check_identity(torch_facts, identity)
        self.stage = "talking to the other ranks"
        for thread in threads:
            thread.join(max(0.0, self.work_deadline - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            self.blocked_by = "checks between the ranks did not end in time"
        if self.report.first_failure() is None and not self.blocked_by:
            self.check_master_port()
        failed = self.report.first_failure()
        if failed is not None:
            self.status = f"failed at layer {failed} ({LAYERS[failed]})"
            self.blocked_by = f"layer {failed} ({LAYERS[failed]}) failed on this rank"
            return
        if self.blocked_by:
            self.status = self.blocked_by
            return
        self.status = "ready"
        self.stage = "waiting for the other ranks"
        if not self.wait_for_peers("ready"):
            return
        self.measure_pairs()
        self.check_group()

    def until(self, seconds: float) -> float:
        return min(self.work_deadline, self.report.started + seconds)

    def state(self) -> dict[str, Any]:
        return {"status": self.status, "stage": self.stage, "gpus": self.gpus(), "nccl": bool(self.nccl_version())}

    def gpus(self) -> int:
        return int(self.child.facts.get("gpus") or 0)

    def nccl_version(self) -> str | None:
        return self.child.facts.get("nccl")

    # -- layer 4 and 5

    def check_identity(self, facts: dict[str, Any] | None, identity: dict[str, Any]) -> None:
        facts = facts or {}
        self.report.note(
            identity={
                "python": platform.python_version(),
                "torch": facts.get("torch"),
                "cuda": facts.get("cuda"),
                "nccl": facts.get("nccl"),
                "architecture": platform.machine(),
                "files": identity.get("files"),
                "file_count": identity.get("file_count"),
                "files_hash": identity.get("hash"),
                "notes": identity.get("notes", []),
            }
        )
        if "torch" in facts:
            self.report.add(4, "torch", True, facts["torch"], seconds=facts.get("import_seconds", 0.0))
            expected = "at least 1" if self.settings.backend == "nccl" else None
            self.report.add(
                5, "gpu", self.settings.backend != "nccl" or self.gpus() > 0, self.gpus(), expected,
                "; ".join(facts.get("gpu_names") or []) or facts.get("gpu_error", ""),
            )  # fmt: skip
            self.report.note(gpus=self.gpus(), gpu_names=facts.get("gpu_names"))
            if self.settings.backend == "nccl" and not facts.get("nccl"):
                self.report.add(4, "nccl", False, "torch without NCCL", "a torch that has NCCL")
        elif facts.get("error"):
            self.report.add(4, "torch", False, "torch cannot be imported", "a working torch", facts["error"])
        else:
            self.report.add(4, "torch", False, "import unfinished", "a working torch", self.child.last_words())
        if identity.get("hash"):
            self.report.add(4, "files", True, identity["hash"][:16], detail=f"{identity['file_count']} files")
        else:
            self.report.add(4, "files", None, detail="the work directory could not be read in time")

    def check_memory(self) -> None:
        try:
            stat = os.statvfs("/dev/shm")
            size, free = stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize
            self.report.note(shm_bytes=size, shm_free_bytes=free)
            self.report.add(5, "shm", True, size, detail="size of /dev/shm in bytes; the floor is the judge's")
        except OSError as error:
            self.report.add(5, "shm", False, describe(error), "a tmpfs on /dev/shm")
        soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        unlimited = soft == resource.RLIM_INFINITY
        infiniband = os.path.isdir("/dev/infiniband") and self.settings.env.get("NCCL_IB_DISABLE", "0") != "1"
        self.report.note(memlock_bytes=None if unlimited else soft)
        self.report.add(
            5,
            "memlock",
            unlimited or not infiniband or soft >= 64 * MEBIBYTE,
            "unlimited" if unlimited else soft,
            "unlimited" if infiniband else None,
            "only InfiniBand needs locked memory",
        )

    # -- layer 6

    def check_interface(self) -> None:
        try:
            found = interfaces()
        except OSError as error:
            self.report.add(6, "interface", False, describe(error), "interfaces can be listed")
            return
        self.report.note(interfaces=found)
        subnet = self.settings.subnet
        names = sorted({entry["name"] for entry in found})
        if subnet is None:
            # On the hosts' own network: the one that holds the address under which the others know this rank.
            try:
                own = self.resolve(self.settings.peers[self.settings.rank])[0]
            except OSError:
                own = "0.0.0.0"  # layer 7 says so
            subnet = ipaddress.IPv4Network(own)
        inside = [entry for entry in found if ipaddress.IPv4Address(entry["address"]) in subnet]
        listed = ", ".join(f"{entry['name']} {entry['address']}" for entry in found)
        if not inside:
            self.report.add(6, "interface", False, listed, f"an address in {subnet}")
            return
        holders = sorted({entry["name"] for entry in inside})
        if len(holders) > 1:
            self.report.add(
                6, "interface", False, listed, f"one interface in {subnet}", "two networks share this subnet"
            )
        else:
            self.report.add(6, "interface", True, listed, f"an address in {subnet}")
        self.address, self.mtu = inside[0]["address"], inside[0]["mtu"]
        self.report.note(interface=inside[0]["name"], address=self.address, mtu=self.mtu)
        for variable, selects in (("NCCL_SOCKET_IFNAME", nccl_selects), ("GLOO_SOCKET_IFNAME", gloo_selects)):
            value = self.settings.env.get(variable, "")
            if not value:
                continue
            chosen = selects(value, names)
            others = [name for name in chosen if name not in holders and name != "lo"]
            if not set(chosen) & set(holders):
                text = f"{value}, which no interface matches"
                if chosen:
                    text = value if chosen == [value] else f"{value}, which is {', '.join(chosen)}"
                self.report.add(6, variable, False, text, holders[0], f"interfaces: {listed}")
            elif others:
                self.report.add(
                    6, variable, False, f"{value}, which is {', '.join(chosen)}", holders[0],
                    f"it also stands for {', '.join(others)}, which is not in {subnet}",
                )  # fmt: skip
            else:
                self.report.add(6, variable, True, value, holders[0])
        if not self.settings.env.get("GLOO_SOCKET_IFNAME") and len(self.peers) > 0:
            # Without the variable, gloo binds to whatever the host name resolves to.
            try:
                own = socket.gethostbyname(socket.gethostname())
            except OSError as error:
                own = describe(error)
            inside_too = own in [entry["address"] for entry in inside]
            self.report.add(6, "GLOO_SOCKET_IFNAME", inside_too, f"unset, the host name resolves to {own}", holders[0])

    # -- layer 7

    def resolve(self, name: str) -> list[str]:
        answers = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
        return sorted({str(answer[4][0]) for answer in answers})

    def check_own_name(self) -> None:
        """The own name must lead here, and only here: with a virtual IP, or a dead task's address, it does not."""
        began = time.monotonic()
        self.stage = "resolving names"
        name = self.settings.peers[self.settings.rank]
        addresses: list[str] = []
        problem = ""
        # A task that was replaced a moment ago leaves its address in the DNS for a few seconds.
        limit = min(self.appear_deadline, began + 10)
        while True:
            try:
                addresses = self.resolve(name)
                problem = "" if len(addresses) == 1 and is_local(addresses[0]) else "not only this task's address"
            except OSError as error:
                problem = f"does not resolve ({describe(error)})"
            if not problem or time.monotonic() > limit:
                break
            time.sleep(0.3)
        observed = ", ".join(addresses) or problem
        self.report.add(
            7, "own name", not problem, f"{name}: {observed}", self.address or "this task's address",
            problem, seconds=time.monotonic() - began,
        )  # fmt: skip
        if not problem:
            self.address = addresses[0]
            self.report.note(address=self.address)

    def start_listener(self) -> None:
        try:
            self.listener = Listener(self.settings, self.address or "0.0.0.0", self.state)
        except OSError as error:
            self.report.add(
                8, "listener", False, f"port {self.settings.port}: {describe(error)}", "a free port for the probe"
            )

    def check_peer(self, peer: Peer) -> None:
        """Layers 7 to 9 towards one rank, with patience for a container that still starts."""
        began = time.monotonic()
        seen: list[str] = []
        problem = ""
        while time.monotonic() < self.appear_deadline or not (seen or problem):
            try:
                seen = self.resolve(peer.name)
                if len(seen) == 1:
                    problem = ""
                    break
                problem = f"{len(seen)} addresses"
            except OSError as error:
                problem = f"does not resolve ({describe(error)})"
            time.sleep(0.3)
        outside = [a for a in seen if self.settings.subnet and ipaddress.IPv4Address(a) not in self.settings.subnet]
        if outside and not problem:
            problem = f"not in {self.settings.subnet}"
        self.report.add(
            7, "peer name", not problem, f"{peer.name}: {', '.join(seen) or problem}",
            "one address of the overlay", problem, peer.rank, time.monotonic() - began,
        )  # fmt: skip
        if problem:
            return
        peer.address = seen[0]
        self.reach(peer)
        if peer.reached:
            self.check_size(peer)

    # -- layer 8

    def reach(self, peer: Peer) -> None:
        began = time.monotonic()
        said = ""
        connected = False
        address = str(peer.address)
        while True:
            self.say_hello(peer)
            connected = False
            try:
                with socket.create_connection((address, self.settings.port), timeout=2) as sock:
                    connected = True
                    sock.settimeout(3)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    said = self.greet(sock, peer)
            except (OSError, ValueError) as error:
                said = f"connected, no answer ({describe(error)})" if connected else describe(error)
            if peer.reached or time.monotonic() > self.appear_deadline:
                break
            time.sleep(0.2)
            try:
                # A task that is replaced comes back under another address.
                address = self.resolve(peer.name)[0]
                peer.address = address
            except OSError:
                pass
        self.report.add(
            8, "tcp", peer.reached, said, "an answer within 2 s", f"{peer.name} at {address}",
            peer.rank, time.monotonic() - began,
        )  # fmt: skip

    def say_hello(self, peer: Peer) -> None:
        """A datagram needs no way back: what arrives tells which of the two directions is closed."""
        if self.listener is None:
            return
        try:
            packet = UDP_HEADER.pack(UDP_MAGIC, UDP_HELLO, self.settings.rank, 0, UDP_HEADER.size)
            self.listener.udp.sendto(packet, (str(peer.address), self.settings.port))
        except OSError:
            pass

    def greet(self, sock: socket.socket, peer: Peer) -> str:
        rest = bytearray()
        best = None
        for _ in range(12):
            sent, sent_clock = time.monotonic(), time.time()
            send_line(sock, {"op": "hello", "rank": self.settings.rank})
            answer = read_line(sock, rest)
            trip = time.monotonic() - sent
            if answer.get("rank") != peer.rank:
                return f"rank {answer.get('rank')} answers under the name {peer.name}"
            peer.hello = answer
            if best is None or trip < best:
                best = trip
                # The answer was stamped somewhere within the round trip, so the error is at most half of the trip.
                offset = float(answer["time"]) - (sent_clock + trip / 2)
                peer.clock = {"offset_s": round(offset, 6), "round_trip_s": round(trip, 6)}
        peer.pair["latency_us"] = round((best or 0) * 1e6 / 2, 1)
        peer.reached = True
        return f"round trip {(best or 0) * 1e6:.0f} us"

    # -- layer 9

    def check_size(self, peer: Peer) -> None:
        began = time.monotonic()
        path = self.path_mtu(peer)
        payload = os.urandom(MEBIBYTE)
        expected = hashlib.sha256(payload).hexdigest()
        problem = ""
        seconds = 0.0
        for _ in range(2):  # one slow moment is not a fault
            try:
                seconds, answer = self.bulk(peer, payload, checksum=True, timeout=6)
                problem = "" if answer.get("sha256") == expected else "the data arrived changed"
            except (OSError, ValueError) as error:
                problem = f"1 MiB did not pass ({describe(error)})"
            if not problem:
                break
        peer.bulk_ok = not problem
        if path is not None:
            peer.pair["path_mtu"] = path
        if not problem:
            peer.pair["bandwidth_mb_s"] = round(MEBIBYTE / max(seconds, 1e-6) / 1e6, 1)
        observed = problem or f"1 MiB in {seconds * 1000:.0f} ms"
        detail = "no datagram size could be measured"
        if path is not None:
            detail = f"largest packet that passes: {path} B of an interface with {self.mtu} B"
        self.report.add(
            9, "path mtu", not problem, observed, "1 MiB with its checksum", detail,
            peer.rank, time.monotonic() - began,
        )  # fmt: skip

    def bulk(self, peer: Peer, payload: bytes, checksum: bool, timeout: float) -> tuple[float, dict[str, Any]]:
        with socket.create_connection((str(peer.address), self.settings.port), timeout=3) as sock:
            sock.settimeout(timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            request = {"op": "bulk", "rank": self.settings.rank, "size": len(payload), "checksum": checksum}
            began = time.monotonic()
            send_line(sock, request)
            sock.sendall(payload)
            answer = read_line(sock, bytearray())
            return time.monotonic() - began, answer

    def path_mtu(self, peer: Peer) -> int | None:
        """The largest IP packet that reaches the peer, by unfragmentable datagrams of many sizes at once."""
        top = min(self.mtu or 1500, 9216)
        floor = min(400, top)
        found = self.sized_burst(peer, 1, sorted({floor, top}))
        if not found:
            return None
        if top in found:
            return top
        step = max(16, (top - floor) // 40)
        found |= self.sized_burst(peer, 2, list(range(floor, top, step)))
        low = max(found)
        found |= self.sized_burst(peer, 3, list(range(low, min(low + step + 1, top))))
        return max(found)

    def sized_burst(self, peer: Peer, turn: int, sizes: list[int]) -> set[int]:
        """Send a datagram for each IP packet size, three times over; return the sizes that were acknowledged."""
        ip_mtu_discover, ip_pmtudisc_probe = 10, 3
        heard: set[int] = set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.IPPROTO_IP, ip_mtu_discover, ip_pmtudisc_probe)
            sock.setblocking(False)
            for _ in range(3):
                for size in sizes:
                    if size in heard:
                        continue
                    body = size - IP_UDP_OVERHEAD
                    packet = UDP_HEADER.pack(UDP_MAGIC, UDP_SIZED, self.settings.rank, turn, body).ljust(body, b"\0")
                    try:
                        sock.sendto(packet, (str(peer.address), self.settings.port))
                    except OSError:
                        continue
                end = time.monotonic() + 0.4
                while len(heard) < len(sizes) and time.monotonic() < end:
                    ready, _, _ = select.select([sock], [], [], max(0.0, end - time.monotonic()))
                    if not ready:
                        break
                    try:
                        magic, kind, _, got, size = UDP_HEADER.unpack_from(sock.recv(64))
                    except (OSError, struct.error):
                        continue
                    if magic == UDP_MAGIC and kind == UDP_ACK and got == turn:
                        heard.add(size + IP_UDP_OVERHEAD)
                if len(heard) == len(sizes):
                    break
        return heard

    # -- layer 10

    def open_master_port(self) -> None:
        """Hold the port as the store will, and greet those who come, so that nobody takes a stranger for rank 0."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("0.0.0.0", self.settings.master_port))
            sock.listen(128)
        except OSError as error:
            sock.close()
            self.report.add(
                10, "master port free", False, f"port {self.settings.master_port}: {describe(error)}", "a free port"
            )
            return
        self.report.add(10, "master port free", True, f"port {self.settings.master_port}", "a free port")
        self.master = sock

        def greet() -> None:
            while True:
                try:
                    caller, _ = sock.accept()
                    with caller:
                        caller.sendall(b"ddp-probe master\n")
                except OSError:
                    if sock.fileno() < 0:
                        return

        threading.Thread(target=greet, daemon=True).start()

    def close_master_port(self) -> None:
        if self.master is not None:
            try:
                self.master.shutdown(socket.SHUT_RDWR)  # wakes the accept
            except OSError:
                pass
            self.master.close()
            self.master = None

    def check_master_port(self) -> None:
        if self.settings.rank == 0:
            return
        self.stage = "reaching the master port"
        began = time.monotonic()
        said = ""
        ok = False
        limit = min(self.work_deadline, began + 8)
        while not ok and time.monotonic() < limit:
            try:
                address = (str(self.peers[0].address), self.settings.master_port)
                with socket.create_connection(address, timeout=2) as sock:
                    sock.settimeout(2)
                    said = sock.recv(64).decode(errors="replace").strip()
                    ok = said == "ddp-probe master"
                    said = "answered" if ok else f"another program answers: {said[:40]!r}"
            except OSError as error:
                said = describe(error)
            if not ok:
                time.sleep(0.3)
                try:
                    master = ask(self.settings, str(self.peers[0].address), {"op": "status"}, timeout=2)
                except (OSError, ValueError):
                    continue
                if str(master.get("status")).startswith("failed"):
                    said = f"{said}; rank 0 {master['status']}"
                    break
        self.report.add(
            10, "master port reachable", ok, f"{self.settings.peers[0]}:{self.settings.master_port} {said}",
            "rank 0 answers", peer=0, seconds=time.monotonic() - began,
        )  # fmt: skip

    # -- waiting for each other

    def wait_for_peers(self, wanted: str) -> bool:
        """True when every rank says so. A rank that failed ends the waiting at once: nothing more can be learnt."""
        missing = set(self.peers)
        silent: dict[int, float] = {}
        while missing:
            for rank in sorted(missing):
                peer = self.peers[rank]
                try:
                    peer.hello = ask(self.settings, str(peer.address), {"op": "status"}, timeout=2)
                    silent.pop(rank, None)
                except (OSError, ValueError) as error:
                    now = time.monotonic()
                    silent.setdefault(rank, now - 2)
                    if now - silent[rank] > 10 or now > self.work_deadline:
                        self.blocked_by = f"rank {rank} ({peer.name}) answered before and is silent now"
                        self.report.add(
                            11, "ready", False, describe(error), "every rank is ready", self.blocked_by, rank
                        )
                        self.status = "failed: " + self.blocked_by
                        return False
                    continue
                status = str(peer.hello.get("status"))
                if status in (wanted, "ready", "go", "done"):
                    missing.discard(rank)
                elif status != "busy":
                    self.blocked_by = f"rank {rank} ({peer.name}) {status}"
                    return False
            if missing:
                if time.monotonic() > self.work_deadline:
                    names = ", ".join(f"rank {rank} ({self.peers[rank].name})" for rank in sorted(missing))
                    self.blocked_by = f"{names} did not become ready in time"
                    return False
                time.sleep(0.1)
        return True

    def measure_pairs(self) -> None:
        """Bandwidth of one TCP connection to every peer: the best of at least three, until it gets no better.

        A busy moment only ever slows, and differs from the next one; a slow network is as slow every time.
        """
        self.stage = "measuring pairs"
        limit = time.monotonic() + 6
        for peer in self.peers.values():
            # On a network as slow as the first MiB says, more would take seconds.
            payload = bytes((8 if peer.pair.get("bandwidth_mb_s", 0) >= 20 else 1) * MEBIBYTE)
            rates: list[float] = []
            while time.monotonic() < limit and not settled(rates):
                try:
                    seconds, _ = self.bulk(peer, payload, checksum=False, timeout=5)
                except (OSError, ValueError):
                    break
                rates.append(round(len(payload) / max(seconds, 1e-6) / 1e6, 1))
            if rates:
                steady = round(statistics.median(rates) / max(rates), 2) if len(rates) > 2 else 0.0
                peer.pair.update(bandwidth_mb_s=max(rates), bandwidth_bytes=len(payload), bandwidth_steady=steady)

    # -- layers 11 to 14

    def choose_backend(self) -> tuple[str, str]:
        """The same answer on every rank, because every rank knows every rank's GPU count."""
        if self.settings.backend != "auto":
            return self.settings.backend, f"PROBE_BACKEND={self.settings.backend}"
        without = [] if self.gpus() > 0 and self.nccl_version() else [self.settings.rank]
        for rank, peer in self.peers.items():
            if not (peer.hello.get("gpus") and peer.hello.get("nccl")):
                without.append(rank)
        if not without:
            return "nccl", "every rank has a GPU"
        return "gloo", "no GPU on " + ", ".join(self.settings.peers[rank] for rank in sorted(without))

    def check_group(self) -> None:
        settings = self.settings
        backend, reason = self.choose_backend()
        self.report.note(backend=backend, backend_reason=reason)
        order = {
            "rank": settings.rank,
            "world_size": settings.world_size,
            "backend": backend,
            "master": "127.0.0.1" if settings.rank == 0 else str(self.peers[0].address),
            "port": settings.master_port,
            "group_timeout": min(settings.group_timeout, max(2.0, self.work_deadline - time.monotonic() - 2)),
        }
        self.stage = "starting the store"
        if settings.rank == 0:
            self.close_master_port()
            self.child.tell(order)
            if self.child.wait_for("store", time.monotonic() + 15) is None:
                text = self.child.failure() or "the store did not start"
                self.report.add(11, "store", False, text, "a TCPStore on the master port", self.child.last_words())
                self.status = "failed at layer 11 (process group)"
                return
            self.status = "go"
        else:
            if not self.wait_for_master():
                return
            self.child.tell(order)
        self.follow_child(order)
        self.status = "done" if self.report.first_failure() is None else "failed in the process group"
        if backend == "nccl":
            self.report.note(nccl=nccl_facts(self.child.log))

    def wait_for_master(self) -> bool:
        master = self.peers[0]
        last = ""
        limit = min(self.work_deadline, time.monotonic() + 20)
        while time.monotonic() < limit:
            try:
                master.hello = ask(self.settings, str(master.address), {"op": "status"}, timeout=2)
                last = str(master.hello.get("status"))
                if last in ("go", "done"):
                    return True
                if last not in ("busy", "ready"):
                    self.blocked_by = f"rank 0 ({master.name}) {last}"
                    return False
            except (OSError, ValueError) as error:
                last = describe(error)
            time.sleep(0.05)
        self.report.add(11, "store", False, f"rank 0: {last}", "rank 0 opens the store", peer=0)
        self.blocked_by = "rank 0 did not open the store"
        return False

    def follow_child(self, order: dict[str, Any]) -> None:
        """Turn what the child says, or the stage in which it fell silent, into records."""
        steps = [("group", 11, float(order["group_timeout"]) + 3)]
        steps += [(f"reduce {size}", 12, 25.0) for size in (SMALL, MIDDLE, LARGE)]
        steps += [("bandwidth", 13, 25.0), ("compute", 14, 20.0)]
        for event, layer, limit in steps:
            self.stage = event
            began = time.monotonic()
            facts = self.child.wait_for(event, min(self.work_deadline, began + limit))
            took = time.monotonic() - began
            failed = self.report.first_failure() is not None
            if facts is None:
                if not failed:
                    self.explain_hang(event, layer, took)
                return
            # A rank that failed takes part to the end: the others would be blamed for a collective that it left.
            if not failed:
                getattr(self, "record_" + event.split()[0])(facts)
        self.stage = "leaving"
        # Nobody leaves before all have finished: a rank that goes early aborts the others' last collective.
        self.child.wait_for("end", min(self.work_deadline, time.monotonic() + 8))

    def record_group(self, facts: dict[str, Any]) -> None:
        self.report.add(11, "process group", True, f"{facts['backend']}, {facts['seconds']:.2f} s",
                        f"within {self.settings.group_timeout:g} s", seconds=facts["seconds"])  # fmt: skip
        self.check_connections(facts.get("connections") or [])
        if facts["backend"] == "nccl":
            holder = str(self.report.facts.get("interface") or "")
            for record in nccl_compared(nccl_facts(self.child.log), self.settings.env, holder):
                self.report.add(11, *record)

    def check_connections(self, addresses: list[str]) -> None:
        """The kernel's own word on which addresses the process group talks over, whatever the backend."""
        if not addresses and self.settings.world_size > 1:
            self.report.add(11, "connections", None, detail="no connection of the process group was found")
            return
        names = {entry["address"]: entry["name"] for entry in self.report.facts.get("interfaces") or []}
        inside = self.settings.subnet or ipaddress.IPv4Network(self.address or "0.0.0.0/0")
        used = [address for address in addresses if not ipaddress.IPv4Address(address).is_loopback]
        outside = [address for address in used if ipaddress.IPv4Address(address) not in inside]
        shown = ", ".join(f"{names.get(address, '?')} {address}" for address in outside or used)
        self.report.note(connections=used)
        self.report.add(11, "connections", not outside, shown or "none but its own", f"addresses in {inside}")

    def record_reduce(self, facts: dict[str, Any]) -> None:
        self.report.add(
            12, f"all-reduce {facts['bytes']} B", facts["right"], facts["observed"], facts["expected"],
            facts.get("detail", ""), seconds=facts["seconds"],
        )  # fmt: skip

    def record_bandwidth(self, facts: dict[str, Any]) -> None:
        self.report.note(allreduce=facts)
        if self.settings.world_size == 1:
            self.report.add(13, "bus bandwidth", True, "one rank", detail="a single rank uses no bus")
        else:
            self.report.add(13, "bus bandwidth", True, facts["bus_bandwidth_mb_s"],
                            detail="MB/s; the floor is the judge's", seconds=facts["seconds"])  # fmt: skip

    def record_compute(self, facts: dict[str, Any]) -> None:
        try:
            load = round(os.getloadavg()[0], 1)
        except OSError:
            load = None
        self.report.note(compute={**facts, "load": load, "cores": os.cpu_count()})
        self.report.add(14, "compute", True, facts["seconds"], detail="seconds of a matrix product; others decide")

    def explain_hang(self, event: str, layer: int, took: float) -> None:
        """Ask every rank over the probe's own connections, which a stuck collective does not block, where it is."""
        error = self.child.failure()
        words = error or f"no result after {took:.0f} s"
        warnings = nccl_facts(self.child.log)["warnings"]
        if warnings:
            words = f"{words} | {' | '.join(warnings)}"
        culprits: list[tuple[int, str]] = []
        answers: dict[int, str] = {}

        def question(peer: Peer) -> None:
            try:
                answer = ask(self.settings, str(peer.address), {"op": "status"}, timeout=2)
                answers[peer.rank] = f"{answer.get('status')}, {answer.get('stage')}"
            except (OSError, ValueError) as failure:
                answers[peer.rank] = f"silent ({describe(failure)})"

        threads = [threading.Thread(target=question, args=(peer,), daemon=True) for peer in self.peers.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
        for rank in sorted(self.peers):
            answer = answers.get(rank, "silent (timed out)")
            if answer.startswith("silent"):
                culprits.append((rank, answer))
        missing = self.child.facts.get("missing") or []
        for rank in missing:
            if rank not in [c[0] for c in culprits] and rank != self.settings.rank:
                culprits.append((rank, "did not join"))
        stages = "; ".join(f"rank {rank}: {answers.get(rank, 'silent')}" for rank in sorted(self.peers))
        detail = f"{words}; {stages}"[:900]
        for rank, said in culprits:
            self.report.add(layer, event, False, said, "every rank takes part", detail, rank, took)
        if not culprits:
            self.report.add(layer, event, False, words, "every rank takes part", stages[:900], None, took)
        self.report.note(log_tail=list(self.child.log)[-25:])

    # -- the end

    def finish(self, why: str) -> dict[str, Any]:
        self.report.note(
            heard={str(rank): count for rank, count in (self.listener.heard.items() if self.listener else ())},
            pairs={str(rank): dict(peer.pair) for rank, peer in self.peers.items()},
            clock={str(rank): dict(peer.clock) for rank, peer in self.peers.items() if peer.clock},
        )
        return self.report.close(why)

    def linger(self, told: list[int]) -> None:
        """Stay to answer the ranks that are not done yet; leave when they are, or are gone, or at a signal in `told`."""
        present = [peer for peer in self.peers.values() if peer.reached and peer.address]
        for peer in present:
            try:
                ask(self.settings, str(peer.address), {"op": "bye"}, timeout=1)
            except (OSError, ValueError):
                pass
        gone: dict[int, int] = {}
        while self.listener is not None and time.monotonic() < self.deadline and not told:
            waiting = [
                peer for peer in present if peer.rank not in self.listener.goodbyes and gone.get(peer.rank, 0) < 3
            ]
            if not waiting:
                # The last answer may still be on its way.
                time.sleep(0.3)
                return
            for peer in waiting:
                try:
                    ask(self.settings, str(peer.address), {"op": "status"}, timeout=1)
                    gone[peer.rank] = 0
                except (OSError, ValueError):
                    gone[peer.rank] = gone.get(peer.rank, 0) + 1
            time.sleep(0.3)


def settled(rates: list[float]) -> bool:
    """Whether another measure would say the same: three agree, or no network that needs repair is that fast."""
    best = sorted(rates)[-3:]
    return len(best) == 3 and (best[-1] >= NOT_THE_NETWORK_MB_S or best[0] >= STEADY * best[-1])


def is_local(address: str) -> bool:
    """An address that can be bound is this container's own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            return False
    return True


def nccl_facts(log: Any) -> dict[str, Any]:
    """What NCCL's own log (NCCL_DEBUG=INFO) says that it took: network, interfaces, transport of the channels."""
    text = "\n".join(log)
    transports = set(re.findall(r"Channel .* via (P2P|SHM|NET/[A-Za-z]+)", text))
    networks = re.findall(r"(?:Using network|Assigned NET plugin) (\w+)", text)
    using = re.findall(r"NET/(Socket|IB) *: Using (.*)", text)
    cards = [rest for kind, rest in using if kind == "IB"]
    sockets = [rest for kind, rest in using if kind == "Socket"]
    # InfiniBand has its own devices, and an interface (OOB) to set the connections up.
    sockets += re.findall(r"OOB (\S+)", text) + re.findall(r"Bootstrap *: Using (\S+)", text)
    version = re.search(r"NCCL version ([\w.+-]+)", text)
    return {
        "network": networks[-1] if networks else using[-1][0] if using else None,
        "transports": sorted(transports),
        "interfaces": sorted(set(re.findall(r"(?m)(?:^|\]| )([\w.-]+):\S+<", "\n".join(sockets)))),
        "devices": sorted(set(re.findall(r"\]([\w.-]+):\d", "\n".join(cards)))),
        "version": version.group(1) if version else None,
        "warnings": [warning[:300] for warning in re.findall(r"NCCL WARN (.*)", text)][:5],
    }


def nccl_compared(facts: dict[str, Any], env: dict[str, str], holder: str) -> list[tuple[str, bool, Any, Any]]:
    """Records (check, ok, observed, expected): what NCCL took against what its environment asks for."""
    records: list[tuple[str, bool, Any, Any]] = []
    taken = ", ".join(facts["interfaces"])
    if taken and holder:
        records.append(("nccl interface", facts["interfaces"] == [holder], taken, holder))
    network = facts["network"]
    asked = env.get("NCCL_NET", "")
    disabled = env.get("NCCL_IB_DISABLE")
    if network and asked and asked.lower() != network.lower():
        records.append(("nccl network", False, network, f"{asked} (NCCL_NET)"))
    elif network and disabled == "1":
        records.append(("nccl network", network != "IB", network, "no IB (NCCL_IB_DISABLE=1)"))
    elif network and disabled == "0":
        records.append(("nccl network", network == "IB", network, "IB (NCCL_IB_DISABLE=0)"))
    elif network:
        records.append(("nccl network", True, network, "any"))
    for variable, transport in (("NCCL_P2P_DISABLE", "P2P"), ("NCCL_SHM_DISABLE", "SHM")):
        if env.get(variable) == "1":
            found = facts["transports"]
            records.append(
                ("nccl transport", transport not in found, ", ".join(found), f"no {transport} ({variable}=1)")
            )
    return records


# ---------------------------------------------------------------- the child that holds torch


class Child:
    """The process with torch in it: its events come over a pipe of their own, its prints are kept as a log."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.events: dict[str, dict[str, Any]] = {}
        self.facts: dict[str, Any] = {}
        self.log: deque[str] = deque(maxlen=CHILD_LOG_LINES)
        self.changed = threading.Condition()
        self.ended = False

    def start(self) -> None:
        reader, writer = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "--child", str(writer)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(writer,),
            env=child_environment(dict(os.environ)),
        )
        os.close(writer)
        threading.Thread(target=self._read_events, args=(reader,), daemon=True).start()
        threading.Thread(target=self._read_log, daemon=True).start()

    def _read_events(self, reader: int) -> None:
        with os.fdopen(reader, "r", encoding="utf-8") as stream:
            for line in stream:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                with self.changed:
                    if event["event"] in ("versions", "missing"):
                        self.facts.update(event)
                    self.events[event["event"]] = event
                    self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def _read_log(self) -> None:
        if self.process is not None and self.process.stdout is not None:
            for line in self.process.stdout:
                self.log.append(line.decode(errors="replace").rstrip()[:400])

    def tell(self, order: dict[str, Any]) -> None:
        try:
            if self.process is not None and self.process.stdin is not None:
                self.process.stdin.write(json.dumps(order).encode() + b"\n")
                self.process.stdin.flush()
        except OSError:
            pass

    def wait_for(self, event: str, deadline: float) -> dict[str, Any] | None:
        """The event, or None when it will not come any more."""
        with self.changed:
            while event not in self.events:
                left = deadline - time.monotonic()
                if left <= 0 or self.ended or "failed" in self.events:
                    break
                self.changed.wait(left)
            return self.events.get(event)

    def failure(self) -> str:
        with self.changed:
            failed = self.events.get("failed")
            ended = self.ended
        if failed:
            return str(failed.get("error"))[:600]
        if ended and self.process is not None:
            try:
                code = self.process.wait(1)
            except subprocess.TimeoutExpired:
                return ""
            return f"the process with torch ended with exit code {code}"
        return ""

    def last_words(self) -> str:
        return (self.failure() + " " + " | ".join(list(self.log)[-3:])).strip()[:600]

    def kill(self) -> None:
        if self.process is not None:
            try:
                self.process.kill()
                self.process.wait(2)
            except (OSError, subprocess.TimeoutExpired):
                pass


def child_environment(env: dict[str, str]) -> dict[str, str]:
    """The training's environment, but for what NCCL prints and where: the probe reads which way NCCL took."""
    env = {name: value for name, value in env.items() if name not in ("NCCL_DEBUG_FILE", "NCCL_DEBUG_SUBSYS")}
    if env.get("NCCL_DEBUG", "").upper() not in ("INFO", "TRACE"):
        env["NCCL_DEBUG"] = "INFO"
    return {**env, "NCCL_DEBUG_SUBSYS": "INIT,BOOTSTRAP,ENV,NET,P2P,SHM", "PYTHONDONTWRITEBYTECODE": "1"}


def own_connections() -> list[str]:
    """Local addresses of this process's established TCP connections, IPv4 ones inside of IPv6 too."""
    inodes = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            inodes.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        except OSError:
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/self/net/{table}", encoding="ascii") as stream:
                rows = [line.split() for line in stream.readlines()[1:]]
        except OSError:
            continue
        for row in rows:
            if row[3] == "01" and f"socket:[{row[9]}]" in inodes:
                # The last four bytes hold the IPv4 address, in the order of the machine.
                found.add(socket.inet_ntoa(struct.pack("=L", int(row[1].split(":")[0][-8:], 16))))
    return sorted(found)


def child_main(writer: int) -> None:
    pipe = os.fdopen(writer, "w", encoding="utf-8")

    def say(event: str, **facts: Any) -> None:
        pipe.write(json.dumps({"event": event, **facts}) + "\n")
        pipe.flush()

    try:
        began = time.monotonic()
        try:
            import torch
            import torch.distributed as dist
        except BaseException as error:  # noqa: BLE001 - a broken torch can raise anything
            say("versions", error=f"{type(error).__name__}: {error}"[:500])
            return
        facts: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda, "gpus": 0, "nccl": None}
        facts["import_seconds"] = round(time.monotonic() - began, 3)
        try:
            facts["gpus"] = torch.cuda.device_count() if torch.cuda.is_available() else 0
            facts["gpu_names"] = [torch.cuda.get_device_name(i) for i in range(facts["gpus"])]
            if dist.is_available() and dist.is_nccl_available():
                facts["nccl"] = ".".join(str(part) for part in torch.cuda.nccl.version())
        except Exception as error:  # noqa: BLE001 - a driver that does not fit says so here
            facts["gpu_error"] = f"{type(error).__name__}: {error}"[:300]
        say("versions", **facts)
        line = sys.stdin.readline()
        if not line:
            return
        order = json.loads(line)
        # The parent closes this pipe when it dies, and an orphan in a collective would stay for ever.
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(3)), daemon=True).start()
        collectives(order, say)
    except BaseException as error:  # noqa: BLE001 - the parent must hear of it
        say("failed", error=f"{type(error).__name__}: {error}"[:600])
    finally:
        pipe.flush()
        sys.stdout.flush()
        sys.stderr.flush()
        # No interpreter shutdown: the backends' threads abort in it when a peer has gone.
        os._exit(0)


def collectives(order: dict[str, Any], say: Callable[..., None]) -> None:
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    rank, world = int(order["rank"]), int(order["world_size"])
    nccl = order["backend"] == "nccl"
    limit = float(order["group_timeout"])
    began = time.monotonic()
    store = dist.TCPStore(
        order["master"], int(order["port"]), world, rank == 0, timedelta(seconds=limit), wait_for_workers=False
    )
    if rank == 0:
        say("store")
    # First by the store, where absence has a name; a backend would only say that it timed out.
    store.set(f"here/{rank}", "1")
    missing = list(range(world))
    while missing and time.monotonic() < began + limit:
        missing = [other for other in missing if not store.check([f"here/{other}"])]
        if missing:
            time.sleep(0.05)
    if missing:
        say("missing", missing=missing)
        raise RuntimeError("missing from the process group: " + ", ".join(f"rank {other}" for other in missing))
    if nccl:
        torch.cuda.set_device(0)
    device = torch.device("cuda", 0) if nccl else torch.device("cpu")
    dist.init_process_group(
        order["backend"],
        store=dist.PrefixStore("probe", store),
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=min(limit, 20)),
    )

    def reduce(tensor: Any, op: Any = dist.ReduceOp.SUM) -> float:
        start = time.perf_counter()
        dist.all_reduce(tensor, op=op)
        if nccl:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    # NCCL connects at the first collective, so that the group has formed only after one.
    reduce(torch.ones(1, device=device))
    say("group", backend=order["backend"], seconds=round(time.monotonic() - began, 3), connections=own_connections())

    # Every rank adds another share, and none the mean: its own share times the number of ranks must not look like the sum.
    shares = [*range(1, world), world + 1]
    for size in (SMALL, MIDDLE, LARGE):
        # Every element differs from its neighbours; sums stay exact in float32.
        base = torch.arange(size // 4, device=device, dtype=torch.float32).remainder_(97).add_(1)
        seconds = reduce(tensor := base * shares[rank])
        wanted = base * sum(shares)
        right = bool(torch.equal(tensor, wanted))
        wrong = 0 if right else int((tensor != wanted).sum())
        say(
            f"reduce {size}",
            bytes=size,
            right=right,
            observed=f"sum {float(tensor[0]):g} at element 0" + (f", {wrong} elements wrong" if wrong else ""),
            expected=f"{float(wanted[0]):g}",
            seconds=round(seconds, 6),
        )

    # Bus bandwidth as nccl-tests defines it (doc/PERFORMANCE.md): bytes / seconds * 2(n-1)/n.
    payload = torch.ones(LARGE // 4, device=device)
    # The slowest rank's time decides for all how often to repeat, or they would not call the same number of times.
    first = torch.tensor([reduce(payload)], device=device, dtype=torch.float32)
    reduce(first, dist.ReduceOp.MAX)
    repeats = max(1, min(8, int(1.5 / max(float(first), 1e-4))))
    times = [reduce(payload) for _ in range(repeats)]
    best = min(times)
    tiny = torch.ones(1, device=device)
    trips = [reduce(tiny) for _ in range(30)]
    say(
        "bandwidth",
        bytes=LARGE,
        repeats=repeats,
        seconds=round(statistics.median(times), 6),
        best_seconds=round(best, 6),
        bus_bandwidth_mb_s=round(LARGE / statistics.median(times) * 2 * (world - 1) / world / 1e6, 1),
        best_bus_bandwidth_mb_s=round(LARGE / best * 2 * (world - 1) / world / 1e6, 1),
        latency_us=round(statistics.median(trips) * 1e6, 1),
    )

    # All at once, so that what slows the whole machine slows all. A second time if one is far behind: once is chance.
    own = compute(torch, device, nccl)
    slowest, fastest = (torch.tensor([own["seconds"]], device=device, dtype=torch.float32) for _ in range(2))
    reduce(slowest, dist.ReduceOp.MAX)
    reduce(fastest, dist.ReduceOp.MIN)
    if float(slowest) > COMPUTE_SUSPECT * float(fastest):
        again = compute(torch, device, nccl)
        own = min(own, again, key=lambda result: float(result["seconds"]))
    say("compute", **own)
    dist.barrier()
    if rank == 0:
        # Rank 0 holds the store: it goes last, when everybody has said goodbye.
        end = time.monotonic() + 5
        while time.monotonic() < end and not all(store.check([f"bye/{other}"]) for other in range(1, world)):
            time.sleep(0.02)
    else:
        store.set(f"bye/{rank}", "1")
    say("end")


def compute(torch: Any, device: Any, cuda: bool) -> dict[str, Any]:
    """Seconds that a matrix product takes on average: a hogged core shows in the average, not in the best case."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    size = 2048 if cuda else 256
    left = torch.ones(size, size, device=device)
    left @ left
    if cuda:
        torch.cuda.synchronize()
    rounds = 0
    best = float("inf")
    began = now = time.perf_counter()
    while now < began + COMPUTE_SECONDS:
        start = now
        left @ left
        if cuda:
            torch.cuda.synchronize()
        now = time.perf_counter()
        best = min(best, now - start)
        rounds += 1
    torch.set_num_threads(threads)
    return {
        "seconds": round((now - began) / rounds, 6),
        "best_seconds": round(best, 6),
        "rounds": rounds,
        "device": "cuda" if cuda else "cpu",
    }


def main() -> int:
    if len(sys.argv) == 3 and sys.argv[1] == "--child":
        child_main(int(sys.argv[2]))
        return 0
    probe = Probe(Settings(dict(os.environ)))
    told: list[int] = []

    def leave(signum: int, frame: Any) -> None:
        # No event: the main thread may hold its lock just now.
        told.append(signum)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    threading.Thread(target=probe.run, daemon=True).start()
    # In short turns: a signal just before a long wait would be heard only after it.
    while not told and not probe.finished.wait(0.2) and time.monotonic() < probe.deadline - 0.5:
        pass
    if probe.blocked_by:
        why = probe.blocked_by
    elif told:
        why = "the probe was told to stop"
    elif probe.report.first_failure() is not None:
        why = "an earlier layer failed"
    else:
        why = f"time was over while {probe.stage}"
    line = MARKER + json.dumps(probe.finish(why), separators=(",", ":"))
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    if probe.status == "busy":
        probe.status = "gave up"
    probe.child.kill()
    if not told:
        probe.linger(told)
    sys.stdout.flush()
    # Threads may still hang in a system call, and must not keep the container.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
