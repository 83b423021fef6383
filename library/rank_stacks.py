#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: where the ranks on a host are."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rank_stacks
short_description: Ask the ranks on a host where each of their processes is
description:
  - Asks the launcher in each rank's container for the Python stacks of its processes, what they wait for, and the collectives that torch has
    recorded. Changes nothing. A process that is stopped goes on for the moment of its answer, and is stopped again.
  - What a container says is returned as it is, up to 8 MiB of it, and is to be judged as data.
author:
  - ddp-swarm contributors (@ddp-swarm)
extends_documentation_fragment: [ddp.swarm.docker_cli]
options:
  stack:
    description:
      - Name of the job.
    type: str
    required: true
attributes:
  check_mode:
    description: Changes nothing, in check mode or out of it.
    support: full
seealso:
  - module: ansible.legacy.swarm_jobs_info
"""

EXAMPLES = r"""
- name: Ask the ranks where they are
  rank_stacks:
    stack: simple-training
  register: stacks
"""

RETURN = r"""
ranks:
  description:
    - Each rank of the job that has a container on this host, with its C(record), or with C(why) there is none.
    - A record has C(processes), each with its C(threads) (the main thread first, C(frames) from the innermost on, each a file, a line and a
      function), its C(state) and what it C(waits) for in the kernel as /proc says, its C(cpu), and its C(collectives) by process group.
  returned: success
  type: list
  elements: dict
  sample:
    - rank: 1
      record:
        schema: 1
        time: 1735725600.0
        processes:
          - {pid: 12, parent: 7, name: python, rank: 1, local_rank: 0, world_size: 2, state: S, waits: "", cpu: 0.0, runs: false,
             threads: [{frames: [[/app/train.py, 88, main]]}], collectives: {groups: {}}}
        exits: []
load:
  description:
    - What the host was busy with meanwhile. C(load) is that of the last minute, C(cores) how many it has; C(stolen) and C(waits_for_disks) are
      fractions of the time, C(slowed_by_heat) counts how often a processor was slowed down, C(programs) are those outside of the job that use a
      processor, C(link) is the interface by which the host is in the swarm, its C(speed) in Mbit/s, and C(gpus) is what nvidia-smi tells.
  returned: success
  type: dict
  sample: {cores: 8, load: 7.9, waits_for_disks: 0.0, stolen: 0.0, slowed_by_heat: 0, swapped_per_s: 0,
           programs: [{pid: 4711, name: stress, cores: 0.9}], link: {name: eth0, speed: 1000, duplex: full}, link_errors: 0, gpus: []}
"""

from ..module_utils.diagnose.ask import read_ranks
from ..module_utils.diagnose.load import Look
from ..module_utils.docker.cli import DockerError
from ..module_utils.docker.module import DockerModule
from ..module_utils.names import refusal


def main() -> None:
    module = DockerModule(argument_spec={"stack": {"type": "str", "required": True}}, supports_check_mode=True)
    stack = module.params["stack"]
    refused = refusal("stack", "stack", stack)
    if refused:
        module.fail_json(msg=refused)
    try:
        load = Look(module.docker, stack)
        ranks = read_ranks(module.docker, stack)
        module.exit_json(changed=False, ranks=ranks, load=load.facts())
    except DockerError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
