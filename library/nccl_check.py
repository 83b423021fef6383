#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: does what DDP is about to use work, and if not, on which host and why."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nccl_check
short_description: Observe the preflight probe on a host, and judge all hosts' observations
description:
  - Has two uses, told apart by their options. With O(rank) it observes on a training host,
    with O(reports) it judges on the controller.
  - To observe is to look at the host, such as its engine, kernel, clock, disk, ports and, on a manager, the swarm's
    nodes, and with O(service) to wait until the local container of that service has printed the probe's report line.
  - To judge is to compare every rank's observation, in fourteen layers from the clock to stragglers,
    and to name the hosts, the peer and the remedy at the first layer that fails.
    Layers after it are marked as not reached, never as passed.
  - Needs Python 3.9, and for observing the docker command line (20.10 or newer). Changes nothing but the file at O(path),
    which is no part of the managed state.
author:
  - ddp-swarm contributors (@ddp-swarm)
options:
  rank:
    description:
      - The rank that the host carries, V(-1) for a manager that carries none. Selects observing.
    type: int
  service:
    description:
      - Full name of the swarm service whose local container runs the probe. Without it nothing is waited for.
    type: str
  host:
    description:
      - Name under which results speak of this host. The default is the host's own node name.
    type: str
  run_id:
    description:
      - Only a report that carries this identifier (the probe's E(PROBE_RUN_ID)) counts, so that the log of an
        earlier preflight is not taken for this one's.
    type: str
    default: ""
  timeout:
    description:
      - Seconds to wait for the report, counted from when the container is there.
      - Should exceed the probe's own E(PROBE_TIMEOUT) by a few seconds.
    type: int
    default: 65
  start_timeout:
    description:
      - Seconds to wait until a container of O(service) exists on this host at all.
    type: int
    default: 45
  sent_at:
    description:
      - The controller's clock when the task was sent, in seconds since the epoch.
      - Used to bound the clock skew of hosts whose probes cannot talk to each other.
    type: float
  image:
    description:
      - Image that must be present on the host. Not looked for when empty.
    type: str
    default: ""
  stack:
    description:
      - Name of the probe's stack. A manager says whether it exists, which is so when an earlier check was interrupted.
    type: str
    default: ""
  control_peers:
    description:
      - Swarm control ports to connect to from this host. An entry with this host's own name is left out.
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description: Name of the host to reach.
        type: str
        required: true
      address:
        description: Address of the host to reach.
        type: str
        required: true
      ports:
        description: TCP ports to connect to, 7946 on every host and 2377 too on managers.
        type: list
        elements: int
        default: [7946]
  host_network_port:
    description:
      - TCP port at which the hosts measure the bandwidth between each other, beside the training's network. Each listens
        there for at most a few seconds, and has to run this module at the same time as the others.
      - V(0) measures nothing. Where the port is closed nothing is measured, which is no fault.
    type: int
    default: 0
  reports:
    description:
      - The RV(report) of every host, several of one host if there are. Selects judging.
        Hosts that could not be asked are left out, and reported.
    type: list
    elements: dict
  unreachable:
    description:
      - Hosts on which the module could not run, each with the reason.
    type: dict
    default: {}
  probed:
    description:
      - Whether the probes have run. With V(false) only what the hosts say is judged, and the other layers stay
        not reached, so that RV(ok) is false even if RV(findings) is empty.
    type: bool
    default: true
  ranks:
    description:
      - The ranks that must pass. Required with O(reports).
      - With O(rank), a manager names the swarm's nodes by it, and the bandwidth is measured between these hosts only.
    type: list
    elements: dict
    suboptions:
      rank:
        description: The rank.
        type: int
        required: true
      host:
        description: The host that carries it.
        type: str
        required: true
  path:
    description:
      - File to write the verdict to as JSON, all that is returned but RV(table). Its directory is made if it is missing.
    type: path
  enforce:
    description:
      - Fail when the verdict is bad. Otherwise a bad verdict is only returned.
    type: bool
    default: false
  network:
    description:
      - Name of the network, for messages.
    type: str
    default: ddp-net
  network_mode:
    description:
      - Which remedy to name, that of an overlay or that of the hosts' own network.
    type: str
    choices: [overlay, host]
    default: overlay
  network_mtu:
    description:
      - The value of the network's option C(com.docker.network.driver.mtu), in bytes, where no manager reports it.
        An overlay's interfaces have 50 bytes less, for VXLAN's header. V(0) means that the option is not set, which
        is 1500.
    type: int
    default: 0
  expected_mtu:
    description:
      - MTU in bytes that the training's interface must have. V(0) accepts any that is the same on every rank.
    type: int
    default: 0
  training_interface:
    description:
      - The interface that training was told to use (training_interface). A variable of the container that says otherwise
        was set by hand, and the message says where.
    type: str
    default: ""
  master_port:
    description:
      - The port at which rank 0 will listen, for messages.
    type: int
    default: 12355
  backend:
    description:
      - The backend that training asks for. With V(gloo), GPUs that a task does not see are no fault.
    type: str
    choices: [auto, nccl, gloo]
    default: auto
  max_clock_skew:
    description:
      - Largest accepted difference between two hosts' clocks, in seconds.
    type: float
    default: 5
  min_disk:
    description:
      - Least free space under the engine's data directory, in bytes.
    type: int
    default: 268435456
  min_shm:
    description:
      - Smallest accepted size of /dev/shm in the container, in bytes. The default is what engines give a container.
    type: int
    default: 67108864
  min_gpus:
    description:
      - Fewest GPUs that every rank must see.
    type: int
    default: 0
  min_bus_bandwidth:
    description:
      - Smallest accepted bus bandwidth of a 16 MiB all-reduce, in MB/s (10^6 bytes per second). V(0) accepts any.
    type: float
    default: 0
  min_network_fraction:
    description:
      - Smallest accepted bandwidth of a connection over the training's network, as a fraction of what the same two hosts
        reach without it. V(0) accepts any. A connection of 200 MB/s or more always passes, since the CPU bounds it, not
        the network.
    type: float
    default: 0.1
  straggler_factor:
    description:
      - A rank is a straggler when its computing or its sending is this many times slower than the median of the
        other ranks. V(0) switches the comparison off.
    type: float
    default: 3
  docker_cli:
    description:
      - Path of the docker command line. Searched in PATH by default.
    type: path
  docker_host:
    description:
      - The engine to talk to, such as V(unix:///var/run/docker.sock) or V(tcp://192.0.2.1:2376).
      - The default is what the command line uses by itself.
    type: str
    aliases: [docker_url]
  cli_context:
    description:
      - The context of the docker command line to use. Excludes O(docker_host).
    type: str
  api_version:
    description:
      - The version of the Docker API to use. Negotiated by default.
    type: str
    aliases: [docker_api_version]
  tls:
    description:
      - Use TLS without verifying the engine's certificate.
    type: bool
    default: false
  validate_certs:
    description:
      - Use TLS and verify the engine's certificate.
    type: bool
    default: false
    aliases: [tls_verify]
  ca_path:
    description:
      - The CA certificate to verify the engine with.
    type: path
    aliases: [tls_ca_cert, cacert_path]
  client_cert:
    description:
      - The client certificate to present to the engine.
    type: path
    aliases: [tls_client_cert, cert_path]
  client_key:
    description:
      - The key of the client certificate.
    type: path
    aliases: [tls_client_key, key_path]
attributes:
  check_mode:
    description: Does the same in check mode, and does not write O(path).
    support: full
  diff_mode:
    description: Has no difference to show.
    support: none
"""

EXAMPLES = r"""
- name: Read the probe's report on every training host
  nccl_check:
    service: simple-training-preflight_node0
    rank: 0
    host: "{{ inventory_hostname }}"
    sent_at: "{{ now().timestamp() }}"
    control_peers:
      - host: worker1
        address: 192.0.2.12
        ports: [7946]
  register: observed

- name: Look at a host without a probe on it
  nccl_check:
    rank: 0
    image: my-ddp-trainer:latest
    network: ddp-net
  register: looked

- name: Judge what the hosts have reported
  nccl_check:
    reports: "{{ groups['swarm'] | map('extract', hostvars) | map(attribute='observed.report') }}"
    ranks:
      - {rank: 0, host: manager1}
      - {rank: 1, host: worker1}
    min_bus_bandwidth: 100
    enforce: true
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
report:
  description: What was seen on this host.
  returned: with O(rank)
  type: dict
  contains:
    rank:
      description: The rank.
      type: int
      returned: always
    host:
      description: The host.
      type: str
      returned: always
    probe:
      description: The probe's own report, or null when it printed none.
      type: dict
      returned: always
    host_checks:
      description:
        - What the host itself says about its engine, kernel, clock, disk, ports and the probe's container, and a manager
          about the nodes and the network.
      type: dict
      returned: always
ok:
  description: Whether every expected rank has reported and every layer has passed on each.
  returned: with O(reports)
  type: bool
findings:
  description: What is wrong, at the first layer that fails, on every host.
  returned: with O(reports)
  type: list
  elements: dict
  contains:
    layer:
      description: Number of the layer, 1 to 14.
      type: int
      returned: always
    layer_name:
      description: Name of the layer.
      type: str
      returned: always
    rank:
      description: The rank that saw it.
      type: int
      returned: always
    host:
      description: The host of that rank.
      type: str
      returned: always
    peer:
      description: The host towards which it failed, or null.
      type: str
      returned: always
    check:
      description: What was checked.
      type: str
      returned: always
    observed:
      description: What was seen.
      type: str
      returned: always
    expected:
      description: What would have been right.
      type: str
      returned: always
    hint:
      description: What to change.
      type: str
      returned: always
layers:
  description: For every layer, its number, its name and a mapping from rank to V(ok), V(fail) or V(not reached).
  returned: with O(reports)
  type: list
  elements: dict
table:
  description: The layers against the ranks, and latency and bandwidth between the ranks, as text.
  returned: with O(reports)
  type: str
pairs:
  description:
    - For each rank and peer, a connection's latency in microseconds, its bandwidth in MB/s (10^6 bytes/s), and the
      bandwidth of the hosts' own network beside it.
  returned: with O(reports)
  type: list
  elements: dict
backend:
  description: The backend that the process group used, or null when none was tried.
  returned: with O(reports)
  type: str
backend_reason:
  description: Why it was chosen.
  returned: with O(reports)
  type: str
bus_bandwidth:
  description: Smallest bus bandwidth that a rank measured, in MB/s (10^6 bytes per second), or null.
  returned: with O(reports)
  type: float
latency:
  description: Largest median time of a 4 byte all-reduce, in microseconds, or null.
  returned: with O(reports)
  type: float
message:
  description: The verdict in one to three sentences.
  returned: with O(reports)
  type: str
"""

import ipaddress
import json
import os
import platform
import re
import shutil
import socket
import statistics
import struct
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.docker_cli import CONNECTION_ARGUMENTS, CONNECTION_MUTUALLY_EXCLUSIVE, DockerCli, DockerError

MARKER = "DDP_PROBE_REPORT "
LAYERS = {
    1: "clock",
    2: "engine and kernel",
    3: "swarm control",
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
# SSH and Ansible's own start-up lie between the controller's stamp and the host's: no more than this, one hopes.
TRANSIT_SECONDS = 60.0
# An overlay's interfaces have this much less than its MTU option says: measured on engines 20.10 and 26.1.
VXLAN_BYTES = 50
RANK_LABEL = "ddp_rank"
# In the environment of a task, by swarm: the generic resources that it was given.
GPU_VARIABLE = "DOCKER_RESOURCE_NVIDIA-GPU"
BANDWIDTH_MAGIC = b"ddp-swarm bandwidth\n"
# A figure above this is limited by the CPU's mood, not by a network that needs repair.
FAST_ENOUGH_MB_S = 200.0
# A slow network is as slow every time. What differs more than this from try to try was a busy CPU's doing.
STEADY = 0.8
# As engines 20.10 and 26.1 word it, in the journal.
GOSSIP_WARNING = re.compile(
    r"(?P<time>[\d.]+) .*memberlist: Was able to connect to (?P<name>\w+) .*probes failed, network may be misconfigured"
)
GOSSIP_WARNINGS = 4  # of about seven in ten turns
# Programs that want a core, for each core: with more of them a host measures itself, not the network.
BUSY = 4
# 1 Gbit/s carries less than this: the slow link among fast ones that is worth a finding.
GIGABIT_MB_S = 130.0
COMPUTE_NOISE_SECONDS = 0.0005

Json = dict[str, Any]


# ---------------------------------------------------------------- observe


def parse_report(text: str, run_id: str = "") -> Json | None:
    """The probe's last report in a container's output; a line that is cut or of another run is none."""
    for line in reversed(text.splitlines()):
        if not line.startswith(MARKER):
            continue
        try:
            report = json.loads(line[len(MARKER) :])
        except ValueError:
            continue
        if isinstance(report, dict) and (not run_id or report.get("run_id") == run_id):
            return report
    return None


def vxlan_support(release: str, root: str = "/") -> bool | None:
    """Whether this kernel can do VXLAN: True, False, or None where nothing says so (a container, a custom kernel)."""
    if os.path.isdir(os.path.join(root, "sys/module/vxlan")):
        return True
    modules = os.path.join(root, "lib/modules", release)
    seen = False
    for name in ("modules.builtin", "modules.dep"):
        try:
            with open(os.path.join(modules, name), encoding="utf-8", errors="replace") as stream:
                seen = True
                if "/vxlan.ko" in stream.read():
                    return True
        except OSError:
            continue
    return False if seen else None


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
    found = (GOSSIP_WARNING.match(line) for line in log.splitlines())
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
    """The IPv4 networks that this host is directly attached to, by the kernel's routing table."""
    found = []
    try:
        with open(os.path.join(root, "proc/net/route"), encoding="ascii") as stream:
            rows = [line.split() for line in stream.readlines()[1:]]
    except OSError:
        return []
    for row in rows:
        if len(row) < 8 or row[2] != "00000000" or row[7] == "00000000":
            continue  # through a gateway, or the default route
        address, mask = (socket.inet_ntoa(struct.pack("=L", int(row[i], 16))) for i in (1, 7))
        found.append({"interface": row[0], "network": str(ipaddress.IPv4Network(f"{address}/{mask}"))})
    return found


def nvidia_driver(root: str = "/") -> str:
    """Version of the NVIDIA driver's kernel module, empty where it is not loaded."""
    try:
        with open(os.path.join(root, "sys/module/nvidia/version"), encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def nvidia_gpus(root: str = "/") -> int:
    """How many GPUs the NVIDIA driver has on this host."""
    try:
        return len(os.listdir(os.path.join(root, "proc/driver/nvidia/gpus")))
    except OSError:
        return 0


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


def engine_facts(docker: Any) -> Json:
    try:
        info = json.loads(docker.run("info", "--format", "{{json .}}", timeout=20).stdout)
    except (DockerError, ValueError) as error:
        return {"ok": False, "error": str(error)[:500]}
    problems = "; ".join(info.get("ServerErrors") or [])
    swarm = info.get("Swarm") or {}
    return {
        "ok": not problems,
        "error": problems,
        "version": info.get("ServerVersion"),
        "kernel": info.get("KernelVersion"),
        "root": info.get("DockerRootDir"),
        "swarm_state": swarm.get("LocalNodeState"),
        "swarm_error": swarm.get("Error") or "",
        "manager": bool(swarm.get("ControlAvailable")),
        "node": swarm.get("NodeID") or "",
        "default_runtime": info.get("DefaultRuntime") or "",
        "data_path_port": (swarm.get("Cluster") or {}).get("DataPathPort") or 0,
    }


def inspected(docker: Any, *args: str) -> list[Json]:
    """What `docker ... inspect` prints, or nothing."""
    try:
        rows = json.loads(docker.run(*args, check=False, timeout=20).stdout or "[]")
    except (DockerError, ValueError):
        return []
    return rows if isinstance(rows, list) else []


def swarm_nodes(docker: Any) -> list[Json]:
    """Every node as a manager sees it."""
    try:
        ids = docker.run("node", "ls", "--quiet", timeout=20).stdout.split()
    except DockerError:
        return []
    nodes = []
    for row in inspected(docker, "node", "inspect", *ids) if ids else []:
        status, spec = row.get("Status") or {}, row.get("Spec") or {}
        manager = row.get("ManagerStatus") or {}
        nodes.append(
            {
                "id": row.get("ID"),
                "hostname": (row.get("Description") or {}).get("Hostname"),
                "state": status.get("State"),
                "message": status.get("Message") or "",
                "availability": spec.get("Availability"),
                "rank": (spec.get("Labels") or {}).get(RANK_LABEL),
                "manager": bool(manager),
                # A manager's own address stands only in its manager status.
                "address": str(manager.get("Addr") or "").rpartition(":")[0] or status.get("Addr"),
            }
        )
    return nodes


def control_peers(nodes: list[Json], ranks: list[Json]) -> list[Json]:
    """The option `control_peers`: managers listen on 2377, and every node on 7946.

    Left out are workers without a rank, and nodes that are down, unless a rank has no other: machines that have left.
    """
    names = {str(entry["rank"]): entry["host"] for entry in ranks}
    ready = {node["rank"] for node in nodes if node["state"] == "ready"}
    return [
        {
            "host": names.get(node["rank"]) or node["hostname"],
            "address": node["address"],
            "ports": [2377, 7946] if node["manager"] else [7946],
        }
        for node in nodes
        if node["address"]
        and (node["rank"] in names or node["manager"])
        and (node["state"] == "ready" or (node["rank"] in names and node["rank"] not in ready))
    ]


def network_facts(docker: Any, network: str) -> Json | None:
    """The training's network, or None when this manager does not know it."""
    for row in inspected(docker, "network", "inspect", network):
        configs = (row.get("IPAM") or {}).get("Config") or []
        options = row.get("Options") or {}
        return {
            "subnet": next((c["Subnet"] for c in configs if ":" not in str(c.get("Subnet", ":"))), ""),
            "mtu": int(options.get("com.docker.network.driver.mtu") or 0),
            "encrypted": "encrypted" in options,
            "driver": row.get("Driver"),
        }
    return None


def container_of(docker: Any, service: str) -> Json | None:
    """The newest local container of a swarm service, as the engine tells it."""
    rows = docker.json_lines("ps", "--all", "--no-trunc", "--filter", f"label=com.docker.swarm.service.name={service}")
    if not rows:
        return None
    name = str(rows[0].get("ID"))
    done = docker.run("inspect", "--type", "container", name, check=False, timeout=20)
    try:
        details = json.loads(done.stdout)[0]
    except (ValueError, IndexError):
        return None
    state = details.get("State") or {}
    return {
        "id": name,
        "run_id": environment(details).get("PROBE_RUN_ID", ""),
        "image": (details.get("Config") or {}).get("Image"),
        "state": state.get("Status"),
        "exit_code": state.get("ExitCode"),
        "error": state.get("Error") or "",
        "oom_killed": bool(state.get("OOMKilled")),
        "gpus": given_gpus(details),
    }


def environment(container: Json) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in (container.get("Config") or {}).get("Env") or [])


def given_gpus(container: Json) -> list[str]:
    """The GPUs that swarm gave to a container, by UUID."""
    return [gpu for gpu in environment(container).get(GPU_VARIABLE, "").split(",") if gpu]


def gpus_of_others(docker: Any, container: Json) -> Json:
    """Which of this container's GPUs swarm gave to another one too that runs, with the name of that.

    Swarm counts what is free anew when its leader restarts, and can forget what tasks hold.
    """
    if not container["gpus"]:
        return {}
    try:
        running = docker.run("ps", "--quiet", "--no-trunc", timeout=20).stdout.split()
    except DockerError:
        return {}
    rows = inspected(
        docker, "inspect", "--type", "container", *(other for other in running if other != container["id"])
    )
    return {gpu: row["Name"].lstrip("/") for row in rows for gpu in given_gpus(row) if gpu in container["gpus"]}


def service_tasks(docker: Any, service: str) -> list[Json]:
    """What the swarm says about the tasks of the whole stack; only a manager knows."""
    stack = service.rsplit("_", 1)[0]
    tasks = []
    try:
        rows = docker.json_lines("stack", "ps", "--no-trunc", stack)
    except DockerError:
        return []
    for row in rows:
        tasks.append(
            {
                "name": str(row.get("Name", "")).lstrip("\\_ ").rsplit(".", 1)[0],
                "node": row.get("Node") or "",
                "desired": row.get("DesiredState"),
                "state": row.get("CurrentState"),
                "error": row.get("Error") or "",
            }
        )
    return tasks


def observe(params: Json, docker: Any) -> Json:
    """Everything that one host can say. Never raises for a fault that it was sent to find."""
    checks = look(params, docker)
    report = {"rank": params["rank"], "host": params["host"] or platform.node(), "probe": None, "host_checks": checks}
    if params["service"]:
        report["probe"] = listen(params, docker, checks)
    return report


def look(params: Json, docker: Any) -> Json:
    """What the host says about itself."""
    arrived = time.time()
    own = params["host"] or platform.node()
    peers = [peer for peer in params["control_peers"] if peer["host"] != own]
    # Started first: it waits for the other hosts.
    ranks = {entry["host"] for entry in params["ranks"] or []}
    others = [peer for peer in peers if peer["host"] in ranks or not ranks]
    network = HostNetwork(params["host_network_port"], others) if params["host_network_port"] and others else None
    engine = engine_facts(docker)
    ports = check_ports(peers)
    paths = {peer["host"]: path_mtu(peer["address"], params["network_mtu"] or 1500) for peer in peers}
    try:
        free: int | None = shutil.disk_usage(engine.get("root") or "/var/lib/docker").free
    except OSError:
        free = None
    kernel = engine.get("kernel") or platform.release()
    manager = engine["ok"] and engine["manager"]
    nodes = swarm_nodes(docker) if manager else []
    present = None
    if params["image"] and engine["ok"]:
        present = bool(inspected(docker, "image", "inspect", params["image"]))
    host_network = network.result() if network else {}
    silent = silent_gossip(docker, params["network"]) if engine["ok"] and peers else []
    return {
        "engine": engine,
        "kernel": kernel,
        "vxlan": vxlan_support(kernel),
        "clock": {"epoch": arrived, "sent_at": params["sent_at"]} if params["sent_at"] else {},
        "disk_free_bytes": free,
        "networks": local_networks(),
        "gpus": nvidia_gpus(),
        "nvidia_driver": nvidia_driver(),
        "ports": ports,
        "paths": paths,
        "image": {"name": params["image"], "present": present} if present is not None else {},
        "nodes": nodes,
        "control_peers": control_peers(nodes, params["ranks"] or []),
        "network": network_facts(docker, params["network"]) if manager else None,
        "left_over": bool(stack_services(docker, params["stack"])) if manager and params["stack"] else None,
        "host_network": host_network,
        "silent_gossip": [peer["host"] for peer in peers if peer["address"] in silent],
        "error": engine["error"],
    }


def stack_services(docker: Any, stack: str) -> list[str]:
    label = f"label=com.docker.stack.namespace={stack}"
    try:
        return list(docker.run("service", "ls", "--quiet", "--filter", label, timeout=20).stdout.split())
    except DockerError:
        return []


def listen(params: Json, docker: Any, checks: Json) -> Json | None:
    """Wait for the report of the probe in the service's local container; what is seen on the way goes into `checks`."""
    service = params["service"]
    checks.update(service=service, container=None, log_tail=[], tasks=[])
    probe: Json | None = None
    began = time.monotonic()
    appeared: float | None = None
    while checks["engine"]["ok"]:
        now = time.monotonic()
        try:
            container = container_of(docker, service)
            if container is not None:
                checks["container"] = container
                appeared = appeared or now
                done = docker.run("logs", container["id"], check=False, timeout=20)
                probe = parse_report(done.stdout, params["run_id"])
                # Each by itself: the last line of the first may have no end.
                log = [*done.stdout.splitlines(), *done.stderr.splitlines()]
                checks["log_tail"] = [line[:300] for line in log if MARKER not in line][-10:]
            checks["error"] = ""
        except DockerError as problem:
            checks["error"] = str(problem)[:500]
        if probe is not None:
            break
        if appeared is None and now - began > params["start_timeout"]:
            break
        # An exited container prints no more, but swarm may be about to replace it: that is worth a moment.
        over = checks["container"] is not None and checks["container"]["state"] in ("exited", "dead")
        if appeared is not None and now - appeared > (min(10, params["timeout"]) if over else params["timeout"]):
            break
        time.sleep(0.25)
    checks["waited_s"] = round(time.monotonic() - began, 1)
    checks["gpus_of_others"] = gpus_of_others(docker, checks["container"]) if probe is not None else {}
    if checks["engine"].get("manager"):
        checks["tasks"] = service_tasks(docker, service)
    return probe


# ---------------------------------------------------------------- judge


class Case:
    """Everything that is known, indexed by rank, and the verdicts that are drawn from it."""

    def __init__(self, reports: list[Json], ranks: list[Json], limits: Json) -> None:
        self.limits = limits
        self.hosts = {int(entry["rank"]): str(entry["host"]) for entry in sorted(ranks, key=lambda e: int(e["rank"]))}
        self.reports: dict[int, Json] = {}
        # Managers without a rank: what they say about the swarm counts, and a fault of theirs is one.
        self.bystanders: dict[str, Json] = {}
        for report in reports:
            if not isinstance(report, dict):
                continue
            if report.get("rank") in self.hosts:
                rank = int(report["rank"])
                self.reports[rank] = merge(self.reports.get(rank) or {}, report)
            elif report.get("host") not in self.hosts.values():
                self.bystanders[str(report.get("host"))] = report
        self.verdicts: list[Json] = []

    def everybody(self) -> list[Json]:
        """What each host says about itself, managers without a rank included."""
        return [report.get("host_checks") or {} for report in (*self.reports.values(), *self.bystanders.values())]

    def nodes(self) -> list[Json]:
        return next((checks["nodes"] for checks in self.everybody() if checks.get("nodes")), [])

    def network(self) -> Json:
        return next((checks["network"] for checks in self.everybody() if checks.get("network")), {})

    def probe(self, rank: int) -> Json:
        return (self.reports.get(rank) or {}).get("probe") or {}

    def checks(self, rank: int) -> Json:
        return (self.reports.get(rank) or {}).get("host_checks") or {}

    def host(self, rank: int | None) -> str | None:
        return None if rank is None else self.hosts.get(rank, f"rank {rank}")

    def say(
        self,
        layer: int,
        rank: int,
        check: str,
        ok: bool | None,
        observed: Any = "",
        expected: Any = "",
        hint: str = "",
        peer: int | str | None = None,
        host: str | None = None,
    ) -> None:
        self.verdicts.append(
            {
                "layer": layer,
                "layer_name": LAYERS[layer],
                "rank": rank,
                "host": host or self.hosts[rank],
                "peer": peer if isinstance(peer, str) else self.host(peer),
                "check": check,
                "ok": ok,
                "observed": "" if observed is None else str(observed),
                "expected": "" if expected is None else str(expected),
                "hint": hint,
            }
        )


def merge(old: Json, new: Json) -> Json:
    """What a later report does not know, the earlier one still does."""
    checks = {k: v for k, v in (new.get("host_checks") or {}).items() if v not in (None, "", [], {})}
    return {**old, **new, "probe": new.get("probe") or old.get("probe"),
            "host_checks": {**(old.get("host_checks") or {}), **checks}}  # fmt: skip


def judge(
    reports: list[Json], ranks: list[Json], limits: Json, unreachable: Json | None = None, probed: bool = True
) -> Json:
    """The verdict over all ranks. A pure function: the same input always has the same answer."""
    case = Case(reports, ranks, limits)
    judge_reach(case, unreachable or {})
    judge_clock(case)
    judge_hosts(case)
    judge_nodes(case)
    judge_image(case)
    judge_subnet(case)
    judge_host_paths(case)
    if not probed:
        return conclude(case, probed=False)
    judge_presence(case)
    for rank in case.hosts:
        judge_records(case, rank)
    judge_identity(case)
    judge_resources(case)
    judge_mtu(case)
    judge_bandwidth(case)
    judge_host_network(case)
    judge_stragglers(case)
    return conclude(case)


def judge_reach(case: Case, unreachable: Json) -> None:
    """Layer 2, in part: a host on which nothing could be run cannot be judged any further."""
    ranks = {host: rank for rank, host in case.hosts.items()}
    for host, why in unreachable.items():
        if host in ranks and case.probe(ranks[host]):
            continue  # one of two looks has succeeded
        case.say(
            2, ranks.get(host, -1), "host", False, " ".join(str(why).split())[:300] or "no answer",
            "an answer over SSH",
            f"check that {host} is switched on, that ansible_host and ansible_user are right and that 'ssh {host}' and "
            "sudo work from here",
            host=host,
        )  # fmt: skip
    missing = [rank for rank, host in case.hosts.items() if rank not in case.reports and host not in unreachable]
    for rank in missing:
        case.say(2, rank, "host", False, "no report from this host", "a report",
                 f"{case.hosts[rank]} was not asked, or did not answer over SSH: run playbooks/preflight.yml")  # fmt: skip


def judge_clock(case: Case) -> None:
    """Layer 1. The probes' own round trips are exact; without them only a bound from the controller's stamp is left."""
    limit = case.limits["max_clock_skew"]
    bounds: dict[int, tuple[float, float]] = {}
    for rank in case.hosts:
        clock = case.checks(rank).get("clock") or {}
        if clock.get("epoch") is not None and clock.get("sent_at") is not None:
            ahead = float(clock["epoch"]) - float(clock["sent_at"])
            bounds[rank] = (ahead - TRANSIT_SECONDS, ahead)
    for rank in case.hosts:
        if rank not in case.reports:
            continue
        if len(case.hosts) == 1:
            case.say(1, rank, "clock skew", True, "one host")
            continue
        measured = {int(peer): entry for peer, entry in (case.probe(rank).get("clock") or {}).items()}
        off: list[tuple[int, str]] = []
        for peer, entry in sorted(measured.items()):
            offset = float(entry["offset_s"])
            if abs(offset) - float(entry["round_trip_s"]) / 2 > limit and peer in case.hosts:
                off.append((peer, f"{case.host(peer)} is {offset:+.1f} s off"))
        for peer, (low, high) in bounds.items():
            if rank not in bounds or peer in measured:
                continue
            own_low, own_high = bounds[rank]
            skew = max(low - own_high, own_low - high)
            if skew > limit:
                off.append((peer, f"at least {skew:.0f} s from {case.host(peer)}"))
        for peer, seen in off:
            case.say(
                1, rank, "clock skew", False, seen, f"within {limit:g} s",
                f"synchronise the clocks of {case.hosts[rank]} and {case.host(peer)} "
                "(enable chrony or systemd-timesyncd on both)", peer,
            )  # fmt: skip
        if not off:
            known = measured or (rank in bounds and len(bounds) > 1)
            case.say(1, rank, "clock skew", True if known else None, "" if known else "not measured")


def judge_hosts(case: Case) -> None:
    """Layers 2 and 3: what each host says about its engine, kernel, disk and its way to the other hosts."""
    for name, report in case.bystanders.items():
        judge_engine(case, -1, name, report.get("host_checks") or {})
    for rank, host in case.hosts.items():
        if rank not in case.reports:
            continue
        checks = case.checks(rank)
        engine = checks.get("engine") or {}
        if not judge_engine(case, rank, host, checks):
            continue
        works = checks.get("vxlan")
        if works is not True and (case.probe(rank).get("clock") or case.limits["network_mode"] == "host"):
            works = True  # frames have crossed, or none need to
        if works is not True and len(case.hosts) == 1 and case.probe(rank):
            works = True
        case.say(
            2, rank, "vxlan", works, f"kernel {checks.get('kernel')}", "a kernel with vxlan",
            f"load the vxlan module on {host} (modprobe vxlan), or boot a kernel that has it",
        )  # fmt: skip
        free = checks.get("disk_free_bytes")
        if free is not None:
            case.say(
                2, rank, "disk", free >= case.limits["min_disk"],
                f"{free / 1e6:.0f} MB free under {engine.get('root')}", f"{case.limits['min_disk'] / 1e6:.0f} MB",
                f"free space on {host} (docker system df, docker image prune), or lower preflight_min_disk",
            )  # fmt: skip
        for port in checks.get("ports") or []:
            case.say(
                3, rank, f"port {port['port']}", not port["error"], port["error"],
                f"{port['host']} answers on {port['port']}/tcp",
                f"{port['port']}/tcp is closed from {host} to {port['host']}: open 2377/tcp towards managers and "
                "7946/tcp+udp between all hosts", str(port["host"]),
            )  # fmt: skip
        for peer in checks.get("silent_gossip") or []:
            case.say(
                3, rank, "port 7946/udp", False, "the engine's gossip is answered by tcp alone", f"{peer} answers on 7946/udp",
                f"7946/udp is closed between {host} and {peer}, in one direction or both: open 7946/tcp+udp between all hosts, "
                "else each name of a new task is known many seconds late", str(peer),
            )  # fmt: skip
        state = engine.get("swarm_state")
        case.say(
            3, rank, "swarm membership", state == "active" and not engine.get("swarm_error"),
            " ".join(filter(None, [state, engine.get("swarm_error")])), "active",
            f"run playbooks/swarm.yml: {host} is not an active member of the swarm",
        )  # fmt: skip


def judge_engine(case: Case, rank: int, host: str, checks: Json) -> bool:
    engine = checks.get("engine") or {}
    if engine.get("ok"):
        if rank in case.hosts:
            case.say(2, rank, "engine", True, engine.get("version"))
        return True
    case.say(
        2, rank, "engine", False, checks.get("error") or engine.get("error") or "no answer", "a running engine",
        f"start Docker on {host} (systemctl status docker), or run playbooks/docker.yml on it", host=host,
    )  # fmt: skip
    return False


def judge_nodes(case: Case) -> None:
    """Layer 3: the swarm would give each rank to the right host, and to no other."""
    nodes = case.nodes()
    if not nodes:
        return
    name = case.limits["network"]
    if case.limits["network_mode"] == "overlay" and not case.network() and case.hosts:
        case.say(3, min(case.hosts), "network", False, f"the swarm has no network {name}", f"the network {name}",
                 f"run playbooks/swarm.yml, which makes {name} (swarm_network, training_network)")  # fmt: skip
    for rank, host in case.hosts.items():
        own = (case.checks(rank).get("engine") or {}).get("node")
        node = next((n for n in nodes if n["id"] == own), None)
        if rank not in case.reports or not own:
            continue
        if node is None:
            case.say(3, rank, "node", False, "the first manager's swarm does not know this node", "a node of it",
                     f"run playbooks/swarm.yml: {host} is in another swarm, or was removed from this one")  # fmt: skip
            continue
        if node["state"] != "ready":
            case.say(
                3, rank, "node", False, f"{node['state']} {node['message']}".strip(), "ready",
                f"the managers do not hear from {host}: 2377/tcp to the managers must be open, and its engine running "
                "(systemctl status docker)",
            )  # fmt: skip
        elif node["availability"] != "active":
            word = {"drain": "drained", "pause": "paused"}.get(node["availability"], node["availability"])
            case.say(
                3, rank, "node", False, f"availability {node['availability']}", "availability active",
                f"{host} is {word}: run 'docker node update --availability active {node['hostname']}' on a manager",
            )  # fmt: skip
        else:
            case.say(3, rank, "node", True, "ready, active", "ready, active")
        # A machine that left and joined again is two nodes to the swarm, of which the old one is down.
        carriers = [n for n in nodes if n["rank"] == str(rank) and (n["state"] == "ready" or n["id"] == own)]
        if [n["id"] for n in carriers] != [own]:
            seen = " and ".join(str(n["hostname"]) for n in carriers) or "no node"
            case.say(
                3, rank, "rank label", False, f"{seen} carries the label {RANK_LABEL}={rank}", f"{host} carries it",
                f"run playbooks/swarm.yml: rank {rank} needs the node label {RANK_LABEL}={rank} on {host}, and only there",
            )  # fmt: skip


def judge_image(case: Case) -> None:
    """Layer 4, in part: an image that is missing needs no probe to be seen."""
    for rank, host in case.hosts.items():
        image = case.checks(rank).get("image") or {}
        if image.get("present") is False:
            case.say(4, rank, "image", False, f"{image['name']} is not on the host", "the image is on the host",
                     f"run playbooks/image.yml --limit {host}")  # fmt: skip


def judge_subnet(case: Case) -> None:
    """Layer 6, in part: a task cannot reach a network of the host that has the overlay's addresses."""
    if case.limits["network_mode"] != "overlay" or not case.network().get("subnet"):
        return
    subnet = ipaddress.IPv4Network(case.network()["subnet"], strict=False)
    taken = [ipaddress.IPv4Network(n["network"]) for checks in case.everybody() for n in checks.get("networks") or []]
    free = next(
        (str(c) for c in ipaddress.IPv4Network("10.64.0.0/10").subnets(new_prefix=24)
         if not any(c.overlaps(n) for n in (*taken, subnet))), "a free one",
    )  # fmt: skip
    for rank, host in case.hosts.items():
        for own in case.checks(rank).get("networks") or []:
            if subnet.overlaps(ipaddress.IPv4Network(own["network"])):
                case.say(
                    6, rank, "subnet", False, f"{subnet} overlaps {own['network']} of {own['interface']}",
                    "a subnet that no host uses",
                    f"the subnet of {case.limits['network']} collides with a network of {host}: set swarm_network_subnet "
                    f"to {free}, remove the network (docker network rm {case.limits['network']}) and run "
                    "playbooks/swarm.yml",
                )  # fmt: skip


def lossy_paths(case: Case, rank: int) -> list[tuple[str, int]]:
    """(host, bytes): peers that small packets reach and large ones do not, by echoes. Firewalls may do that to echoes alone."""
    paths = case.checks(rank).get("paths") or {}
    return [(host, int(path["mtu"])) for host, path in paths.items() if path["mtu"] and path["mtu"] < path["tried"]]


def judge_host_paths(case: Case) -> None:
    """Layer 9, in part: a connection between the hosts stalls as well, which no task is needed to see."""
    for rank in case.hosts:
        for peer, largest in lossy_paths(case, rank):
            if ((case.checks(rank).get("host_network") or {}).get(peer) or {}).get("error") == "stalled":
                say_lossy(case, rank, peer, largest)


def say_lossy(case: Case, rank: int, peer: str, largest: int) -> None:
    case.say(
        9, rank, "path mtu of the hosts", False,
        f"small packets pass, those of {largest + 1} B and more are lost outside of {case.limits['network']} too",
        f"packets of {case.checks(rank)['paths'][peer]['tried']} B pass",
        f"a link between {case.hosts[rank]} and {peer} carries {largest} B at most: set the overlay's MTU to {largest} with "
        f"swarm_network_mtu (containers get {VXLAN_BYTES} B less), and the hosts' own to the same (ip link set mtu), since "
        "the swarm's control traffic is lost as well",
        peer,
    )  # fmt: skip


def judge_presence(case: Case) -> None:
    """A rank without a report: was there no task, no image, no exit, no answer, or not even a host that spoke?"""
    tasks: dict[str, Json] = {}
    for rank in case.hosts:
        for task in case.checks(rank).get("tasks") or []:
            known = tasks.get(task["name"])
            if known is None or (task["error"] and not known["error"]):
                tasks[task["name"]] = task
    any_service = next((str(case.checks(r)["service"]) for r in case.hosts if case.checks(r).get("service")), "_node0")
    prefix = any_service.rsplit("_", 1)[0]
    for rank, host in case.hosts.items():
        if case.probe(rank):
            continue
        checks = case.checks(rank)
        container = checks.get("container")
        if container and case.limits["run_id"] and container.get("run_id") not in (None, case.limits["run_id"]):
            case.say(3, rank, "probe", False, "the container belongs to another check", "this check's container",
                     "two checks of one stack ran at the same time: run playbooks/preflight.yml again")  # fmt: skip
            continue
        if container is None:
            judge_no_container(case, rank, tasks.get(checks.get("service") or f"{prefix}_node{rank}"))
            continue
        state = str(container.get("state"))
        words = " | ".join(checks.get("log_tail") or [])[-300:]
        if state in ("exited", "dead", "created", "removing"):
            code = container.get("exit_code")
            observed = f"the container is {state} with code {code} {container.get('error') or ''} {words}".strip()
            hint = f"the image on {host} cannot run the probe, which needs python3 and torch: run playbooks/image.yml there"
            if container.get("oom_killed"):
                hint = f"the container ran out of memory on {host}: raise its memory limit, or free memory there"
            case.say(4, rank, "probe", False, observed, "a report", hint)
            continue
        if state == "paused":
            hint = f"the container on {host} is paused: docker unpause {str(container.get('id'))[:12]}"
        else:
            hint = (
                f"the probe on {host} hangs: its container is {state} and printed no report. Look for a stopped or "
                "starved process there (ps, uptime, dmesg)"
            )
        observed = f"no report, the container is {state}, waited {checks.get('waited_s')} s"
        case.say(blamed_layer(case, rank), rank, "probe", False, observed, "a report", hint)


def judge_no_container(case: Case, rank: int, task: Json | None) -> None:
    host = case.hosts[rank]
    error = str((task or {}).get("error") or "")
    for other, peer, largest in [(o, *lost) for o in case.hosts for lost in lossy_paths(case, o)]:
        if host in (case.hosts[other], peer) and not error:
            say_lossy(case, other, peer, largest)
            return
    seen = error or (f"task {task['state']} on {task['node'] or 'no node'}" if task else "no task on this host")
    if "insufficient resources" in error:
        case.say(
            5, rank, "task", False, error, "free resources on the node",
            f"{host} has not the free GPUs (generic resources) or memory that a rank asks for: see what runs there "
            f"(docker ps), and run playbooks/docker.yml to declare its GPUs",
        )  # fmt: skip
    elif "no suitable node" in error:
        hint = (
            f"no node takes rank {rank}: {host} is drained, down or without its label. Run playbooks/swarm.yml "
            f"(docker node ls; docker node inspect {host})"
        )
        case.say(3, rank, "task", False, error, "a running task", hint)
    elif "no such image" in error.lower():
        case.say(4, rank, "image", False, error, "the image is on the host", f"run playbooks/image.yml --limit {host}")
    elif "address already in use" in error.lower() or "already allocated" in error.lower():
        case.say(10, rank, "task", False, error, "a free port", f"free that port on {host}")
    elif error:
        case.say(3, rank, "task", False, error, "a running task",
                 f"the task of rank {rank} cannot start on {host}: docker stack ps --no-trunc tells more")  # fmt: skip
    else:
        hint = (
            f"the swarm gave {host} no task for rank {rank}: see docker node ls (drained, down, or another machine "
            "carries its label), and run playbooks/swarm.yml"
        )
        case.say(3, rank, "task", False, seen, "a running task", hint)


def blamed_layer(case: Case, rank: int) -> int:
    """The first layer at which another rank met trouble with this one."""
    layers = [
        int(record["layer"])
        for other in case.hosts
        for record in case.probe(other).get("records") or []
        if record.get("ok") is False and record.get("peer") == rank
    ]
    return min(layers, default=8)


def judge_records(case: Case, rank: int) -> None:
    """Take over what the probe has judged itself, with a hint for what failed."""
    records = case.probe(rank).get("records") or []
    for layer in LAYERS if case.probe(rank) else ():
        # Comparisons between the ranks, made below, do not stand in for what the probe should have said itself.
        if layer >= 4 and not any(record.get("layer") == layer for record in records):
            case.say(layer, rank, "probe", None, "the probe says nothing about it")
    for record in records:
        layer = record.get("layer")
        if layer not in LAYERS:
            continue
        peer = record.get("peer")
        ok = record.get("ok")
        observed = record.get("observed")
        if ok is None:
            observed = record.get("detail") or "not reached"
        elif ok is False and record.get("detail") and layer != 8:
            observed = f"{observed} ({str(record['detail'])[:300]})"
        hint = hint_for(case, rank, record) if ok is False else ""
        case.say(layer, rank, str(record.get("name")), ok, observed, record.get("expected"), hint, peer)


def hint_for(case: Case, rank: int, record: Json) -> str:
    layer, check, peer = record["layer"], str(record.get("name")), record.get("peer")
    host, other = case.hosts[rank], case.host(peer)
    said = str(record.get("observed") or "")
    if layer == 4 and said == "import unfinished":
        return f"torch was not imported in time on {host}: look for what keeps it busy (uptime), or raise preflight_timeout"
    if layer == 4:
        return f"run playbooks/image.yml --limit {host}: its image must have a torch that can be imported"
    if layer == 5:
        if check == "gpu":
            return gpu_hint(case, rank)
        if check == "memlock":
            return f"raise memlock for containers on {host}, or set NCCL_IB_DISABLE=1 in training_env"
        return f"the task on {host} has no /dev/shm: set training_shm_size"
    if layer == 6:
        if check == "interface" and "share" in str(record.get("detail")):
            return f"the subnet of {case.limits['network']} collides with another network of {host}: choose another one"
        name = case.probe(rank).get("interface") or record.get("expected")
        if check == "interface":
            return f"the task on {host} is not attached to {case.limits['network']}: run playbooks/swarm.yml"
        if check.endswith("_IFNAME"):
            value = said.split(",")[0]
            if case.limits["training_interface"] not in ("", value):
                return f"{check} is {value} in training_env: take it out there, and set training_interface to {name}"
            return f"set training_interface to {name}: {check} on {host} leads elsewhere"
        return f"set training_interface to the interface of {case.limits['network']} on {host}"
    if layer == 7:
        if check == "own name" and "does not resolve" in said:
            return (
                f"the engine on {host} takes no part in the swarm's names: start it again (systemctl restart docker). Its "
                "log says 'Error in agentInit' if it kept port 7946 of a swarm that it had left"
            )
        if check == "own name":
            return (
                f"the name does not lead to the task on {host}: the service needs endpoint_mode dnsrr, and an old task "
                "of the same name must be gone"
            )
        if str(record.get("detail")).startswith("not in "):
            return (
                f"the name of rank {peer} leads {host} to an address outside of {case.limits['network']}: look for another "
                "container of that name, and at extra_hosts and the DNS of the task"
            )
        return (
            f"{host} does not learn the name of rank {peer} on {other}: its task never started (docker stack ps), or "
            f"7946/tcp+udp is blocked between {host} and {other}"
        )
    if layer == 8:
        return tcp_hint(case, rank, check, peer, said)
    if layer == 9:
        return mtu_hint(case, rank, peer)
    if layer == 10:
        port = case.limits["master_port"]
        if check == "master port free":
            return f"another program holds port {port} in the task on {host}: stop it, or set training_master_port"
        return f"{host} does not reach port {port} of rank 0 on {case.host(0)}: free it, or set training_master_port"
    if layer == 11:
        return group_hint(case, rank, record)
    if layer == 12:
        if peer is not None:
            return f"rank {peer} on {other} stopped taking part ({said}): look for a stopped or starved process there"
        if str(said).startswith("sum"):
            return f"the sum is wrong on {host}: do not train on it. Suspect memory or the network card of a host"
        return "the collective did not end: look at the probe's log for the backend's own words"
    return ""


# The oldest driver for each CUDA: https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
CUDA_DRIVERS = {"11": 450, "12": 525, "13": 580}


def old_driver(case: Case, rank: int) -> str:
    driver = str(case.checks(rank).get("nvidia_driver") or "")
    cuda = str((case.probe(rank).get("identity") or {}).get("cuda") or "")
    needed = CUDA_DRIVERS.get(cuda.split(".")[0], 0)
    if not driver or int(driver.split(".")[0]) >= needed:
        return ""
    return (
        f"the NVIDIA driver {driver} on {case.hosts[rank]} is too old for the image's CUDA {cuda}, which needs {needed} or "
        "newer: update the driver (and reboot), or build the image for an older CUDA with image_cuda"
    )


def gpu_hint(case: Case, rank: int) -> str:
    """Why a task sees no GPU, as far as its host can tell."""
    host, checks = case.hosts[rank], case.checks(rank)
    runtime = str((checks.get("engine") or {}).get("default_runtime") or "")
    identity = case.probe(rank).get("identity")
    if identity and not identity.get("cuda") and checks.get("gpus"):
        return f"the torch in the image on {host} has no CUDA: build it with one that has, or set training_backend=gloo"
    if "gpus" in checks and not checks["gpus"]:
        return (
            f"the NVIDIA driver on {host} shows no GPU (nvidia-smi): install or load it, or set training_backend=gloo"
        )
    if old := old_driver(case, rank):
        return old
    if runtime and runtime != "nvidia":
        return (
            f"no GPU is visible in the task on {host}, whose default runtime is {runtime}: it must be nvidia, and the GPUs "
            "generic resources (run playbooks/docker.yml), or set training_backend=gloo"
        )
    return (
        f"no GPU is visible in the task on {host}: nvidia must be the default runtime and the GPUs generic resources "
        "(playbooks/docker.yml), or set training_backend=gloo"
    )


def tcp_hint(case: Case, rank: int, check: str, peer: int | None, said: str) -> str:
    host, other = case.hosts[rank], case.host(peer)
    if check == "listener":
        return f"the probe's own port is taken on {host}: set PROBE_PORT to a free one"
    if said.startswith("rank "):
        return f"the name of rank {peer} leads to another rank's task: run playbooks/swarm.yml (rank labels)"
    if said.startswith("connected"):
        return f"the task on {other} accepts connections but does not answer: look for a stopped process there"
    if "refused" in said:
        return f"{other} answers, but the probe there does not listen: look at the log of its container"
    if case.limits["network_mode"] == "host":
        return f"a firewall between {host} and {other} drops the training's TCP ports: open them in both directions"
    data = next((c["engine"]["data_path_port"] for c in case.everybody()
                 if (c.get("engine") or {}).get("data_path_port")), 4789)  # fmt: skip
    blocked = f"UDP {data} is blocked, or the VXLAN source address does not match, between {host} and {other}"
    # Datagrams need no way back. Who has heard whom tells the direction that is closed.
    heard_here = bool((case.probe(rank).get("heard") or {}).get(str(peer)))
    there = case.probe(peer) if peer is not None else {}
    if there:
        heard_there = bool((there.get("heard") or {}).get(str(rank)))
        if heard_here and not heard_there:
            blocked += f" (only {host} to {other} is lost)"
        elif heard_there and not heard_here:
            blocked += f" (only {other} to {host} is lost)"
        elif not heard_here:
            blocked += " (both directions are lost)"
    encrypted = ", and IP protocol 50 (ESP), since the overlay is encrypted" if case.network().get("encrypted") else ""
    return f"{blocked}: open {data}/udp both ways{encrypted}"


def mtu_hint(case: Case, rank: int, peer: int | None) -> str:
    host, other = case.hosts[rank], case.host(peer)
    paths = [
        int(pair["path_mtu"])
        for one in case.hosts
        for pair in (case.probe(one).get("pairs") or {}).values()
        if pair.get("path_mtu")
    ]
    mtu = case.probe(rank).get("mtu")
    if not paths or (mtu and min(paths) >= min(int(mtu), 9216)):
        return (
            f"small messages pass between {host} and {other}, 1 MiB does not: check their links for loss, and "
            "swarm_network_mtu against the hosts' own MTU"
        )
    largest = min(paths)
    if case.limits["network_mode"] == "host":
        return (
            f"small messages pass, packets of {largest + 1} B and more are lost between {host} and {other}: set the "
            f"hosts' MTU to {largest}"
        )
    # The option counts the underlay's packet, the interface has VXLAN's header less.
    option = int(case.network().get("mtu") or case.limits["network_mtu"] or 1500)
    overhead = option - int(mtu) if mtu and 0 < option - int(mtu) <= 200 else VXLAN_BYTES
    return (
        f"small messages pass, packets of {largest + 1} B and more are lost between {host} and {other}: set the "
        f"overlay's MTU to {largest + overhead} with swarm_network_mtu (containers get {overhead} B less)"
    )


# What backends say when they do not start, from their sources and their users' reports (the address family: NVIDIA/nccl#1837).
# The first that fits is taken.
GROUP_WORDS: dict[tuple[str, ...], str] = {
    ("no socket interface found", "unable to find address for", "is neither af_inet", "no interface found"): (
        "the backend finds no such interface on {host}: set training_interface to {interface}"
    ),
    ("mismatched nccl version", "version mismatch detected"): (
        "the ranks have different NCCL versions: run playbooks/image.yml on every host"
    ),
    ("duplicate gpu",): (
        "two ranks were given the same GPU: check the generic resources of the hosts (playbooks/docker.yml)"
    ),
    ("driver version is insufficient", "driver/library version mismatch", "nvml"): (
        "the NVIDIA driver on {host} does not fit the image's CUDA: update the driver (and reboot), or build the image "
        "with a torch for an older CUDA"
    ),
    (
        "no kernel image is available",
    ): "the torch in the image does not know the GPU on {host}: use a newer build of it",
    ("no cuda", "no gpus", "cuda driver", "no nvidia driver", "not compiled with cuda"): "{gpu}",
    ("cuda error: out of memory", "cuda out of memory", "cuda failure 2 "): (
        "another program holds the memory of the GPU on {host}: see nvidia-smi there"
    ),
    ("/dev/shm", "no space left on device", "shared memory segment"): (
        "/dev/shm in the task on {host} is too small for NCCL: raise training_shm_size"
    ),
    ("ibv_",): (
        "InfiniBand does not work in the task on {host} (locked memory, devices): set NCCL_IB_DISABLE=1 in training_env"
    ),
    ("address already in use",): (
        "another program holds the master port {port} in the task on {host}: stop it, or set training_master_port"
    ),
}
# These can also mean a firewall between the hosts.
SILENCE = (
    "no result", "timed out", "timeout", "connect to", "connection refused", "no route to host", "closed by remote peer",
)  # fmt: skip


def group_hint(case: Case, rank: int, record: Json) -> str:
    peer, other = record.get("peer"), case.host(record.get("peer"))
    host, check = case.hosts[rank], str(record.get("name"))
    interface = str(case.probe(rank).get("interface") or f"the interface of {case.limits['network']}")
    observed, expected = str(record.get("observed")), str(record.get("expected"))
    if check in ("connections", "nccl interface"):
        return f"the process group on {host} talks over {observed}: set training_interface to {interface}"
    if check == "nccl network" and observed != "IB" and "IB" in expected:
        return (
            f"NCCL on {host} took {observed}, though InfiniBand was asked for: swarm gives a task no device, so set "
            "NCCL_IB_DISABLE=1 in training_env"
        )
    if check in ("nccl network", "nccl transport"):
        return f"NCCL on {host} took {observed}, asked for was {expected}: look at training_env and at /etc/nccl.conf"
    text = f"{observed} {record.get('detail')}".lower()
    for words, hint in GROUP_WORDS.items():
        if any(word in text for word in words):
            port = case.limits["master_port"]
            return hint.format(host=host, interface=interface, port=port, gpu=gpu_hint(case, rank))
    if peer is not None:
        return f"rank {peer} on {other} is missing from the group: look for a stopped or starved process on {other}"
    if any(word in text for word in SILENCE):
        return (
            f"the probe's own ports pass, those that {case.probe(rank).get('backend')} picks by itself do not: look for "
            "a firewall that lets only known ports pass between the hosts, and at training_interface"
        )
    return "the group did not form: look at the probe's log for the backend's own words (NCCL_DEBUG=INFO)"


def judge_identity(case: Case) -> None:
    """Layer 4: the same content everywhere. The odd one out is the one that differs from most, or from rank 0."""
    identities = {rank: case.probe(rank).get("identity") or {} for rank in case.hosts if case.probe(rank)}
    if len(identities) < 2:
        return
    for key, label in (
        ("python", "Python"), ("torch", "torch"), ("cuda", "CUDA"), ("nccl", "NCCL"), ("files_hash", "files"),
    ):  # fmt: skip
        values = {rank: identity.get(key) for rank, identity in identities.items()}
        if key in ("torch", "files_hash"):
            values = {rank: value for rank, value in values.items() if value}
        if len(set(values.values())) < 2:
            continue
        shown = list(values.values())
        most = max(shown.count(value) for value in shown)
        # Dictionaries keep the ranks' order, so that a tie goes to the lowest rank.
        right = next(value for value in shown if shown.count(value) == most)
        model = next(rank for rank, value in values.items() if value == right)
        for rank, value in values.items():
            if value == right:
                continue
            observed, expected = str(value), f"{right} as on {case.hosts[model]}"
            if key == "files_hash":
                mine, theirs = identities[rank].get("files") or {}, identities[model].get("files") or {}
                names = sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name))
                observed = "different: " + (", ".join(names[:5]) or "files beyond those listed")
                expected = f"the files of {case.hosts[model]}"
            hint = f"run playbooks/image.yml --limit {case.hosts[rank]}: the tag is the same, the content is not"
            case.say(4, rank, label, False, observed, expected, hint)


