"""What the three ways to the image cost: seconds, CPU seconds and megabytes, from nothing and after one changed line.

All in one run on the same hosts, one way after the other. The hosts share the cores of this machine, so that the builds of
many hosts take longer here than on machines of their own; CPU seconds do not. `make bench-image` prints the table, and adds
it to artifacts/image.md.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import time
from pathlib import Path

import pytest
import registries
from labs import ROOT, Lab

ROUNDS = 3
WAYS = ["build", "ship", "registry"]
CPU = """
if [ -e /sys/fs/cgroup/cpu.stat ]; then awk '$1 == "usage_usec" {print $2 / 1e6}' /sys/fs/cgroup/cpu.stat
else awk '{print $1 / 1e9}' /sys/fs/cgroup/cpuacct/cpuacct.usage; fi
cat /sys/class/net/eth0/statistics/rx_bytes /sys/class/net/eth0/statistics/tx_bytes
"""
# Each host's images on a new disk of their own, as machines have them. On a file system that all share, files that one host has
# just removed slow down the others: ext4 passes over inodes that were in use in the last minutes, and looks at them one by one
# (recently_deleted() in fs/ext4/ialloc.c), which made up a fifth of the CPU seconds.
NEW_DISK = """
set -e
systemctl stop docker.socket docker
if grep -q '^/dev/loop.* /var/lib/docker ' /proc/mounts; then umount /var/lib/docker; fi
[ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237
for number in $(seq 0 15); do [ -e /dev/loop$number ] || mknod /dev/loop$number b 7 $number; done
rm -f /var/lib/docker/disk
truncate -s 20G /var/lib/docker/disk
mkfs.ext4 -q /var/lib/docker/disk
mount -o loop /var/lib/docker/disk /var/lib/docker
rm -rf /etc/docker/certs.d
systemctl start docker
"""


def multiplexers(directory: Path) -> float:
    """CPU seconds of the ssh processes that live on between tasks, and so are nobody's children."""
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(directory).encode() in (process / "cmdline").read_bytes():
                ticks += sum(map(int, (process / "stat").read_text().rsplit(")", 1)[1].split()[11:13]))
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


class Meter:
    def __init__(self, lab: Lab, hosts: list[str], directory: Path) -> None:
        self.lab, self.hosts, self.directory = lab, hosts, directory
        self.context = lab.directory / "training"
        self.registry = {
            "image_registry_image": registries.NAME,
            "image_registry_archive": str(registries.archive(lab, hosts[0])),
        }

    def read(self) -> tuple[float, float, float, float, float]:
        rows = [self.lab.on(host, "sh", "-c", CPU).split() for host in self.hosts]
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        controller = used.ru_utime + used.ru_stime + multiplexers(self.directory)
        cpu, received, sent = (sum(float(row[column]) for row in rows) for column in range(3))
        return time.monotonic(), cpu, controller, received / 1e6, sent / 1e6

    def measure(self, way: str, text: str) -> list[float]:
        shutil.rmtree(self.context, ignore_errors=True)
        shutil.copytree(ROOT / "training", self.context)
        with (self.context / "training_code.py").open("a") as script:
            script.write(f"# {text}\n")
        before = self.read()
        variables = {"training_dir": str(self.context), "image_distribution": way, **self.registry}
        # As a user does, since ansible-runner takes a second or two of its own.
        run = subprocess.run(
            ["ansible-playbook", "-i", self.lab.inventory, "playbooks/image.yml", "-e", json.dumps(variables)],
            cwd=ROOT, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        after = self.read()
        assert run.returncode == 0, run.stdout[-4000:]
        tags = {
            self.lab.on(host, "docker", "image", "ls", "--format", "{{.Tag}}", "my-ddp-trainer") for host in self.hosts
        }
        assert len(tags) == 1, tags
        return [round(end - start, 1) for start, end in zip(before, after, strict=True)]


@pytest.mark.parametrize("size", [int(number) for number in os.environ.get("HOSTS", "2,4").split(",")])
def test_cost_of_the_image(size: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = [f"host{number}" for number in range(1, size + 1)]
    heads = [
        "hosts",
        "way",
        "what",
        "s",
        "CPU s, hosts",
        "CPU s, controller",
        "MB received by hosts",
        "MB sent by hosts",
    ]
    (ROOT / "artifacts").mkdir(exist_ok=True)

    def note(*cells: object) -> None:
        """At once, also for whoever does not wait for the end."""
        line = "| " + " | ".join(map(str, cells)) + " |"
        with capsys.disabled(), (ROOT / "artifacts/image.md").open("a") as file:
            print(line, file=file)
            print(line, flush=True)

    note(*heads)
    note(*["---"] * len(heads))
    lab = Lab("bench-image", lab_size=size, lab_packages=["docker.io", "zstd", "e2fsprogs"])
    sockets = lab.directory / "ssh"
    monkeypatch.setenv("ANSIBLE_SSH_CONTROL_PATH_DIR", str(sockets))
    with lab.running("docker"):
        meter = Meter(lab, hosts, sockets)
        for way in WAYS:
            for host in hosts:
                lab.on(host, "sh", "-c", NEW_DISK)
            lab.run("swarm")
            note(size, way, "from nothing", *meter.measure(way, f"{way} cold"))
            changes = [meter.measure(way, f"{way} {number}") for number in range(ROUNDS)]
            change = [statistics.median(column) for column in zip(*changes, strict=True)]
            note(size, way, f"one line, median of {ROUNDS}", *change)
            # Nothing but the changed layer travels, whichever way.
            assert change[3] < 20 * size
