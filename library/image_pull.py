#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: an image from a registry, under the names that it is to have on the host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_pull
short_description: Pull an image, and name it
description:
  - Asks the registry in any case, since a tag may be moved there.
  - What O(name) needs of credentials, C(docker) reads in its own directory, which the environment variable C(DOCKER_CONFIG) names.
author:
  - ddp-swarm contributors (@ddp-swarm)
extends_documentation_fragment:
  - ddp.swarm.docker_cli
options:
  name:
    description: The image, with its registry and with its tag or digest.
    type: str
    required: true
  tags:
    description: The names that it gets. The tag of O(name) is then taken from it; without any names it stays.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Pull the image, and give it the name that services know
  image_pull:
    name: registry.example.org/my-ddp-trainer:0123456789ab
    tags: ["my-ddp-trainer:0123456789ab", "my-ddp-trainer:latest"]
  environment: {DOCKER_CONFIG: /run/login}
"""

RETURN = r"""
missing:
  description: Whether the registry has no such image.
  returned: failure
  type: bool
image:
  description: The image's identifier as C(id), and as C(digests) the names with digests by which registries have it.
  returned: success
  type: dict
  sample: {id: "sha256:1f3a", digests: ["registry.example.org/my-ddp-trainer@sha256:77aa"]}
"""

import json
from typing import Any

from ..module_utils.docker.cli import ANSWER_TIMEOUT, DockerCli, DockerError
from ..module_utils.docker.module import DockerModule

# By which words the engine, and registries of several makes through it, say so.
MISSING = ("manifest unknown", "name unknown", "not found", "does not exist")


def identifier(docker: DockerCli, name: str) -> str:
    """Empty if there is no such image on the host."""
    return docker.run(
        "image", "inspect", "--format", "{{.Id}}", name, check=False, timeout=ANSWER_TIMEOUT
    ).stdout.strip()


def pull(docker: DockerCli, name: str, tags: list[str]) -> tuple[bool, dict[str, Any]]:
    """Whether anything changed on the host, and the image."""
    before = {tag: identifier(docker, tag) for tag in tags or [name]}
    docker.run("pull", "--quiet", name)
    found = json.loads(docker.run("image", "inspect", name, timeout=ANSWER_TIMEOUT).stdout)[0]
    for tag in tags:
        docker.run("tag", name, tag, timeout=ANSWER_TIMEOUT)
    if tags and "@" not in name:
        docker.run("rmi", name, timeout=ANSWER_TIMEOUT)
    changed = any(had != found["Id"] for had in before.values())
    return changed, {"id": found["Id"], "digests": found.get("RepoDigests") or []}


def main() -> None:
    module = DockerModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "tags": {"type": "list", "elements": "str", "default": []},
        },
    )
    try:
        changed, image = pull(module.docker, module.params["name"], module.params["tags"])
    except DockerError as error:
        module.fail_json(msg=str(error), missing=any(words in str(error) for words in MISSING))
    module.exit_json(changed=changed, image=image)


if __name__ == "__main__":
    main()
