"""Volumes that a driver, or options, put somewhere else: is each as it was asked for, can it be mounted, and may the image's user use it?"""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

from ...docker.cli import THROWAWAY, DockerCli, DockerError
from ...masking import mask
from ...text import printable
from ..contract import Json

# A server that does not answer keeps a mount waiting for minutes.
PATIENCE = 30.0
# As whom a container runs, whose the directory is, and what may be done there.
LOOK = 'id -u && id -g && stat -c "%u %a" "$1" && { [ ! -r "$1" ] || [ ! -x "$1" ] || echo read; } && { [ ! -w "$1" ] || echo write; }'
# What the engine itself says has this exit code, but for a file that is not there: then it has that of a program which is not.
REFUSED, NO_FILE = 125, 127
# Where the engine keeps the volume that it made for this container alone.
OWN_PLACE = re.compile(r":?/[^\s:,]*/volumes/[^\s:,]+/_data")
# For the check of the image, which names it.
NO_IMAGE = ("no such image", "unable to find image")


def unusable(docker: Any, image: str, volumes: list[Json], results: str) -> list[Json]:
    """Of volumes (`name`, `target`, `read_only`, `nocopy`, and where they have them `driver` and `driver_opts`) those that a rank cannot use.

    Each with its `name`, `target`, and the `lack`: `other` (it is there, and `has` another driver than is `wanted`), `mount` (what the
    engine `said`), `read` or `write`, these with the `uid` and `gid` of the container, the `owner` and the `mode`. Docker's own volumes
    are only compared. Nothing is made that stays.
    """
    found: list[Json] = []
    for volume in volumes:
        wanted = shown(volume.get("driver") or "local", volume.get("driver_opts"))
        there = inspected(docker, str(volume["name"]))
        plain = wanted == shown("local", None)
        about = {"name": volume["name"], "target": volume["target"]}
        if there and shown(there.get("Driver"), there.get("Options")) != wanted:
            has = mask(shown(there.get("Driver"), there.get("Options")))
            found.append({**about, "lack": "other", "has": has, "wanted": mask(wanted)})
        elif not plain and image:
            problem = tried(
                docker, image, volume, bool(there), str(volume["target"]).rstrip("/") == results.rstrip("/")
            )
            found += [{**about, **problem}] if problem else []
    return found


def shown(driver: Any, options: Any) -> str:
    """A driver and its options in one text, in order. A plugin's tag is latest where none is named."""
    name = str(driver or "local")
    if name != "local" and ":" not in name.rpartition("/")[2]:
        name += ":latest"
    given = options.items() if isinstance(options, dict) else []
    return f"{name}({', '.join(f'{key}={value}' for key, value in sorted(given))})"


def inspected(docker: DockerCli, name: str) -> Json:
    done = docker.run("volume", "inspect", "--format", "{{json .}}", name, check=False)
    try:
        found = json.loads(done.stdout) if done.rc == 0 else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def mount_option(volume: Json, named: bool) -> str:
    """As --mount takes it: one line of CSV. Without its name Docker makes a volume for this container alone."""
    parts = ["type=volume", f"target={volume['target']}", *([f"source={volume['name']}"] if named else [])]
    parts += ["readonly"] if volume.get("read_only") else []
    parts += ["volume-nocopy"] if volume.get("nocopy") else []
    if volume.get("driver"):
        parts += [f"volume-driver={volume['driver']}"]
        parts += [f"volume-opt={key}={value}" for key, value in (volume.get("driver_opts") or {}).items()]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(parts)
    return line.getvalue()


def tried(docker: DockerCli, image: str, volume: Json, exists: bool, writes: bool) -> Json:
    """What keeps a container from it; empty if nothing does, or that cannot be told."""
    # A plugin may make something on its server for each volume, so it is asked for the volume that the rank will have.
    named = exists or volume.get("driver") != "local"
    run = [*THROWAWAY, "--mount", mount_option(volume, named), "--entrypoint", "sh"]
    try:
        done = docker.run(*run, image, "-c", LOOK, "sh", str(volume["target"]), check=False, timeout=PATIENCE)
    except DockerError as late:
        return {"lack": "mount", "said": str(late)}
    if done.rc == REFUSED or (done.rc == NO_FILE and "volume" in done.stderr):
        said = what_was_said(done.stderr)
        if named and not exists:
            docker.run("volume", "rm", str(volume["name"]), check=False)
        return {} if any(words in said.lower() for words in NO_IMAGE) else {"lack": "mount", "said": said}
    words = done.stdout[:4096].split()
    if done.rc or len(words) < 4 or not all(word.isdecimal() for word in words[:4]):
        return {}
    uid, gid, owner, mode = words[:4]
    lack = "read" if "read" not in words else "write" if writes and "write" not in words else ""
    return {"lack": lack, "uid": int(uid), "gid": int(gid), "owner": owner, "mode": f"{int(mode):04}"} if lack else {}


def what_was_said(stderr: str) -> str:
    """The engine's own words, without what the command line and where it keeps volumes say of themselves. Options may hold a password."""
    text = " ".join(printable(stderr).split())
    for start in ("docker: ", "Error response from daemon: "):
        text = text.removeprefix(start)
    text = text.partition(" See 'docker run --help'")[0].partition(" Run 'docker run --help'")[0]
    before, cut, after = text.partition("failed to mount local volume: ")
    return str(mask(OWN_PLACE.sub("", cut + after if cut else before)))[:300]
