"""What runs on an engine, and its volumes. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

from ..names import SERVICE_LABEL
from .cli import ANSWER_TIMEOUT, DockerCli


def running(docker: DockerCli) -> dict[str, list[str]]:
    """`services` are those swarm services of which a container runs there, `containers` the other containers, all by their names."""
    form = f'{{{{.Names}}}}\t{{{{.Label "{SERVICE_LABEL}"}}}}'
    rows = docker.run("ps", "--format", form, timeout=ANSWER_TIMEOUT).stdout.splitlines()
    pairs = [row.partition("\t")[::2] for row in rows]
    return {
        "services": sorted({service for _, service in pairs if service}),
        "containers": sorted(name for name, service in pairs if name and not service),
    }


def volumes(docker: DockerCli) -> list[str]:
    return docker.run("volume", "ls", "--quiet", timeout=ANSWER_TIMEOUT).stdout.split()
