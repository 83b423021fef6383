"""Filters: what the monitoring stack consists of, and where it is reached."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ..module_utils.names import GPU, HOST, MONITORING, is_address

# Each part's port in its container, and on which hosts it runs.
PARTS = {
    "prometheus": (9090, "one"),
    "node_exporter": (9100, "each"),
    "cadvisor": (8080, "each"),
    "dcgm_exporter": (9400, "gpu"),
    "ranks": (9410, "ranks"),
    "grafana": (3000, "one"),
}
# Characters of a name in that of a service: swarm allows 63, with the stack's name and the part's.
LONGEST = 30
DIGEST = 8


def slug(name: str) -> str:
    """A name as it can be part of a service's: two names never give the same."""
    plain = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
    if plain == name and len(name) <= LONGEST:
        return name
    return f"{plain[: LONGEST - DIGEST - 1]}-{hashlib.sha256(name.encode()).hexdigest()[:DIGEST]}".strip("-")


def ready_hosts(nodes: Sequence[Mapping[str, Any]], hosts: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """By those hosts whose node is ready, the node. `nodes` are those of swarm_node_info."""
    named = {node["labels"].get(HOST): node for node in nodes if node["status"] == "ready"}
    return {host: named[host] for host in hosts if host in named}


def monitoring_services(
    parts: Sequence[str],
    lead: str,
    hosts: Sequence[str],
    nodes: Sequence[Mapping[str, Any]],
    jobs: Sequence[Mapping[str, Any]],
    results: str,
) -> list[dict[str, Any]]:
    """The services of the stack, each with its `part`, `name`, `host` and `port`; those of ranks also with what they are started with.

    `lead` is the host of what runs once, `jobs` are those of swarm_jobs_info, `results` is training_results_dir.
    """
    ready, found = ready_hosts(nodes, hosts), []
    for part, (port, where) in PARTS.items():
        if part not in parts:
            continue
        if where == "ranks":
            found += [{**service, "port": port} for job in jobs for service in rank_services(job, list(ready), results)]
            continue
        places = [lead] if where == "one" else list(ready)
        for host in places:
            if where == "gpu" and not ready[host]["resources"].get(GPU):
                continue
            name = part.replace("_", "-")
            found.append(
                {"part": part, "name": name if where == "one" else f"{name}-{slug(host)}", "host": host, "port": port}
            )
    return found


def rank_services(job: Mapping[str, Any], hosts: list[str], results: str) -> list[dict[str, Any]]:
    """Beside each rank's results, from the job's own image. None where no launcher shows that this has Python, or nothing lies in a volume or directory."""
    mount = next((mount for mount in job["mounts"] if mount["target"] == results), None)
    if not mount or not job["launched"]:
        return []
    return [
        {
            "part": "ranks",
            "name": f"rank-{slug(job['name'])}-{rank['rank']}",
            "host": rank["host"],
            "job": job["name"],
            "node_rank": rank["rank"],
            "hosts": len(job["ranks"]),
            "image": job["image"],
            "mount": {"type": mount["type"], "source": mount["source"]},
        }
        for rank in job["ranks"]
        if rank["host"] in hosts
    ]


def left_out(jobs: Sequence[Mapping[str, Any]], services: Sequence[Mapping[str, Any]]) -> list[str]:
    """Jobs of whose ranks nothing is exported."""
    shown = {service.get("job") for service in services}
    return [str(job["name"]) for job in jobs if job["name"] not in shown]


def local_image(name: str, part: str) -> str:
    """What an image out of an archive is called on the hosts: a name that no registry has, or swarm would ask one for it."""
    return f"{MONITORING}-{part.replace('_', '-')}:{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def monitoring_images(images: Mapping[str, str], archives: Mapping[str, str]) -> dict[str, str]:
    """By part what its services name."""
    return {part: local_image(name, part) if archives.get(part) else name for part, name in images.items()}


def monitoring_archives(
    services: Sequence[Mapping[str, Any]], host: str, images: Mapping[str, str], archives: Mapping[str, str]
) -> list[dict[str, str]]:
    """What a host needs out of archives: `name` in the archive, the `archive`, and the `tag` that it gets."""
    parts = {service["part"] for service in services if service["host"] == host}
    return [
        {"name": images[part], "archive": str(archives[part]), "tag": local_image(images[part], part)}
        for part in images
        if part in parts and archives.get(part)
    ]


def monitoring_refusals(settings: Mapping[str, Any], hosts: Sequence[str]) -> list[str]:
    """A sentence for each of the settings that cannot be meant. `settings` are variables by their names."""
    said = []
    parts = settings["monitoring_parts"]
    strange = [str(part) for part in parts if part not in PARTS]
    if strange:
        said.append(f"monitoring_parts names {', '.join(strange)}: its entries are among {', '.join(PARTS)}.")
    if "prometheus" not in parts:
        said.append("monitoring_parts lacks prometheus, and nothing would collect what the others tell.")
    if settings["monitoring_host"] not in hosts:
        said.append(
            f"monitoring_host is {settings['monitoring_host']}, which is no host of the group swarm: {', '.join(hosts)}."
        )
    archives = settings["monitoring_image_archives"]
    unknown = [str(part) for part in archives if part not in PARTS or part == "ranks"]
    if unknown:
        known = ", ".join(part for part in PARTS if part != "ranks")
        said.append(f"monitoring_image_archives names {', '.join(unknown)}: its keys are among {known}.")
    if not re.fullmatch(r"[1-9][0-9]{0,4}[hdwy]", str(settings["monitoring_retention"])):
        said.append(
            f"monitoring_retention is {settings['monitoring_retention']}: it is a number with h, d, w or y behind it, such as 15d."
        )
    if not re.fullmatch(r"[1-9][0-9]{0,5}[MGT]B", str(settings["monitoring_retention_size"])):
        said.append(
            f"monitoring_retention_size is {settings['monitoring_retention_size']}: it is a number with MB, GB or TB behind it, such as 5GB."
        )
    if not 5 <= int(settings["monitoring_interval"]) <= 300:
        said.append(
            f"monitoring_interval is {settings['monitoring_interval']}: it is a number of seconds from 5 to 300."
        )
    if 0 < len(str(settings["monitoring_grafana_password"])) < 8:
        said.append("monitoring_grafana_password has less than 8 characters.")
    return said


def monitoring_addresses(listed: Mapping[str, str], bridge: str) -> dict[str, dict[str, Any]]:
    """By part where only its host reaches it.

    `listed` has the container IDs by parts, as `docker ps` prints them, `bridge` is what docker says of the containers in docker_gwbridge, as JSON.
    """
    try:
        known = json.loads(bridge or "{}")
    except (ValueError, RecursionError):
        known = {}
    found: dict[str, dict[str, Any]] = {}
    for part, said in listed.items():
        for container in said.split():
            entry = known.get(container) if isinstance(known, dict) else None
            address = str((entry if isinstance(entry, dict) else {}).get("IPv4Address", "")).partition("/")[0]
            if is_address(address):
                found.setdefault(part, {"address": address, "port": PARTS[part][0]})
    return found


def monitoring_forwards(addresses: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Options of ssh: each part at its own port of this machine's loopback."""
    return [
        word for way in addresses.values() for word in ("-L", f"127.0.0.1:{way['port']}:{way['address']}:{way['port']}")
    ]


def monitoring_way(ssh: Sequence[str], addresses: Mapping[str, Mapping[str, Any]]) -> str:
    """The command for the tunnel, to be typed; on this machine itself where it answers."""
    if ssh:
        return shlex.join([ssh[0], "-N", *monitoring_forwards(addresses), *ssh[1:]])
    return " ".join(f"http://{way['address']}:{way['port']}/" for way in addresses.values())


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "monitoring_services": monitoring_services,
            "monitoring_images": monitoring_images,
            "monitoring_archives": monitoring_archives,
            "monitoring_refusals": monitoring_refusals,
            "monitoring_addresses": monitoring_addresses,
            "monitoring_way": monitoring_way,
            "monitoring_left_out": left_out,
        }
