"""Does what a plan says."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterable
from typing import Any

from ..docker.cli import ANSWER_TIMEOUT, DEPLOY_TIMEOUT, CompletedDocker, DockerCli, DockerError
from ..masking import hide, mask
from ..names import NAMESPACE
from .compose.canonical import Content, Prepared, network_name
from .compose.interpolate import escape
from .live import IMAGE_LABEL, Live, list_objects, only_gone, read_live
from .plan import Plan
from .record import content_ids, record_name, write_record
from .remove import wait_tasks_gone
from .wait import POLL, StackFailure

# What docker says of what somebody else, such as a run beside this one, has just made.
ALREADY = "already exists"


def missing_externals(
    docker: DockerCli, stack: str, prepared: Prepared, live: Live, made: Iterable[str] = ()
) -> list[str]:
    """What the definition expects to exist and does not. `made` are secrets that will be."""
    missing = []
    scopes = {row["Name"]: row.get("Scope", "") for row in live.networks.values()}
    for key, network in prepared.definition["networks"].items():
        name = network_name(stack, key, network)
        if not network.get("external") or name in ("host", "bridge", "none"):
            continue
        if name not in scopes:
            missing.append(f"network {name} is external, and there is no such network: create it first")
        elif scopes[name] != "swarm":
            missing.append(
                f"network {name} is external, and of scope {scopes[name]}: tasks need an overlay (scope swarm)"
            )
    ours = {content.name for content in prepared.contents} | set(made)
    for kind in ("config", "secret"):
        names = {entry["name"] for entry in prepared.definition[f"{kind}s"].values() if entry.get("external")} - ours
        if names:
            for name in sorted(names - set(list_objects(docker, kind))):
                missing.append(f"{kind} {name} is external, and there is no such {kind}: create it first")
    return missing


def create_contents(docker: DockerCli, stack: str, contents: list[Content], known: dict[str, str]) -> None:
    """`known` holds the ids of those that this module created: whatever else has such a name goes."""
    for kind in ("config", "secret"):
        wanted = [content for content in contents if content.kind == kind]
        present = list_objects(docker, kind, stack) if wanted else {}
        for content in wanted:
            found = present.get(content.name)
            if found and found != known.get(f"{kind} {content.name}", found):
                docker.run(kind, "rm", content.name, timeout=ANSWER_TIMEOUT)
                found = None
            if not found:
                options = ("--label", f"{NAMESPACE}={stack}", *content.options)
                source = "-" if content.path is None else content.path
                words = (kind, "create", *options, content.name, source)
                done = docker.run(*words, check=False, input=content.data, timeout=ANSWER_TIMEOUT)
                # A run beside this one may have made it, with the same content.
                made = done.rc == 0 or (ALREADY in done.stderr and content.name in list_objects(docker, kind, stack))
                if not made:
                    raise DockerError(f"docker {kind} create {content.name}: {done.stderr.strip()}")


def create_random_secrets(docker: DockerCli, stack: str, names: Iterable[str]) -> None:
    """Those that are not there yet. What is in them nobody has seen; they go with the stack."""
    for name in sorted(set(names) - set(list_objects(docker, "secret"))):
        options = ("--label", f"{NAMESPACE}={stack}")
        docker.run("secret", "create", *options, name, "-", input=secrets.token_hex(32), timeout=ANSWER_TIMEOUT)


def may_roll_back(service: dict[str, Any]) -> bool:
    """Whether swarm may still go back to the service's PreviousSpec by itself."""
    action = (service["Spec"].get("UpdateConfig") or {}).get("FailureAction")
    return action == "rollback" and (service.get("UpdateStatus") or {}).get("State") != "completed"


def former_contents(live: Live, watched: bool) -> set[str]:
    """Ids of what only the PreviousSpec of services names: of those whose update is still watched, or of those that were once."""
    former = {
        name: {**service, "Spec": service["PreviousSpec"]}
        for name, service in live.services.items()
        if service.get("PreviousSpec")
        and may_roll_back(service) == watched
        and (watched or (service.get("UpdateStatus") or {}).get("State") == "completed")
    }
    return set(content_ids(Live(live.stack, services=former)).values()) - set(content_ids(live).values())