def judge_resources(case: Case) -> None:
    for rank, host in case.hosts.items():
        probe = case.probe(rank)
        size = probe.get("shm_bytes")
        if size is not None:
            floor = case.limits["min_shm"]
            hint = (
                f"give the task on {host} a larger /dev/shm with training_shm_size (bytes), or lower preflight_min_shm"
            )
            case.say(5, rank, "/dev/shm", size >= floor, f"{size} B", f"at least {floor} B", hint)
        unseen = case.checks(rank).get("gpus") and probe and not probe.get("gpus")
        if unseen and case.limits["backend"] != "gloo":
            seen = f"the host has {case.checks(rank)['gpus']}, torch in the task sees none"
            case.say(5, rank, "GPUs", False, seen, "the GPUs of the host", gpu_hint(case, rank))
        for gpu, other in (case.checks(rank).get("gpus_of_others") or {}).items():
            hint = (
                f"swarm gave {gpu} to two tasks on {host}, as it can after its leader restarted: let {other} end, or remove it "
                "('docker stack rm'), and run this again"
            )
            case.say(5, rank, "GPUs", False, f"{gpu} is {other}'s too", "GPUs of its own", hint)
        if probe and case.limits["min_gpus"]:
            gpus = int(probe.get("gpus") or 0)
            hint = (
                f"make the GPUs of {host} visible to swarm tasks: playbooks/docker.yml (generic resources, default "
                "runtime)"
            )
            case.say(
                5, rank, "GPUs", gpus >= case.limits["min_gpus"], gpus, f"at least {case.limits['min_gpus']}", hint
            )


