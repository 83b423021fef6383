"""From a compose file on standard input to the specs that docker sends to a swarm, as docker/cli's cli/compose does it."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping
from typing import Any

from swarm_stand_in.orchestrator import SECOND
from swarm_stand_in.store import IMAGE_LABEL, NAMESPACE, Raw
from swarm_stand_in.template import NotPlayed

# Schema 3.9.
TOP = "version services networks volumes secrets configs".split()  # noqa: SIM905
SERVICE = """cap_add cap_drop command configs credential_spec deploy dns dns_search entrypoint env_file environment
    extra_hosts healthcheck hostname image init isolation labels logging networks ports read_only secrets stdin_open
    stop_grace_period stop_signal sysctls tty ulimits user volumes working_dir""".split()  # noqa: SIM905
UNSUPPORTED = """build cgroupns_mode cgroup_parent devices domainname external_links ipc links mac_address network_mode
    pid privileged restart security_opt shm_size userns_mode""".split()  # noqa: SIM905
SILENT = ["depends_on", "tmpfs"]
DEPRECATED = ["container_name", "expose"]
FORBIDDEN = """extends volume_driver volumes_from cpu_quota cpu_shares cpuset mem_limit
    memswap_limit""".split()  # noqa: SIM905
DEPLOY = """mode endpoint_mode replicas labels rollback_config update_config resources restart_policy
    placement""".split()  # noqa: SIM905
VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<name>[_a-zA-Z][_a-zA-Z0-9]*)|\{(?P<braced>[_a-zA-Z][_a-zA-Z0-9]*)"
    r"(?:(?P<operator>:?[-?+])(?P<word>[^}]*))?\}|(?P<bad>))"
)
CONVERTED = """cap_add cap_drop command configs deploy dns dns_search entrypoint environment extra_hosts healthcheck
    hostname image init labels networks ports read_only secrets stop_grace_period stop_signal tty user volumes
    working_dir""".split()  # noqa: SIM905


class ComposeRefused(Exception):
    """Docker's words."""


class Forbidden(ComposeRefused):
    """Docker has other words for these keys where it deploys than where it only reads."""

    def __init__(self, keys: list[str]) -> None:
        super().__init__("Configuration contains forbidden properties")
        self.deploying = "Compose file contains unsupported options:\n\n" + "\n\n".join(keys)


def load(
    text: str, environment: Mapping[str, str], directory: str | None, newest: tuple[int, int] = (3, 13)
) -> tuple[Raw, str]:
    """The definition with its variables replaced, and what docker says about what it drops. Docker 20.10 wants a version."""
    try:
        compose = json.loads(text)
    except ValueError as error:
        raise NotPlayed("the stand-in reads JSON only") from error
    if not isinstance(compose, dict):
        raise ComposeRefused("top-level object must be a mapping")
    version = str(compose.get("version", "1.0" if newest < (3, 10) else "3.13"))
    if not re.fullmatch(r"3(\.\d+)?", version) or tuple(map(int, version.split("."))) > newest:
        raise ComposeRefused(f"unsupported Compose file version: {version}")
    services = compose.get("services") or {}
    if forbidden := sorted({key for service in services.values() for key in service if key in FORBIDDEN}):
        raise Forbidden(forbidden)
    compose = {key: interpolate(value, environment, [key]) for key, value in compose.items()}
    for key in compose:
        if key not in TOP and not key.startswith("x-"):
            raise ComposeRefused(f"(root) Additional property {key} is not allowed")
    used: set[str] = set()
    for name, service in compose.get("services", {}).items():
        _check_service(name, service)
        service["volumes"] = [_absolute(entry, directory) for entry in service.get("volumes") or []]
        used |= set(service)
    said = ""
    if used & set(UNSUPPORTED):
        said += f"Ignoring unsupported options: {', '.join(sorted(used & set(UNSUPPORTED)))}\n\n"
    if used & set(DEPRECATED):
        said += "Ignoring deprecated options:\n\n" + "".join(f"{key}: \n\n" for key in sorted(used & set(DEPRECATED)))
    return compose, said


