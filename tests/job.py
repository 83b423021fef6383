"""A job without torch: each rank counts, once a second, and goes on from the number on its volume. A few MB, from the host itself."""

import json
import time

from labs import Lab
from shell_image import import_shell

COUNT = (
    "trap 'exit 143' TERM; n=$(cat /snapshots/n 2>/dev/null || echo 0); echo resumed at $n; "
    "while :; do n=$((n+1)); echo $n >/snapshots/n; sleep 1 & wait $!; done"
)
IMAGE = "counter:1"
STACK = "simple-training"


def deploy(lab: Lab, lead: str, hosts: list[str], stack: str = STACK) -> None:
    """One rank on each host, as the training has it: placed by its label, on the overlay, with a volume."""
    for host in hosts:
        import_shell(lab, host, IMAGE)
    compose = {
        "version": "3.8",
        "networks": {"ddp-net": {"external": True}},
        "volumes": {"snapshots": {"name": f"{stack}_snapshots"}},
        "services": {
            f"node{rank}": {
                "image": IMAGE,
                "command": ["sh", "-c", COUNT.replace("$", "$$")],
                "networks": ["ddp-net"],
                "volumes": ["snapshots:/snapshots"],
                "deploy": {
                    "endpoint_mode": "dnsrr",
                    "placement": {"constraints": [f"node.labels.ddp_rank == {rank}"]},
                    "restart_policy": {"condition": "on-failure", "max_attempts": 3, "delay": "2s"},
                },
            }
            for rank in range(len(hosts))
        },
    }
    lab.on(lead, "sh", "-c", f"cat >/tmp/job.json <<'END'\n{json.dumps(compose)}\nEND")
    lab.on(lead, "docker", "stack", "deploy", "--resolve-image", "never", "--compose-file", "/tmp/job.json", stack)
    runs(lab, hosts)


def count(lab: Lab, host: str, stack: str = STACK) -> int:
    text = lab.on(host, "sh", "-c", f"cat /var/lib/docker/volumes/{stack}_snapshots/_data/n", check=False).strip()
    return int(text or 0)


def runs(lab: Lab, hosts: list[str], seconds: float = 60) -> None:
    """Every rank counts."""
    before = {host: count(lab, host) for host in hosts}
    deadline = time.monotonic() + seconds
    while any(count(lab, host) <= before[host] for host in hosts):
        counts = {host: (before[host], count(lab, host)) for host in hosts}
        assert time.monotonic() < deadline, (counts, lab.on(hosts[0], "docker", "stack", "ps", "--no-trunc", STACK))
        time.sleep(1)


def remove(lab: Lab, lead: str, stack: str = "simple-training") -> None:
    lab.on(lead, "docker", "stack", "rm", stack)
    deadline = time.monotonic() + 30
    while lab.on(lead, "docker", "ps", "--quiet", "--filter", f"label=com.docker.stack.namespace={stack}"):
        assert time.monotonic() < deadline
        time.sleep(1)
