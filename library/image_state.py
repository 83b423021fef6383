#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: what a host's engine has of an image, and what can be done about it there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_state
short_description: Look at an image on a host and at what the engine there can do, and tidy up
description:
  - Changes nothing without O(tidy). Two to five calls of the docker command line, however many images there are.
  - On a host without an engine, RV(engine) is empty and nothing else is known.
author:
  - ddp-swarm contributors (@ddp-swarm)
options:
  ref:
    description: The image, with its tag.
    type: str
    required: true
  others:
    description: Further images that may be there, as RV(others) tells.
    type: list
    elements: str
    default: []
  keep:
    description:
      - How many images of the name of O(ref) are to stay, the one of O(ref) and the last ones built. 0 keeps all. RV(surplus)
        lists the rest.
    type: int
    default: 0
  work:
    description: The directory that files on their way into an image lie in, which only an interrupted run leaves there.
    type: path
  tidy:
    description: Removes the tags of RV(surplus) that no service names, and O(work), and gives the image of O(ref) the tag C(latest) too.
    type: bool
    default: false
  services:
    description: The images that the services of the swarm name. Without it the host tells itself, and where it cannot, no tag is removed.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Look for the image
  image_state:
    ref: my-ddp-trainer:0123456789ab
  register: found

- name: Keep the last three images
  image_state:
    ref: my-ddp-trainer:0123456789ab
    keep: 3
    tidy: true
"""

RETURN = r"""
left:
  description: Whether O(work) is there, or was before it was removed.
  returned: always
  type: bool
removed:
  description: Tags that were removed, or would be in check mode.
  returned: with O(tidy)
  type: list
  elements: str
id:
  description: The image's ID, C(sha256:) and 64 hexadecimal digits. Empty where the host lacks it.
  returned: always
  type: str
size:
  description: Bytes that the image takes on the host. 0 where the host lacks it.
  returned: always
  type: int
others:
  description: Those of O(others) that are there.
  returned: always
  type: list
  elements: str
digests:
  description: By which digest (C(python@sha256:...)) a registry knows each of O(others) that came from one.
  returned: always
  type: dict
latest:
  description: Whether the tag C(latest) of O(ref)'s name is on the same image.
  returned: always
  type: bool
surplus:
  description:
    - Tags that no longer serve anyone, of images that C(image_build) made (told by their label, which no copy of an image
      loses) and no container uses. They have the name of O(ref) and are beyond O(keep), or the name of one of O(others)
      and another tag.
  returned: always
  type: list
  elements: str
services:
  description: The images that the services of the swarm name. Empty where the host is in no swarm or O(keep) is 0, and null where it cannot
    tell, as on a worker.
  returned: always
  type: list
  elements: str
chains:
  description:
    - The chain IDs of all layers of all images on the host (OCI image specification, Layer ChainID). A layer that is there under
      its chain ID need not be shipped again.
    - Empty where the engine keeps images in containerd, which wants archives to be whole.
  returned: always
  type: list
  elements: str
engine:
  description: Version of the engine. Empty where none answers.
  returned: always
  type: str
problem:
  description: What docker said, where no engine answers.
  returned: always
  type: str
architecture:
  description: The engine's architecture, such as x86_64.
  returned: always
  type: str
builder:
  description: buildkit where the docker command can use it, classic elsewhere.
  returned: always
  type: str
zstd:
  description: Whether the command zstd is there.
  returned: always
  type: bool
free_mb:
  description: MiB free where the engine keeps its images.
  returned: always
  type: int
