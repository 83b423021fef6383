"""Faults of hosts, their engines, the swarm's nodes and the images on them: see planting.py."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from labs import Lab
from planting import Variables, image, limit_cpus, names_are_known, swarm_is_healthy
from waiting import until

# ---------------------------------------------------------------- hosts and the swarm


@contextmanager
def engine_stopped(lab: Lab, host: str) -> Iterator[Variables]:
    lab.on(host, "systemctl", "stop", "docker.socket", "docker")
    try:
        yield {}
    finally:
        lab.on(host, "systemctl", "start", "docker.socket", "docker")
        until(partial(swarm_is_healthy, lab))
        until(partial(names_are_known, lab), 180)


@contextmanager
def node_updated(lab: Lab, plant: list[str], heal: list[str]) -> Iterator[Variables]:
    lab.on("host1", "docker", "node", "update", *plant, "host2")
    try:
        yield {}
    finally:
        lab.on("host1", "docker", "node", "update", *heal, "host2")
        until(partial(names_are_known, lab), 180)


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
def rank_signalled(lab: Lab, rank: int = 1, number: str = "STOP") -> Iterator[Variables]:
    """A signal for the probe of a rank, as soon as it runs."""
    over = threading.Event()
    host = lab.hosts[rank]

    def send() -> None:
        while not over.is_set():
            found = lab.on(host, "docker", "ps", "--quiet", "--filter", f"name=preflight_node{rank}").split()
            if found:
                time.sleep(1)  # until it listens
                lab.on(host, "docker", "kill", "--signal", number, found[0], check=False)
                return
            time.sleep(0.2)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield {"preflight_timeout": 40}
    finally:
        over.set()
        thread.join()


@contextmanager
def container_named(lab: Lab, name: str) -> Iterator[Variables]:
    """A container that is no task of the swarm answers to the name of a rank."""
    run = ["docker", "run", "--detach", "--name", "stranger", "--network", "ddp-net", "--network-alias", name]
    lab.on("host1", *run, image(lab), "sleep", "3600")
    try:
        yield {}
    finally:
        lab.on("host1", "docker", "rm", "--force", "stranger")


@contextmanager
def left_the_swarm(lab: Lab, then: str = "true") -> Iterator[Variables]:
    lab.on("host2", "sh", "-c", f"docker swarm leave && {then}")
    try:
        yield {}
    finally:
        lab.on("host2", "docker", "swarm", "leave", "--force", check=False)
        run = lab.play("playbooks/swarm.yml")
        assert run.rc == 0, run.failure()
        until(partial(names_are_known, lab), 180)


@contextmanager
def label_on_both(lab: Lab) -> Iterator[Variables]:
    lab.on("host1", "docker", "node", "update", "--label-add", "ddp_rank=1", "host1")
    try:
        yield {}
    finally:
        lab.on("host1", "docker", "node", "update", "--label-add", "ddp_rank=0", "host1")


@contextmanager
def socket_removed(lab: Lab) -> Iterator[Variables]:
    """The engine runs, and nobody reaches it."""
    lab.on("host2", "rm", "/run/docker.sock")
    try:
        yield {}
    finally:
        lab.on("host2", "systemctl", "restart", "docker.socket", "docker")
        until(partial(swarm_is_healthy, lab))
        until(partial(names_are_known, lab), 180)


@contextmanager
def port_taken_on_the_host(lab: Lab) -> Iterator[Variables]:
    lab.on("host1", "sh", "-c", "python3 -m http.server 12355 >/dev/null 2>&1 & echo $! >/run/taken")
    try:
        yield {"training_network_mode": "host"}
    finally:
        lab.on("host1", "sh", "-c", "kill $(cat /run/taken); rm /run/taken")


@contextmanager
def bound(lab: Lab, plant: str, heal: str, target: str = "/data") -> Iterator[Variables]:
    """A directory of the hosts in each container, which host2 has otherwise."""
    for host in lab.hosts:
        lab.on(host, "install", "-d", "-o", "1000", "/srv/planted")
    lab.on("host2", "sh", "-c", plant)
    volume = [{"type": "volume", "source": "snapshots", "target": "/snapshots"}] if target != "/snapshots" else []
    try:
        yield {"training_mounts": [{"type": "bind", "source": "/srv/planted", "target": target}, *volume]}
    finally:
        lab.on("host2", "sh", "-c", heal)
        for host in lab.hosts:
            lab.on(host, "rm", "-rf", "/srv/planted")


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
    settings = f"LD_PRELOAD=/libfaketimeMT.so.1 FAKETIME={seconds:+d} FAKETIME_DONT_FAKE_MONOTONIC=1"
    with image_changed(lab, host, change=f"ENV {settings}", file=library) as variables:
        yield variables


VERSION_FILE = (
    "$(python3 -c 'import importlib.util as u; print(u.find_spec(\"torch\").origin)' | xargs dirname)/version.py"
)
OTHER_TORCH = f"sed -i \"s/^__version__ = .*/__version__ = '1.0.0'/\" {VERSION_FILE}"
NO_TORCH = f"rm -r $(dirname {VERSION_FILE})"
BROKEN_TORCH = f"echo 'raise ImportError(\"libcublas.so.12: cannot open shared object file\")' >{VERSION_FILE}"
PORT_OPEN = "import socket; socket.create_connection(('127.0.0.1', 12355))"
PORT_TAKEN = "ENTRYPOINT " + json.dumps(
    ["sh", "-c", f"""python3 -m http.server 12355 >/dev/null 2>&1 &
     until python3 -c "{PORT_OPEN}" 2>/dev/null; do sleep 0.1; done; exec "$@" """, "--"]
)  # fmt: skip
