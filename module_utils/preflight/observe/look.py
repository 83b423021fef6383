"""One look at a host, and the report of the probe in its container."""

from __future__ import annotations

import json
import math
import platform
import shutil
import time
from typing import Any

from ...docker.cli import DockerError
from ...logs import settled
from ...text import lines_of
from ..contract import MARKER, Json
from . import labels, mounts, volumes
from .engine import (
    addresses_of_services,
    container_of,
    control_peers,
    engine_facts,
    gpus_of_others,
    inspected,
    loners,
    network_facts,
    nvidia_driver,
    nvidia_gpus,
    service_tasks,
    stack_services,
    subnet_of,
    swarm_nodes,
    vxlan_support,
)
from .fabric import diagnosis, fabric
from .gpus import LOADED, busiest, gpu_states, recent_xids
from .growth import growth
from .links import counters_of, interface_of, link_facts
from .rules import conntrack, nat_of_gwbridge
from .twins import Twins
from .wire import HostNetwork, check_ports, local_networks, path_mtu, silent_gossip


def parse_report(text: str, run_id: str = "") -> Json | None:
    """The probe's last report in a container's output; a line that is cut or of another run is none."""
    for line in reversed(lines_of(text)):
        if not line.startswith(MARKER):
            continue
        try:
            report = json.loads(line[len(MARKER) :])
        except (ValueError, RecursionError):
            continue
        if isinstance(report, dict) and (not run_id or report.get("run_id") == run_id):
            return report
    return None


def observe(params: Json, docker: Any) -> Json:
    """Everything that one host can say. Never raises for a fault that it was sent to find."""
    checks = look(params, docker)
    report = {"rank": params["rank"], "host": params["host"] or platform.node(), "probe": None, "host_checks": checks}
    if params["service"]:
        report["probe"] = listen(params, docker, checks)
    return report


def look(params: Json, docker: Any) -> Json:
    """What the host says about itself."""
    arrived = time.time()
    own = params["host"] or platform.node()
    peers = [peer for peer in params["control_peers"] if peer["host"] != own]
    # Started first: it waits for the other hosts.
    ranks = {entry["host"] for entry in params["ranks"] or []}
    others = [peer for peer in peers if peer["host"] in ranks or not ranks]
    network = HostNetwork(params["host_network_port"], others) if params["host_network_port"] and others else None
    engine = engine_facts(docker)
    link = interface_of(str(engine.get("address") or ""))
    # A second time, beside the probe, it would say the same.
    twins = None if params["service"] else Twins(link, str(engine.get("address") or ""))
    ports = check_ports(peers)
    paths = {peer["host"]: path_mtu(peer["address"], params["network_mtu"] or 1500) for peer in peers}
    try:
        free: int | None = shutil.disk_usage(engine.get("root") or "/var/lib/docker").free
    except OSError:
        free = None
    kernel = engine.get("kernel") or platform.release()
    manager = engine["ok"] and engine["manager"]
    nodes = swarm_nodes(docker) if manager else []
    present = None
    if params["image"] and engine["ok"]:
        present = bool(inspected(docker, "image", "inspect", params["image"]))
    host_network = network.result() if network else {}
    silent = silent_gossip(docker, params["network"]) if engine["ok"] and peers else []
    return {
        "engine": engine,
        "kernel": kernel,
        "vxlan": vxlan_support(kernel),
        "clock": {"epoch": arrived, "sent_at": params["sent_at"]} if params["sent_at"] else {},
        "disk_free_bytes": free,
        "growth": growth(docker, params["results_volume"]) if params["results_volume"] and engine["ok"] else {},
        "networks": local_networks(),
        "link": link_facts(link),
        "twins": twins.result() if twins else [],
        "gpus": nvidia_gpus(),
        "nvidia_driver": nvidia_driver(),
        "ports": ports,
        "paths": paths,
        "image": {"name": params["image"], "present": present} if present is not None else {},
        "nodes": nodes,
        "control_peers": control_peers(nodes, params["ranks"] or []),
        "network": network_facts(docker, params["network"]) if manager else None,
        "left_over": bool(stack_services(docker, params["stack"])) if manager and params["stack"] else None,
        "host_network": host_network,
        "silent_gossip": [peer["host"] for peer in peers if peer["address"] in silent],
        "error": engine["error"],
        # A second time, beside the probe, it would say the same, and cost time.
        **({} if params["service"] else look_closer(params, docker, engine)),
    }


