"""What each field of a compose definition is. After docker/cli's cli/compose/types/types.go and its newest schema."""

from __future__ import annotations

import re
from typing import Any

from . import values
from .kinds import (
    BYTES,
    COUNT,
    COUNT_POINTER,
    DURATION,
    DURATION_POINTER,
    RATIO,
    ROUNDED,
    ROUNDED_POINTER,
    SWITCH,
    SWITCH_POINTER,
    TEXT,
    WHOLE,
    Entries,
    Environment,
    Hosts,
    Kind,
    Logging,
    Mapping,
    Named,
    NetworkUse,
    Struct,
    Texts,
    Ulimit,
)

PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")


def short_volume(spec: str) -> list[Any]:
    """SOURCE:TARGET:OPTIONS, as docker's internal/volumespec reads it. Raises ValueError."""
    if not spec:
        raise ValueError("must not be empty")
    parts = [""]
    for character in spec if len(spec) > 2 else []:
        # A colon after a single letter belongs to a path of Windows.
        if character == ":" and not (len(parts[-1]) == 1 and parts[-1].isalpha()):
            parts.append("")
        else:
            parts[-1] += character
    if len(spec) <= 2:
        parts = [spec]
    if not all(parts):
        raise ValueError("has nothing between two colons")
    if len(parts) == 1:
        return [{"type": "volume", "target": parts[0]}]
    if len(parts) > 3:
        raise ValueError("has too many colons")
    source, target = parts[:2]
    path = source[0] in "./~" or (
        len(source) > 1 and (source.startswith("\\\\") or (source[0].isalpha() and source[1] == ":"))
    )
    volume: dict[str, Any] = {"type": "bind" if path else "volume", "source": source, "target": target}
    for option in parts[2].split(",") if len(parts) == 3 else []:
        if option in ("ro", "rw"):
            volume["read_only"] = option == "ro"
        elif option == "nocopy":
            volume["volume"] = {"nocopy": True}
        elif option in PROPAGATIONS:
            volume["bind"] = {"propagation": option}
    return [volume]


def short_port(spec: Any) -> list[Any]:
    """[IP:][PUBLISHED:]TARGET[/PROTOCOL] with ranges, as docker's nat.ParsePortSpec reads it. Raises ValueError."""
    text = values.text_of(spec)
    head, _colon, container = text.rpartition(":")
    published = head.rpartition(":")[2]
    container, _slash, protocol = container.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in ("tcp", "udp", "sctp"):
        raise ValueError("has a protocol other than tcp, udp and sctp")
    first, last = _range(container)
    begin, end = _range(published) if published else (0, 0)
    if first != last and published and end - begin != last - first:
        raise ValueError("has two ranges of different lengths")
    pairs = [(first, port) for port in range(begin, end + 1)] if first == last else []
    for target in range(first, last + 1) if first != last else ():
        pairs.append((target, begin + target - first if published else 0))
    pairs.sort(key=lambda pair: (f"{pair[0]}/", pair[1]))
    return [{"mode": "ingress", "target": target, "published": port, "protocol": protocol} for target, port in pairs]


def _range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    ports = [int(port) if re.fullmatch(r"\+?[0-9]+", port) else -1 for port in (first, last if dash else first)]
    if not 0 <= ports[0] <= ports[1] <= 65535:
        raise ValueError("is no port such as 8080:80")
    return ports[0], ports[1]


def _reference(source: str) -> list[Any]:
    return [{"source": source}]


def _references() -> Entries:
    fields: dict[str, Kind] = dict.fromkeys(("source", "target", "uid", "gid"), TEXT)
    fields["mode"] = ROUNDED_POINTER
    return Entries(Struct(fields), "source", expand=_reference, types=(str, dict))


def _update() -> Struct:
    fields: dict[str, Kind] = {"parallelism": COUNT_POINTER, "max_failure_ratio": RATIO}
    fields.update(dict.fromkeys(("delay", "monitor"), DURATION))
    fields.update(dict.fromkeys(("failure_action", "order"), TEXT))
    return Struct(fields, pointer=True)