def prune_contents(docker: DockerCli, stack: str, definition: dict[str, Any], live: Live) -> None:
    """Remove configs and secrets of the stack that nothing refers to any more, and will not again."""
    needed = former_contents(live, watched=True)
    for kind in ("config", "secret"):
        keep = {entry.get("name") or f"{stack}_{key}" for key, entry in definition[f"{kind}s"].items()}
        for name, identifier in list_objects(docker, kind, stack).items():
            if name not in keep and name != record_name(stack) and identifier not in needed:
                # Still in use by a service that was not pruned: it stays, and goes with that service.
                docker.run(kind, "rm", identifier, check=False, timeout=ANSWER_TIMEOUT)


# The newest schema of docker 20.10, the only one here whose command line wants to be told.
OLD_VERSION = "3.9"
# Between quotes, YAML takes the last three for ends of lines, and refuses the others.
NOT_PLAIN = re.compile("[\x7f-\x9f\ufeff\ufffe\uffff\u2028\u2029]")


def as_sent(definition: dict[str, Any]) -> str:
    """The definition as JSON that is YAML too, which JSON's pairs of surrogates are not."""
    text = json.dumps(escape(_without_empty_names(definition)), ensure_ascii=False)
    return NOT_PLAIN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _without_empty_names(value: Any) -> Any:
    """A mapping with an empty name, which a list with an empty variable makes, is taken as a list only."""
    if isinstance(value, list):
        return [_without_empty_names(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "" in value:
        return [name if item is None else f"{name}={item}" for name, item in value.items()]
    return {name: _without_empty_names(item) for name, item in value.items()}


def stack_deploy(docker: DockerCli, stack: str, prepared: Prepared, params: dict[str, Any]) -> str:
    """Hand the definition to the CLI on stdin. Returns what the CLI warned about."""
    flags = ["--compose-file", "-", "--resolve-image", params["resolve_image"]]
    if params["prune"]:
        flags.append("--prune")
    if params["with_registry_auth"]:
        flags.append("--with-registry-auth")

    def deploy(definition: dict[str, Any]) -> CompletedDocker:
        return _hand_over(docker, ("stack", "deploy", *flags, stack), prepared, definition, DEPLOY_TIMEOUT)

    # CLIs that know --detach announce that waiting will become the default, and waiting never ends
    # for tasks that finish (docker/cli#5299). Older ones do not know the option.
    flags.insert(0, "--detach=true")
    definition = prepared.definition
    done = deploy(definition)
    if done.rc != 0 and "unknown flag: --detach" in done.stderr:
        flags.pop(0)
        done = deploy(definition)
    if done.rc != 0 and "unsupported Compose file version: 1.0" in done.stderr:
        definition = {"version": OLD_VERSION, **definition}
        done = deploy(definition)
    if done.rc != 0 and ALREADY in done.stderr:
        time.sleep(POLL)
        done = deploy(definition)
    return _warnings("docker stack deploy", done, prepared.definition)


def check_definition(docker: DockerCli, prepared: Prepared) -> None:
    """Docker's own judgement, before services are taken down for a definition that it refuses. Docker 20.10 has no such command."""
    words = ("stack", "config", "--compose-file", "-")
    done = _hand_over(docker, words, prepared, prepared.definition, ANSWER_TIMEOUT)
    if "unknown flag: --compose-file" not in done.stderr:
        _warnings("docker stack config", done, prepared.definition)


def _hand_over(
    docker: DockerCli, words: tuple[str, ...], prepared: Prepared, definition: dict[str, Any], timeout: float
) -> CompletedDocker:
    # Docker fills in a value that is not given from its own environment, where these are not the user's.
    unset = {
        name
        for service in prepared.definition["services"].values()
        for name, value in (service.get("environment") or {}).items()
        if not value
    }
    text = as_sent(definition)
    return docker.run(*words, input=text, check=False, cwd=prepared.directory, timeout=timeout, unset=unset)


def _warnings(title: str, done: CompletedDocker, definition: dict[str, Any]) -> str:
    """What docker said of a definition, of which it may quote values."""
    values: dict[str, int] = {}
    mask(definition, values)
    said = hide(done.stderr.strip(), values)
    if done.rc != 0:
        raise DockerError(f"{title}: {said or hide(done.stdout.strip(), values)}")
    return str(said)


def force_restart(docker: DockerCli, full_name: str, with_registry_auth: bool) -> None:
    flags = ["--with-registry-auth"] if with_registry_auth else []
    docker.run("service", "update", "--detach", "--quiet", "--force", *flags, full_name, timeout=DEPLOY_TIMEOUT)


def remove_networks(docker: DockerCli, stack: str, names: list[str], deadline: float) -> None:
    """A network goes when the last task on it is gone, which is after its service (moby#32552)."""
    while names:
        said = ""
        for name in list(names):
            done = docker.run("network", "rm", name, check=False, timeout=ANSWER_TIMEOUT)
            if done.rc == 0 or "not found" in done.stderr.lower() or "no such network" in done.stderr.lower():
                names.remove(name)
            else:
                said = done.stderr.strip()
        if names:
            if time.monotonic() > deadline:
                raise StackFailure(f"Cannot remove network {names[0]} of stack {stack}: {said}")
            time.sleep(POLL)


def _remove_services(docker: DockerCli, names: list[str]) -> None:
    done = docker.run("service", "rm", *names, check=False, timeout=ANSWER_TIMEOUT)
    if done.rc != 0 and not only_gone(done.stderr):
        raise DockerError(f"docker service rm: {done.stderr.strip()}")


def execute(docker: DockerCli, stack: str, prepared: Prepared, plan: Plan, live: Live, params: dict[str, Any]) -> str:
    """Carry out a plan. Returns what docker warned about."""
    deadline = time.monotonic() + params["wait_timeout"]
    if plan.detached_services:
        _remove_services(docker, plan.detached_services)
        leaving = [task.id for task in live.tasks if f"{stack}_{task.service}" in plan.detached_services]
        wait_tasks_gone(docker, leaving, deadline)
    remove_networks(docker, stack, list(plan.recreated_networks), deadline)
    for content in plan.recreated_contents:
        kind, _space, name = content.partition(" ")
        docker.run(kind, "rm", name, timeout=ANSWER_TIMEOUT)
    warned = ""
    if plan.deploy:
        create_contents(docker, stack, prepared.contents, plan.known_contents)
        if params["random_secrets"]:
            create_random_secrets(docker, stack, params["random_secrets"])
        for full_name in plan.foreign_images:
            labels = live.services[full_name]["Spec"].get("Labels") or {}
            if IMAGE_LABEL in labels and full_name not in plan.detached_services:
                rename = ("service", "update", "--detach", "--quiet", "--label-rm", IMAGE_LABEL)
                # Docker would keep the image that somebody else gave the service.
                docker.run(*rename, full_name, timeout=DEPLOY_TIMEOUT)
        warned = stack_deploy(docker, stack, prepared, params)
    elif plan.removed_services:
        _remove_services(docker, plan.removed_services)
    restarted = list(plan.restarted)
    if plan.deploy or plan.removed_services or plan.obsolete_networks:
        now = read_live(docker, stack)
        # A deployment that changes only labels or replicas does not revive a dead task.
        still = {state.full_name for state in now.states() if state.failed}
        restarted += [name for name in plan.failed_before if name in still and name not in restarted]
        remove_networks(docker, stack, list(plan.obsolete_networks), deadline)
        if plan.obsolete_networks:
            now.networks = {key: row for key, row in now.networks.items() if row["Name"] not in plan.obsolete_networks}
        write_record(
            docker, stack, prepared.definition, prepared.contents, now, None if params["prune"] else plan.known
        )
    for full_name in restarted:
        force_restart(docker, full_name, params["with_registry_auth"])
    return warned