"""

import json
import os
import shutil
from typing import Any

from ..module_utils.docker.cli import DockerCli, DockerError
from ..module_utils.image_layers import LABEL, chain_ids, in_containerd
from ..module_utils.reporting import ReportingModule


def builder(info: dict[str, Any]) -> str:
    """From 23 on the docker command leaves BuildKit to its plugin buildx; before, it speaks to BuildKit itself."""
    plugins = (info.get("ClientInfo") or {}).get("Plugins") or []
    if any(plugin.get("Name") == "buildx" and not plugin.get("Err") for plugin in plugins):
        return "buildkit"
    return "buildkit" if int(info["ServerVersion"].split(".")[0]) < 23 else "classic"


def surplus(images: list[dict[str, Any]], ref: str, others: list[str], keep: int) -> dict[str, str]:
    """Tags of our own images that the number to keep does not cover, oldest first, with the image's ID.

    The image of `ref` is among the kept, be it there yet or not.
    """
    own: list[tuple[str, str, str]] = []
    for image in images:
        name = ((image.get("Config") or {}).get("Labels") or {}).get(LABEL)
        # The time of the build, the same on every host; that of the last tag is missing from images that were loaded.
        own += [
            (image["Created"], tag, image["Id"]) for tag in image["RepoTags"] or [] if tag.rsplit(":", 1)[0] == name
        ]
    ids = {tag: id for _, tag, id in sorted(own) if tag not in (ref, *others) and not tag.endswith(":latest")}
    older = [tag for tag in ids if tag.rsplit(":", 1)[0] == ref.rsplit(":", 1)[0]]
    names = {other.rsplit(":", 1)[0] for other in others}
    replaced = [tag for tag in ids if tag.rsplit(":", 1)[0] in names]
    return {tag: ids[tag] for tag in older[: max(0, len(older) + 1 - keep)] + replaced}


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


def state(docker: DockerCli, ref: str, others: list[str], keep: int) -> dict[str, Any]:
    info = json.loads(docker.run("info", "--format", "{{json .}}", timeout=60).stdout)
    if not info.get("ServerVersion"):
        raise DockerError("; ".join(info.get("ServerErrors") or ["the engine does not answer"]))
    ids = list(dict.fromkeys(docker.run("image", "ls", "--all", "--quiet", "--no-trunc").stdout.split()))
    # An image may go away between the two calls, and then only it is missing from the answer.
    images = json.loads(docker.run("image", "inspect", *ids, check=False).stdout or "[]") if ids else []
    found = next((image for image in images if ref in (image["RepoTags"] or [])), None)
    names = {name for image in images for name in (image["RepoTags"] or []) + (image["RepoDigests"] or [])}
    layers = [] if in_containerd(info) else [image["RootFS"].get("Layers") or [] for image in images]
    old = surplus(images, ref, others, keep) if keep else {}
    used = used_images(docker) if old else set()
    return {
        "id": found["Id"] if found else "",
        "size": found["Size"] if found else 0,
        "others": [other for other in others if other in names],
        "digests": repo_digests(images, others),
        "latest": found is not None and latest(ref) in found["RepoTags"],
        "surplus": [tag for tag, id in old.items() if id not in used],
        "services": service_images(docker, info) if keep else [],
        "chains": sorted({chain for diff_ids in layers for chain in chain_ids(diff_ids)}),
        "engine": info["ServerVersion"],
        "architecture": info["Architecture"],
        "builder": builder(info),
        "free_mb": shutil.disk_usage(info["DockerRootDir"]).free >> 20,
    }


def remove(docker: DockerCli, tags: list[str]) -> None:
    """One that has gone away meanwhile is no error."""
    done = docker.run("image", "rm", *tags, check=False)
    wrong = [line for line in done.stderr.splitlines() if "no such image" not in line.lower()]
    if done.rc and wrong:
        raise DockerError("docker image rm: " + "; ".join(wrong))


def tidy(module: ReportingModule, docker: DockerCli, found: dict[str, Any]) -> dict[str, Any]:
    ref, work, services = (module.params[name] for name in ("ref", "work", "services"))
    named = found["services"] if services is None else services
    removed = [tag for tag in found["surplus"] if named is not None and tag not in named]
    follows = bool(found["id"]) and not found["latest"]
    if not module.check_mode:
        if removed:
            remove(docker, removed)
        if follows:
            docker.run("image", "tag", ref, latest(ref))
        if found["left"]:
            shutil.rmtree(work)
    before = removed + [work] * found["left"]
    after = [f"{latest(ref)} is {ref}"] * follows
    diff = {"before": "".join(f"{line}\n" for line in before), "after": "".join(f"{line}\n" for line in after)}
    return {"removed": removed, "changed": bool(before or after), "diff": diff}


def main() -> None:
    module = ReportingModule(
        argument_spec={
            "ref": {"type": "str", "required": True},
            "others": {"type": "list", "elements": "str", "default": []},
            "keep": {"type": "int", "default": 0},
            "work": {"type": "path"},
            "tidy": {"type": "bool", "default": False},
            "services": {"type": "list", "elements": "str"},
        },
        supports_check_mode=True,
    )
    work = module.params["work"]
    found: dict[str, Any] = {
        "changed": False,
        "id": "",
        "size": 0,
        "others": [],
        "digests": {},
        "latest": False,
        "surplus": [],
        "services": [],
        "chains": [],
        "engine": "",
        "problem": "",
        "left": bool(work) and os.path.isdir(work) and not os.path.islink(work),
    }
    found.update(architecture=os.uname().machine, builder="", zstd=bool(shutil.which("zstd")), free_mb=0)
    docker = DockerCli(module)
    try:
        found.update(state(docker, *(module.params[name] for name in ("ref", "others", "keep"))))
    except DockerError as error:
        found["problem"] = str(error)
    if module.params["tidy"]:
        try:
            found.update(tidy(module, docker, found))
        except DockerError as error:
            module.fail_json(msg=str(error))
    module.exit_json(**found)


if __name__ == "__main__":
    main()
