"""Two lab hosts whose GPUs are invented: host1 (Debian 13, manager) has two, host2 (Debian 12) has four."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labs import Lab

HERE = Path(__file__).parent
GPUS = {
    host: [f"GPU-{host[-1]}000000{n}-1111-2222-3333-444444444444" for n in range(count)]
    for host, count in (("host1", 2), ("host2", 4))
}
# What a user wrote there before, which has to survive.
THEIRS = {
    "default-runtime": "mine",
    "log-opts": {"max-size": "10m"},
    "node-generic-resources": ["FPGA=card0"],
    "runtimes": {"mine": {"path": "runc"}},
}
OWN_LINE = '#swarm-resource = "DOCKER_RESOURCE_GPU"'


def put(lab: Lab, host: str, path: str, text: str) -> None:
    argv = [
        "docker",
        "exec",
        "--interactive",
        f"{lab.name}-{host}",
        "sh",
        "-c",
        'mkdir -p "${0%/*}" && cat >"$0"',
        path,
    ]
    subprocess.run(argv, input=text, text=True, check=True, timeout=60)


def have_gpus(lab: Lab, host: str, gpus: list[str], driver: str = "580.95.05") -> None:
    put(lab, host, "/usr/local/bin/nvidia-smi", (HERE / "nvidia-smi-stand-in").read_text())
    lab.on(host, "chmod", "0755", "/usr/local/bin/nvidia-smi")
    listing = "".join(f"GPU {number}: Invented (UUID: {uuid})\n" for number, uuid in enumerate(gpus))
    put(lab, host, "/etc/nvidia-smi-stand-in/gpus", listing)
    put(lab, host, "/etc/nvidia-smi-stand-in/driver", f"{driver}\n" * len(gpus))


def settings(lab: Lab, host: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab.on(host, "cat", "/etc/docker/daemon.json"))
    return found


def offered(lab: Lab, host: str) -> list[str]:
    """The GPUs of a host as the swarm knows them."""
    node = lab.on(host, "docker", "info", "--format", "{{.Swarm.NodeID}}").strip()
    description = json.loads(lab.on("host1", "docker", "node", "inspect", "--format", "{{json .Description}}", node))
    entries = [entry["NamedResourceSpec"] for entry in description["Resources"].get("GenericResources") or []]
    return [entry["Value"] for entry in entries if entry["Kind"] == "NVIDIA-GPU"]


def recorded(lab: Lab, host: str, word: str) -> list[dict[str, Any]]:
    """What the runtime was asked for by containers in whose command `word` stands."""
    text = lab.on(host, "sh", "-c", "cat /var/log/nvidia-container-runtime-stand-in.jsonl || true")
    lines = [json.loads(line) for line in text.splitlines()]
    return [line for line in lines if any(word in argument for argument in line["args"])]


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    lab = Lab("gpu-stand-in", lab_releases={"host2": "bookworm"})
    with lab.running() as running:
        for host in GPUS:
            if not running.on(
                host, "sh", "-c", "ls /etc/docker/daemon.json 2>/dev/null || true"
            ):  # else it is a lab that was kept
                put(running, host, "/etc/docker/daemon.json", json.dumps(THEIRS))
            put(running, host, "/root/runtime", (HERE / "nvidia-container-runtime-stand-in").read_text())
            put(running, host, "/root/make.sh", (HERE / "make-toolkit-stand-in.sh").read_text())
            running.on(
                host,
                "sh",
                "-c",
                "apt-get update -qq && apt-get install -qq --no-install-recommends apt-utils gpg gpg-agent",
                timeout=300,
            )
            running.on(host, "sh", "-c", "[ -e /srv/nvidia/gpgkey ] || sh /root/make.sh /root/runtime /srv/nvidia")
        yield running


@pytest.fixture(scope="session")
def repository(lab: Lab) -> dict[str, Any]:
    """The variables that name the stand-in's repository. Each host made its own, and with it its own key."""
    fingerprints = {host: lab.on(host, "cat", "/srv/nvidia/fingerprint").strip() for host in GPUS}
    return {
        "docker_gpu_apt_repository": "file:///srv/nvidia",
        "docker_gpu_apt_key_fingerprint": f"{{{{ {json.dumps(fingerprints)}[inventory_hostname] }}}}",
    }
