"""What a host's kernel and engine say about themselves, their networks, containers and tasks."""

from __future__ import annotations

import json
import os
import re
from typing import Any

from ...docker.cli import DockerError
from ...docker.info import ask
from ...names import GOSSIP_PORT, GPU, MANAGER_PORT, NAMESPACE, RANK, SERVICE_LABEL
from ...swarm.node import list_nodes
from ..contract import Json

# In the environment of a task, by swarm: the generic resources that it was given.
GPU_VARIABLE = f"DOCKER_RESOURCE_{GPU}"
TASK_NAME = re.compile(r"\.[a-z0-9]{25}$")


def vxlan_support(release: str, root: str = "/") -> bool | None:
    """Whether this kernel can do VXLAN: True, False, or None where nothing says so (a container, a custom kernel)."""
    if os.path.isdir(os.path.join(root, "sys/module/vxlan")):
        return True
    modules = os.path.join(root, "lib/modules", release)
    seen = False
    for name in ("modules.builtin", "modules.dep"):
        try:
            with open(os.path.join(modules, name), encoding="utf-8", errors="replace") as stream:
                seen = True
                if "/vxlan.ko" in stream.read():
                    return True
        except OSError:
            continue
    return False if seen else None


def nvidia_driver(root: str = "/") -> str:
    """Version of the NVIDIA driver's kernel module, empty where it is not loaded."""
    try:
        with open(os.path.join(root, "sys/module/nvidia/version"), encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def nvidia_gpus(root: str = "/") -> int:
    """How many GPUs the NVIDIA driver has on this host."""
    try:
        return len(os.listdir(os.path.join(root, "proc/driver/nvidia/gpus")))
    except OSError:
        return 0


def engine_facts(docker: Any) -> Json:
    info, problem = ask(docker, timeout=20)
    if problem:
        return {"ok": False, "error": problem[:500]}
    swarm = info.get("Swarm") or {}
    return {
        "ok": True,
        "error": "",
        "version": info.get("ServerVersion"),
        "kernel": info.get("KernelVersion"),
        "root": info.get("DockerRootDir"),
        "swarm_state": swarm.get("LocalNodeState"),
        "swarm_error": swarm.get("Error") or "",
        "manager": bool(swarm.get("ControlAvailable")),
        "node": swarm.get("NodeID") or "",
        "address": swarm.get("NodeAddr") or "",
        "default_runtime": info.get("DefaultRuntime") or "",
        "selinux": "name=selinux" in (info.get("SecurityOptions") or []),
        "data_path_port": (swarm.get("Cluster") or {}).get("DataPathPort") or 0,
    }


def inspected(docker: Any, *args: str) -> list[Json]:
    """What `docker ... inspect` prints, or nothing."""
    try:
        rows = json.loads(docker.run(*args, check=False, timeout=20).stdout or "[]")
    except (DockerError, ValueError, RecursionError):
        return []
    return rows if isinstance(rows, list) else []


def swarm_nodes(docker: Any) -> list[Json]:
    """Every node as a manager sees it."""
    try:
        return list_nodes(docker, timeout=20)
    except DockerError:
        return []


def control_peers(nodes: list[Json], ranks: list[Json]) -> list[Json]:
    """The option `control_peers`: managers listen on one port more than every node.

    Left out are workers without a rank, and nodes that are down, unless a rank has no other: machines that have left.
    """
    names = {str(entry["rank"]): entry["host"] for entry in ranks}
    ready = {node["labels"].get(RANK) for node in nodes if node["status"] == "ready"}
    return [
        {
            "host": names.get(rank) or node["hostname"],
            "address": node["address"],
            "ports": [MANAGER_PORT, GOSSIP_PORT] if node["reachability"] else [GOSSIP_PORT],
        }
        for node in nodes
        for rank in [node["labels"].get(RANK)]
        if node["address"]
        and (rank in names or node["reachability"])
        and (node["status"] == "ready" or (rank in names and rank not in ready))
    ]


def network_facts(docker: Any, network: str) -> Json | None:
    """The training's network, or None when this manager does not know it."""
    for row in inspected(docker, "network", "inspect", network):
        options = row.get("Options") or {}
        return {
            "subnet": subnet_of(row),
            "mtu": int(options.get("com.docker.network.driver.mtu") or 0),
            "encrypted": "encrypted" in options,
            "driver": row.get("Driver"),
        }
    return None


def subnet_of(network: Json) -> str:
    """The first IPv4 subnet of a network as it is inspected, or nothing."""
    configs = (network.get("IPAM") or {}).get("Config") or []
    return next((str(c["Subnet"]) for c in configs if ":" not in str(c.get("Subnet", ":"))), "")


def addresses_of_services(docker: Any, network: str, without: list[str]) -> int:
    """How many of a network's addresses the swarm's services hold: one for each task that runs, and each virtual IP.

    The services of some stacks are left out: those that a check, or the training after it, takes the place of.
    """
    try:
        rows = docker.run("service", "ls", "--format", "{{.ID}} {{.Replicas}}", timeout=20).stdout.splitlines()
    except DockerError:
        return 0
    running = {}
    for row in rows:
        name, _, replicas = row.partition(" ")
        count = replicas.split("/")[0]
        running[name] = int(count) if count.isdigit() else 0
    held = 0
    for service in inspected(docker, "service", "inspect", *running) if running else []:
        spec, addresses = service.get("Spec") or {}, (service.get("Endpoint") or {}).get("VirtualIPs") or []
        if (spec.get("Labels") or {}).get(NAMESPACE) in without:
            continue
        targets = (spec.get("TaskTemplate") or {}).get("Networks") or spec.get("Networks") or []
        if network in [target.get("Target") for target in targets]:
            held += next((count for name, count in running.items() if str(service.get("ID")).startswith(name)), 0)
        held += sum(address.get("NetworkID") == network for address in addresses)
    return held


def loners(network: Json) -> list[str]:
    """Containers of this host in a network that no service has put there, by name."""
    entries = (network.get("Containers") or {}).items()
    # The engine's own address in the network, one on each host that has a task in it, is called lb-NETWORK.
    names = [str(entry.get("Name")) for key, entry in entries if not key.startswith("lb-")]
    return sorted(name for name in names if not TASK_NAME.search(name))


def container_of(docker: Any, service: str) -> Json | None:
    """The newest local container of a swarm service, as the engine tells it."""
    rows = docker.json_lines("ps", "--all", "--no-trunc", "--filter", f"label={SERVICE_LABEL}={service}")
    if not rows:
        return None
    name = str(rows[0].get("ID"))
    done = docker.run("inspect", "--type", "container", name, check=False, timeout=20)
    try:
        details = json.loads(done.stdout)[0]
    except (ValueError, IndexError, RecursionError):
        return None
    state = details.get("State") or {}
    return {
        "id": name,
        "run_id": environment(details).get("PROBE_RUN_ID", ""),
        "image": (details.get("Config") or {}).get("Image"),
        "state": state.get("Status"),
        "exit_code": state.get("ExitCode"),
        "error": state.get("Error") or "",
        "oom_killed": bool(state.get("OOMKilled")),
        "gpus": given_gpus(details),
    }


def environment(container: Json) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in (container.get("Config") or {}).get("Env") or [])