def judge_mtu(case: Case) -> None:
    mtus = {rank: int(case.probe(rank)["mtu"]) for rank in case.hosts if case.probe(rank).get("mtu")}
    if not mtus:
        return
    wanted = case.limits["expected_mtu"] or min(mtus.values())
    for rank, mtu in mtus.items():
        if mtu != wanted:
            hint = f"the interface on {case.hosts[rank]} has another MTU: re-create the network with swarm_network_mtu"
            case.say(9, rank, "interface MTU", False, f"{mtu} B", f"{wanted} B", hint)


def judge_bandwidth(case: Case) -> None:
    floor = case.limits["min_bus_bandwidth"]
    if not floor or len(case.hosts) < 2:
        return
    for rank in case.hosts:
        got = (case.probe(rank).get("allreduce") or {}).get("bus_bandwidth_mb_s")
        if got is not None:
            slow = slowest_pair(case)
            hint = "the network is slower than preflight_min_bus_bandwidth asks" + (f"; {slow}" if slow else "")
            case.say(13, rank, "bus bandwidth", got >= floor, f"{got:g} MB/s", f"at least {floor:g} MB/s", hint)


def busy(case: Case, rank: int) -> bool:
    compute = case.probe(rank).get("compute") or {}
    return float(compute.get("load") or 0) > BUSY * int(compute.get("cores") or 1)


