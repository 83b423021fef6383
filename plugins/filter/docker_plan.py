"""Filters: whether a host keeps its engine, which packages it lacks otherwise, and why it can have none."""

import hashlib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..module_utils.cuda import cuda_problem
from ..module_utils.docker.platforms import engine_packages, known, platform_of, release
from .docker_settings import swarm_problems_of_service

CHOICES = ("auto", "distribution", "docker")
# By which package an engine came, of which source it is.
SOURCES = {"docker-ce": "docker", "docker.io": "distribution", "moby-engine": "distribution"}


def docker_plan(host: dict[str, Any], source: str, version: str) -> dict[str, Any]:
    """Decide for one host, of which `host` is what host_info says. `source` and `version` are docker_source and docker_version.

    Returns `kept` (the engine that is there stays as it is), `refused` (why no engine can be installed, if one has to be), `origin` (whose
    packages), `install` (all that is to be there), `lacks` (something of it is not), `replaces` (another engine takes the place of
    the one that answers), `package` (the one that the engine came or comes with) and
    `upgrade` (the packages that make a newer engine, none if it came otherwise).
    """
    engine, packages, system = host["engine"], host["packages"], host["distribution"]
    # Without an answer: one that is stopped, but not one whose installation was interrupted, or that came without the docker command.
    stopped = engine["command"] and engine["installed"] and host["service"]["known"]
    there = bool(engine["version"] or stopped) and not packages["broken"]
    docker_s_own = SOURCES.get(packages["engine"]) == "docker"
    kept = there and not version and (source == "auto" or (source == "distribution" and docker_s_own))
    origin = source if source != "auto" else best_source(system, docker_s_own)
    # zstd serves the shipping of images.
    install = [*engine_packages(origin, system, version), "zstd"]
    lacking = [name for name in install if not is_installed(name, packages["installed"])]
    upgrade = engine_packages(SOURCES.get(packages["engine"], ""), system)
    return {
        "kept": kept,
        "refused": "" if kept else refusal(system, origin),
        "origin": origin,
        "install": install,
        "lacks": not kept and bool(lacking),
        "replaces": bool(engine["version"]) and not kept and install[0] in lacking,
        "package": packages["engine"] or next(iter(engine_packages(origin, system)), ""),
        "upgrade": upgrade if packages["engine"] in upgrade else [],
    }


def best_source(system: dict[str, Any], docker_s_own: bool) -> str:
    """The distribution's own packages need no further repository. Those of the family redhat have none, or one that is seldom used (Fedora)."""
    return "docker" if docker_s_own or system["family"] == "redhat" else "distribution"


def docker_platform(system: dict[str, Any]) -> dict[str, str]:
    """Of a distribution that the role knows, `folder` and `release`, as Docker's repository calls them."""
    found = platform_of(system)
    return {"folder": found.folder if found else "", "release": release(system)}


def is_installed(name: str, installed: dict[str, str]) -> bool:
    """Whether a package, with a version behind `=` (apt) or `-` (dnf) or without one, is among those with theirs.

    A version may be a pattern for apt, and lack the release for dnf.
    """
    return name in installed or any(
        fnmatchcase(f"{have}={number}", name) or name in (f"{have}-{number}", f"{have}-{number.rpartition('-')[0]}")
        for have, number in installed.items()
    )


def refusal(system: dict[str, Any], origin: str) -> str:
    """Why no engine can be installed there; empty if one can."""
    yourself = (
        "install Docker Engine 20.10 or newer there yourself (https://docs.docker.com/engine/install) and run this again with "
        "docker_source=auto, or choose another machine"
    )
    if not platform_of(system):
        return f"runs {system['name']}, where the docker role can install no engine (it knows {known()}): {yourself}"
    if not engine_packages(origin, system):
        return f"runs {system['name']}, which has no Docker engine of its own: say docker_source=docker, or {yourself}"
    return ""


def docker_refusals(
    host: dict[str, Any], name: str, source: str, version: str, gpu: Any, cuda: Any, disturb: bool, network_mode: str
) -> list[str]:
    """Why this host, called `name`, cannot have the engine that is asked for, a sentence each.

    `source`, `version`, `gpu`, `cuda` and `disturb` are docker_source, docker_version, docker_gpu, docker_gpu_cuda and
    docker_restart_during_training; `network_mode` is training_network_mode.
    """
    said = []
    plan = docker_plan(host, source, version) if source in CHOICES else {}
    if str(gpu).lower() not in ("auto", "true", "false"):
        said.append(f"docker_gpu is '{gpu}' on {name}: it is auto, true or false.")
    if problem := cuda_problem(cuda):
        said.append(f"On {name}, docker_gpu_cuda (image_cuda) is {problem}.")
    # As Fedora's moby-engine comes. In daemon.json as well, the engine would not start.
    said += swarm_problems_of_service(host, name)
    if host["engine"]["userns_remap"] and network_mode == "host":
        said.append(
            f"{name} has an engine with userns-remap, which gives no container the host's own network, and training_network_mode is host: "
            "take userns-remap out of /etc/docker/daemon.json there, or train over the overlay (training_network_mode=overlay)."
        )
    if source not in CHOICES:
        said.append(f"docker_source is '{source}' on {name}: it is 'auto', 'distribution' or 'docker'.")
    elif host["engine"]["unfit"]:
        said.append(f"{name} has {host['engine']['unfit']}.")
    elif plan["refused"]:
        said.append(f"{name} {plan['refused']}.")
    elif plan["replaces"] and (things := what_runs(host["running"])) and not disturb:
        asked = f"docker_source={source}" + (f" and docker_version={version}" if version else "")
        said.append(
            f"{name} runs {things}, which would be stopped: {asked} puts {plan['install'][0]} in the place of its engine "
            f"({host['packages']['engine'] or 'installed otherwise'}, {host['engine']['version']}). Wait until they are done, or say "
            "docker_restart_during_training=true."
        )
    return said


def what_runs(running: dict[str, list[str]]) -> str:
    """For people: what runs on an engine, of which `running` is what host_info says; empty if nothing does."""
    services, containers = running["services"], running["containers"]
    return " and ".join(
        f"{kind} {', '.join(names)}"
        for kind, names in (("the services", services), ("the containers", containers))
        if names
    )


def known_repository(host: dict[str, Any], offer: dict[str, Any]) -> str:
    """The file by which apt or dnf knows a repository already, but for the one of the role docker. Two entries with two keys break apt."""
    own = (f"/etc/apt/sources.list.d/{offer['name']}.sources", f"/etc/yum.repos.d/{offer['name']}.repo")
    number, uri = release(host["distribution"]), offer["uri"].rstrip("/")
    found = (
        entry["file"]
        for entry in host["repositories"]
        # dnf has no suites, and may name its release by a variable.
        if entry["uri"].replace("$releasever", number) == uri
        and (not offer["suite"] or entry["suite"] == offer["suite"])
    )
    return next((file for file in found if file not in own), "")


def certificates_are_there(host: dict[str, Any], paths: list[str]) -> bool:
    """Whether a host has read these files of the controller as CA certificates; `host` is what host_info says."""
    files = [Path(path).expanduser() for path in paths]
    # One that is missing is named by the task that copies it.
    wanted = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "" for file in files}
    has = host["certificates"]["files"]
    return not host["certificates"]["untrusted"] and all(has.get(name) == digest for name, digest in wanted.items())


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "docker_plan": docker_plan,
            "docker_platform": docker_platform,
            "docker_refusals": docker_refusals,
            "known_repository": known_repository,
            "what_runs": what_runs,
        }
