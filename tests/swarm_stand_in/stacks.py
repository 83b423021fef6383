"""docker stack: deploy, ps, ls, rm."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from swarm_stand_in import compose, show
from swarm_stand_in.store import IMAGE_LABEL, NAMESPACE, Raw, labels_of, name_of
from swarm_stand_in.template import NotPlayed

if TYPE_CHECKING:
    from swarm_stand_in.command import Docker
    from swarm_stand_in.flags import Parsed

Answer = tuple[int, str, str]
BACKGROUND = (
    "Since --detach=false was not specified, tasks will be created in the background.\n"
    "In a future release, --detach=false will become the default.\n"
)


def deploy(docker: Docker, parsed: Parsed, stdin: str, environment: Mapping[str, str], directory: str | None) -> Answer:
    (stack,) = parsed.operands
    files = parsed.flags.get("compose-file", [])
    if not files:
        please = "S" if docker.numbers >= (28,) else "Please s"
        return 1, "", f"{please}pecify a Compose file (with --compose-file)\n"
    if files != ["-"]:
        stdin = Path(os.path.join(directory or ".", files[0])).read_text(encoding="utf-8")
    resolve = parsed.one("resolve-image", "always")
    if resolve not in ("always", "changed", "never"):
        return 1, "", f"invalid option {resolve} for flag --resolve-image\n"
    try:
        newest = (3, 9) if docker.numbers < (23,) else (3, 13)
        definition, said = compose.load(stdin, environment, directory, newest)
    except compose.Forbidden as error:
        return 1, "", f"{error.deploying}\n"
    if (26,) <= docker.numbers < (28,) and "detach" not in parsed.flags:
        said += BACKGROUND
    if "detach" in parsed.flags and not parsed.has("detach"):
        raise NotPlayed("the stand-in does not wait for a deployment (docker/cli#5299)")
    out, complaints = "", []
    try:
        if parsed.has("prune"):
            said += _prune(docker, stack, definition)
        out += _networks(docker, stack, definition)
        known = _known(docker, stack, definition)
        specs = [
            compose.service_spec(stack, name, service, definition, known)
            for name, service in definition["services"].items()
        ]
        for spec in specs:
            out += _service(docker, stack, spec, resolve, complaints)
    except compose.ComposeRefused as error:
        return 1, out, f"{said}{error}\n"
    return 0, out, said + "".join(complaints)


def _prune(docker: Docker, stack: str, definition: Raw) -> str:
    said = ""
    for name, service in sorted(docker.swarm.of_stack("service", stack).items()):
        if name.removeprefix(f"{stack}_") not in definition["services"]:
            said += f"Removing service {name}\n"
            docker.swarm.remove_service(service)
    return said


def _networks(docker: Docker, stack: str, definition: Raw) -> str:
    declared = definition.get("networks") or {}
    used = {key for service in definition["services"].values() for key in service.get("networks") or ["default"]}
    names = {item["Name"]: item for item in docker.swarm.networks.values()}
    for key in sorted(used):
        name, external = compose.network_name(stack, key, declared)
        if not external or name in ("host", "bridge", "none"):
            continue
        if name not in names:
            raise compose.ComposeRefused(
                f'network "{name}" is declared as external, but could not be found. You need to create a swarm-scoped '
                "network before the stack is deployed"
            )
        if names[name]["Scope"] != "swarm":
            raise compose.ComposeRefused(
                f'network "{name}" is declared as external, but it is not in the right scope: '
                f'"{names[name]["Scope"]}" instead of "swarm"'
            )
    out = ""
    own = docker.swarm.of_stack("network", stack)
    for key in sorted(used):
        name, external = compose.network_name(stack, key, declared)
        if external or name in own or (key not in declared and key != "default"):
            continue
        out += f"Creating network {name}\n"
        if name in names and names[name]["Scope"] == "swarm":
            raise compose.ComposeRefused(
                f"failed to create network {name}: Error response from daemon: network with name {name} already exists"
            )
        given = declared.get(key) or {}
        docker.swarm.add_network(
            name,
            given.get("driver") or "overlay",
            Labels={**compose.mapping(given.get("labels")), NAMESPACE: stack},
            Options=compose.mapping(given.get("driver_opts")),
            Attachable=bool(given.get("attachable")),
            Internal=bool(given.get("internal")),
        )
    return out


def _known(docker: Docker, stack: str, definition: Raw) -> dict[str, dict[str, str]]:
    for kind in ("config", "secret"):
        for key, entry in (definition.get(f"{kind}s") or {}).items():
            if not entry.get("external"):
                raise NotPlayed(f"the stand-in creates no {kind} from a compose file: {key}")
    found: dict[str, dict[str, str]] = {}
    for kind in ("config", "secret", "network"):
        items = docker.swarm.kind(kind).values()
        found[kind] = {name_of(kind, item): str(item.get("ID") or item.get("Id")) for item in items}
    return found


def _service(docker: Docker, stack: str, spec: Raw, resolve: str, complaints: list[str]) -> str:
    swarm, name, image = docker.swarm, spec["Name"], spec["TaskTemplate"]["ContainerSpec"]["Image"]
    old = swarm.of_stack("service", stack).get(name)
    asks = resolve == "always" or (
        resolve == "changed" and (old is None or labels_of("service", old).get(IMAGE_LABEL) != image)
    )
    if asks:
        complaints.append(
            f"image {image} could not be accessed on a registry to record\nits digest. Each node will access {image} "
            "independently,\npossibly leading to different nodes running different\nversions of the image.\n\n"
        )
    if old is None:
        if any(name_of("service", item) == name for item in swarm.services.values()):
            raise compose.ComposeRefused(
                f"failed to create service {name}: Error response from daemon: rpc error: code = AlreadyExists desc = "
                f"name conflicts with an existing object: service {name} already exists"
            )
        swarm.create_service(spec)
        return f"Creating service {name}\n"
    if resolve != "always" and labels_of("service", old).get(IMAGE_LABEL) == image:
        # docker/cli takes the live service's image then: with its digest, or as somebody else has changed it.
        spec["TaskTemplate"]["ContainerSpec"]["Image"] = old["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]
    spec["TaskTemplate"]["ForceUpdate"] = old["Spec"]["TaskTemplate"]["ForceUpdate"]
    if set(spec["Mode"]) != set(old["Spec"]["Mode"]):
        raise compose.ComposeRefused(
            f"failed to update service {name}: Error response from daemon: rpc error: code = Unimplemented desc = "
            "service mode change is not allowed"
        )
    swarm.update_service(old, spec)
    return f"Updating service {name} (id: {old['ID']})\n"


def config(docker: Docker, parsed: Parsed, stdin: str, environment: Mapping[str, str], directory: str | None) -> Answer:
    """Nobody asks for more of it than whether docker takes the definition."""
    if parsed.flags.get("compose-file") != ["-"]:
        raise NotPlayed("the stand-in reads one definition, on standard input")
    try:
        compose.load(stdin, environment, directory)
    except compose.ComposeRefused as error:
        return 1, "", f"{error}\n"
    return 0, "", ""


def ps(docker: Docker, parsed: Parsed, stdin: str, environment: Mapping[str, str], directory: str | None) -> Answer:
    (stack,) = parsed.operands
    tasks = [t for t in docker.listed("task", parsed) if labels_of("task", t).get(NAMESPACE) == stack]
    if not tasks:
        return 1, "", f"nothing found in stack: {stack}\n"
    if docker.shuffled:
        # Docker sorts them by name; whoever relies on that relies on a view for people.
        docker.swarm.random.shuffle(tasks)
    whole = parsed.has("no-trunc")
    rows = [show.row(docker, "task", task, whole) for task in tasks]
    if parsed.has("no-resolve"):
        raise NotPlayed("the stand-in resolves names")
    return 0, show.listing(rows, show.COLUMNS["task"], parsed, docker.numbers), ""


def ls(docker: Docker, parsed: Parsed, stdin: str, environment: Mapping[str, str], directory: str | None) -> Answer:
    return 0, show.listing(show.stack_rows(docker), show.COLUMNS["stack"], parsed, docker.numbers), ""


def rm(docker: Docker, parsed: Parsed, stdin: str, environment: Mapping[str, str], directory: str | None) -> Answer:
    """Services go at once, their tasks a moment later, and networks only after those."""
    said, told, failed = "", "", False
    for stack in parsed.operands:
        found = {kind: docker.swarm.of_stack(kind, stack) for kind in ("service", "secret", "config", "network")}
        if not any(found.values()):
            said += f"Nothing found in stack: {stack}\n"
            continue
        wrong = False
        for kind, items in found.items():
            for name, item in sorted(items.items()):
                identifier = str(item.get("ID") or item.get("Id"))
                line = f"Removing {kind} {name}\n"
                told += line if docker.numbers >= (28,) else ""
                said += line if docker.numbers < (28,) else ""
                against = docker.remove(kind, identifier)
                if against:
                    wrong = True
                    said += f"Failed to remove {kind} {identifier}: {against}"
        if wrong:
            failed = True
            said += f"\n{'f' if docker.numbers >= (28,) else 'F'}ailed to remove some resources from stack: {stack}\n"
    return failed * 1, told, said


COMMANDS = {"stack config": config, "stack deploy": deploy, "stack ps": ps, "stack ls": ls, "stack rm": rm}