def judge_host_network(case: Case) -> None:
    """Layer 13: the training's network against what the same two hosts reach without it."""
    fraction = case.limits["min_network_fraction"]
    for pair in pair_list(case):
        if busy(case, pair["rank"]) or busy(case, pair["peer_rank"]):
            continue
        got, bare = pair["bandwidth"], pair["host_bandwidth"]
        if not fraction or not got or not bare or not pair["steady"] or got >= min(fraction * bare, FAST_ENOUGH_MB_S):
            continue
        case.say(
            13, pair["rank"], "network", False, f"{got:g} MB/s over {case.limits['network']}",
            f"at least {fraction:g} of the {bare:g} MB/s without it",
            f"{case.limits['network']} slows {pair['host']} down towards {pair['peer']}: compare swarm_network_mtu with the "
            "hosts' MTU, look at the network card's VXLAN offload (ethtool -k), or lower preflight_min_network_fraction",
            pair["peer_rank"],
        )  # fmt: skip


def slowest_pair(case: Case) -> str:
    slowest = min((pair for pair in pair_list(case) if pair["bandwidth"]), key=lambda p: p["bandwidth"], default=None)
    if slowest is None:
        return ""
    return f"slowest pair: {slowest['host']} to {slowest['peer']}, {slowest['bandwidth']:g} MB/s"


