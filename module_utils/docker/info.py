"""What the engine says of itself. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import json
from typing import Any

from ..text import first_line
from .cli import DockerCli, DockerError

# A manager without a leader answers after 20 s at the latest (swarmRequestTimeout in moby's daemon/cluster).
TIMEOUT = 40


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
