"""A compose definition as it is deployed: complete, with absolute paths, and with contents named by their hash."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...masking import secret_texts
from .interpolate import interpolate
from .load import KeepSecret, _keep_nothing, load
from .merge import as_mapping
from .refusals import drop, refusals
from .shapes import SECTIONS, ComposeError, Definition

# The newest schema version that the docker CLI 20.10 knows; newer CLIs accept it as well.
DEFAULT_VERSION = "3.9"
NAME_LIMIT = 64


@dataclass(frozen=True)
class Content:
    """A config or secret that the module creates itself, under a name that tells its content."""

    kind: str  # config | secret
    key: str
    name: str
    data: bytes | None
    path: str | None
    options: tuple[str, ...] = ()


@dataclass
class Prepared:
    definition: Definition
    contents: list[Content] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    version: str = DEFAULT_VERSION
    directory: str | None = None


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
    sources = ["file", "content", *(["content_base64"] if kind == "config" else [])]
    given = [source for source in sources if source in value]
    if len(given) != 1:
        raise ComposeError(f"{kind} {key} needs exactly one of {', '.join(sources)} and external")
    path: str | None = None
    if given == ["content"]:
        text = value["content"] if isinstance(value["content"], str) else json.dumps(value["content"], sort_keys=True)
        data = text.encode("utf-8")
    elif given == ["content_base64"]:
        try:
            data = base64.b64decode(value["content_base64"], validate=True)
        except (TypeError, ValueError) as error:
            raise ComposeError(f"{kind} {key}: content_base64 is not base64") from error
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
    prepared.contents.append(Content(kind, key, name, None if path else data, path, options))
    return {"external": True, "name": name}


def _create_options(value: Definition) -> tuple[str, ...]:
    options: list[str] = []
    for label, text in sorted((value.get("labels") or {}).items()):
        options += ["--label", f"{label}={text}"]
    if value.get("template_driver"):
        options += ["--template-driver", str(value["template_driver"])]
    return tuple(options)


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
