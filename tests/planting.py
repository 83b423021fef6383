"""Faults for a lab of two hosts, host1 (manager, rank 0) and host2 (worker, rank 1): planted one at a time, always healed.

Each is a context manager that yields the variables with which to run a playbook, and the whole list says what the preflight
has to report for it.
"""

import ipaddress
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import yaml
from labs import Lab
from waiting import until

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
    until(partial(swarm_is_healthy, lab))


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
def cut_off(lab: Lab) -> Iterator[Variables]:
    """Nothing passes between the two hosts, as with a pulled cable."""
    rules = [(host, f"INPUT -s {address(lab, other)}") for host, other in ROUND_TRIP]
    with dropped(lab, *rules) as variables:
        yield variables


@contextmanager
def rejected(lab: Lab, host: str, peer: str, port: int) -> Iterator[Variables]:
    """A firewall that says no."""
    rule = ["INPUT", "-p", "tcp", "--dport", str(port), "-s", address(lab, peer), "-j", "REJECT"]
    lab.on(host, "iptables", "-I", *rule)
    try:
        yield {}
    finally:
        lab.on(host, "iptables", "-D", *rule)
        until(partial(swarm_is_healthy, lab))


@contextmanager
def lost_route(lab: Lab) -> Iterator[Variables]:
    lab.on("host2", "ip", "route", "add", "unreachable", f"{address(lab, 'host1')}/32")
    try:
        yield {}
    finally:
        lab.on("host2", "ip", "route", "del", "unreachable", f"{address(lab, 'host1')}/32")
        until(partial(swarm_is_healthy, lab))


@contextmanager
def address_twice(lab: Lab) -> Iterator[Variables]:
    """A third machine on the hosts' network has host1's address: here another card of host2's, in a namespace of its own."""
    own = address(lab, "host1")
    lab.on("host2", "ip", "netns", "add", "stranger")
    try:
        lab.on("host2", "ip", "link", "add", "link", "eth0", "name", "twin", "type", "macvlan", "mode", "bridge")
        lab.on("host2", "ip", "link", "set", "twin", "netns", "stranger")
        lab.on("host2", "ip", "-n", "stranger", "address", "add", f"{own}/16", "dev", "twin")
        lab.on("host2", "ip", "-n", "stranger", "link", "set", "twin", "up")
        yield {}
    finally:
        lab.on("host2", "ip", "netns", "del", "stranger")
        until(partial(swarm_is_healthy, lab))


@contextmanager
def known_ports_only(lab: Lab) -> Iterator[Variables]:
    """A firewall on host1 that lets pass what Docker's documentation names, and a training on the hosts' own network."""
    peer = address(lab, "host2")
    known = ["-p", "tcp", "-m", "multiport", "!", "--dports", "22,2377,7946", "--syn", "-s", peer, "-j", "DROP"]
    lab.on("host1", "iptables", "-I", "INPUT", *known)
    try:
        yield {"training_network_mode": "host"}
    finally:
        lab.on("host1", "iptables", "-D", "INPUT", *known)


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
        until(partial(swarm_is_healthy, lab))
        until(partial(names_are_known, lab), 180)


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
        until(lambda: "planted" in lab.on("host1", "docker", "network", "rm", "planted", check=False))


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
        until(lambda: "ddp-net" in lab.on("host1", *remove, check=False))
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
