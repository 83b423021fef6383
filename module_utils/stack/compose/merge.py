"""Reads each part of a compose definition into docker's long form, and merges them as docker does.

Docker interpolates and reads each file by itself before it merges; so it is here. `docker stack config` would do the same, but docker
20.10, which is Debian's, has no such command, what it prints is YAML, which a host's Python need not know, and it says nothing about
what a swarm ignores. One way for all versions is easier to trust than two: tests hold it against that command.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from .fields import OBJECTS, SERVICE
from .files import read_text
from .shapes import ComposeError, Definition


def read_part(part: Definition, directory: str | None, environment: Mapping[str, str]) -> Definition:
    """One definition in the long form. Its variables are replaced already."""
    found: Definition = {"services": {}}
    for name, service in (part.get("services") or {}).items():
        found["services"][name] = _read_service(name, service or {}, directory, environment)
    for section, kind in OBJECTS.items():
        objects = {key: kind.read(value or {}, f"{section}.{key}") for key, value in (part.get(section) or {}).items()}
        found[section] = {key: _named(section, key, value) for key, value in objects.items()}
    return found


def merge_parts(parts: list[Definition]) -> Definition:
    """Services field by field. Of networks, volumes, configs and secrets, the last definition is all."""
    merged: Definition = {section: {} for section in ("services", *OBJECTS)}
    for part in parts:
        services = dict(merged["services"])
        for name, service in part["services"].items():
            services[name] = SERVICE.merge(services[name], service) if name in services else service
        merged = {section: {**merged[section], **part[section]} for section in OBJECTS}
        merged["services"] = services
    return merged


def finish(definition: Definition) -> Definition:
    """The definition without what goes without saying."""
    finished: Definition = {
        "services": {name: SERVICE.finish(service) or {} for name, service in definition["services"].items()}
    }
    for section, kind in OBJECTS.items():
        finished[section] = {key: kind.finish(value) or {} for key, value in definition.get(section, {}).items()}
    return finished


def _read_service(name: str, service: Definition, directory: str | None, environment: Mapping[str, str]) -> Definition:
    found: Definition = SERVICE.read(service, f"service {name}")
    for mount in found.get("volumes") or []:
        if mount.get("type") == "bind":
            if not mount.get("source"):
                raise ComposeError(f"service {name}: volumes: a bind mount needs a source")
            mount["source"] = _bind_source(mount["source"], directory, environment, f"service {name}: volumes")
    variables: dict[str, str | None] = {}
    for path in found.pop("env_file", []):
        lines = read_env_file(name, resolve_path(path, directory, f"service {name}: env_file"), environment)
        variables.update({key: environment.get(key, value) if not value else value for key, value in lines.items()})
    for key, value in (found.pop("environment", None) or {}).items():
        # An empty value is filled in as one that is not given.
        variables[key] = value or environment.get(key, value)
    return {**found, "environment": variables}


def read_env_file(service: str, path: str, environment: Mapping[str, str]) -> dict[str, str | None]:
    """As docker's pkg/kvfile: no quotes, no `export`. A name alone is taken from the environment, or left out."""
    text = read_text(path, f"service {service}: cannot read env_file {path}")
    variables: dict[str, str | None] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r").lstrip()
        if not line or line.startswith("#"):
            continue
        name, sign, value = line.partition("=")
        if not name or " " in name or "\t" in name:
            what = (
                "begins with export, which docker does not know"
                if name.startswith("export ")
                else "has a blank in its name"
            )
            raise ComposeError(f"service {service}: line {number} of env_file {path} {what if name else 'has no name'}")
        if sign or name in environment:
            variables[name] = value if sign else environment[name]
    return variables


def _bind_source(source: str, directory: str | None, environment: Mapping[str, str], what: str) -> str:
    if source.startswith("~"):
        source = source.replace("~", environment.get("HOME") or os.path.expanduser("~"), 1)
    if source.startswith(("/", "\\\\")) or (source[1:2] == ":" and source[2:3] in ("\\", "/")):
        return source
    return os.path.normpath(resolve_path(source, directory, what))


def resolve_path(path: str, directory: str | None, what: str) -> str:
    path = os.path.expanduser(path)
    if os.path.isabs(path):
        return path
    if directory is None:
        raise ComposeError(
            f"{what}: {path} is relative, and an inline definition has no directory: write the full path"
        )
    return os.path.join(directory, path)


def _named(section: str, key: str, value: Definition) -> Definition:
    """What is external has its name in the swarm."""
    external = value.pop("external", False)
    if external is not False:
        given = external.get("name") if isinstance(external, dict) else ""
        beside = ["name"] if given else []
        beside += ["driver", "driver_opts", "labels"] if section == "volumes" else []
        for field in beside:
            if value.get(field):
                raise ComposeError(
                    f"{section}.{key}: {field} and external{'.name' * (field == 'name')} exclude each other"
                )
        value = {**value, "name": value.get("name") or given or key, "external": True}
    return value


def normal(definition: Definition, directory: str | None) -> Definition:
    """A definition as an earlier version of this module recorded it, in the form of this one: what it was, was resolved then."""
    finished = finish(read_part(definition, directory, {}))
    return {section: finished[section] for section in ("services", *OBJECTS)}
