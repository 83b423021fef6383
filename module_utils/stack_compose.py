"""From what a user wrote to what swarm is told: load, merge, interpolate, refuse, name contents.

Everything here is about compose definitions; nothing here talks to an engine. Standard library only, Python 3.9 or newer.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .masking import is_secret_name, mask, secret_texts, secrets_of

Definition = dict[str, Any]

# The newest schema version that the docker CLI 20.10 knows; newer CLIs accept it as well.
DEFAULT_VERSION = "3.9"
SECTIONS = ("services", "networks", "volumes", "configs", "secrets")
NAME_LIMIT = 64
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
    "restart": "use deploy.restart_policy (condition: none, on-failure or any; max_attempts; delay; window)",
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
NAMED_LISTS = frozenset(["environment", "labels", "sysctls"])
REPLACED_LISTS = frozenset(["command", "entrypoint", "test"])
IP_OF_PORT = re.compile(r"(?!0\.0\.0\.0:)(\d+\.){3}\d+:|\[")
VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?:(?P<op>:?[-?+])(?P<word>[^}]*))?\}|(?P<bad>))",
    re.ASCII,
)


class ComposeError(Exception):
    """What is wrong with a definition, in words for who wrote it."""


@dataclass(frozen=True)
class Content:
    """A config or secret that the module creates itself, under a name that tells its content."""

    kind: str  # config | secret
    key: str
    name: str
    text: str | None
    path: str | None
    options: tuple[str, ...] = ()


@dataclass
class Prepared:
    definition: Definition
    contents: list[Content] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    version: str = DEFAULT_VERSION
    directory: str | None = None


# Loading and merging


KeepSecret = Callable[[Iterable[str]], None]


def _keep_nothing(_texts: Iterable[str]) -> None:
    """For who shows nothing of a definition."""


def is_path(source: Any) -> bool:
    """A text that is a whole definition is not; it may hold secrets, and is never shown."""
    return isinstance(source, str) and not re.search(r"[\n{}]|:\s", source)


def load(sources: list[Any], keep_secret: KeepSecret = _keep_nothing) -> tuple[Definition, str | None]:
    """Merge all entries in order. The directory of the first file is what relative paths refer to.

    `keep_secret` gets the texts of the secrets of each entry before anything is said about it.
    """
    merged: Definition = {}
    directory = None
    for source in sources:
        if isinstance(source, Mapping):
            part: Any = source
        elif is_path(source):
            part = read_file(source)
            directory = directory or os.path.dirname(os.path.abspath(source))
        else:
            raise ComposeError(
                f"compose takes mappings and paths of files on the target; this entry is {_kind_of(source)}"
                + (": turn it into a mapping with the filter from_yaml" if isinstance(source, str) else "")
            )
        if not isinstance(part, Mapping):
            raise ComposeError(f"{source} does not hold a mapping")
        try:
            part = json.loads(json.dumps(part))
        except (TypeError, ValueError) as error:
            raise ComposeError(f"compose holds what JSON cannot express: {error}") from error
        keep_secret(secrets_of(part))
        merged = merge(merged, part)
    check_shapes(merged)
    return merged, directory


def read_file(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ComposeError(f"cannot read the compose file {path} on the target: {error}") from error
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        import yaml  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise ComposeError(
            f"{path} is YAML, and the target has no PyYAML to read it: install python3-yaml there, write the file as JSON, "
            "or give the definition as a mapping (for a file on the controller: "
            "compose: \"{{ lookup('file', 'stack.yml') | from_yaml }}\")"
        ) from error

    class Loader(yaml.SafeLoader):  # type: ignore[misc,unused-ignore]
        """To docker, 22:22 and 2025-01-01 are texts. YAML 1.1 makes a number and a date of them."""

        def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
            tag = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call,unused-ignore]
            number_with_colon = tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float") and ":" in value
            return "tag:yaml.org,2002:str" if number_with_colon or tag == "tag:yaml.org,2002:timestamp" else tag

    try:
        return yaml.load(text, Loader)
    except Exception as error:  # noqa: BLE001 - PyYAML lets through what a value of the wrong kind makes Python raise
        # Not in PyYAML's words alone: it quotes the line, whose secrets are not known before it is read.
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "a value is not of its kind"
        problem = re.sub(r"\b(alias|anchor|tag|handle) .*", r"\1", str(problem), flags=re.DOTALL)
        raise ComposeError(f"{path} is not valid YAML: {problem}{where}") from None


# What the code below relies on; all else about a definition's form is for docker to say.
SERVICE_SHAPES: dict[str, tuple[type, ...]] = {
    "image": (str,),
    "environment": (dict, list),
    "labels": (dict, list),
    "env_file": (str, list),
    "networks": (dict, list),
    "ports": (list,),
    "volumes": (list,),
    "configs": (list,),
    "secrets": (list,),
    "deploy": (dict,),
    "deploy.labels": (dict, list),
    "deploy.resources": (dict,),
    "deploy.resources.reservations": (dict,),
    "deploy.restart_policy": (dict,),
    "deploy.update_config": (dict,),
}
ITEM_SHAPES: dict[str, tuple[type, ...]] = {
    "env_file": (str,),
    "networks": (str,),
    "ports": (str, int, dict),
    "volumes": (str, dict),
    "configs": (str, dict),
    "secrets": (str, dict),
}
SHAPE_NAMES: dict[type, str] = {dict: "a mapping", list: "a list", str: "a text", int: "a number"}


def check_shapes(compose: Definition) -> None:
    """Refuse a text where a mapping or a list belongs, and the like."""
    for section in SECTIONS:
        objects = compose.get(section)
        such = " such as {NAME: {content: ...}}" if section == "secrets" else ""
        _check_shape({} if objects is None else objects, (dict,), section, such)
        such = " such as {content: ...}" if section == "secrets" else ""
        for name, definition in (objects or {}).items():
            _check_shape({} if definition is None else definition, (dict,), f"{section}.{name}", such)
    for name, service in (compose.get("services") or {}).items():
        for path, shapes in SERVICE_SHAPES.items():
            value: Any = service
            for key in path.split("."):
                value = (value or {}).get(key)
            if value is not None:
                _check_shape(value, shapes, f"service {name}: {path}")
        for key, shapes in ITEM_SHAPES.items():
            items = (service or {}).get(key)
            for number, item in enumerate(items if isinstance(items, list) else []):
                _check_shape(item, shapes, f"service {name}: {key}.{number}")
        networks = (service or {}).get("networks")
        for network, settings in networks.items() if isinstance(networks, dict) else ():
            _check_shape({} if settings is None else settings, (dict,), f"service {name}: networks.{network}")


# What these hold is not shown, whatever it looks like: a password may have no name there.
UNSHOWN = re.compile(
    r"(?:secrets|configs)(?:\.|$)|.*: (?:environment|labels|secrets|deploy\.labels)(?:\.|$)", re.DOTALL
)


def _check_shape(value: Any, shapes: tuple[type, ...], where: str, such: str = "") -> None:
    if not isinstance(value, shapes):
        wanted = " or ".join(SHAPE_NAMES[shape] for shape in shapes)
        shown = _kind_of(value) if UNSHOWN.match(where) or isinstance(value, (dict, list)) else _short(value)
        raise ComposeError(f"{where} must be {wanted}{such}, and is {shown}")


def _kind_of(value: Any) -> str:
    return "empty" if value is None else SHAPE_NAMES.get(type(value), "a number")


def _short(value: Any) -> str:
    text = json.dumps(mask(value))
    return text if len(text) <= 60 else _kind_of(value)


def merge(base: Any, extra: Any, key: str = "") -> Any:
    """Deep merge: mappings by key, lists by what their items are about, everything else replaced."""
    if key in NAMED_LISTS:
        base, extra = as_mapping(base), as_mapping(extra)
    if isinstance(base, dict) and isinstance(extra, dict):
        merged = dict(base)
        for name, value in extra.items():
            merged[name] = merge(base[name], value, name) if name in base else value
        return merged
    if isinstance(base, list) and isinstance(extra, list) and key not in REPLACED_LISTS:
        replaced = {_about(item, key) for item in extra}
        return [item for item in base if _about(item, key) not in replaced] + extra
    return extra


def _about(item: Any, key: str) -> str:
    """What makes two list items the same thing: a mount its target, a config its source, all else its whole value."""
    if key == "volumes":
        if isinstance(item, dict):
            return str(item.get("target"))
        parts = str(item).split(":")
        return parts[1] if len(parts) > 1 else parts[0]
    if key in ("configs", "secrets"):
        return str(item.get("source")) if isinstance(item, dict) else str(item)
    return json.dumps(item, sort_keys=True)


def as_mapping(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    mapping: dict[str, Any] = {}
    for item in value:
        name, sign, text = str(item).partition("=")
        mapping[name] = text if sign else None
    return mapping


# Interpolation


def interpolate(
    value: Any, environment: Mapping[str, str], warnings: list[str], where: str = "", private: bool = False
) -> Any:
    """Replace $NAME as `docker stack deploy` does. Done here, so that a changed value is a changed definition.

    `private`: it is a secret by its name. What is called a variable there may be a part of a password.
    """
    if isinstance(value, dict):
        names_of_things = where in ("services", "networks", "volumes", "configs")
        return {
            # A program's text is full of dollars that are its own.
            name: item if name == "content" and where.startswith(("configs.", "secrets."))
            else interpolate(item, environment, warnings, f"{where}.{name}" if where else str(name),
                             private or (is_secret_name(str(name)) and not names_of_things))
            for name, item in value.items()
        }  # fmt: skip
    if isinstance(value, list):
        return [
            interpolate(item, environment, warnings, f"{where}.{number}", private or masked != item)
            for number, (item, masked) in enumerate(zip(value, mask(value)))
        ]
    if not isinstance(value, str) or "$" not in value:
        return value

    private = private or mask(value) != value

    def replace(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        name = match["name"] or match["braced"]
        if not name:
            raise ComposeError(f"{where}: the value is no valid interpolation: write $$ for a dollar sign")
        found = environment.get(name)
        operator, word = match["op"] or "", match["word"] or ""
        missing = found is None or (operator.startswith(":") and not found)
        if operator.endswith("+"):
            return "" if missing else word
        if not missing:
            return str(found)
        if operator.endswith("-"):
            return word
        if operator.endswith("?"):
            why = "it is not set on the target" if private or not word else word
            raise ComposeError(f"{where}: the variable{'' if private else f' {name}'} is required: {why}")
        warnings.append(
            f"{where}: the variable{'' if private else f' {name}'} is not set on the target, it became empty; write $$ for a "
            "dollar sign"
        )
        return ""

    return VARIABLE.sub(replace, value)


def escape(value: Any) -> Any:
    """Protect a resolved definition from the CLI's own interpolation."""
    if isinstance(value, dict):
        return {name: escape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [escape(item) for item in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


# Refusing


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


def drop(compose: Definition, path: tuple[str, ...]) -> None:
    for key in path[:-1]:
        compose = compose[key]
    del compose[path[-1]]


# Preparing


def prepare(
    sources: list[Any],
    stack: str,
    environment: Mapping[str, str],
    strict: bool = True,
    missing_files: bool = False,
    keep_secret: KeepSecret = _keep_nothing,
) -> Prepared:
    """The whole way from the option `compose` to a definition in one canonical form."""
    compose, directory = load(sources, keep_secret)
    warnings: list[str] = []
    refused = refusals(compose)
    if refused and strict:
        raise ComposeError("; ".join(sentence for _path, sentence in refused))
    for path, sentence in refused:
        if path:
            drop(compose, path)
        warnings.append(f"{sentence} (left out)" if path else sentence)
    if compose.get("name") not in (None, stack):
        warnings.append(f"top level: name {compose['name']} is not used, the stack is called {stack}")
    services = compose.get("services") or {}
    if not services:
        raise ComposeError("compose defines no service")
    prepared = Prepared(
        {}, warnings=warnings, version=str(compose.get("version", DEFAULT_VERSION)), directory=directory
    )
    resolved = interpolate({section: compose.get(section) or {} for section in SECTIONS}, environment, warnings)
    for name, service in resolved["services"].items():
        prepared.definition.setdefault("services", {})[name] = canonical_service(
            name, service or {}, directory, environment
        )
    for section in ("networks", "volumes"):
        prepared.definition[section] = {
            name: canonical_object(value) for name, value in sorted(used_objects(resolved, section).items())
        }
    for kind in ("config", "secret"):
        prepared.definition[f"{kind}s"] = {
            key: _canonical_content(prepared, kind, key, value, stack, missing_files, keep_secret)
            for key, value in sorted(used_objects(resolved, f"{kind}s").items())
        }
    return prepared


def canonical_service(
    name: str, service: Definition, directory: str | None, environment: Mapping[str, str]
) -> Definition:
    canonical = {key: value for key, value in service.items() if not str(key).startswith("x-") and value is not None}
    if not canonical.get("image"):
        raise ComposeError(f"service {name} has no image")
    for entry in canonical.get("volumes") or []:
        source = str(entry.get("source", "") if isinstance(entry, dict) else entry.partition(":")[0])
        binds = entry.get("type") == "bind" if isinstance(entry, dict) else source.startswith(".")
        if binds:
            # docker makes the same of it, when it reads a file.
            resolve_path(source, directory, f"service {name}: volumes")
    variables: dict[str, Any] = {}
    files = canonical.pop("env_file", [])
    for path in [files] if isinstance(files, str) else files:
        variables.update(read_env_file(name, resolve_path(path, directory, f"service {name}: env_file"), environment))
    for key, value in (as_mapping(canonical.pop("environment", None)) or {}).items():
        variables[key] = environment.get(key) if value is None else value
    if variables:
        canonical["environment"] = {key: scalar(value) for key, value in variables.items() if value is not None}
    if canonical.get("labels") is not None:
        canonical["labels"] = {key: scalar(value) for key, value in as_mapping(canonical["labels"]).items()}
    deploy = {key: value for key, value in (canonical.get("deploy") or {}).items() if not str(key).startswith("x-")}
    if deploy.get("labels") is not None:
        deploy["labels"] = {key: scalar(value) for key, value in as_mapping(deploy["labels"]).items()}
    if deploy.get("mode", "replicated") == "replicated":
        # Left out, it would mean "as it is": a service scaled behind our back would stay so.
        deploy.setdefault("replicas", 1)
    canonical["deploy"] = deploy
    return canonical


def scalar(value: Any) -> str:
    """As YAML spells it: a bare true in a mapping is what its author meant by "true"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def read_env_file(service: str, path: str, environment: Mapping[str, str]) -> dict[str, str | None]:
    try:
        with open(path, encoding="utf-8") as stream:
            lines = stream.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ComposeError(f"service {service}: cannot read env_file {path}: {error}") from error
    variables: dict[str, str | None] = {}
    for line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            name, sign, value = line.lstrip().partition("=")
            variables[name.strip()] = value if sign else environment.get(name.strip())
    return variables


def resolve_path(path: str, directory: str | None, what: str) -> str:
    path = os.path.expanduser(path)
    if os.path.isabs(path):
        return path
    if directory is None:
        raise ComposeError(
            f"{what}: {path} is relative, and an inline definition has no directory: write the full path"
        )
    return os.path.join(directory, path)


def used_objects(compose: Definition, section: str) -> Definition:
    """Only what a service uses comes into being, as `docker stack deploy` does with networks."""
    used = {name for service in compose["services"].values() for name in references(service, section)}
    defined = compose[section]
    for name in sorted(used):
        if name not in defined and not (section == "networks" and name == "default"):
            if section == "volumes":
                raise ComposeError(f"volume {name} is used, but not defined under the top-level volumes")
            raise ComposeError(f"{section[:-1]} {name} is used by a service, but not defined under {section}")
    return {name: defined.get(name) or {} for name in used}


def references(service: Definition, section: str) -> list[str]:
    entries = service.get(section)
    if section == "networks":
        return list(entries) if entries else ["default"]
    if section == "volumes":
        names = [
            str(entry.get("source") or "") if isinstance(entry, dict) else _short_volume(str(entry))
            for entry in entries or []
            if not isinstance(entry, dict) or entry.get("type") == "volume"
        ]
        return [name for name in names if name]
    return [str(entry.get("source")) if isinstance(entry, dict) else str(entry) for entry in entries or []]


def _short_volume(entry: str) -> str:
    """The named volume of SOURCE:TARGET, empty for a bind mount or an anonymous volume."""
    source, colon, _rest = entry.partition(":")
    return source if colon and not source.startswith(("/", ".", "~", "\\")) else ""


def canonical_object(value: Definition) -> Definition:
    canonical = {key: item for key, item in value.items() if not str(key).startswith("x-") and item is not None}
    external = canonical.pop("external", False)
    if isinstance(external, dict):
        canonical.setdefault("name", external.get("name"))
    if canonical.get("labels") is not None:
        canonical["labels"] = {key: scalar(item) for key, item in as_mapping(canonical["labels"]).items()}
    if external:
        canonical["external"] = True
    return canonical


def _canonical_content(
    prepared: Prepared, kind: str, key: str, value: Definition, stack: str, missing_files: bool, keep_secret: KeepSecret
) -> Definition:
    """Name a config or secret after its content. Swarm cannot change one in place ("only updates to Labels are allowed")."""
    value = canonical_object(value)
    if value.get("external"):
        return {"external": True, "name": value.get("name") or key}
    if "driver" in value:
        return value
    given = [source for source in ("file", "content") if source in value]
    if len(given) != 1:
        raise ComposeError(f"{kind} {key} needs exactly one of file, content and external")
    text: str | None = None
    path: str | None = None
    if given == ["content"]:
        text = value["content"] if isinstance(value["content"], str) else json.dumps(value["content"], sort_keys=True)
        data = text.encode("utf-8")
    else:
        path = resolve_path(str(value["file"]), prepared.directory, f"{kind} {key}")
        try:
            with open(path, "rb") as stream:
                data = stream.read()
        except FileNotFoundError as error:
            if not missing_files:
                raise ComposeError(f"{kind} {key}: there is no file {path} on the target") from error
            prepared.warnings.append(f"{kind} {key}: there is no file {path} yet; assuming that it will be new")
            data = os.urandom(16)
        except OSError as error:
            raise ComposeError(f"{kind} {key}: cannot read {path}: {error.strerror}") from error
    if kind == "secret":
        keep_secret(secret_texts(data))
    options = _create_options(value)
    digest = hashlib.sha256(data)
    if options:
        digest.update("\0".join(options).encode("utf-8"))
    base = str(value.get("name") or f"{stack}_{key}")
    name = f"{base}_{digest.hexdigest()[:12]}"
    if len(name) > NAME_LIMIT:
        raise ComposeError(
            f"{kind} {key}: its name {name} would be longer than {NAME_LIMIT} characters; shorten the key"
        )
    prepared.contents.append(Content(kind, key, name, text, path, options))
    return {"external": True, "name": name}


def _create_options(value: Definition) -> tuple[str, ...]:
    options: list[str] = []
    for label, text in sorted((value.get("labels") or {}).items()):
        options += ["--label", f"{label}={text}"]
    if value.get("template_driver"):
        options += ["--template-driver", str(value["template_driver"])]
    return tuple(options)


# Names in the swarm


def network_name(stack: str, key: str, network: Definition) -> str:
    if network.get("external"):
        return str(network.get("name") or key)
    return str(network.get("name") or f"{stack}_{key}")


def service_view(definition: Definition, name: str) -> Definition:
    """A service with the real names of its configs and secrets, so that a new content is a changed service."""
    view = dict(definition["services"][name])
    for section in ("configs", "secrets"):
        if view.get(section):
            view[section] = [_with_real_name(entry, definition.get(section) or {}) for entry in view[section]]
    return view


def _with_real_name(entry: Any, objects: Definition) -> Definition:
    named = dict(entry) if isinstance(entry, dict) else {"source": str(entry)}
    named["name"] = (objects.get(str(named.get("source"))) or {}).get("name")
    return {key: value for key, value in named.items() if value is not None}
