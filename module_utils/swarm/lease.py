"""The lease: who changes the hosts and their swarm at present. Standard library only, Python 3.9 or newer.

It is a file on a manager, for hosts that are in no swarm yet or any more, and a config of the swarm, which all managers see: swarm creates
one of a name, or refuses. Both hold the same words. The file always comes first, so that two runs do not wait for each other.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..docker.api import post
from ..docker.cli import DockerCli, DockerError
from ..names import is_name
from ..text import first_line, printable

NAME = "ddp-swarm-lease"
LABEL = "ddp.lease"
DATA = "docker config inspect shows in the labels who changes this swarm at present."
# Seconds. A manager without a leader answers late, and then has no lease to tell of.
TIMEOUT = 10.0
LONGEST = 200  # characters of what another run says of itself


@dataclass(frozen=True)
class Lease:
    """`since` and `until` are seconds since 1970, by the clock of the manager."""

    id: str
    who: str = ""
    what: str = ""
    since: float = 0.0
    until: float = 0.0

    @staticmethod
    def read(text: str) -> Lease | None:
        """What another run wrote. What is no lease binds nobody."""
        try:
            told = json.loads(text)
            return Lease(
                str(told["id"])[:LONGEST],
                first_line(printable(str(told["who"])))[:LONGEST],
                first_line(printable(str(told["what"])))[:LONGEST],
                float(told["since"]),
                float(told["until"]),
            )
        except (ValueError, TypeError, KeyError, RecursionError):
            return None

    def text(self) -> str:
        return json.dumps(asdict(self))

    def binds(self, other: Lease, now: float) -> bool:
        """Whether another run must leave things alone."""
        return self.id != other.id and now < self.until


@dataclass(frozen=True)
class Found:
    """The swarm's config, as it was a moment ago."""

    id: str
    version: int
    lease: Lease | None


class SwarmLease:
    """The lease as a config of the swarm. Where there is no swarm that answers, there is none to be had."""

    def __init__(self, docker: DockerCli) -> None:
        self.docker = docker

    def find(self) -> Found | None:
        try:
            done = self.docker.run("config", "inspect", NAME, check=False, timeout=TIMEOUT)
            entry = json.loads(done.stdout)[0] if done.rc == 0 else {}
            version = int(entry["Version"]["Index"])
            identifier, labels = str(entry["ID"]), entry["Spec"].get("Labels") or {}
        except (DockerError, ValueError, TypeError, KeyError, LookupError, AttributeError):
            return None
        return (
            Found(identifier, version, Lease.read(str(labels.get(LABEL, ""))))
            if is_name("node ID", identifier)
            else None
        )

    def create(self, lease: Lease) -> bool:
        """Whether there was none, and now this one is; also where no swarm answers, for which the file has to do."""
        options = ("config", "create", "--label", f"{LABEL}={lease.text()}", NAME, "-")
        try:
            done = self.docker.run(*options, check=False, input=DATA, timeout=TIMEOUT)
        except DockerError:
            return True
        return done.rc == 0 or "already exists" not in done.stderr.lower().replace("alreadyexists", "already exists")

    def replace(self, found: Found, lease: Lease) -> bool:
        """Whether nobody else has changed it since it was found. The docker command knows no update of a config."""
        spec = {"Name": NAME, "Labels": {LABEL: lease.text()}}
        try:
            post(f"/configs/{found.id}/update?version={found.version}", spec, None, TIMEOUT)
        except DockerError:
            return False
        return True

    def remove(self, found: Found) -> None:
        try:
            # By its ID: one that somebody else has made since has another.
            self.docker.run("config", "rm", found.id, check=False, timeout=TIMEOUT)
        except DockerError:
            return


class LeaseFile:
    """The lease as a file, and the lock under which a host handles one question about leases at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    def read(self) -> Lease | None:
        try:
            return Lease.read(self.path.read_text("utf-8"))
        except (OSError, ValueError):
            return None

    def write(self, lease: Lease) -> None:
        beside = self.path.with_suffix(".new")
        beside.write_text(lease.text(), "utf-8")
        beside.replace(self.path)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def take(file: LeaseFile, swarm: SwarmLease, lease: Lease, break_it: bool) -> dict[str, Any]:
    """One attempt: `held`, and of the run that has the lease, or had it until it was taken over, `by`."""
    now = lease.since
    with file.locked():
        there = file.read()
        if there and there.binds(lease, now) and not break_it:
            return answer(False, there)
        former = there if there and there.id != lease.id else None
        if not swarm.create(lease):
            found = swarm.find()
            other = found.lease if found else None
            # One that went a moment ago, or that somebody else took over just now, is tried again.
            if found is None or (other and other.binds(lease, now) and not break_it) or not swarm.replace(found, lease):
                return answer(False, other)
            former = other if other and other.id != lease.id else former
        file.write(lease)
        return answer(True, former)


def renew(file: LeaseFile, swarm: SwarmLease, lease: Lease, now: float) -> dict[str, Any]:
    """Whether this run still has the lease, until `lease.until`, and who has it else; nobody, if it is nowhere.

    One that began before this run's own was taken from nobody: it came with the state of a backup, or of a swarm that this run joined.
    """
    with file.locked():
        there, found = file.read(), swarm.find()
        for other in (there, found.lease if found else None):
            if other and other.binds(lease, now) and other.since > lease.since:
                return answer(False, other)
        mine = bool((there and there.id == lease.id) or (found and found.lease and found.lease.id == lease.id))
        if not mine or not (swarm.replace(found, lease) if found else swarm.create(lease)):
            return answer(False, None)
        file.write(lease)
        return answer(True, None)


def release(file: LeaseFile, swarm: SwarmLease, lease: Lease) -> dict[str, Any]:
    with file.locked():
        there, found = file.read(), swarm.find()
        # One that began before this run's own came with the state of a backup, and binds nobody.
        if found and found.lease and (found.lease.id == lease.id or found.lease.since < lease.since):
            swarm.remove(found)
        if there and there.id == lease.id:
            file.remove()
    return answer(False, None)


def answer(held: bool, by: Lease | None) -> dict[str, Any]:
    return {"held": held, "by": asdict(by) if by else {}}
