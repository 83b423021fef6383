"""Keys that a swarm ignores or refuses, each with its reason and the way that works."""

from __future__ import annotations

import re

from .shapes import SECTIONS, ComposeError, Definition
from .values import integer

# 0.0.0.0 and [::] are all addresses.
IP_OF_PORT = re.compile(r"(?!0\.0\.0\.0:)(\d+\.){3}\d+:|\[(?!::\])|(?!::\d*:)[0-9a-f]*:[0-9a-f:]*:\d*:", re.IGNORECASE)
RESTART_WAY = "use deploy.restart_policy (condition: none, on-failure or any; max_attempts; delay; window)"

GPU_WAY = (
    "swarm passes no devices to tasks: name GPUs in node-generic-resources of each daemon.json, reserve them with "
    "deploy.resources.reservations.generic_resources, and make nvidia the default runtime"
)
LIMITS_WAY = "use deploy.resources.limits and deploy.resources.reservations"
# docker/cli cli/compose/types: UnsupportedProperties and DeprecatedProperties are dropped without an error,
# ForbiddenProperties and what the schema does not know are errors that do not say what to write instead.
REFUSED_SERVICE_KEYS = {
    "annotations": "use deploy.labels or labels",
    "attach": "it is a setting of docker compose; remove it",
    "blkio_config": "swarm cannot limit block I/O; limit it on the node",
    "build": "swarm does not build: build the image on every node or push it to a registry, and name it in image",
    "cgroup_parent": "set cgroup-parent in the nodes' daemon.json",
    "cgroupns_mode": "set default-cgroupns-mode in the nodes' daemon.json",
    "container_name": "remove it: a task's container is called STACK_SERVICE.SLOT.ID, its address is the service's name",
    "cpu_count": LIMITS_WAY,
    "cpu_percent": LIMITS_WAY,
    "cpu_period": LIMITS_WAY,
    "cpu_quota": LIMITS_WAY,
    "cpu_rt_period": LIMITS_WAY,
    "cpu_rt_runtime": LIMITS_WAY,
    "cpu_shares": LIMITS_WAY,
    "cpus": LIMITS_WAY,
    "cpuset": "pin inside the program (taskset, numactl); for an amount use deploy.resources.limits.cpus",
    "depends_on": "swarm starts all services at once and in no order: let the program wait for its peers, or deploy "
    "two stacks one after the other with wait_for",
    "develop": "it is a setting of docker compose; remove it",
    "device_cgroup_rules": GPU_WAY,
    "devices": GPU_WAY,
    "dns_opt": "set dns-opts in the nodes' daemon.json",
    "domainname": "write the full name into hostname",
    "expose": "remove it: services on one network reach all of each other's ports",
    "extends": "write the service out, use YAML anchors, or merge several compose entries",
    "external_links": "put both services on one network; they find each other by name",
    "gpus": GPU_WAY,
    "group_add": "set the groups in the image, or user: UID:GID",
    "ipc": "for shared memory mount a tmpfs on /dev/shm; sharing IPC namespaces is not possible in swarm",
    "label_file": "write the labels out under labels or deploy.labels",
    "links": "put both services on one network; they find each other by name",
    "mac_address": "swarm assigns addresses; remove it",
    "mem_limit": LIMITS_WAY,
    "mem_reservation": LIMITS_WAY,
    "mem_swappiness": "set it on the node",
    "memswap_limit": LIMITS_WAY,
    "network_mode": "list networks under networks; for the host's network: networks: {host: {external: true, name: host}}",
    "oom_kill_disable": LIMITS_WAY,
    "pid": "swarm tasks have their own PID namespace; run such a helper outside of swarm",
    "pids_limit": "use deploy.resources.limits.pids",
    "platform": "use deploy.placement.constraints: [node.platform.arch == x86_64]",
    "privileged": "use cap_add for what is needed (engine 20.10 and newer), or run it outside of swarm",
    "profiles": "leave the service out, or keep it in a compose entry of its own",
    "pull_policy": "use the module's option resolve_image",
    "runtime": "set default-runtime in the nodes' daemon.json",
    "scale": "use deploy.replicas",
    "security_opt": "set it in the nodes' daemon.json (seccomp-profile, selinux-enabled, no-new-privileges)",
    "shm_size": "mount a tmpfs: volumes: [{type: tmpfs, target: /dev/shm, tmpfs: {size: BYTES}}]",
    "storage_opt": "set storage-opts in the nodes' daemon.json",
    "tmpfs": "mount it: volumes: [{type: tmpfs, target: PATH, tmpfs: {size: BYTES}}]",
    "userns_mode": "set userns-remap in the nodes' daemon.json",
    "uts": "swarm tasks have their own host name; set it with hostname",
    "volume_driver": "define the volume in the top-level volumes section and set its driver there",
    "volumes_from": "name the same volume in both services",
}
KNOWN_SERVICE_KEYS = frozenset(
    [
        "cap_add",
        "cap_drop",
        "command",
        "configs",
        "credential_spec",
        "deploy",
        "dns",
        "dns_search",
        "entrypoint",
        "env_file",
        "environment",
        "extra_hosts",
        "healthcheck",
        "hostname",
        "image",
        "init",
        "isolation",
        "labels",
        "logging",
        "networks",
        "oom_score_adj",
        "ports",
        "read_only",
        "restart",
        "secrets",
        "stdin_open",
        "stop_grace_period",
        "stop_signal",
        "sysctls",
        "tty",
        "ulimits",
        "user",
        "volumes",
        "working_dir",
    ]
)
KNOWN_DEPLOY_KEYS = frozenset(
    [
        "endpoint_mode",
        "labels",
        "mode",
        "placement",
        "replicas",
        "resources",
        "restart_policy",
        "rollback_config",
        "update_config",
    ]
)