def judge_stragglers(case: Case) -> None:
    """Layer 14: each rank against the median of the others, because with two ranks the median of all lies between."""
    factor = case.limits["straggler_factor"]
    if not factor or len(case.hosts) < 2:
        return
    times = {r: (case.probe(r).get("compute") or {}).get("seconds") for r in case.hosts}
    known = {rank: float(value) for rank, value in times.items() if value}
    slow: set[int] = set()
    for rank, own in known.items():
        others = [value for other, value in known.items() if other != rank]
        if others and own > factor * statistics.median(others) + COMPUTE_NOISE_SECONDS:
            slow.add(rank)
            load = (case.probe(rank).get("compute") or {}).get("load")
            case.say(
                14, rank, "compute", False, f"{own * 1000:.2f} ms for a matrix product on average",
                f"within {factor:g} times the others' median of {statistics.median(others) * 1000:.2f} ms",
                f"{case.hosts[rank]} computes slower than the others (its load is {load}): stop what runs beside the "
                "training, or look at its power and thermal limits",
            )  # fmt: skip
    sending: dict[int, float] = {}
    for rank in case.hosts:
        # What reaches a host that has no time to read says nothing about the sender.
        rates = [float(p["bandwidth_mb_s"]) for peer, p in (case.probe(rank).get("pairs") or {}).items()
                 if p.get("bandwidth_mb_s") and not slow & {rank, int(peer)}]  # fmt: skip
        if rates:
            sending[rank] = statistics.median(rates)
    for rank, own in sending.items():
        tries = [p.get("bandwidth_steady", 1) for p in (case.probe(rank).get("pairs") or {}).values()]
        if statistics.median(tries) < STEADY or any(busy(case, other) for other in sending):
            continue
        others = [value for other, value in sending.items() if other != rank]
        if others and own * factor < statistics.median(others) and own < GIGABIT_MB_S:
            case.say(
                14, rank, "sending", False, f"{own:g} MB/s to its peers",
                f"at least 1/{factor:g} of the others' median of {statistics.median(others):g} MB/s",
                f"{case.hosts[rank]} sends slower than the others: check its link speed, cable and traffic shaping",
            )  # fmt: skip


