"""Directories and files of the host that are mounted into containers: are they there, and may the image's user use them?"""

from __future__ import annotations

import os
import pwd
import re
import stat
import subprocess
from typing import Any

from ...docker.cli import THROWAWAY, DockerError
from ..contract import Json

# As id prints it; names are those of the image, and no matter. Without a name there are no parentheses.
ONE = r"([0-9]{1,9})(?:\([^()\s,]*\))?"
USER = re.compile(rf"uid={ONE} gid={ONE}(?: groups={ONE}(?:,{ONE})*)?")


def unusable(docker: Any, image: str, mounts: list[Json], results: str) -> list[Json]:
    """Of bind mounts (`source`, `target`, `read_only`) those that a rank cannot start with, or not use.

    Each with its `path`, the `lack` (missing, read or write), and where something is denied the `user` with its `uid` and
    `gid`, and the `owner` and `mode` of the path. Only what is mounted at `results` has to be writable: of other
    directories the script may want to read alone.
    """
    found: list[Json] = []
    user: tuple[int, int, list[int]] | None = None
    for mount in mounts:
        path = str(mount["source"])
        if not os.path.exists(path):
            found.append({"path": path, "lack": "missing"})
            continue
        user = user or user_of(docker, image)
        if user is None:
            continue
        writes = not mount.get("read_only") and str(mount.get("target")).rstrip("/") == results.rstrip("/")
        lack = denied(path, user, writes)
        if lack:
            state = os.stat(path)
            found.append(
                {
                    "path": path,
                    "lack": lack,
                    "uid": user[0],
                    "gid": user[1],
                    "owner": name_of(state.st_uid),
                    "mode": f"{stat.S_IMODE(state.st_mode):04o}",
                }
            )
    return found


def user_of(docker: Any, image: str) -> tuple[int, int, list[int]] | None:
    """User, group and further groups that the image's containers run with; None where that cannot be told, as of a missing image."""
    if not image:
        return None
    try:
        # In a container that has nothing of the host, and no network.
        said = USER.fullmatch(docker.run(*THROWAWAY, "--entrypoint", "id", image, timeout=30).stdout.strip()[:4096])
    except DockerError:
        return None
    if not said:
        return None
    uid, gid, *groups = (int(number) for number in re.findall(r"[=,]([0-9]+)", said.group()))
    return uid, gid, groups


def denied(path: str, user: tuple[int, int, list[int]], writes: bool) -> str:
    """`read` or `write`, whichever the user may not; empty where all is well, or root itself cannot tell (a file server)."""
    uid, gid, groups = user
    try:
        # What leads to the path does not count: a container gets there without.
        opened = os.open(path, os.O_PATH)
    except OSError:
        return ""
    try:
        directory = stat.S_ISDIR(os.fstat(opened).st_mode)
        for lack, tests in (("read", ["-r", "-x"] if directory else ["-r"]), ("write", ["-w"] if writes else [])):
            for test in tests:
                done = subprocess.run(
                    ["test", test, f"/proc/self/fd/{opened}"],
                    pass_fds=(opened,), user=uid, group=gid, extra_groups=groups, timeout=20, check=False,
                )  # fmt: skip
                if done.returncode == 1:
                    return lack
    except (OSError, subprocess.SubprocessError):
        return ""
    finally:
        os.close(opened)
    return ""


def name_of(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:
        return str(uid)