def _check_service(name: str, service: Any) -> None:
    if not isinstance(service, dict):
        raise ComposeRefused(f"services.{name} must be a mapping")
    for key in service:
        if key not in [*SERVICE, *UNSUPPORTED, *DEPRECATED, *SILENT] and not key.startswith("x-"):
            raise ComposeRefused(f"services.{name} Additional property {key} is not allowed")
    for key in service.get("deploy") or {}:
        if key not in DEPLOY and not key.startswith("x-"):
            raise ComposeRefused(f"services.{name}.deploy Additional property {key} is not allowed")
    environment = service.get("environment")
    for key, value in environment.items() if isinstance(environment, dict) else ():
        if isinstance(value, (bool, list, dict)):
            raise ComposeRefused(f"services.{name}.environment.{key} must be a string, number or null")
    replicas = (service.get("deploy") or {}).get("replicas")
    if replicas is not None and (isinstance(replicas, bool) or not isinstance(replicas, int)):
        raise ComposeRefused(f"services.{name}.deploy.replicas must be a integer")


def _absolute(entry: Any, directory: str | None) -> Any:
    """The path of a bind mount is relative to where docker runs, for a file that comes on standard input."""
    source, colon, rest = entry.partition(":") if isinstance(entry, str) else (entry.get("source", ""), "", "")
    binds = source.startswith((".", "~")) if isinstance(entry, str) else entry["type"] == "bind"
    if not binds:
        return entry
    source = os.path.normpath(os.path.join(directory or os.getcwd(), os.path.expanduser(source)))
    return f"{source}{colon}{rest}" if isinstance(entry, str) else {**entry, "source": source}


def interpolate(value: Any, environment: Mapping[str, str], path: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: interpolate(item, environment, [*path, key]) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, environment, [*path, "[]"]) for item in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        name = match["name"] or match["braced"]
        if not name:
            raise ComposeRefused(
                f'invalid interpolation format for {".".join(path)}: "{value}"; '
                "you may need to escape any $ with another $"
            )
        operator, found = match["operator"] or "", environment.get(name)
        missing = found is None or (operator.startswith(":") and not found)
        if operator.endswith("?") and missing:
            raise ComposeRefused(f"invalid interpolation format for {'.'.join(path)}: required variable {name}")
        if operator.endswith("+"):
            return "" if missing else match["word"]
        return (match["word"] or "" if operator else "") if missing else str(found)

    return VARIABLE.sub(replace, value)


