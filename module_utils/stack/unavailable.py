"""Why a host cannot manage a swarm now."""

from __future__ import annotations

import platform

from ..docker.cli import DockerCli, DockerError
from ..docker.info import ask


class SwarmUnavailable(Exception):
    """This host cannot manage a swarm; the text is one sentence that names the host and the way out."""


def explain_unavailable(docker: DockerCli, error: DockerError) -> str:
    host = platform.node()
    info, problem = ask(docker)
    if problem:
        return _silent(host, problem)
    host = info.get("Name") or host
    swarm = info.get("Swarm") or {}
    state = swarm.get("LocalNodeState", "inactive")
    if state == "locked" or "needs to be unlocked" in str(error):
        return f"The swarm on {host} is locked: run `docker swarm unlock` there with the unlock key, then try again."
    if state == "inactive":
        return f"{host} is not part of a swarm: playbooks/swarm.yml makes one, or brings it back into its own."
    if lost_quorum(f"{error} {swarm.get('Error', '')}"):
        return (
            f"The swarm of {host} has no quorum: more than half of its managers must be up to change or show a stack."
        )
    if state != "active":
        return f"{host} is in swarm state {state}: {swarm.get('Error') or error}"
    if not swarm.get("ControlAvailable"):
        managers = ", ".join(peer.get("Addr", "") for peer in swarm.get("RemoteManagers") or []) or "unknown"
        return f"{host} is a swarm worker, not a manager: run this on a manager ({managers})."
    return f"The swarm of {host} does not answer: {error}"


def _silent(host: str, said: str) -> str:
    """An engine that cannot be asked."""
    if "permission denied" in said:
        return f"This user may not talk to Docker on {host}: use become, or add the user to the group docker. ({said})"
    return f"Docker on {host} does not answer: {said}"


def lost_quorum(text: str) -> bool:
    return any(
        sign in text
        for sign in ("does not have a leader", "too few managers", "DeadlineExceeded", "deadline exceeded", "no answer")
    )
