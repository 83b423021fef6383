"""Filter: whether an archive of a swarm's state may be unpacked by root on a host. It came from a host, which may have been another."""

import tarfile
import zlib
from typing import Any


def member_problem(member: tarfile.TarInfo) -> str:
    name = ascii(member.name)[:200]
    parts = member.name.split("/")
    if parts[0] != "swarm" or not {"", ".", ".."}.isdisjoint(parts) or (len(parts) == 1 and member.isreg()):
        return f"{name} lies outside of the folder swarm"
    # The engine keeps nothing else there (moby, daemon/cluster), and what a link names may be anywhere.
    if not member.isdir() and not member.isreg():
        return f"{name} is neither a file nor a directory"
    return f"{name} would run as another user (mode {member.mode:o})" if member.mode & 0o6000 else ""


def swarm_archive_problem(path: str) -> str:
    """What is wrong with it; empty for what playbooks/backup.yml writes."""
    files = 0
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if problem := member_problem(member):
                    return problem
                files += member.isreg()
    except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
        return f"it cannot be read ({ascii(str(error))[:200]})"
    return "" if files else "there is no state of a swarm in it"


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"swarm_archive_problem": swarm_archive_problem}
