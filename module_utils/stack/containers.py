"""The ranks whose containers are on one host, which know of their jobs also where no manager answers."""

from __future__ import annotations

import json
import re
from typing import Any

from ..docker.cli import ANSWER_TIMEOUT, DockerCli
from ..names import CHECK, is_name
from .live import NAMESPACE

SERVICE_LABEL = "com.docker.swarm.service.name"
RANK_SERVICE = re.compile(r"(.+)_node(\d{1,5})", re.ASCII)


def read_containers(docker: DockerCli) -> list[dict[str, Any]]:
    """Those of ranks, whether they run or not, the newest first. Of a label that is no job's name nothing is made."""
    label = f"label={SERVICE_LABEL}"
    ids = docker.run("ps", "--all", "--no-trunc", "--quiet", "--filter", label, timeout=ANSWER_TIMEOUT).stdout.split()
    # One that was removed meanwhile is left out.
    told = docker.run("inspect", *ids, check=False, timeout=ANSWER_TIMEOUT).stdout if ids else ""
    found = [described(container) for container in json.loads(told or "[]")]
    return [one for one in found if one]


def described(container: dict[str, Any]) -> dict[str, Any]:
    labels = (container.get("Config") or {}).get("Labels") or {}
    rank = RANK_SERVICE.fullmatch(str(labels.get(SERVICE_LABEL)))
    job = str(labels.get(NAMESPACE))
    if not rank or rank[1] != job or not is_name("stack", job) or job.endswith(CHECK):
        return {}
    mounts = [
        {
            "type": str(mount.get("Type")),
            "source": str((mount.get("Name") if mount.get("Type") == "volume" else mount.get("Source")) or ""),
            "target": str(mount.get("Destination")),
        }
        for mount in container.get("Mounts") or []
        if mount.get("Type") in ("volume", "bind")
    ]
    state = str((container.get("State") or {}).get("Status"))
    service = str(labels.get("com.docker.swarm.service.id") or "")
    return {
        "id": str(container["Id"]),
        "job": job,
        "rank": int(rank[2]),
        "service": service,
        "state": state,
        "mounts": mounts,
    }
