"""Faults for a lab of two hosts, host1 (manager, rank 0) and host2 (worker, rank 1): planted one at a time, always healed.

Each is a context manager that yields the variables with which to run a playbook, and the whole list says what the preflight
has to report for it.
"""

import ipaddress
import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import yaml
from labs import Lab

Variables = dict[str, Any]
Where = tuple[str, str | None]
VXLAN = "-p udp --dport 4789"
ROUND_TRIP = [("host1", "host2"), ("host2", "host1")]
BOTH: set[Where] = {*ROUND_TRIP}
EACH: set[Where] = {("host1", None), ("host2", None)}


@dataclass(frozen=True)
class Fault:
    """`where`: (host, peer) of every finding; `perhaps`: of findings that depend on timing. `hint`: a regular expression."""

    name: str
    plant: Callable[[Lab], AbstractContextManager[Variables]]
    layer: int | tuple[int, ...]
    where: set[Where]
    hint: str
    perhaps: set[Where] = field(default_factory=set)
    # Whether doing what the hint says, and nothing else, makes the next check pass (cures.py).
    cured: bool = False

    def missed_by(self, verdict: Variables) -> str:
        """What is wrong with a verdict for this fault; empty when it has layer, hosts and knob."""
        layers = self.layer if isinstance(self.layer, tuple) else (self.layer,)
        findings = verdict["findings"]
        found = {(one["host"], one["peer"]) for one in findings}
        if verdict["ok"] or not findings:
            return "nothing was found"
        if {one["layer"] for one in findings} - set(layers):
            return f"layer {findings[0]['layer']} instead of {self.layer}"
        if found - self.where - self.perhaps or self.where - found - self.perhaps:
            return f"found at {sorted(map(str, found))} instead of {sorted(map(str, self.where))}"
        if not any(re.search(self.hint, one["hint"]) for one in findings):
            return f"no hint has {self.hint!r}: {[one['hint'] for one in findings]}"
        for row in verdict["layers"]:
            if row["layer"] > findings[0]["layer"] and set(row["ranks"].values()) != {"not reached"}:
                return f"layer {row['layer']} after the first failure is not marked as not reached"
        return ""


# ---------------------------------------------------------------- looking at the lab


def address(lab: Lab, host: str) -> str:
    return lab.on(host, "ip", "-4", "-brief", "address", "show", "dev", "eth0").split()[2].split("/")[0]


def image(lab: Lab) -> str:
    """The training image's reference, whose tag is its content's hash."""
    names = lab.on("host1", "docker", "images", "--format", "{{.Repository}}:{{.Tag}}", "my-ddp-trainer").split()
    return next(name for name in names if not name.endswith(":latest"))