def pair_list(case: Case) -> list[Json]:
    pairs = []
    for rank in case.hosts:
        for peer, pair in sorted((case.probe(rank).get("pairs") or {}).items(), key=lambda item: int(item[0])):
            if int(peer) in case.hosts:
                pairs.append(
                    {
                        "rank": rank,
                        "host": case.hosts[rank],
                        "peer_rank": int(peer),
                        "peer": case.hosts[int(peer)],
                        "latency": pair.get("latency_us"),
                        "bandwidth": pair.get("bandwidth_mb_s"),
                        "host_bandwidth": (
                            (case.checks(rank).get("host_network") or {}).get(case.hosts[int(peer)]) or {}
                        ).get("bandwidth_mb_s"),
                        "steady": pair.get("bandwidth_steady", 1) >= STEADY,
                        "path_mtu": pair.get("path_mtu"),
                    }
                )
    return pairs


def conclude(case: Case, probed: bool = True) -> Json:
    failed = [verdict for verdict in case.verdicts if verdict["ok"] is False]
    first = min((verdict["layer"] for verdict in failed), default=None)
    grid: dict[int, dict[int, str]] = {}
    for layer in LAYERS:
        grid[layer] = {}
        for rank in case.hosts:
            marks = [v["ok"] for v in case.verdicts if v["layer"] == layer and v["rank"] == rank]
            if (first is not None and layer > first) or not marks:
                grid[layer][rank] = "not reached"
            elif False in marks:
                grid[layer][rank] = "fail"
            else:
                grid[layer][rank] = "not reached" if None in marks else "ok"
    findings = [finding(verdict) for verdict in failed if verdict["layer"] == first]
    if not failed and probed:
        findings = not_reached(case, grid)
    ok = bool(case.hosts) and not findings and all(m == "ok" for row in grid.values() for m in row.values())
    results = [case.probe(rank) for rank in case.hosts]
    rates = [probe["allreduce"]["bus_bandwidth_mb_s"] for probe in results if probe.get("allreduce")]
    trips = [probe["allreduce"]["latency_us"] for probe in results if probe.get("allreduce")]
    backend = next((probe["backend"] for probe in results if probe.get("backend")), None)
    outcome: Json = {
        "ok": ok,
        "findings": findings,
        "layers": [
            {"layer": layer, "name": LAYERS[layer], "ranks": {str(rank): mark for rank, mark in row.items()}}
            for layer, row in grid.items()
        ],
        "pairs": pair_list(case),
        "backend": backend,
        "backend_reason": name_hosts(case, next((p["backend_reason"] for p in results if p.get("backend")), None)),
        "bus_bandwidth": min(rates) if rates and len(case.hosts) > 1 else None,
        "latency": max(trips) if trips and len(case.hosts) > 1 else None,
    }
    outcome["table"] = render_table(case, grid, outcome["pairs"])
    outcome["message"] = message(case, outcome)
    return outcome


