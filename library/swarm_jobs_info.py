#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: the jobs of a swarm."""

from __future__ import annotations

DOCUMENTATION = r"""
module: swarm_jobs_info
short_description: Tell which jobs are in a Docker Swarm
description:
  - A job is a stack with a service C(node0), C(node1) and so on for each rank. Says of each how it stands and where its ranks are.
author:
  - ddp-swarm contributors (@ddp-swarm)
extends_documentation_fragment: [ddp.swarm.docker_cli]
options:
  names:
    description:
      - Names of the jobs to tell about, none for all.
    type: list
    elements: str
    default: []
  lines:
    description:
      - Whether to read what each rank wrote last.
    type: bool
    default: false
  progress_pattern:
    description:
      - With O(lines), a regular expression (Python's) of the lines of rank 0 that tell of progress.
    type: str
    default: ""
  history:
    description:
      - How many of the last lines of each rank to return with their times, 0 to 5000. Of a progress bar, each state counts as one.
    type: int
    default: 0
attributes:
  check_mode:
    description: Changes nothing, in check mode or out of it.
    support: full
notes:
  - Must run on a manager of an active and unlocked swarm that has a quorum.
seealso:
  - module: ansible.legacy.swarm_stack_info
"""

EXAMPLES = r"""
- name: Ask for the jobs of the swarm
  swarm_jobs_info:
    lines: true
  register: swarm
"""

RETURN = r"""
jobs:
  description:
    - The jobs by their names. C(state) is running, starting, stopped, complete or failed, C(busy) whether any task has a container, C(since)
      when the job was deployed, C(ended) when the last of its ranks ended, empty while one runs, C(restarts) how often that rank was started
      again that was most often, as far as swarm remembers, C(mounts)
      what rank 0 has of volumes and directories, C(progress) the last line of rank 0 that tells of it, and C(planned) how many C(epochs) or
      C(steps) the command of rank 0 asks for, where it has an option such as --epochs or --max_steps. C(image) is that of rank 0, and
      C(launched) whether this project's launcher starts it. C(services) are the IDs of its services, and C(results) is the label that says where its results are and
      which are fetched. With O(lines), C(failure) is which rank
      of a job that failed was the first, on which C(host), when, and the line of its C(error); null where no log tells.
    - Of C(ranks), C(host) is the name in the inventory where the node bears it as its label, else its host name, C(processes)
      how many its command starts, 0 where that is not said, C(last) the last line of the newest task, or of one that failed its error, and
      C(lines) are those of O(history).
  returned: success
  type: list
  elements: dict
  sample:
    - name: simple-training
      state: running
      busy: true
      since: "2025-01-01T10:00:00.1Z"
      ended: ""
      restarts: 0
      progress: ""
      failure: null
      planned: {epochs: 10}
      image: my-ddp-trainer:0123456789ab
      launched: true
      services: [q2v7, x9d1]
      mounts: [{type: volume, source: simple-training_snapshots, target: /snapshots}]
      results: '{"directory": "/snapshots", "from_each": [], "from_rank_0": ["snapshot.pt"]}'
      ranks: [{rank: 0, host: host1, task: w1k8, state: running, exit_code: null, error: "", since: "2025-01-01T10:00:02.9Z", restarts: 0,
               failed: false, processes: 1, last: "", lines: []}]
"""

from ..module_utils.docker.cli import DockerError
from ..module_utils.docker.module import DockerModule
from ..module_utils.stack.jobs import read_jobs
from ..module_utils.stack.unavailable import SwarmUnavailable, explain_unavailable

MOST = 5000


def main() -> None:
    module = DockerModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "default": []},
            "lines": {"type": "bool", "default": False},
            "progress_pattern": {"type": "str", "default": ""},
            "history": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    params = module.params
    if not 0 <= params["history"] <= MOST:
        module.fail_json(msg=f"history is {params['history']}; it is a number of lines from 0 to {MOST}.")
    try:
        jobs = read_jobs(module.docker, params["names"], params["lines"], params["progress_pattern"], params["history"])
    except DockerError as error:
        module.fail_json(msg=explain_unavailable(module.docker, error))
    except SwarmUnavailable as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, jobs=jobs)


if __name__ == "__main__":
    main()