def given_gpus(container: Json) -> list[str]:
    """The GPUs that swarm gave to a container, by UUID."""
    return [gpu for gpu in environment(container).get(GPU_VARIABLE, "").split(",") if gpu]


def gpus_of_others(docker: Any, container: Json) -> Json:
    """Which of this container's GPUs swarm gave to another one too that runs, with the name of that.

    Swarm counts what is free anew when its leader restarts, and can forget what tasks hold.
    """
    if not container["gpus"]:
        return {}
    try:
        running = docker.run("ps", "--quiet", "--no-trunc", timeout=20).stdout.split()
    except DockerError:
        return {}
    rows = inspected(
        docker, "inspect", "--type", "container", *(other for other in running if other != container["id"])
    )
    return {gpu: row["Name"].lstrip("/") for row in rows for gpu in given_gpus(row) if gpu in container["gpus"]}


def service_tasks(docker: Any, service: str) -> list[Json]:
    """What the swarm says about the tasks of the whole stack; only a manager knows."""
    stack = service.rsplit("_", 1)[0]
    tasks = []
    try:
        rows = docker.json_lines("stack", "ps", "--no-trunc", stack)
    except DockerError:
        return []
    for row in rows:
        tasks.append(
            {
                "name": str(row.get("Name", "")).lstrip("\\_ ").rsplit(".", 1)[0],
                "node": row.get("Node") or "",
                "desired": row.get("DesiredState"),
                "state": row.get("CurrentState"),
                "error": row.get("Error") or "",
            }
        )
    return tasks


def stack_services(docker: Any, stack: str) -> list[str]:
    label = f"label={NAMESPACE}={stack}"
    try:
        return list(docker.run("service", "ls", "--quiet", "--filter", label, timeout=20).stdout.split())
    except DockerError:
        return []