def finding(verdict: Json) -> Json:
    return {key: value for key, value in verdict.items() if key != "ok"}


def not_reached(case: Case, grid: dict[int, dict[int, str]]) -> list[Json]:
    """Nothing failed, yet something was not proven: that is no pass, and must be said."""
    for layer, row in grid.items():
        gaps = [rank for rank, mark in row.items() if mark != "ok"]
        if not gaps:
            continue
        found = []
        for rank in gaps:
            why = next((v["observed"] for v in case.verdicts
                        if v["layer"] == layer and v["rank"] == rank and v["ok"] is None), "")  # fmt: skip
            error = case.probe(rank).get("error")
            found.append(
                {
                    "layer": layer,
                    "layer_name": LAYERS[layer],
                    "rank": rank,
                    "host": case.hosts[rank],
                    "peer": None,
                    "check": "not reached",
                    "observed": error or why or "nothing reported",
                    "expected": "the check was made",
                    "hint": "run playbooks/preflight.yml again; if it stays, raise preflight_timeout",
                }
            )
        return found
    return []


def name_hosts(case: Case, reason: str | None) -> str | None:
    """The probe speaks of service names, people of hosts."""
    if reason and reason.startswith("no GPU on "):
        names = {}
        for rank in case.hosts:
            for other, name in enumerate(case.probe(rank).get("peers") or []):
                names[name] = case.host(other)
        return "no GPU on " + ", ".join(str(names.get(n, n)) for n in reason[len("no GPU on ") :].split(", "))
    return reason


