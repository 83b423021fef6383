#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: a host's image into a registry."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_push
short_description: Push an image under the name that a registry knows it by
description:
  - The image has O(remote) as a name only while it is pushed.
  - Says that it changed something, whatever the registry had before.
  - What O(remote) needs of credentials, C(docker) reads in its own directory, which the environment variable C(DOCKER_CONFIG) names.
author:
  - ddp-swarm contributors (@ddp-swarm)
extends_documentation_fragment:
  - ddp.swarm.docker_cli
options:
  name:
    description: The image on the host, with its tag.
    type: str
    required: true
  remote:
    description: The image's name with the registry and the tag.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Push the image
  image_push:
    name: my-ddp-trainer:0123456789ab
    remote: registry.example.org/my-ddp-trainer:0123456789ab
"""

RETURN = r""" # """

from ..module_utils.docker.cli import ANSWER_TIMEOUT, DockerCli, DockerError
from ..module_utils.docker.module import DockerModule


def push(docker: DockerCli, name: str, remote: str) -> None:
    docker.run("tag", name, remote, timeout=ANSWER_TIMEOUT)
    try:
        docker.run("push", "--quiet", remote)
    finally:
        # A name, not the image, which has another one.
        docker.run("rmi", remote, check=False, timeout=ANSWER_TIMEOUT)


def main() -> None:
    module = DockerModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "remote": {"type": "str", "required": True},
        },
    )
    try:
        push(module.docker, module.params["name"], module.params["remote"])
    except DockerError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
