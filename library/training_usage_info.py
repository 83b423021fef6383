#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: what the ranks on a host use."""

from __future__ import annotations

DOCUMENTATION = r"""
module: training_usage_info
short_description: Tell what the ranks on a host use of processor, memory, network and GPUs
description:
  - Measures the containers of ranks, that is of services C(JOB_node0), C(JOB_node1) and so on, and asks the host's GPUs.
  - Takes about two seconds, for that is how long docker measures.
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
- name: Ask what the ranks use
  training_usage_info:
  register: usage
"""

RETURN = r"""
ranks:
  description:
    - By the name of its service what each rank uses. C(cpu_percent) is of one core, so that four busy cores are 400. C(received_bytes) and
      C(sent_bytes) count since the container began, on all of its networks. Null is what docker did not tell.
  returned: success
  type: dict
  sample: {simple-training_node0: {cpu_percent: 101.5, memory_bytes: 412000000, received_bytes: 1200000, sent_bytes: 3400000}}
slow:
  description: By the name of the service of a rank 0 on this host, what its launcher noted of the last half hour of ranks that the others wait for.
  returned: success
  type: dict
  sample:
    simple-training_node0: "rank 1 on host2 is slow: in the last 45 s the others waited for it 62% of the time, at 1000 collectives."
gpus:
  description: The host's NVIDIA GPUs, none where nvidia-smi is missing or does not answer. C(percent) is their utilization.
  returned: success
  type: list
  elements: dict
  sample: [{index: 0, percent: 97.0, used_mib: 30000.0, total_mib: 81559.0}]
"""

from ..module_utils.docker.cli import DockerError
from ..module_utils.docker.module import DockerModule
from ..module_utils.host.gpus import ask
from ..module_utils.stack.usage import GPU_QUERY, gpus, read_slow, read_usage


def main() -> None:
    module = DockerModule(argument_spec={}, supports_check_mode=True)
    try:
        ranks = read_usage(module.docker)
        slow = read_slow(module.docker)
    except DockerError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, ranks=ranks, slow=slow, gpus=gpus(ask(module, "nvidia-smi", *GPU_QUERY)[0]))


if __name__ == "__main__":
    main()