def message(case: Case, outcome: Json) -> str:
    findings = outcome["findings"]
    if not case.hosts:
        return "There is no rank to check."
    if not outcome["ok"] and not findings:
        return "Nothing is wrong with the hosts; the probes have not run."
    if outcome["ok"]:
        if len(case.hosts) == 1:
            only = next(iter(case.hosts.values()))
            return f"1 rank on {only} is ready: {outcome['backend']} ({outcome['backend_reason']})."
        return (
            f"{len(case.hosts)} ranks reach each other over {case.limits['network']}: {outcome['backend']} "
            f"({outcome['backend_reason']}), bus bandwidth {outcome['bus_bandwidth']:.0f} MB/s, "
            f"all-reduce latency {outcome['latency']:.0f} us."
        )
    first = findings[0]
    common = [
        host
        for host in sorted(set(case.hosts.values()))
        if len(findings) > 2 and all(host in (f["host"], f["peer"]) for f in findings)
    ]
    towards = f" towards {first['peer']}" if first["peer"] and first["peer"] != first["host"] else ""
    what = "" if first["check"] == "not reached" else f", {first['check']}"
    remedy = first["hint"]
    if not remedy.startswith(tuple(case.hosts.values())):
        remedy = remedy[:1].upper() + remedy[1:]
    who = f" (rank {first['rank']})" if first["rank"] in case.hosts else ""
    verb = "was not reached" if first["check"] == "not reached" else "fails"
    text = (
        f"Layer {first['layer']} ({first['layer_name']}) {verb} on {first['host']}{who}{towards}{what}: "
        f"{first['observed'].rstrip('.?')}. {remedy.rstrip('.')}."
    )
    if common:
        text += f" Every failing pair has {' and '.join(common)} in it."
    elif len(findings) > 1:
        hosts = sorted({f["host"] for f in findings[1:]})
        text += f" {len(findings) - 1} more at this layer, on {', '.join(hosts)}."
    return text


def render_table(case: Case, grid: dict[int, dict[int, str]], pairs: list[Json], per_block: int = 6) -> str:
    ranks = list(case.hosts)
    marks = {"ok": "ok", "fail": "FAIL", "not reached": "-"}
    lines: list[str] = []
    for start in range(0, len(ranks), per_block):
        block = ranks[start : start + per_block]
        heads = {rank: f"{rank} {case.hosts[rank]}" for rank in block}
        rows = [["layer", *heads.values()]]
        rows += [[f"{n:2d} {LAYERS[n]}", *(marks[grid[n][rank]] for rank in block)] for n in LAYERS]
        lines += [*columns(rows), ""]
    lines.append("ok: passed, FAIL: failed, -: not reached")
    known = {(pair["rank"], pair["peer_rank"]): pair for pair in pairs if pair["latency"] is not None}
    if known:
        bare = any(pair["host_bandwidth"] for pair in known.values())
        legend = "latency in us / bandwidth in MB/s" + (" (of the hosts' own network)" if bare else "")
        lines += ["", f"{legend} of one connection, from the row's rank to the column's"]
        for start in range(0, len(ranks), per_block):
            block = ranks[start : start + per_block]
            rows = [["", *(f"{rank} {case.hosts[rank]}" for rank in block)]]
            for rank in ranks:
                cells = []
                for peer in block:
                    pair = known.get((rank, peer))
                    rate = "-" if not pair or not pair["bandwidth"] else f"{pair['bandwidth']:.0f}"
                    if pair and pair["host_bandwidth"]:
                        rate += f" ({pair['host_bandwidth']:.0f})"
                    cells.append("." if peer == rank else f"{pair['latency']:.0f} / {rate}" if pair else "-")
                rows.append([f"{rank} {case.hosts[rank]}", *cells])
            lines += columns(rows)
    return "\n".join(lines)


def columns(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


# ---------------------------------------------------------------- main

LIMITS = (
    "network", "network_mode", "network_mtu", "expected_mtu", "training_interface", "max_clock_skew", "min_disk",
    "min_shm", "min_gpus", "min_bus_bandwidth", "min_network_fraction", "straggler_factor", "master_port", "backend",
    "run_id",
)  # fmt: skip


def argument_spec() -> Json:
    return {
        "service": {"type": "str"},
        "rank": {"type": "int"},
        "host": {"type": "str"},
        "run_id": {"type": "str", "default": ""},
        "timeout": {"type": "int", "default": 65},
        "start_timeout": {"type": "int", "default": 45},
        "sent_at": {"type": "float"},
        "image": {"type": "str", "default": ""},
        "stack": {"type": "str", "default": ""},
        "host_network_port": {"type": "int", "default": 0},
        "control_peers": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "host": {"type": "str", "required": True},
                "address": {"type": "str", "required": True},
                "ports": {"type": "list", "elements": "int", "default": [7946]},
            },
        },
        "reports": {"type": "list", "elements": "dict"},
        "ranks": {
            "type": "list",
            "elements": "dict",
            "options": {"rank": {"type": "int", "required": True}, "host": {"type": "str", "required": True}},
        },
        "unreachable": {"type": "dict", "default": {}},
        "probed": {"type": "bool", "default": True},
        "path": {"type": "path"},
        "enforce": {"type": "bool", "default": False},
        "network": {"type": "str", "default": "ddp-net"},
        "network_mode": {"type": "str", "choices": ["overlay", "host"], "default": "overlay"},
        "network_mtu": {"type": "int", "default": 0},
        "expected_mtu": {"type": "int", "default": 0},
        "training_interface": {"type": "str", "default": ""},
        "master_port": {"type": "int", "default": 12355},
        "backend": {"type": "str", "choices": ["auto", "nccl", "gloo"], "default": "auto"},
        "max_clock_skew": {"type": "float", "default": 5},
        "min_disk": {"type": "int", "default": 268435456},
        "min_shm": {"type": "int", "default": 67108864},
        "min_gpus": {"type": "int", "default": 0},
        "min_bus_bandwidth": {"type": "float", "default": 0},
        "min_network_fraction": {"type": "float", "default": 0.1},
        "straggler_factor": {"type": "float", "default": 3},
        **CONNECTION_ARGUMENTS,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        mutually_exclusive=[("rank", "reports"), *CONNECTION_MUTUALLY_EXCLUSIVE],
        required_one_of=[("rank", "reports")],
        required_by={"service": ["rank"], "reports": ["ranks"]},
        supports_check_mode=True,
    )
    if module.params["rank"] is not None:
        module.exit_json(changed=False, report=observe(module.params, DockerCli(module)))
    limits = {name: module.params[name] for name in LIMITS}
    outcome = judge(
        module.params["reports"], module.params["ranks"], limits, module.params["unreachable"], module.params["probed"]
    )
    if module.params["path"] and not module.check_mode:
        write_verdict(module, outcome)
    if module.params["enforce"] and not outcome["ok"]:
        module.fail_json(msg=outcome["message"], changed=False, **outcome)
    module.exit_json(changed=False, **outcome)


def write_verdict(module: AnsibleModule, outcome: Json) -> None:
    path = module.params["path"]
    text = json.dumps({key: value for key, value in outcome.items() if key != "table"}, indent=4, sort_keys=True)
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path + ".part", "w", encoding="utf-8") as stream:
            stream.write(text + "\n")
        os.replace(path + ".part", path)
    except OSError as error:
        module.fail_json(msg=f"the verdict cannot be written to {path}: {error.strerror}", **outcome)


if __name__ == "__main__":
    main()
