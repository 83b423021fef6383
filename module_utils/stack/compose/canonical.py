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
from .files import read_bytes
from .interpolate import interpolate
from .load import KeepSecret, _keep_nothing, load
from .merge import finish, merge_parts, read_part, resolve_path
from .refusals import check_names, check_version, drop, refusals, refuse_restart
from .shapes import SECTIONS, ComposeError, Definition

NAME_LIMIT = 64
MODES = ("replicated", "global", "replicated-job", "global-job")
# Bytes, swarmkit's manager/controlapi. Engines before 23.0 take half of it for a config.
CONTENT_LIMITS = {"config": 1000 * 1024, "secret": 500 * 1024}


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
    parts, directory = load(sources, keep_secret)
    prepared = Prepared({}, directory=directory)
    warnings = prepared.warnings
    resolved = []
    refused: list[str] = []
    for part in parts:
        check_version(part)
        if part.get("name") not in (None, stack):
            warnings.append(f"top level: name {part['name']} is not used, the stack is called {stack}")
        sections = interpolate({section: part.get(section) or {} for section in SECTIONS}, environment, warnings)
        part = {**part, **sections}
        for path, sentence in refusals(part):
            refused.append(sentence)
            if path:
                drop(part, path)
            warnings.append(f"{sentence} (left out)" if path else sentence)
        resolved.append(part)
    _refuse(refused, strict)
    merged = merge_parts([read_part(part, directory, environment) for part in resolved])
    refused = [sentence for name, service in merged["services"].items() if (sentence := refuse_restart(name, service))]
    _refuse(refused, strict)
    warnings += [f"{sentence} (left out)" for sentence in refused]
    if not merged["services"]:
        raise ComposeError("compose defines no service")
    check_names(merged, stack)
    complete = finish(merged)
    services = {name: canonical_service(name, service) for name, service in complete["services"].items()}
    complete["services"] = prepared.definition["services"] = services
    for section in ("networks", "volumes"):
        prepared.definition[section] = dict(sorted(used_objects(complete, section).items()))
    for kind in ("config", "secret"):
        prepared.definition[f"{kind}s"] = {
            key: _canonical_content(prepared, kind, key, value, stack, missing_files, keep_secret)
            for key, value in sorted(used_objects(complete, f"{kind}s").items())
        }
    try:
        json.dumps(prepared.definition, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ComposeError("compose, or a variable that it uses, holds what is not UTF-8") from error
    return prepared


def _refuse(sentences: list[str], strict: bool) -> None:
    if sentences and strict:
        raise ComposeError("; ".join(sentences))


def canonical_service(name: str, service: Definition) -> Definition:
    if not service.get("image"):
        raise ComposeError(f"service {name} has no image")
    deploy = dict(service.get("deploy") or {})
    if deploy.get("mode") not in (None, *MODES):
        raise ComposeError(f"service {name}: deploy.mode is none of {', '.join(MODES)}")
    if deploy.get("mode", "replicated") == "replicated":
        # Left out, it would mean "as it is": a service scaled behind our back would stay so.
        deploy.setdefault("replicas", 1)
    return {**service, "deploy": deploy}


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
        named = [entry for entry in entries or [] if entry.get("type") in ("volume", "cluster") and entry.get("source")]
        return [entry["source"] for entry in named if not entry["source"].startswith("group:")]
    names = [str(entry.get("source")) for entry in entries or []]
    specification = (service.get("credential_spec") or {}).get("config") if section == "configs" else None
    return [*names, specification] if specification else names


def _canonical_content(
    prepared: Prepared, kind: str, key: str, value: Definition, stack: str, missing_files: bool, keep_secret: KeepSecret
) -> Definition:
    """Name a config or secret after its content. Swarm cannot change one in place ("only updates to Labels are allowed")."""
    if value.get("external"):
        return {"external": True, "name": value["name"]}
    if "driver" in value:
        return value
    sources = ["file", "content", *(["content_base64"] if kind == "config" else [])]
    given = [source for source in sources if source in value]
    if len(given) != 1:
        raise ComposeError(f"{kind} {key} needs exactly one of {', '.join(sources)} and external")
    path: str | None = None
    if given == ["content"]:
        text = value["content"] if isinstance(value["content"], str) else json.dumps(value["content"], sort_keys=True)
        try:
            data = text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ComposeError(f"{kind} {key}: content holds what is not UTF-8: use content_base64") from error
    elif given == ["content_base64"]:
        try:
            data = base64.b64decode(value["content_base64"], validate=True)
        except (TypeError, ValueError) as error:
            raise ComposeError(f"{kind} {key}: content_base64 is not base64") from error
    else:
        path = resolve_path(str(value["file"]), prepared.directory, f"{kind} {key}")
        if os.path.lexists(path) or not missing_files:
            data = read_bytes(path, f"{kind} {key}: cannot read {path} on the target")
        else:
            prepared.warnings.append(f"{kind} {key}: there is no file {path} yet; assuming that it will be new")
            data = os.urandom(16)
    if kind == "secret":
        keep_secret(secret_texts(data))
    if not 0 < len(data) < CONTENT_LIMITS[kind]:
        raise ComposeError(
            f"{kind} {key}: its content has {len(data)} bytes, and swarm takes 1 to {CONTENT_LIMITS[kind] - 1}"
        )
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
    # An old record has texts here.
    named = dict(entry) if isinstance(entry, dict) else {"source": str(entry)}
    named["name"] = (objects.get(str(named.get("source"))) or {}).get("name")
    return {key: value for key, value in named.items() if value is not None}
