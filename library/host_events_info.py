#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: what happened to a host at a moment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_events_info
short_description: Tell what a host's journal says of a moment
description:
  - Looks for what ends or holds up a rank from outside, such as the kernel's OOM killer, a GPU's Xid, a link that went down, a full or broken disk,
    an NFS server that does not respond, and an engine that was stopped. Changes nothing.
author:
  - ddp-swarm contributors (@ddp-swarm)
options:
  at:
    description:
      - The moment by the host's clock, in UTC, such as V(2026-01-02T03:04:05). Empty is now.
    type: str
    default: ""
  before:
    description:
      - So many seconds before the moment are looked at.
    type: int
    default: 120
  after:
    description:
      - So many seconds after it.
    type: int
    default: 30
attributes:
  check_mode:
    description: Changes nothing, in check mode or out of it.
    support: full
seealso:
  - module: ansible.legacy.rank_stacks
"""

EXAMPLES = r"""
- name: Ask what happened
  host_events_info:
    at: "2026-01-02T03:04:05"
  register: moment
"""

RETURN = r"""
events:
  description: In the order of time. C(what) is in words, C(line) what the kernel or systemd wrote.
  returned: always
  type: list
  elements: dict
  sample:
    - time: "2026-01-02T03:04:02Z"
      what: the kernel killed 4711 (python) for its memory
      line: "Out of memory: Killed process 4711 (python) total-vm:1kB"
why:
  description: Why nothing could be read, empty otherwise.
  returned: always
  type: str
"""

import shutil
import time
from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.diagnose.moment import SECONDS, commands, events

FULL = 0.98
ENGINE = "/var/lib/docker"


def full() -> list[dict[str, str]]:
    """The disk of containers and volumes, as it is now."""
    try:
        usage = shutil.disk_usage(ENGINE)
    except OSError:
        return []
    if usage.free > (1 - FULL) * usage.total:
        return []
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    line = f"{usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB are free"
    return [{"time": now, "what": f"the disk of {ENGINE} is full", "line": line}]


def main() -> None:
    spec = {
        "at": {"type": "str", "default": ""},
        "before": {"type": "int", "default": 120},
        "after": {"type": "int", "default": 30},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    params = module.params
    moment = time.time()
    if params["at"]:
        try:
            moment = datetime.fromisoformat(params["at"][:19]).replace(tzinfo=timezone.utc).timestamp()
        except ValueError:
            module.fail_json(msg=f"at is {params['at'][:40]!r}; it is a time such as 2026-01-02T03:04:05.")
    lines, why = [], ""
    for command in commands(moment - params["before"], moment + params["after"]):
        if not module.get_bin_path(command[0]):
            why = "there is no journalctl on this host"
            break
        code, out, err = module.run_command([module.get_bin_path("timeout", required=True), SECONDS, *command])
        lines += out.splitlines()
        if code:
            why = next(iter(err.splitlines()), f"journalctl ended with exit code {code}")[:200]
    module.exit_json(changed=False, events=events(lines) + full(), why=why)


if __name__ == "__main__":
    main()
