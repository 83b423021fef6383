"""The logs of a rank's containers, laid out on its host: what the engine has, or what the rank's launcher has kept of it."""

from __future__ import annotations

import os
import subprocess
from typing import IO, Any

from ..docker.cli import DockerCli
from ..image.layers import streamed
from ..logs import merged
from ..names import SERVICE_LABEL
from . import launcher_logs
from .tree import Tree

ID = "0123456789abcdef"
# Lines among which the first is looked for that a launcher has kept: before it stands what the launcher itself says.
HEAD = 400


def lines_in(stage: int, name: str = "") -> IO[str]:
    """A new file for lines of any bytes, in the directory on whose disk there is room; without a name it goes when it is closed."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    descriptor = os.open(name or "unnamed", flags, 0o600, dir_fd=stage)
    if not name:
        os.unlink("unnamed", dir_fd=stage)
    return open(descriptor, "w+", encoding="utf-8", errors="surrogateescape", newline="\n")


def containers_of(docker: DockerCli, service: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """By its ID, when a container of the service was made, and how it ended, if it has; the newest first."""
    label = f"label={SERVICE_LABEL}={service}"
    found = {}
    for container in docker.run("ps", "--all", "--no-trunc", "--quiet", "--filter", label).stdout.split():
        told = docker.run(
            "inspect",
            "--format",
            "{{.Created}},{{.State.Status}},{{.State.ExitCode}},{{.State.FinishedAt}}",
            container,
            check=False,
        )
        if told.rc or set(container) - set(ID):  # it was removed meanwhile
            continue
        created, state, code, when = (told.stdout.strip().split(",") + [""] * 3)[:4]
        made = "".join(letter for letter in created[:19] if letter.isdigit() or letter == "T")
        found[container] = (
            made,
            ({"exit_code": int(code), "finished": when} if state == "exited" and code.isdecimal() else {}),
        )
    return found


def lay_out_log(command: list[str], stage: int, log: IO[str]) -> list[str]:
    """What the engine has of a container. Returns its first lines."""
    head: list[str] = []
    with lines_in(stage) as out, lines_in(stage) as err:
        with streamed(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err):
            pass
        for stream in (out, err):
            stream.seek(0)
        streams = ((line.removesuffix("\n") for line in stream) for stream in (out, err))
        for _stamp, text in merged(*streams):
            if len(head) < HEAD:
                head.append(text.rstrip("\r"))
            log.write(f"{text}\n")
    return head


def lay_out_logs(
    docker: DockerCli, program: str, service: str, log_max_mb: float, tree: Tree | None, stage: int, owner: int
) -> list[dict[str, Any]]:
    """On the host itself, because `docker service logs` of a manager can lose and reorder lines (moby#33183).

    The engine removes what is old of a long log, and a container's log with the container: what the rank's launcher has kept takes its place.
    """
    command = [program, "logs", "--timestamps"]
    kept = {start.container: start for start in launcher_logs.starts(tree)} if tree else {}
    laid: list[dict[str, Any]] = []

    def new_log(name: str, container: str, ended: dict[str, Any] | None = None) -> IO[str]:
        laid.append({"name": f"{name}.{container[:12]}.log", "file": f"log{len(laid):05}", **(ended or {})})
        log = lines_in(stage, laid[-1]["file"])
        os.fchown(log.fileno(), owner, -1)
        return log

    left = int(log_max_mb * 1e6)
    for container, (created, ended) in containers_of(docker, service).items():
        start = kept.pop(container, None)
        with new_log(created, container, ended) as log:
            head = lay_out_log([*command, container], stage, log)
            if tree and start and launcher_logs.first_line(tree, start) not in head:
                left -= take_kept(tree, start, log, left)
    for container, start in kept.items():
        if tree and launcher_logs.size_of(tree, start) <= left:
            with new_log(start.at, container) as log:
                left -= take_kept(tree, start, log, left)
    return laid


def take_kept(tree: Tree, start: launcher_logs.Start, log: IO[str], most: int) -> int:
    """The launcher's log in place of what the file has, if it is not too large. Returns its size."""
    size = launcher_logs.size_of(tree, start)
    if not 0 < size <= most:
        return 0
    log.flush()
    os.ftruncate(log.fileno(), 0)
    os.lseek(log.fileno(), 0, os.SEEK_SET)
    with open(log.fileno(), "wb", closefd=False) as target:
        launcher_logs.copy(tree, start, target)
    return size