def refusals(compose: Definition) -> list[tuple[tuple[str, ...], str]]:
    """Where each key is that swarm ignores or rejects, and the sentence about it."""
    found: list[tuple[tuple[str, ...], str]] = []
    for key in compose:
        if key not in (*SECTIONS, "version", "name") and not str(key).startswith("x-"):
            way = "merge several compose entries" if key == "include" else "docker stack does not know it"
            found.append(((key,), f"top level: {key} is not supported: {way}"))
    for name, service in (compose.get("services") or {}).items():
        for key in service or {}:
            if key in REFUSED_SERVICE_KEYS:
                found.append(
                    (("services", name, key), f"service {name}: {key} has no effect: {REFUSED_SERVICE_KEYS[key]}")
                )
            elif key not in KNOWN_SERVICE_KEYS and not str(key).startswith("x-"):
                found.append((("services", name, key), f"service {name}: {key} is not a key that docker stack knows"))
        deploy = (service or {}).get("deploy") or {}
        for key in deploy:
            if key not in KNOWN_DEPLOY_KEYS and not str(key).startswith("x-"):
                found.append(
                    (
                        ("services", name, "deploy", key),
                        f"service {name}: deploy.{key} is not a key that docker stack knows",
                    )
                )
        reservations = (deploy.get("resources") or {}).get("reservations") or {}
        if "devices" in reservations:
            where: tuple[str, ...] = ("services", name, "deploy", "resources", "reservations", "devices")
            found.append((where, f"service {name}: deploy.resources.reservations.devices has no effect: {GPU_WAY}"))
        found += [
            (
                (),
                f"service {name}: the address in ports {port} has no effect: swarm publishes on all addresses of a node",
            )
            for port in (service or {}).get("ports") or []
            if isinstance(port, str) and IP_OF_PORT.match(port)
        ]
        networks = (service or {}).get("networks")
        for network, settings in networks.items() if isinstance(networks, dict) else ():
            for key in sorted(set(settings or {}) & {"ipv4_address", "ipv6_address", "link_local_ips", "priority"}):
                where = ("services", name, "networks", network, key)
                found.append(
                    (where, f"service {name}: networks.{network}.{key} has no effect: swarm assigns addresses")
                )
    return found


# Docker's schema, for what a file names; swarmkit's manager/controlapi, for services.
NAME = re.compile(r"[a-zA-Z0-9._-]+")
SERVICE_NAME = re.compile(r"[a-zA-Z0-9](?:[-_]*[a-zA-Z0-9]+)*")
SERVICE_NAME_LIMIT = 63
VERSION = re.compile(r"3(?:\.[0-9]+)?")


def check_names(definition: Definition, stack: str) -> None:
    """Refuse what swarm would refuse when a part of the stack is there already, or is taken down."""
    for section in ("networks", "volumes", "configs", "secrets"):
        for name in definition[section]:
            if not NAME.fullmatch(name):
                raise ComposeError(
                    f"{section}: {name!r} is not a name for a {section[:-1]}: letters, digits, ., _ and - only"
                )
    for name in definition["services"]:
        full_name = f"{stack}_{name}"
        if not SERVICE_NAME.fullmatch(full_name):
            raise ComposeError(
                f"service {name!r}: a service's name has letters, digits, - and _ only, and ends in a letter or digit"
            )
        if len(full_name) > SERVICE_NAME_LIMIT:
            raise ComposeError(
                f"service {name}: its name in the swarm, {full_name}, is longer than {SERVICE_NAME_LIMIT} characters"
            )


def check_version(part: Definition) -> None:
    """Keys go by the newest schema, but only versions 3 have one that docker stack knows."""
    version = part.get("version")
    if version not in (None, "") and not VERSION.fullmatch(str(version)):
        raise ComposeError(
            f"version: {str(version)[:20]!r} is none that docker stack knows: leave version out, or write one of 3, 3.0 to 3.13"
        )


def drop(compose: Definition, path: tuple[str, ...]) -> None:
    for key in path[:-1]:
        compose = compose[key]
    del compose[path[-1]]


def refuse_restart(name: str, service: Definition) -> str:
    """Put `restart` where it belongs, as docker does. Returns a sentence where it has no effect, after it was taken out."""
    given = service.pop("restart", "")
    if not given:
        return ""
    policy, colon, attempts = given.partition(":")
    conditions = {"always": "any", "unless-stopped": "any", "on-failure": "on-failure"}
    try:
        count = integer(attempts) if colon else 0
    except ValueError:
        count = -1
    if policy not in (*conditions, "no") or count < 0:
        raise ComposeError(
            f"service {name}: restart: {given} is not no, always, unless-stopped, on-failure or on-failure:COUNT"
        )
    deploy = service.setdefault("deploy", {})
    if "restart_policy" in deploy:
        return f"service {name}: restart has no effect beside deploy.restart_policy"
    if policy == "no":
        return f"service {name}: restart: no has no effect, swarm would start its tasks again and again: {RESTART_WAY}"
    deploy["restart_policy"] = {"condition": conditions[policy], **({"max_attempts": count} if count else {})}
    return ""
