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
  keep_days:
    description: Days after which those go too that O(keep) covers, by the time of their build, but for the one of O(ref). 0 is no limit.
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
ref:
  description: O(ref), of which this tells.
  returned: always
  type: str
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

import shutil
from typing import Any

from ..module_utils.docker.cli import DockerCli, DockerError
from ..module_utils.docker.info import ask
from ..module_utils.image.state import latest, look
from ..module_utils.reporting import ReportingModule


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
            "keep_days": {"type": "int", "default": 0},
            "work": {"type": "path"},
            "tidy": {"type": "bool", "default": False},
            "services": {"type": "list", "elements": "str"},
        },
        supports_check_mode=True,
    )
    docker = DockerCli(module)
    info, problem = ask(docker)
    asked = {name: module.params[name] for name in ("ref", "others", "keep", "keep_days", "work")}
    found = {"changed": False, **look(docker, info, problem, **asked)}
    if module.params["tidy"]:
        try:
            found.update(tidy(module, docker, found))
        except DockerError as error:
            module.fail_json(msg=str(error))
    module.exit_json(**found)


if __name__ == "__main__":
    main()
