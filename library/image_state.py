#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: what a host's engine has of an image, and what can be done about it there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_state
short_description: Look at an image on a host, and at what the host's engine can do
description:
  - Changes nothing. Two or three calls of the docker command line, however many images there are.
  - On a host without an engine, RV(engine) is empty and nothing else is known.
author:
  - ddp-swarm contributors (@ddp-swarm)
options:
  ref:
    description: The image, with its tag.
    type: str
    required: true
  base:
    description: A second image that may be there, as RV(base) tells.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Look for the image
  image_state:
    ref: my-ddp-trainer:0123456789ab
  register: found
"""

RETURN = r"""
id:
  description: The image's ID, C(sha256:) and 64 hexadecimal digits. Empty where the host lacks it.
  returned: always
  type: str
size:
  description: Bytes that the image takes on the host. 0 where the host lacks it.
  returned: always
  type: int
base:
  description: Whether O(base) is there.
  returned: always
  type: bool
tags:
  description: All tags of the images of this name, newest image first, without V(latest).
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

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.docker_cli import DockerCli, DockerError
from ansible.module_utils.image_layers import chain_ids


def builder(info: dict[str, Any]) -> str:
    """From 23 on the docker command leaves BuildKit to its plugin buildx; before, it speaks to BuildKit itself."""
    plugins = (info.get("ClientInfo") or {}).get("Plugins") or []
    if any(plugin.get("Name") == "buildx" and not plugin.get("Err") for plugin in plugins):
        return "buildkit"
    return "buildkit" if int(info["ServerVersion"].split(".")[0]) < 23 else "classic"


def state(docker: DockerCli, ref: str, base: str) -> dict[str, Any]:
    info = json.loads(docker.run("info", "--format", "{{json .}}", timeout=60).stdout)
    if not info.get("ServerVersion"):
        raise DockerError("; ".join(info.get("ServerErrors") or ["the engine does not answer"]))
    containerd = any("io.containerd.snapshotter" in str(pair) for pair in info.get("DriverStatus") or [])
    ids = list(dict.fromkeys(docker.run("image", "ls", "--all", "--quiet", "--no-trunc").stdout.split()))
    # An image may go away between the two calls, and then only it is missing from the answer.
    images = json.loads(docker.run("image", "inspect", *ids, check=False).stdout or "[]") if ids else []
    name = ref.rsplit(":", 1)[0]
    own = [
        (image["Created"], tag) for image in images for tag in image["RepoTags"] or [] if tag.rsplit(":", 1)[0] == name
    ]
    found = next((image for image in images if ref in (image["RepoTags"] or [])), None)
    layers = [image["RootFS"].get("Layers") or [] for image in images]
    return {
        "id": found["Id"] if found else "",
        "size": found["Size"] if found else 0,
        "base": any(base in (image["RepoTags"] or []) + (image["RepoDigests"] or []) for image in images),
        "tags": [tag for _, tag in sorted(own, reverse=True) if tag != f"{name}:latest"],
        "chains": [] if containerd else sorted({chain for diff_ids in layers for chain in chain_ids(diff_ids)}),
        "engine": info["ServerVersion"],
        "architecture": info["Architecture"],
        "builder": builder(info),
        "free_mb": shutil.disk_usage(info["DockerRootDir"]).free >> 20,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={"ref": {"type": "str", "required": True}, "base": {"type": "str", "default": ""}},
        supports_check_mode=True,
    )
    nothing: dict[str, Any] = {
        "id": "",
        "size": 0,
        "base": False,
        "tags": [],
        "chains": [],
        "engine": "",
        "problem": "",
    }
    nothing.update(architecture=os.uname().machine, builder="", zstd=bool(shutil.which("zstd")), free_mb=0)
    try:
        found = state(DockerCli(module), module.params["ref"], module.params["base"])
    except DockerError as error:
        found = {"problem": str(error)}
    module.exit_json(changed=False, **{**nothing, **found})


if __name__ == "__main__":
    main()
