"""What the engine says of itself. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import json
import re
from typing import Any

from ..text import first_line
from .cli import DockerCli, DockerError

# A manager without a leader answers after 20 s at the latest (swarmRequestTimeout in moby's daemon/cluster).
TIMEOUT = 40

# versionUnsupportedError in moby's daemon/server/middleware. Engine 29 knows no API before 1.44.
REFUSED_VERSION = re.compile(r"client version (\S+) is too (old|new)\. M\w+ supported API version is (\d+(?:\.\d+)*)")


def ask(docker: DockerCli, timeout: float = TIMEOUT) -> tuple[dict[str, Any], str]:
    """The answer of `docker info`, and why there is none: of the two, one is empty."""
    try:
        info = json.loads(docker.run("info", "--format", "{{json .}}", timeout=timeout).stdout or "{}")
    except DockerError as error:
        return {}, first_line(str(error))
    except (ValueError, RecursionError):
        return {}, "docker info prints no JSON"
    if not isinstance(info, dict):
        return {}, "docker info prints no mapping"
    if info.get("ServerErrors") or not info.get("ServerVersion"):
        return {}, first_line("; ".join(info.get("ServerErrors") or ["the engine does not answer"]))
    return info, ""


def other_release(problem: str) -> str:
    """What a docker command is that speaks no version of the API which its engine knows, and what to do; empty if `problem` says another thing."""
    found = REFUSED_VERSION.search(problem)
    if not found:
        return ""
    own, age, limit = found.groups()
    known, cure = {
        "old": ("newer", "upgrade the command there (package docker-ce-cli, docker-cli or docker.io)"),
        "new": ("older", "upgrade the engine there"),
    }[age]
    return (
        f"a docker command that is too {age} for its engine (it speaks version {own} of the API, the engine {limit} and {known}): {cure}, or take "
        "DOCKER_API_VERSION out of its environment, and run this again"
    )
