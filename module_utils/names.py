"""What may be part of a path or of a command. Whatever a user, a container, a host or a mirror calls a thing is held against these.

Standard library only, Python 3.9 or newer.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

# For each kind of name its pattern, and the words for it.
NAME = r"[0-9A-Za-z][0-9A-Za-z_.-]{0,127}"
NAME_WORDS = "letters, digits, '_', '.' and '-', a letter or a digit first, 128 characters at most"
KINDS: dict[str, tuple[str, str]] = {
    # docker/cli cli/command/stack/common.go checks the same; 52, because swarm_stack's record adds 12 of the 64 that swarm allows.
    "stack": (r"[0-9A-Za-z][0-9A-Za-z_-]{0,51}", "letters, digits, '_' and '-', a letter or a digit first, 52 characters at most"),
    "network": (NAME, NAME_WORDS),
    "volume": (NAME, NAME_WORDS),
    "backup": (NAME, NAME_WORDS),
    # distribution/reference: a repository, with or without the registry's host and port.
    "image": (
        r"(?!.{256})[0-9a-z]+(?:[._-]+[0-9a-z]+)*(?::[0-9]+)?(?:/[0-9a-z]+(?:[._-]+[0-9a-z]+)*){0,8}",
        "small letters, digits and single '.', '_' or '-' between them, with '/' between its parts",
    ),
    # A trainer's name of its run: a folder of the results.
    "run": (r"[0-9A-Za-z_-][0-9A-Za-z_.-]{0,127}", "letters, digits, '_', '-' and '.', no '.' first, 128 characters at most"),
    # identity.NewID in moby/swarmkit: 25 digits to the base of 36.
    "node ID": ("[0-9a-z]{25}", "25 small letters and digits"),
    # A layer of an image, as image_save writes it.
    "layer": (r"[0-9a-f]{64}\.tar(?:\.zst)?", "64 hexadecimal digits and .tar or .tar.zst"),
}  # fmt: skip

# The directory of the caches beside a rank's results, of which it is no part.
CACHES = ".ddp-caches"
# That of the rank's launcher, likewise.
LAUNCHER = ".ddp-launcher"
# How a rank's command begins where the launcher starts it: its options come then, --, and what it starts.
LAUNCHED = ["python3", "/ddp-launcher"]
# Where in a rank's memory its launcher keeps what its processes are asked by.
STACKS = "/dev/shm/.ddp-launcher"
# Labels of a swarm's nodes: the rank, and which host of the inventory a node is, also when that host does not answer or is installed anew.
RANK = "ddp_rank"
HOST = "ddp_host"
# Labels that swarm gives to containers, and docker to what is a stack's.
SERVICE_LABEL = "com.docker.swarm.service.name"
NAMESPACE = "com.docker.stack.namespace"
# On every container of a rank: where its results are, and which of them are fetched, as JSON.
RESULTS_LABEL = "io.ddp-swarm.results"
# The generic resource that a GPU is.
GPU = "NVIDIA-GPU"
# On every image that this project builds: its name without the tag. What lacks it is never removed. And on each of its stages.
OWN_LABEL = "io.ddp-swarm.image"
STAGE_LABEL = "io.ddp-swarm.stage"
# Stacks of the project's own, with their volumes and secrets, and the secret by which a rank's launcher tells somebody.
REGISTRY = "ddp-registry"
MONITORING = "ddp-monitoring"
NOTIFY = "ddp-notify"
# The ports of a swarm: TCP of managers, TCP and UDP of every node's gossip, and UDP of what containers send each other where no other is set.
MANAGER_PORT = 2377
GOSSIP_PORT = 7946
DATA_PORT = 4789
# What the stack of a job's check is called, after the job's name.
CHECK = "-preflight"
# A rank's service, in its stack and by its whole name.
RANK_SERVICE = re.compile(r"(?:(.+)_)?node(\d{1,5})", re.ASCII)


def service_of(stack: str, rank: int) -> str:
    """The whole name of a rank's service."""
    return f"{stack}_node{rank}"


def rank_of(service: str) -> int | None:
    """Of a service's name in its stack; None for one that is no rank."""
    stack, rank = _stack_and_rank(service)
    return None if stack else rank


def job_and_rank(service: str) -> tuple[str, int] | None:
    """Of a service's whole name; None for one that is no rank of a job, such as that of a check."""
    stack, rank = _stack_and_rank(service)
    return None if rank is None or not stack or stack.endswith(CHECK) else (stack, rank)


def _stack_and_rank(service: str) -> tuple[str, int | None]:
    found = RANK_SERVICE.fullmatch(service)
    return (found[1] or "", int(found[2])) if found else ("", None)


def is_address(value: object) -> bool:
    """Whether a text is an IP address. One with a scope, as fe80::1%eth0, is none here: a scope may be any text."""
    try:
        return isinstance(value, str) and "%" not in value and bool(ip_address(value))
    except ValueError:
        return False


def is_name(kind: str, value: object) -> bool:
    """Whether the whole of a text is a name of this kind."""
    return isinstance(value, str) and re.fullmatch(KINDS[kind][0], value) is not None


def refusal(kind: str, what: str, value: object) -> str:
    """A sentence about what is no such name; empty for what is one. `what` is the variable, or whatever holds it."""
    return (
        ""
        if is_name(kind, value)
        else f"{what} is {shown(value)}, which is not the name of {'an' if kind[0] in 'aeiou' else 'a'} {kind}: {KINDS[kind][1]}"
    )


def shown(value: object, limit: int = 100) -> str:
    """Any value in quotes, on one line, with its control characters spelled out."""
    text = ascii(value)
    return text if len(text) <= limit else f"{text[:limit]}..."
