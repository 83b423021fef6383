"""The ranks whose containers are on one host, which know of their jobs also where no manager answers."""

from __future__ import annotations

import json
from typing import Any

from ..docker.cli import ANSWER_TIMEOUT, DockerCli
from ..names import NAMESPACE, RESULTS_LABEL, SERVICE_LABEL, is_name, job_and_rank


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
    found = job_and_rank(str(labels.get(SERVICE_LABEL)))
    if not found or found[0] != str(labels.get(NAMESPACE)) or not is_name("stack", found[0]):
        return {}
    job, rank = found
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
        "rank": rank,
        "service": service,
        "state": state,
        "mounts": mounts,
        "results": str(labels.get(RESULTS_LABEL, "")),
    }