def nanoseconds(text: Any) -> int:
    units = {"us": 1000, "ms": 1_000_000, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
    parts = re.findall(r"([\d.]+)(us|ms|s|m|h)", str(text))
    if not parts or "".join(number + unit for number, unit in parts) != str(text):
        raise ComposeRefused(f'time: invalid duration "{text}"')
    return int(sum(float(number) * units[unit] for number, unit in parts))


def mapping(value: Any) -> dict[str, str]:
    if isinstance(value, list):
        return dict(item.partition("=")[::2] for item in value)
    return {key: "" if item is None else str(item) for key, item in (value or {}).items()}


def environment_of(value: Any) -> list[str]:
    """A name without a value takes away the image's."""
    if isinstance(value, dict):
        return sorted(key if item is None else f"{key}={item}" for key, item in value.items())
    return sorted(value or [])


def words(value: Any) -> list[str]:
    return shlex.split(value) if isinstance(value, str) else [str(item) for item in value or []]


def references(service: str, entries: list[Any], objects: Raw, stack: str, kind: str) -> list[tuple[str, Raw]]:
    """Name in the swarm, and where the text goes, by name."""
    found = []
    for entry in entries:
        given = entry if isinstance(entry, dict) else {"source": entry}
        source = given["source"]
        if source not in objects:
            raise ComposeRefused(f'service {service}: undefined {kind} "{source}"')
        name = (objects[source] or {}).get("name") or f"{stack}_{source}"
        if (objects[source] or {}).get("external") is True and "name" not in objects[source]:
            name = source
        file = {
            "Name": given.get("target") or source,
            "UID": str(given.get("uid", "0")),
            "GID": str(given.get("gid", "0")),
            "Mode": given.get("mode", 0o444),
        }
        found.append((name, file))
    return sorted(found, key=lambda item: item[0])


def network_name(stack: str, key: str, networks: Raw) -> tuple[str, bool]:
    """Name in the swarm, and whether it is somebody else's."""
    network = networks.get(key) or {}
    external = bool(network.get("external"))
    return str(network.get("name") or (key if external else f"{stack}_{key}")), external


def service_spec(stack: str, name: str, service: Raw, compose: Raw, known: dict[str, dict[str, str]]) -> Raw:
    """`known` maps kind and name to identifier, for configs, secrets and networks."""
    unknown = [key for key in service if key in SERVICE and key not in CONVERTED]
    if unknown:
        raise NotPlayed(f"the stand-in does not know what docker makes of {', '.join(unknown)}")
    deploy = service.get("deploy") or {}
    container: Raw = {
        "Image": service["image"],
        "Labels": {**mapping(service.get("labels")), NAMESPACE: stack},
    }
    _put(container, "Command", words(service.get("entrypoint")))
    _put(container, "Args", words(service.get("command")))
    _put(container, "Hostname", service.get("hostname"))
    _put(container, "Env", environment_of(service.get("environment")))
    _put(container, "Dir", service.get("working_dir"))
    _put(container, "User", service.get("user"))
    container["Privileges"] = {"CredentialSpec": None, "SELinuxContext": None}
    _put(container, "TTY", service.get("tty"))
    _put(container, "ReadOnly", service.get("read_only"))
    _put(container, "Init", service.get("init"))
    _put(container, "Mounts", [mount(stack, entry, compose) for entry in service.get("volumes") or []])
    _put(container, "StopSignal", service.get("stop_signal"))
    if service.get("stop_grace_period"):
        container["StopGracePeriod"] = nanoseconds(service["stop_grace_period"])
    if service.get("healthcheck"):
        container["Healthcheck"] = healthcheck(service["healthcheck"])
    _put(
        container,
        "Hosts",
        [f"{ip} {host}" for host, _, ip in (h.partition(":") for h in service.get("extra_hosts") or [])],
    )
    dns = {"Nameservers": words(service.get("dns")), "Search": words(service.get("dns_search"))}
    container["DNSConfig"] = {key: value for key, value in dns.items() if value}
    for kind in ("secret", "config"):
        found = references(name, service.get(f"{kind}s") or [], compose.get(f"{kind}s") or {}, stack, kind)
        title = kind.capitalize()
        for real, _file in found:
            if real not in known[kind]:
                raise ComposeRefused(f"service {name}: {kind} not found: {real}")
        _put(
            container,
            f"{title}s",
            [{"File": file, f"{title}ID": known[kind][real], f"{title}Name": real} for real, file in found],
        )
    container["Isolation"] = "default"
    for key, field in (("cap_add", "CapabilityAdd"), ("cap_drop", "CapabilityDrop")):
        _put(container, field, sorted(f"CAP_{c.upper().removeprefix('CAP_')}" for c in service.get(key) or []))
    template: Raw = {"ContainerSpec": container, "Resources": resources(deploy.get("resources") or {})}
    if deploy.get("restart_policy") is not None:
        template["RestartPolicy"] = restart_policy(deploy["restart_policy"])
    placement = deploy.get("placement") or {}
    template["Placement"] = {}
    _put(template["Placement"], "Constraints", placement.get("constraints"))
    _put(template["Placement"], "MaxReplicas", placement.get("max_replicas_per_node"))
    networks = service.get("networks") or ["default"]
    attachments = []
    for key in networks:
        if key not in (compose.get("networks") or {}) and key != "default":
            raise ComposeRefused(f'service {name}: undefined network "{key}"')
        real, _external = network_name(stack, key, compose.get("networks") or {})
        settings = (networks.get(key) if isinstance(networks, dict) else None) or {}
        aliases = list(settings.get("aliases") or []) + ([] if real in ("host", "bridge", "none") else [name])
        attachments.append((real, {"Target": known["network"][real], **({"Aliases": aliases} if aliases else {})}))
    template["Networks"] = [entry for _real, entry in sorted(attachments, key=lambda item: item[0])]
    template.update(ForceUpdate=0, Runtime="container")
    spec: Raw = {
        "Name": f"{stack}_{name}",
        "Labels": {**mapping(deploy.get("labels")), NAMESPACE: stack, IMAGE_LABEL: service["image"]},
        "TaskTemplate": template,
        "Mode": mode(deploy),
    }
    for key, field in (("update_config", "UpdateConfig"), ("rollback_config", "RollbackConfig")):
        if deploy.get(key) is not None:
            spec[field] = update_config(deploy[key])
    spec["EndpointSpec"] = {"Mode": deploy.get("endpoint_mode") or "vip"}
    _put(spec["EndpointSpec"], "Ports", [port(entry) for entry in service.get("ports") or []])
    return spec


def _put(target: Raw, key: str, value: Any) -> None:
    if value:
        target[key] = value


def mode(deploy: Raw) -> Raw:
    name, replicas = deploy.get("mode", "replicated"), deploy.get("replicas")
    if name in ("global", "global-job"):
        if replicas:
            raise ComposeRefused("replicas can only be used with replicated or replicated-job mode")
        return {"Global": {}} if name == "global" else {"GlobalJob": {}}
    if name == "replicated-job":
        return {"ReplicatedJob": {"MaxConcurrent": replicas or 1, "TotalCompletions": replicas or 1}}
    if name != "replicated":
        raise ComposeRefused(f"unknown mode: {name}")
    # Moby makes 1 of a number that is not given.
    return {"Replicated": {"Replicas": 1 if replicas is None else replicas}}


def restart_policy(given: Raw) -> Raw:
    made: Raw = {"Condition": given.get("condition") or "any"}
    if given.get("delay"):
        made["Delay"] = nanoseconds(given["delay"])
    made["MaxAttempts"] = given.get("max_attempts", 0)
    if given.get("window"):
        made["Window"] = nanoseconds(given["window"])
    return made


def update_config(given: Raw) -> Raw:
    made: Raw = {"Parallelism": given.get("parallelism", 1)}
    for key, field in (("delay", "Delay"), ("monitor", "Monitor")):
        if given.get(key):
            made[field] = nanoseconds(given[key])
    _put(made, "FailureAction", given.get("failure_action"))
    made["MaxFailureRatio"] = given.get("max_failure_ratio", 0)
    _put(made, "Order", given.get("order"))
    return made


def healthcheck(given: Raw) -> Raw:
    if given.get("disable"):
        return {"Test": ["NONE"]}
    test = given["test"]
    made: Raw = {"Test": ["CMD-SHELL", test] if isinstance(test, str) else test}
    for key, field in (("interval", "Interval"), ("timeout", "Timeout"), ("start_period", "StartPeriod")):
        if given.get(key):
            made[field] = nanoseconds(given[key])
    _put(made, "Retries", given.get("retries"))
    return made


def resources(given: Raw) -> Raw:
    made: Raw = {}
    for key, field in (("limits", "Limits"), ("reservations", "Reservations")):
        part, found = given.get(key) or {}, {}
        if set(part) - {"cpus", "memory", "pids", "generic_resources"}:
            extra = min(set(part) - {"cpus", "memory", "pids", "generic_resources"})
            raise ComposeRefused(f"services.x.deploy.resources.{key} Additional property {extra} is not allowed")
        if "cpus" in part:
            found["NanoCPUs"] = int(float(part["cpus"]) * SECOND)
        if "memory" in part:
            size = re.fullmatch(r"([\d.]+)\s*([kmgKMG]?)[bB]?", str(part["memory"]))
            if size is None:
                raise ComposeRefused(f"invalid size: '{part['memory']}'")
            found["MemoryBytes"] = int(float(size[1]) * 1024 ** " KMG".index(size[2].upper() or " "))
        _put(found, "Pids", part.get("pids"))
        kinds = [entry["discrete_resource_spec"] for entry in part.get("generic_resources") or []]
        wanted = [{"DiscreteResourceSpec": {"Kind": k["kind"], "Value": int(k["value"])}} for k in kinds]
        _put(found, "GenericResources", wanted)
        _put(made, field, found)
    return made


def mount(stack: str, entry: Any, compose: Raw) -> Raw:
    if isinstance(entry, str):
        parts = entry.split(":")
        if len(parts) == 1:
            return {"Type": "volume", "Target": entry}
        source, target = parts[0], parts[1]
        entry = {"type": "volume", "source": source, "target": target, "read_only": "ro" in parts[2:]}
        if source.startswith(("/", ".", "~")):
            entry.update(type="bind", source=source)
    made: Raw = {"Type": entry["type"]}
    _put(made, "Source", entry.get("source"))
    made["Target"] = entry["target"]
    _put(made, "ReadOnly", entry.get("read_only"))
    if entry["type"] == "tmpfs":
        _put(made, "TmpfsOptions", {"SizeBytes": (entry.get("tmpfs") or {}).get("size", 0)})
    if entry["type"] == "volume" and entry.get("source"):
        volumes = compose.get("volumes") or {}
        if entry["source"] not in volumes:
            raise ComposeRefused(f'undefined volume "{entry["source"]}"')
        volume = volumes[entry["source"]] or {}
        made["Source"] = volume.get("name") or f"{stack}_{entry['source']}"
        made["VolumeOptions"] = {"Labels": {**mapping(volume.get("labels")), NAMESPACE: stack}}
    return made


def port(entry: Any) -> Raw:
    if not isinstance(entry, dict):
        head, _slash, protocol = str(entry).partition("/")
        published, _colon, target = head.rpartition(":")
        entry = {"target": int(target), "published": int(published or 0), "protocol": protocol or "tcp"}
    made = {"Protocol": entry.get("protocol", "tcp"), "TargetPort": entry["target"]}
    _put(made, "PublishedPort", entry.get("published"))
    made["PublishMode"] = entry.get("mode", "ingress")
    return made