OPTIONS = Mapping(lists=False)
COMMAND = Texts(replaced=True, unique=False, from_text=values.words)
GENERIC = Struct({"kind": TEXT, "value": ROUNDED}, pointer=True)
LIMITS: dict[str, Kind] = {"cpus": TEXT, "memory": BYTES}
VOLUME_USE = Struct(
    {
        **dict.fromkeys(("type", "source", "target", "consistency"), TEXT),
        "read_only": SWITCH,
        "bind": Struct({"propagation": TEXT}, pointer=True),
        "volume": Struct({"nocopy": SWITCH, "subpath": TEXT}, pointer=True),
        "image": Struct({"subpath": TEXT}, pointer=True),
        "tmpfs": Struct({"size": COUNT}, pointer=True),
        "cluster": Struct(pointer=True),
    }
)
PORT = Struct({"mode": TEXT, "target": COUNT, "published": COUNT, "protocol": TEXT})
DEPLOY = Struct(
    {
        "mode": TEXT,
        "endpoint_mode": TEXT,
        "replicas": COUNT_POINTER,
        "labels": Mapping(),
        "update_config": _update(),
        "rollback_config": _update(),
        "resources": Struct(
            {
                "limits": Struct({**LIMITS, "pids": WHOLE}, pointer=True),
                "reservations": Struct(
                    {**LIMITS, "generic_resources": Entries(Struct({"discrete_resource_spec": GENERIC}))}, pointer=True
                ),
            }
        ),
        "restart_policy": Struct(
            {
                "condition": TEXT,
                "delay": DURATION_POINTER,
                "max_attempts": COUNT_POINTER,
                "window": DURATION_POINTER,
            },
            pointer=True,
        ),
        "placement": Struct(
            {
                "constraints": Texts(unique=False),
                "preferences": Entries(Struct({"spread": TEXT})),
                "max_replicas_per_node": COUNT,
            }
        ),
    }
)
SERVICE = Struct(
    {
        **dict.fromkeys(("hostname", "image", "isolation", "restart", "stop_signal", "user", "working_dir"), TEXT),
        **dict.fromkeys(("read_only", "stdin_open", "tty"), SWITCH),
        **dict.fromkeys(("cap_add", "cap_drop"), Texts()),
        **dict.fromkeys(("dns", "dns_search", "env_file"), Texts(single=True)),
        **dict.fromkeys(("command", "entrypoint"), COMMAND),
        **dict.fromkeys(("configs", "secrets"), _references()),
        **dict.fromkeys(("labels", "sysctls"), Mapping()),
        "credential_spec": Struct(dict.fromkeys(("config", "file", "registry"), TEXT)),
        "deploy": DEPLOY,
        "environment": Environment(nothing=None),
        "extra_hosts": Hosts(),
        "healthcheck": Struct(
            {
                "test": Texts(unique=False, from_text=lambda text: ["CMD-SHELL", text]),
                **dict.fromkeys(("interval", "timeout", "start_period", "start_interval"), DURATION_POINTER),
                "retries": ROUNDED_POINTER,
                "disable": SWITCH,
            },
            pointer=True,
        ),
        "init": SWITCH_POINTER,
        "logging": Logging({"driver": TEXT, "options": OPTIONS}, pointer=True),
        "networks": Named(
            NetworkUse(
                {
                    "aliases": Texts(),
                    "driver_opts": OPTIONS,
                    "ipv4_address": TEXT,
                    "ipv6_address": TEXT,
                },
                pointer=True,
            ),
            names_alone=True,
        ),
        "oom_score_adj": WHOLE,
        "ports": Entries(
            PORT,
            "published",
            default=0,
            expand=short_port,
            types=(str, int, float, dict),
            order=("published", "target", "protocol", "mode"),
            unique=True,
        ),
        "stop_grace_period": DURATION_POINTER,
        "ulimits": Named(Ulimit()),
        "volumes": Entries(VOLUME_USE, "target", expand=short_volume, types=(str, dict), unique=True),
    }
)


class External(Kind):
    """true or false, or its name in the swarm."""

    def read(self, value: Any, where: str) -> Any:
        return Struct({"name": TEXT}).read(value, where) if isinstance(value, dict) else SWITCH.read(value, where)


OBJECT: dict[str, Kind] = {
    "name": TEXT,
    "driver": TEXT,
    "driver_opts": OPTIONS,
    "external": External(),
    "labels": Mapping(),
}
NETWORK = Struct(
    {
        **OBJECT,
        "ipam": Struct({"driver": TEXT, "config": Entries(Struct({"subnet": TEXT}))}),
        "internal": SWITCH,
        "attachable": SWITCH,
    }
)
VOLUME = Struct({**OBJECT, "x-cluster-spec": Kind()})
CONTENT = Struct({**OBJECT, "file": TEXT, "template_driver": TEXT})
OBJECTS = {"networks": NETWORK, "volumes": VOLUME, "configs": CONTENT, "secrets": CONTENT}
