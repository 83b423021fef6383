#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: the lease of the run that changes the hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
module: swarm_lease
short_description: Take, renew or release the lease of the run that changes the hosts
description:
  - The lease is a file on the manager, and a config of its swarm where it is in one that answers. Who has none changes nothing.
  - Makes one attempt. The action plugin of the same name waits, and renews the lease until the run ends.
author:
  - ddp-swarm contributors (@ddp-swarm)
extends_documentation_fragment: [ddp.swarm.docker_cli]
options:
  state:
    description: V(taken) where nobody has it, or whoever had it has given no sign of life, V(renewed) or V(released) where this run has it.
    type: str
    choices: [taken, renewed, released]
    default: taken
  id:
    description: The run, as nobody else calls theirs.
    type: str
    required: true
  who:
    description: The run's user and controller, for those who wait.
    type: str
    default: ""
  what:
    description: The run's playbook, for those who wait.
    type: str
    default: ""
  since:
    description: When the run got the lease, in seconds since 1970 by the manager's clock. With O(state=taken), now.
    type: float
    default: 0
  expiry:
    description: For how many seconds it is the run's without a sign of life.
    type: int
    default: 300
  break_it:
    description: Whether to take it from a run that may live.
    type: bool
    default: false
  path:
    description: The file.
    type: path
    default: /run/ddp-swarm/lease.json
"""

EXAMPLES = r"""
- name: Take the lease
  swarm_lease:
    id: 3f1c2e
    who: anna@laptop
    what: site.yml
"""

RETURN = r"""
held:
  description: Whether the run has the lease.
  returned: success
  type: bool
by:
  description: Who has it instead, with C(who), C(what), C(since) and C(until); where the run has it, who had it and is bound no more. Empty if nobody.
  returned: success
  type: dict
  sample: {id: 3f1c2e, who: anna@laptop, what: site.yml, since: 1735725731.2, until: 1735726031.2}
now:
  description: The time by the manager's clock, in seconds since 1970.
  returned: success
  type: float
"""

import time
from pathlib import Path

from ..module_utils.docker.module import DockerModule
from ..module_utils.swarm.lease import Lease, LeaseFile, SwarmLease, release, renew, take


def main() -> None:
    module = DockerModule(
        argument_spec={
            "state": {"type": "str", "choices": ["taken", "renewed", "released"], "default": "taken"},
            "id": {"type": "str", "required": True},
            "who": {"type": "str", "default": ""},
            "what": {"type": "str", "default": ""},
            "since": {"type": "float", "default": 0},
            "expiry": {"type": "int", "default": 300},
            "break_it": {"type": "bool", "default": False},
            "path": {"type": "path", "default": "/run/ddp-swarm/lease.json"},
        },
        supports_check_mode=False,
    )
    params, now = module.params, time.time()
    since = now if params["state"] == "taken" else params["since"]
    lease = Lease(params["id"], params["who"], params["what"], since, now + params["expiry"])
    file, swarm = LeaseFile(Path(params["path"])), SwarmLease(module.docker)
    try:
        if params["state"] == "taken":
            said = take(file, swarm, lease, params["break_it"])
        elif params["state"] == "renewed":
            said = renew(file, swarm, lease, now)
        else:
            said = release(file, swarm, lease)
    except OSError as error:
        module.fail_json(msg=f"The lease cannot be kept in {params['path']}: {error.strerror or error}")
    module.exit_json(changed=False, now=now, **said)


if __name__ == "__main__":
    main()