def look_closer(params: Json, docker: Any, engine: Json) -> Json:
    """What is asked once: the host's rules, what is in its networks, and its GPUs."""
    name = params["network"]
    rows = inspected(docker, "network", "inspect", "docker_gwbridge", name) if engine["ok"] else []
    by_name = {str(row.get("Name")): row for row in rows}
    bridge, network = by_name.get("docker_gwbridge") or {}, by_name.get(name) or {}
    services = 0
    if network and engine["manager"]:
        services = addresses_of_services(docker, str(network.get("Id")), params["own_stacks"])
    gpus = nvidia_gpus()
    states, complaint = gpu_states() if gpus else ([], "")
    # An engine without selinux-enabled gives its containers no label of their own.
    enforced = engine.get("selinux") and labels.is_enforcing()
    return {
        "gateway_bridge": subnet_of(bridge),
        "nat_rules": nat_of_gwbridge(bridge),
        "conntrack": conntrack(),
        "bind_mounts": mounts.unusable(docker, params["image"], params["bind_mounts"], params["results"])
        if engine["ok"]
        else [],
        "volumes": volumes.unusable(docker, params["image"], params["volumes"], params["results"])
        if engine["ok"]
        else [],
        "bind_labels": labels.denied(params["bind_mounts"]) if enforced else [],
        "loners": loners(network),
        "services_in_network": services,
        "gpu_states": states,
        "gpu_error": complaint,
        "fabric": fabric() if gpus else {},
        "dcgm": diagnosis() if gpus else {},
        "gpu_uuids": params["gpu_uuids"],
        "xids": recent_xids() if gpus else [],
    }


def listen(params: Json, docker: Any, checks: Json) -> Json | None:
    """Wait for the report of the probe in the service's local container; what is seen on the way goes into `checks`."""
    service = params["service"]
    checks.update(service=service, container=None, log_tail=[], tasks=[])
    probe: Json | None = None
    began = time.monotonic()
    appeared: float | None = None
    # A driver in trouble is asked once.
    asked = 0.0 if checks.get("gpus") else math.inf
    checks["gpu_load"] = {}
    while checks["engine"]["ok"]:
        now = time.monotonic()
        try:
            container = container_of(docker, service)
            if container is not None:
                checks["container"] = container
                appeared = appeared or now
                done = docker.run("logs", container["id"], check=False, timeout=20)
                probe = parse_report(done.stdout, params["run_id"])
                # Each by itself: the last line of the first may have no end.
                log = [*lines_of(done.stdout), *lines_of(done.stderr)]
                checks["log_tail"] = [line[:300] for line in settled(log) if MARKER not in line][-10:]
            checks["error"] = ""
        except DockerError as problem:
            checks["error"] = str(problem)[:500]
        if probe is not None:
            break
        if appeared is None and now - began > params["start_timeout"]:
            break
        # An exited container prints no more, but swarm may be about to replace it: that is worth a moment.
        over = checks["container"] is not None and checks["container"]["state"] in ("exited", "dead")
        if appeared is not None and now - appeared > (min(10, params["timeout"]) if over else params["timeout"]):
            break
        if now - asked > 1:
            states, complaint = gpu_states(LOADED)
            busiest(checks["gpu_load"], states)
            asked = math.inf if complaint else now
        time.sleep(0.25)
    checks["counters_after"] = counters_of(str((checks.get("link") or {}).get("name") or ""))
    checks["waited_s"] = round(time.monotonic() - began, 1)
    checks["gpus_of_others"] = gpus_of_others(docker, checks["container"]) if probe is not None else {}
    if checks["engine"].get("manager"):
        checks["tasks"] = service_tasks(docker, service)
    return probe