def wait_until(true: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "the lab did not get there in time"
        time.sleep(0.5)


def limit_cpus(lab: Lab, host: str, quota: int) -> None:
    """Microseconds of CPU time that a host has in each 100000; -1 for all."""
    subprocess.run(["docker", "update", f"--cpu-quota={quota}", f"{lab.name}-{host}"], check=True, capture_output=True)


def swarm_is_healthy(lab: Lab) -> bool:
    nodes = lab.on("host1", "docker", "node", "ls", "--format", "{{.Status}} {{.Availability}}", check=False)
    return nodes.split("\n")[:-1] == ["Ready Active"] * len(lab.hosts)


def names_are_known(lab: Lab) -> bool:
    """Each host's engine knows the names of the other's containers: after an engine's start that takes up to a minute."""
    known = True
    for host, other in (("host1", "host2"), ("host2", "host1")):
        run = ["docker", "run", "--network", "ddp-net"]
        lab.on(host, *run, "--detach", "--name", "beacon", image(lab), "sleep", "600", check=False)
        known = known and bool(lab.on(other, *run, "--rm", image(lab), "getent", "hosts", "beacon", check=False))
        lab.on(host, "docker", "rm", "--force", "beacon", check=False)
    return known


# ---------------------------------------------------------------- packets


@contextmanager
def dropped(lab: Lab, *rules: tuple[str, str]) -> Iterator[Variables]:
    """Rules for iptables (host, condition): what they match is dropped."""
    with ExitStack() as healing:
        for host, rule in rules:
            chain, *condition = rule.split()
            lab.on(host, "iptables", "-I", chain, *condition, "-j", "DROP")
            healing.callback(lab.on, host, "iptables", "-D", chain, *condition, "-j", "DROP")
        yield {}
    wait_until(partial(swarm_is_healthy, lab))


@contextmanager
def vxlan_dropped(lab: Lab, ways: Iterable[tuple[str, str]]) -> Iterator[Variables]:
    """Ways that no packet takes: (from, to)."""
    rules = [(host, f"INPUT {VXLAN} -s {address(lab, source)}") for source, host in ways]
    with dropped(lab, *rules) as variables:
        yield variables


@contextmanager
def gossip_dropped(lab: Lab) -> Iterator[Variables]:
    source = address(lab, "host1")
    rules = [("host2", f"INPUT -p {protocol} --dport 7946 -s {source}") for protocol in ("tcp", "udp")]
    with dropped(lab, *rules) as variables:
        yield variables


@contextmanager
def gossip_udp_dropped(lab: Lab, ways: Iterable[tuple[str, str]]) -> Iterator[Variables]:
    """Ways that no packet takes: (from, to)."""
    rules = [(host, f"INPUT -p udp --dport 7946 -s {address(lab, source)}") for source, host in ways]
    with dropped(lab, *rules) as variables:
        time.sleep(10 * (len(lab.hosts) - 1))  # until the engines have noticed
        yield variables


@contextmanager
def control_dropped(lab: Lab) -> Iterator[Variables]:
    with dropped(lab, ("host1", f"INPUT -p tcp --dport 2377 -s {address(lab, 'host2')}")) as variables:
        yield variables


@contextmanager
def large_packets_dropped(
    lab: Lab, kind: str = "", size: int = 1400, pair: tuple[str, str] = ("host1", "host2")
) -> Iterator[Variables]:
    """A path MTU of `size` bytes between two hosts that nobody is told about, for all packets or those of a kind."""
    rules = [
        (host, f"INPUT -s {address(lab, other)} {kind} -m length --length {size + 1}:65535")
        for host, other in (pair, pair[::-1])
    ]
    with ExitStack() as healing:
        for host in pair:
            # Packets as they are on a wire: here the kernel would pass on what it is to cut to size later.
            lab.on(host, "ip", "link", "set", "eth0", "gso_max_segs", "1")
            healing.callback(lab.on, host, "ip", "link", "set", "eth0", "gso_max_segs", "65535")
        healing.enter_context(dropped(lab, *rules))
        yield {}


@contextmanager
def slow_links(lab: Lab, burst: str = "64kb", **rates: str) -> Iterator[Variables]:
    """What a host sends passes no faster than this."""
    with ExitStack() as healing:
        for host, rate in rates.items():
            shape = ["root", "tbf", "rate", rate, "burst", burst, "latency", "50ms"]
            lab.on(host, "tc", "qdisc", "add", "dev", "eth0", *shape)
            healing.callback(lab.on, host, "tc", "qdisc", "del", "dev", "eth0", "root")
        yield {}


def lossy(share: float, way: str = VXLAN) -> Callable[[Lab], AbstractContextManager[Variables]]:
    """A part of what host2 sends is lost. The kernel has no netem; each datagram is one packet here, a segment often is not."""
    return lambda lab: dropped(lab, ("host2", f"OUTPUT {way} -m statistic --mode random --probability {share}"))


@contextmanager
def nat_flushed(lab: Lab, host: str, *command: str) -> Iterator[Variables]:
    lab.on(host, *command)
    try:
        yield {}
    finally:
        lab.on(host, "systemctl", "restart", "docker")
        wait_until(partial(swarm_is_healthy, lab))
        wait_until(partial(names_are_known, lab), 180)


@contextmanager
def site_network(lab: Lab, network: str) -> Iterator[Variables]:
    """A network of the site that host1 reaches through host2, with the addresses of one of Docker's networks."""
    subnet = lab.on(
        "host1", "docker", "network", "inspect", network, "--format", "{{(index .IPAM.Config 0).Subnet}}"
    ).strip()
    part = str(next(ipaddress.IPv4Network(subnet).subnets(new_prefix=25)))
    lab.on("host1", "ip", "route", "add", part, "via", address(lab, "host2"))
    try:
        yield {}
    finally:
        lab.on("host1", "ip", "route", "del", part)


# ---------------------------------------------------------------- settings


@contextmanager
def variables(_lab: Lab, **settings: Any) -> Iterator[Variables]:
    yield settings


@contextmanager
def network(lab: Lab, *options: str) -> Iterator[Variables]:
    """Another overlay for the training."""
    lab.on("host1", "docker", "network", "create", "--driver", "overlay", "--attachable", *options, "planted")
    try:
        yield {"training_network": "planted"}
    finally:
        # A task that has just ended may still hold it.
        wait_until(lambda: "planted" in lab.on("host1", "docker", "network", "rm", "planted", check=False))


@contextmanager
def network_replaced(lab: Lab, *options: str) -> Iterator[Variables]:
    """The training's network made anew, otherwise."""
    create = ["docker", "network", "create", "--driver", "overlay", "--attachable"]
    remove = ["docker", "network", "rm", "ddp-net"]
    lab.on("host1", *remove)
    lab.on("host1", *create, *options, "ddp-net")
    try:
        yield {}
    finally:
        wait_until(lambda: "ddp-net" in lab.on("host1", *remove, check=False))
        lab.on("host1", *create, "ddp-net")


@contextmanager
def colliding_subnet(lab: Lab) -> Iterator[Variables]:
    routes = lab.on("host1", "ip", "-4", "route", "show", "dev", "eth0", "scope", "link")
    with network(lab, "--subnet", routes.split()[0]) as settings:
        yield settings


@contextmanager
def unreachable(lab: Lab, host: str) -> Iterator[Variables]:
    """An inventory in which the host has another port for SSH: nobody listens there."""
    inventory = yaml.safe_load(lab.inventory.read_text())
    for group in inventory["all"]["children"]["swarm"]["children"].values():
        if host in group["hosts"]:
            group["hosts"][host]["ansible_port"] = 9
    path = lab.directory / "unreachable.yml"
    path.write_text(yaml.safe_dump(inventory))
    yield {"inventory": str(path)}


# ---------------------------------------------------------------- hosts and the swarm


@contextmanager
def engine_stopped(lab: Lab, host: str) -> Iterator[Variables]:
    lab.on(host, "systemctl", "stop", "docker.socket", "docker")
    try:
        yield {}
    finally:
        lab.on(host, "systemctl", "start", "docker.socket", "docker")
        wait_until(partial(swarm_is_healthy, lab))
        wait_until(partial(names_are_known, lab), 180)


@contextmanager
def node_updated(lab: Lab, plant: list[str], heal: list[str]) -> Iterator[Variables]:
    lab.on("host1", "docker", "node", "update", *plant, "host2")
    try:
        yield {}
    finally:
        lab.on("host1", "docker", "node", "update", *heal, "host2")
        wait_until(partial(names_are_known, lab), 180)


@contextmanager
def disk_full(lab: Lab) -> Iterator[Variables]:
    """A full file system where the engine keeps its data, in place of a disk that would have to be filled."""
    lab.on("host2", "mount", "-t", "tmpfs", "-o", "size=64k", "full", "/var/lib/docker")
    try:
        lab.on("host2", "sh", "-c", "cat /dev/zero > /var/lib/docker/full", check=False)
        yield {}
    finally:
        lab.on("host2", "umount", "/var/lib/docker")


@contextmanager
def core_hogged(lab: Lab, hogs: int = 6) -> Iterator[Variables]:
    """host2 has a single core, and other programs run on it."""
    limit_cpus(lab, "host2", quota=100000)
    try:
        for _ in range(hogs):
            lab.on("host2", "sh", "-c", "while :; do :; done >/dev/null 2>&1 & echo $! >>/run/hogs")
        # Such a host starts and imports slowly as well.
        yield {"preflight_timeout": 180}
    finally:
        lab.on("host2", "sh", "-c", "kill $(cat /run/hogs); rm /run/hogs")
        limit_cpus(lab, "host2", quota=-1)


@contextmanager
def rank_stopped(lab: Lab) -> Iterator[Variables]:
    """SIGSTOP for the probe of rank 1, as soon as it runs."""
    over = threading.Event()

    def stop() -> None:
        while not over.is_set():
            found = lab.on("host2", "docker", "ps", "--quiet", "--filter", "name=preflight_node1").split()
            if found:
                time.sleep(1)  # until it listens
                lab.on("host2", "docker", "kill", "--signal", "STOP", found[0], check=False)
                return
            time.sleep(0.2)

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        yield {"preflight_timeout": 40}
    finally:
        over.set()
        thread.join()


# ---------------------------------------------------------------- images


@contextmanager
def image_missing(lab: Lab, host: str = "host2") -> Iterator[Variables]:
    name = image(lab)
    lab.on(host, "docker", "tag", name, "kept:aside")
    lab.on(host, "docker", "rmi", name, f"{name.split(':')[0]}:latest", check=False)
    try:
        yield {}
    finally:
        lab.on(host, "docker", "tag", "kept:aside", name)
        lab.on(host, "docker", "tag", name, f"{name.split(':')[0]}:latest")
        lab.on(host, "docker", "rmi", "kept:aside")


@contextmanager
def image_changed(
    lab: Lab, host: str, command: str = "true", change: str = "CMD []", file: str = ""
) -> Iterator[Variables]:
    """Another content under the same tag: a command has been run in it, and a file of the host laid into its root."""
    name = image(lab)
    lab.on(host, "docker", "tag", name, "kept:aside")
    try:
        user = lab.on(host, "docker", "image", "inspect", "--format", "{{.Config.User}}", name).strip() or "root"
        lab.on(host, "docker", "run", "--name", "planted", "--user", "root", name, "sh", "-c", command)
        if file:
            lab.on(host, "docker", "cp", file, "planted:/")
        lab.on(host, "docker", "commit", "--change", f"USER {user}", "--change", change, "planted", name)
        yield {}
    finally:
        lab.on(host, "docker", "rm", "--force", "planted")
        lab.on(host, "docker", "tag", "kept:aside", name)
        lab.on(host, "docker", "rmi", "kept:aside")
        lab.on(host, "docker", "image", "prune", "--force")


@contextmanager
def clock_ahead(lab: Lab, host: str, seconds: int) -> Iterator[Variables]:
    """A task whose programs are told another time: hosts that are containers share the machine's clock."""
    lab.on(host, "apt-get", "install", "--yes", "--no-install-recommends", "libfaketime")
    library = lab.on(host, "sh", "-c", "ls /usr/lib/*/faketime/libfaketimeMT.so.1").strip()
    settings = f"LD_PRELOAD=/libfaketimeMT.so.1 FAKETIME=+{seconds} FAKETIME_DONT_FAKE_MONOTONIC=1"
    with image_changed(lab, host, change=f"ENV {settings}", file=library) as variables:
        yield variables


VERSION_FILE = (
    "$(python3 -c 'import importlib.util as u; print(u.find_spec(\"torch\").origin)' | xargs dirname)/version.py"
)
OTHER_TORCH = f"sed -i \"s/^__version__ = .*/__version__ = '1.0.0'/\" {VERSION_FILE}"
PORT_OPEN = "import socket; socket.create_connection(('127.0.0.1', 12355))"
PORT_TAKEN = "ENTRYPOINT " + json.dumps(
    ["sh", "-c", f"""python3 -m http.server 12355 >/dev/null 2>&1 &
     until python3 -c "{PORT_OPEN}" 2>/dev/null; do sleep 0.1; done; exec "$@" """, "--"]
)  # fmt: skip

# One each of what is seen from the hosts' ports, the swarm, the disk and from inside a task: for suites that have a lab anyway.
QUICK_NAMES = (
    "7946 dropped from host1 to host2", "worker drained", "disk full (a full file system over the engine's data)",
    "NCCL_SOCKET_IFNAME names the gwbridge",
)  # fmt: skip

FAULTS = [
    Fault("4789/udp dropped both ways", partial(vxlan_dropped, ways=ROUND_TRIP), 8, BOTH, r"4789.*\(both directions are lost\)"),
    Fault("4789/udp dropped from host1 to host2", partial(vxlan_dropped, ways=ROUND_TRIP[:1]), 8, BOTH,
          r"4789.*\(only host1 to host2 is lost\)"),
    Fault("7946 dropped from host1 to host2", gossip_dropped, 3, {("host1", "host2")}, r"7946/tcp is closed from host1",
          {("host2", "host1")}),
    Fault("7946/udp alone dropped from host1 to host2", partial(gossip_udp_dropped, ways=ROUND_TRIP[:1]), 3, BOTH,
          r"7946/udp is closed between host"),
    Fault("2377/tcp dropped from the worker to the manager", control_dropped, 3, {("host2", "host1")},
          r"2377/tcp is closed from host2 to host1", {("host2", None)}),
    Fault("packets over 1400 bytes dropped", large_packets_dropped, 9, BOTH, r"MTU to 1400 with swarm_network_mtu"),
    Fault("VXLAN packets over 1400 bytes dropped", partial(large_packets_dropped, kind=VXLAN), 9, BOTH,
          r"MTU to 1400 with swarm_network_mtu"),
    Fault("NCCL_SOCKET_IFNAME names no interface", partial(variables, training_env={"NCCL_SOCKET_IFNAME": "eth7"}), 6, EACH,
          r"eth7 in training_env.* training_interface to eth0", cured=True),
    Fault("NCCL_SOCKET_IFNAME names the gwbridge", partial(variables, training_interface="eth1"), 6, EACH,
          r"training_interface to eth0", cured=True),
    Fault("image missing on one host", image_missing, 4, {("host2", None)}, r"playbooks/image.yml --limit host2", cured=True),
    Fault("other torch under the same tag (torch/version.py edited in a derived image)",
          partial(image_changed, host="host2", command=OTHER_TORCH), 4, {("host2", None)}, r"image.yml --limit host2.*same", cured=True),
    Fault("other training code under the same tag",
          partial(image_changed, host="host2", command="echo '# changed' >> training_code.py"), 4, {("host2", None)},
          r"image.yml --limit host2.*same", cured=True),
    Fault("master port taken in the task of rank 0",
          partial(image_changed, host="host1", change=PORT_TAKEN), 10, {("host1", None)},
          r"port 12355 in the task on host1.*training_master_port", {("host2", "host1")}, cured=True),
    Fault("/dev/shm of 64 KiB", partial(variables, training_shm_size=65536), 5, EACH, r"training_shm_size", cured=True),
    Fault("no node with the label of rank 1",
          partial(node_updated, plant=["--label-rm", "ddp_rank"], heal=["--label-add", "ddp_rank=1"]), 3, {("host2", None)},
          r"ddp_rank=1 on host2", cured=True),
    Fault("engine stopped on the worker", partial(engine_stopped, host="host2"), 2, {("host2", None)},
          r"start Docker on host2", cured=True),
    Fault("engine stopped on the manager", partial(engine_stopped, host="host1"), 2, {("host1", None)},
          r"start Docker on host1", cured=True),
    Fault("worker drained",
          partial(node_updated, plant=["--availability", "drain"], heal=["--availability", "active"]), 3, {("host2", None)},
          r"host2 is drained.*--availability active host2", cured=True),
    Fault("host2 at a tenth of the bandwidth", partial(slow_links, burst="128kb", host2="1gbit"), 14, {("host2", None)},
          r"host2 sends slower"),
    # Row 34 of the situations from the field.
    Fault("both links at 100 Mbit/s", partial(slow_links, host1="100mbit", host2="100mbit"), 13, BOTH,
          r"slow.*ethtool eth0.*preflight_min_pair_bandwidth"),
    Fault("both links at 10 Mbit/s", partial(slow_links, host1="10mbit", host2="10mbit"), 13, BOTH,
          r"slow.*ethtool eth0.*preflight_min_pair_bandwidth"),
    Fault("host2 sends at 100 Mbit/s", partial(slow_links, host2="100mbit"), 13, {("host2", "host1")},
          r"from host2 to host1 is slow"),
    # Row 33.
    Fault("10 % of what host2 sends in VXLAN is lost", lossy(0.1), 13, {("host2", "host1")}, r"lost on the way from host2 to host1"),
    Fault("2 % of what host2 sends in VXLAN is lost", lossy(0.02), 13, {("host2", "host1")}, r"lost on the way from host2 to host1"),
    # Row 32.
    Fault("an overlay of /30 for two ranks", lambda lab: network_replaced(lab, "--subnet", "10.98.0.0/30"), 6, {("host1", None)},
          r"needs? a /28.*swarm_network_subnet to 10\.", cured=True),
    # Row 9.
    Fault("NAT rules flushed (iptables -t nat -F)", lambda lab: nat_flushed(lab, "host2", "iptables", "-t", "nat", "-F"), 2, {("host2", None)},
          r"systemctl restart docker' on host2", cured=True),
    # Row 10.
    Fault("a routed network of the site within the overlay's subnet", partial(site_network, network="ddp-net"), 6,
          {("host1", None)}, r"swarm_network_subnet to 10\."),
    Fault("a routed network of the site within docker_gwbridge's subnet", partial(site_network, network="docker_gwbridge"), 6,
          {("host1", None)}, r"swarm_gwbridge_subnet to 10\..*playbooks/remove.yml -e host=host1"),
    Fault("a hogged core on host2", core_hogged, 14, {("host2", None)}, r"host2 computes slower"),
    Fault("disk full (a full file system over the engine's data)", disk_full, 2, {("host2", None)}, r"free space on host2"),
    Fault("rank 1 hangs during the check (SIGSTOP)", rank_stopped, (7, 8, 11, 12), {("host1", "host2")}, r"host2.*stopped",
          {("host2", None)}),
    Fault("the overlay's subnet is the hosts' own", colliding_subnet, 6, EACH, r"swarm_network_subnet to 10\."),
    Fault("the clock on host2 is 30 s ahead (libfaketime in its task)", partial(clock_ahead, host="host2", seconds=30), 1, BOTH,
          r"synchronise the clocks of host"),
    Fault("worker out of reach over SSH", partial(unreachable, host="host2"), 2, {("host2", None)}, r"ansible host2 --become"),
    Fault("manager out of reach over SSH", partial(unreachable, host="host1"), 2, {("host1", None)}, r"ansible host1 --become"),
]  # fmt: skip
QUICK = [fault for fault in FAULTS if fault.name in QUICK_NAMES]
