"""What was deployed last, kept as a config of the swarm."""

from __future__ import annotations

import base64
import json
import time
import zlib
from dataclasses import dataclass, field
from typing import Any

from ..docker.cli import ANSWER_TIMEOUT, DockerCli, DockerError
from ..names import NAMESPACE
from .compose.canonical import Content
from .compose.merge import normal
from .compose.shapes import ComposeError
from .diff import without_empty
from .live import Live, only_gone

# 2 holds the definition in docker's long form, PACKED one of format 2, compressed: an engine before 23.0 keeps 500 KiB in a config.
RECORD_FORMAT = 2
PACKED = 3
PACK_ABOVE = 450_000
# Bytes that a packed record may become. Ours are far below, and whoever may write configs should fill no memory.
UNPACKED_LIMIT = 64 * 1024 * 1024
WRITES = 3
RECORD_SUFFIX = ".swarm-stack"


@dataclass
class Record:
    """What was asked for at the last deployment, and what the swarm made of it."""

    definition: dict[str, Any] = field(default_factory=dict)
    live: dict[str, dict[str, Any]] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        text = json.dumps({"format": RECORD_FORMAT, **self.__dict__}, sort_keys=True)
        if len(text) <= PACK_ABOVE:
            return text
        packed = base64.b64encode(zlib.compress(text.encode("utf-8"))).decode("ascii")
        return json.dumps({"format": PACKED, "packed": packed})

    @classmethod
    def from_json(cls, text: str, directory: str | None = None) -> Record | None:
        """`directory`: where relative paths began, which records of format 1 may hold."""
        try:
            data = _unpacked(json.loads(text))
            written = data.pop("format")
            if written == 1:
                data["definition"] = normal(data["definition"], directory)
            elif written != RECORD_FORMAT:
                return None
            record = cls(**data)
            record.live = {name: sort_lists(spec) for name, spec in record.live.items()}
            return record
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ComposeError, zlib.error):
            return None


def _unpacked(data: Any) -> Any:
    if data["format"] != PACKED:
        return data
    reader = zlib.decompressobj()
    text = reader.decompress(base64.b64decode(data["packed"]), UNPACKED_LIMIT)
    return json.loads(text)


def normal_spec(service: dict[str, Any], networks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A live Spec without what says nothing about it: ids become names, restarts do not count."""
    spec: dict[str, Any] = json.loads(json.dumps(service["Spec"]))
    template = spec.get("TaskTemplate", {})
    template.pop("ForceUpdate", None)
    for holder in (spec, template):
        for attachment in holder.get("Networks") or []:
            target = attachment.get("Target")
            attachment["Target"] = networks[target]["Name"] if target in networks else f"missing network {target}"
    container = template.get("ContainerSpec", {})
    for kind in ("Config", "Secret"):
        for reference in container.get(f"{kind}s") or []:
            reference.pop(f"{kind}ID", None)
    return sort_lists(without_empty(spec))


def sort_lists(spec: dict[str, Any]) -> dict[str, Any]:
    """Ports and mounts, whose order says nothing. `docker service update` sorts the mounts, whatever it is told to change."""
    template = spec.get("TaskTemplate") or {}
    container = template.get("ContainerSpec") or {}
    sorted_spec = dict(spec)
    if isinstance(container.get("Mounts"), list):
        container = {**container, "Mounts": _sorted(container["Mounts"])}
        sorted_spec["TaskTemplate"] = {**template, "ContainerSpec": container}
    endpoint = spec.get("EndpointSpec")
    if isinstance(endpoint, dict) and isinstance(endpoint.get("Ports"), list):
        sorted_spec["EndpointSpec"] = {**endpoint, "Ports": _sorted(endpoint["Ports"])}
    return sorted_spec


def _sorted(items: list[Any]) -> list[Any]:
    return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))


def content_ids(live: Live) -> dict[str, str]:
    """Kind and name to id of the configs and secrets that the live services use."""
    found = {}
    for service in live.services.values():
        container = service["Spec"].get("TaskTemplate", {}).get("ContainerSpec", {})
        for kind in ("Config", "Secret"):
            for reference in container.get(f"{kind}s") or []:
                found[f"{kind.lower()} {reference.get(f'{kind}Name')}"] = str(reference.get(f"{kind}ID"))
    return found


def record_name(stack: str) -> str:
    return f"{stack}{RECORD_SUFFIX}"


def read_config(docker: DockerCli, name: str) -> str | None:
    """The text of a config, if there is such a config and it is a text."""
    done = docker.run("config", "inspect", name, check=False, timeout=ANSWER_TIMEOUT)
    if done.rc != 0 and not only_gone(done.stderr):
        raise DockerError(f"docker config inspect: {done.stderr.strip()}")
    try:
        return base64.b64decode(json.loads(done.stdout)[0]["Spec"]["Data"]).decode("utf-8")
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None


def read_record(docker: DockerCli, stack: str, directory: str | None = None) -> Record | None:
    text = read_config(docker, record_name(stack))
    return None if text is None else Record.from_json(text, directory)


def keep_others(record: Record, known: Record, stack: str) -> None:
    """Add to a record what another has of services that are still there, and of what they use."""
    own = set(record.definition["services"])
    for name, service in known.definition.get("services", {}).items():
        full_name = f"{stack}_{name}"
        if name not in own and full_name in record.live:
            record.definition["services"] = {**record.definition["services"], name: service}
            record.live[full_name] = known.live.get(full_name, record.live[full_name])
    for section in ("networks", "volumes", "configs", "secrets"):
        record.definition[section] = {**known.definition.get(section, {}), **record.definition[section]}
    record.contents = {**known.contents, **record.contents}


def write_record(
    docker: DockerCli,
    stack: str,
    definition: dict[str, Any],
    contents: list[Content],
    live: Live,
    kept: Record | None = None,
) -> None:
    """`kept`: what is known of services that were not looked at this time, as parts of a stack that are deployed by themselves."""
    record = Record(
        definition=dict(definition),
        # What swarm is taking back already is not what was asked for: the next run will find it unknown.
        live={
            name: normal_spec(service, live.networks)
            for name, service in live.services.items()
            if not str((service.get("UpdateStatus") or {}).get("State", "")).startswith("rollback")
        },
        networks=live.own_networks,
        contents={
            name: identifier
            for name, identifier in content_ids(live).items()
            if name.partition(" ")[2] in {content.name for content in contents}
        },
    )
    if kept:
        keep_others(record, kept, stack)
    name = record_name(stack)
    options = ("config", "create", "--label", f"{NAMESPACE}={stack}", name, "-")
    # Without its record, the next run would take the stack for somebody else's.
    for left in range(WRITES - 1, -1, -1):
        # Each time: a run beside this one may have written its own.
        docker.run("config", "rm", name, check=False, timeout=ANSWER_TIMEOUT)
        done = docker.run(*options, check=not left, input=record.to_json(), timeout=ANSWER_TIMEOUT)
        if done.rc == 0:
            return
        time.sleep(1)
