"""Prometheus and node exporter for a lab: images that stand in for the official ones, and the console's tunnel to them.

They are made of Debian's packages prometheus and prometheus-node-exporter, and come out of archives. What Debian does not have, cAdvisor,
dcgm-exporter and Grafana, is not deployed.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from consoles import console
from labs import Lab
from ports import free_ports

STAND_INS = {"prometheus": "stand-in-for-prometheus:debian", "node_exporter": "stand-in-for-node-exporter:debian"}
# Without installing it: a program of the package listens as soon as it is there.
MAKE = r"""
set -e
docker image inspect {name} >/dev/null 2>&1 && exit
rm -rf /root/stand-in && mkdir -p /root/stand-in && cd /root/stand-in
apt-get update -qq
# What Prometheus' pages need of others is in packages of their own.
scripts=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances {package} |
  grep '^libjs-' | sort -u)
apt-get download -qq {package} $scripts
for file in *.deb; do dpkg -x "$file" . && rm "$file"; done
libraries=$(ldd usr/bin/{package} | grep -o '/[^ ]*lib[^ ]*' | sort -u)
for library in $libraries; do mkdir -p .$(dirname $library); cp -L $library .$library; done
mkdir -p prometheus tmp
tar -cf - . | docker import --change 'ENTRYPOINT ["/usr/bin/{package}"]' - {name}
"""


def archive(lab: Lab, part: str, name: str) -> None:
    """A file on the controller, as docker save makes it; the host itself keeps nothing of it."""
    file = lab.directory / f"{part}.tar"
    if not file.exists():
        package = {"prometheus": "prometheus", "node_exporter": "prometheus-node-exporter"}[part]
        lab.on("host1", "sh", "-c", MAKE.format(name=name, package=package), timeout=600)
        lab.on("host1", "docker", "save", "--output", "/root/image.tar", name, timeout=300)
        file.write_bytes(lab.read("host1", "/root/image.tar"))
        lab.on("host1", "sh", "-c", f"docker rmi {name}; rm -rf /root/stand-in /root/image.tar")


def settings(lab: Lab) -> dict[str, Any]:
    return {
        "monitoring_parts": ["prometheus", "node_exporter", "ranks"],
        "monitoring_prometheus_image": STAND_INS["prometheus"],
        "monitoring_node_exporter_image": STAND_INS["node_exporter"],
        "monitoring_image_archives": {part: str(lab.directory / f"{part}.tar") for part in STAND_INS},
        "monitoring_interval": 5,
    }


@contextmanager
def tunnel(lab: Lab) -> Iterator[int]:
    """The console's command; yields the port at which Prometheus answers on this machine."""
    grafana, prometheus = free_ports(2)
    words = ["monitoring", "--port", str(grafana), "--prometheus-port", str(prometheus)]
    with console(lab, *words, ready="Ctrl-C closes", **settings(lab)) as said:
        assert f"Prometheus: http://127.0.0.1:{prometheus}/" in said
        yield prometheus
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", prometheus), timeout=2)
