#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: credentials for a registry, in a directory of their own."""

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_login
short_description: Log in to a registry
description:
  - Does what C(docker login) does, in a directory that only root reads. The password goes through standard input.
  - Later commands find the credentials if the environment variable C(DOCKER_CONFIG) names that directory.
author:
  - ddp-swarm contributors (@ddp-swarm)
extends_documentation_fragment:
  - ddp.swarm.docker_cli
options:
  registry:
    description: The registry's host name, with its port if it has another than the usual one.
    type: str
    required: true
  username:
    description: The user name.
    type: str
    required: true
  password:
    description: The password or token.
    type: str
    required: true
  directory:
    description: Where C(docker) keeps the credentials. Created with mode 0700 if it is missing.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Log in to the registry
  registry_login:
    registry: registry.example.org
    username: trainer
    password: "{{ vault_registry_password }}"
    directory: /run/login
"""

RETURN = r""" # """

import os
from collections.abc import Iterable
from typing import Any

from ..module_utils.docker.cli import ANSWER_TIMEOUT, DockerError
from ..module_utils.docker.module import DockerModule


class LoginModule(DockerModule):
    def secrets_in(self, params: dict[str, Any]) -> Iterable[str]:
        return [str(params["password"])] if params.get("password") else []


def main() -> None:
    module = LoginModule(
        argument_spec={
            "registry": {"type": "str", "required": True},
            "username": {"type": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "directory": {"type": "path", "required": True},
        },
    )
    params = module.params
    os.makedirs(params["directory"], mode=0o700, exist_ok=True)
    login = ["login", "--username", params["username"], "--password-stdin", params["registry"]]
    os.environ["DOCKER_CONFIG"] = params["directory"]
    try:
        module.docker.run(*login, input=params["password"], timeout=ANSWER_TIMEOUT)
    except DockerError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
