"""What a host's engine has of an image, and what can be done about it there. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import json
import os
import shutil
from datetime import datetime, timedelta, timezone
from typing import Any

from ..docker.cli import DockerCli, DockerError
from ..names import OWN_LABEL
from .layers import chain_ids, in_containerd


def look(
    docker: DockerCli,
    info: dict[str, Any],
    problem: str,
    ref: str,
    others: list[str],
    keep: int,
    work: str | None,
    keep_days: int = 0,
) -> dict[str, Any]:
    """As the module image_state returns it. `info` is what `docker info` says, and `problem` why it says nothing; `work` may be None."""
    found: dict[str, Any] = {
        "ref": ref,
        "id": "",
        "size": 0,
        "others": [],
        "digests": {},
        "latest": False,
        "surplus": [],
        "services": [],
        "chains": [],
        "engine": "",
        "problem": problem,
        "left": bool(work) and os.path.isdir(str(work)) and not os.path.islink(str(work)),
    }
    found.update(architecture=os.uname().machine, builder="", zstd=bool(shutil.which("zstd")), free_mb=0)
    try:
        found.update(state(docker, info, ref, others, keep, keep_days) if info else {})
    except DockerError as error:
        found["problem"] = str(error)
    return found


def builder(info: dict[str, Any]) -> str:
    """From 23 on the docker command leaves BuildKit to its plugin buildx; before, it speaks to BuildKit itself."""
    plugins = (info.get("ClientInfo") or {}).get("Plugins") or []
    if any(plugin.get("Name") == "buildx" and not plugin.get("Err") for plugin in plugins):
        return "buildkit"
    return "buildkit" if int(info["ServerVersion"].split(".")[0]) < 23 else "classic"


def surplus(images: list[dict[str, Any]], ref: str, others: list[str], keep: int, keep_days: int = 0) -> dict[str, str]:
    """Tags of our own images that the number to keep does not cover, or that are older, oldest first, with the image's ID. 0 is no limit.

    The image of `ref` is among the kept, be it there yet or not.
    """
    own: list[tuple[str, str, str]] = []
    for image in images:
        name = ((image.get("Config") or {}).get("Labels") or {}).get(OWN_LABEL)
        # The time of the build, the same on every host; that of the last tag is missing from images that were loaded.
        own += [
            (image["Created"], tag, image["Id"]) for tag in image["RepoTags"] or [] if tag.rsplit(":", 1)[0] == name
        ]
    ids = {tag: id for _, tag, id in sorted(own) if tag not in (ref, *others) and not tag.endswith(":latest")}
    older = [tag for tag in ids if tag.rsplit(":", 1)[0] == ref.rsplit(":", 1)[0]]
    names = {other.rsplit(":", 1)[0] for other in others}
    replaced = [tag for tag in ids if tag.rsplit(":", 1)[0] in names]
    since = (datetime.now(timezone.utc) - timedelta(days=keep_days)).isoformat()
    aged = [tag for created, tag, _id in own if keep_days and created < since]
    beyond = older[: max(0, len(older) + 1 - keep)] if keep else []
    return {tag: ids[tag] for tag in [*(tag for tag in older if tag in beyond or tag in aged), *replaced]}


def repo_digests(images: list[dict[str, Any]], others: list[str]) -> dict[str, str]:
    return {
        other: digest
        for image in images
        for other in others
        if other in (image["RepoTags"] or [])
        for digest in image["RepoDigests"] or []
        if digest.split("@")[0] == other.rsplit(":", 1)[0]
    }


def used_images(docker: DockerCli) -> set[str]:
    """IDs of the images of all containers, running or not."""
    containers = docker.run("container", "ls", "--all", "--quiet", "--no-trunc").stdout.split()
    if not containers:
        return set()
    return set(docker.run("container", "inspect", "--format", "{{.Image}}", *containers, check=False).stdout.split())


def service_images(docker: DockerCli, info: dict[str, Any]) -> list[str] | None:
    swarm = info.get("Swarm") or {}
    if not swarm.get("NodeID"):
        return []
    if not swarm.get("ControlAvailable"):
        return None
    asked = docker.run("service", "ls", "--format", "{{.Image}}", check=False)
    return None if asked.rc else asked.stdout.split()


def latest(ref: str) -> str:
    return ref.rsplit(":", 1)[0] + ":latest"


def state(
    docker: DockerCli, info: dict[str, Any], ref: str, others: list[str], keep: int, keep_days: int = 0
) -> dict[str, Any]:
    ids = list(dict.fromkeys(docker.run("image", "ls", "--all", "--quiet", "--no-trunc").stdout.split()))
    # An image may go away between the two calls, and then only it is missing from the answer.
    images = json.loads(docker.run("image", "inspect", *ids, check=False).stdout or "[]") if ids else []
    found = next((image for image in images if ref in (image["RepoTags"] or [])), None)
    names = {name for image in images for name in (image["RepoTags"] or []) + (image["RepoDigests"] or [])}
    layers = [] if in_containerd(info) else [image["RootFS"].get("Layers") or [] for image in images]
    old = surplus(images, ref, others, keep, keep_days) if keep or keep_days else {}
    used = used_images(docker) if old else set()
    return {
        "id": found["Id"] if found else "",
        "size": found["Size"] if found else 0,
        "others": [other for other in others if other in names],
        "digests": repo_digests(images, others),
        "latest": found is not None and latest(ref) in found["RepoTags"],
        "surplus": [tag for tag, id in old.items() if id not in used],
        "services": service_images(docker, info) if keep or keep_days else [],
        "chains": sorted({chain for diff_ids in layers for chain in chain_ids(diff_ids)}),
        "engine": info["ServerVersion"],
        "architecture": info["Architecture"],
        "builder": builder(info),
        "free_mb": shutil.disk_usage(info["DockerRootDir"]).free >> 20,
    }
