"""The Docker engine of a host: what answers, where it comes from, and why it may be unfit. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..docker.cli import DockerCli
from ..docker.info import ask, other_release
from ..masking import mask

OLDEST = (20, 10)
SOCKETS = ("/var/run/docker.sock", "/run/docker.sock")


def asked(module: Any, docker: DockerCli) -> tuple[dict[str, Any], str]:
    """What `docker info` says, and why it says nothing: of the two, one is empty."""
    return ask(docker) if module.get_bin_path("docker") else ({}, "the docker command is not installed")


def look(module: Any, info: dict[str, Any], problem: str) -> dict[str, Any]:
    """Takes what the function asked returns. `command` says whether there is a docker command, `installed` is the version of the daemon's program, `version` that of the engine that answers, and `problem` why none answers.

    `swarm_address` is the one by which its swarm knows the host. `nftables` says that it writes rules of nftables and is in no swarm, as engines
    that are may do so. `unfit` says why an engine like this cannot be part of a swarm, and what to do; it is empty if it can.
    """
    command = module.get_bin_path("docker") or ""
    engine = {
        "command": bool(command),
        "installed": installed(module),
        "version": str(info.get("ServerVersion") or ""),
        "problem": problem,
        "swarm_address": str((info.get("Swarm") or {}).get("NodeAddr") or ""),
        "swarm_nodes": int((info.get("Swarm") or {}).get("Nodes") or 0),
        "root": str(info.get("DockerRootDir") or ""),
        "userns_remap": "name=userns" in (info.get("SecurityOptions") or []),
        "live_restore": bool(info.get("LiveRestoreEnabled")),
    }
    rules = str((info.get("FirewallBackend") or {}).get("Driver") or "")
    engine["nftables"] = rules.startswith("nftables") and not engine["swarm_address"]
    return {**engine, "unfit": unfit(module, command, engine, info)}


def among_others(engine: dict[str, Any]) -> bool:
    """Whether its swarm has other nodes. A worker counts none; it has a manager beside it."""
    return bool(engine["swarm_address"]) and engine["swarm_nodes"] != 1


def installed(module: Any) -> str:
    """The version that the daemon's program tells without an engine, empty if there is none."""
    program = module.get_bin_path("dockerd")
    if not program:
        return ""
    code, out, _ = module.run_command([program, "--version"])
    found = re.search(r"\d+(\.\d+)+", out)
    return found.group() if code == 0 and found else "unknown"


def unfit(module: Any, command: str, engine: dict[str, Any], info: dict[str, Any]) -> str:
    real = os.path.realpath(command) if command else ""
    version = engine["version"] or (engine["installed"] if engine["installed"] != "unknown" else "")
    if command and Path(real).name == "snap" or engine["root"].startswith("/var/snap/"):
        return (
            "Docker from snap, which reads other settings and sees no directories outside of /home: remove it with 'snap remove docker', "
            "and run this again"
        )
    if command and is_podman(module, command):
        return "podman's command in place of docker: remove the package podman-docker, and run this again"
    if elsewhere := another_engine(os.environ.get("DOCKER_HOST", ""), context_of(os.environ)):
        return elsewhere
    if other := other_release(engine["problem"]):
        return other
    if info.get("OperatingSystem") == "Docker Desktop":
        return "Docker Desktop, whose engine runs in a virtual machine: install Docker Engine there instead"
    if "name=rootless" in (info.get("SecurityOptions") or []):
        return "a rootless engine, which has no overlay networks: let root's engine run (systemctl enable --now docker)"
    if version and numbers(version) < OLDEST:
        return f"Docker {version}, which is too old: upgrade it to 20.10 or newer"
    return ""


def context_of(environment: Mapping[str, str]) -> str:
    """The context that the docker command was told to use; `docker info` is silent about it where no engine answers."""
    folder = environment.get("DOCKER_CONFIG") or os.path.join(environment.get("HOME", "/root"), ".docker")
    try:
        said = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
        kept = str(said.get("currentContext") or "")
    except (OSError, ValueError, AttributeError):
        kept = ""
    return environment.get("DOCKER_CONTEXT") or kept


def another_engine(host: str, context: str) -> str:
    """What the docker command is told to speak to instead of the engine of its host; empty if it is not."""
    why = ""
    if host and host.removeprefix("unix://") not in SOCKETS:
        why = f"DOCKER_HOST is {mask(host)} there, perhaps by /etc/environment: take it out"
    elif context not in ("", "default"):
        why = f"its context is {context}: say 'docker context use default' there as root"
    return (
        f"a docker command that speaks to another engine than the host's own ({why}, and run this again)" if why else ""
    )


def is_podman(module: Any, command: str) -> bool:
    if Path(os.path.realpath(command)).name == "podman":
        return True
    # podman-docker is a script that starts podman.
    try:
        with open(command, "rb") as file:
            start = file.read(2048)
    except OSError:
        return False
    return start.startswith(b"#!") and b"podman" in start


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
