#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: the ranks whose containers are on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: job_containers_info
short_description: Tell which ranks of jobs have a container on a host
description:
  - A rank's container is that of a service C(JOB_node0), C(JOB_node1) and so on. Asks the host's engine alone, so that it also answers where
    no manager can be asked, or where the host is in another swarm.
author:
  - ddp-swarm contributors (@ddp-swarm)
extends_documentation_fragment: [ddp.swarm.docker_cli]
attributes:
  check_mode:
    description: Changes nothing, in check mode or out of it.
    support: full
seealso:
  - module: ansible.legacy.swarm_jobs_info
"""

EXAMPLES = r"""
- name: Ask which ranks have a container here
  job_containers_info:
  register: ranks_here
"""

RETURN = r"""
containers:
  description: The containers, the newest first, whether they run or have ended. C(service) is the ID of the rank's service, C(mounts) are their
    volumes and directories, C(results) is the label that says where the results are and which are fetched.
  returned: success
  type: list
  elements: dict
  sample: [{id: 4f2a, job: simple-training, rank: 0, service: w1k8, state: exited,
            mounts: [{type: volume, source: simple-training_snapshots, target: /snapshots}], results: ""}]
"""

from ..module_utils.docker.cli import DockerError
from ..module_utils.docker.module import DockerModule
from ..module_utils.stack.containers import read_containers


def main() -> None:
    module = DockerModule(argument_spec={}, supports_check_mode=True)
    try:
        module.exit_json(changed=False, containers=read_containers(module.docker))
    except (DockerError, ValueError) as error:
        module.fail_json(msg=f"The engine does not tell of its containers: {error}.")


if __name__ == "__main__":
    main()
