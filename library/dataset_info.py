#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: what lies in directories with data, so that hosts can be compared."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dataset_info
short_description: Tell what lies in a directory with data, in a form that can be compared between hosts
description:
  - Reads the names and sizes of all files, and the bytes of as many as O(sample_mb) allows. Of a file of more than 256 KiB it reads the first,
    the middle and the last 64 KiB.
  - Which files are read depends on their names alone, so hosts with the same files read the same ones.
  - Symbolic links are not followed. Where one leads to is compared.
author:
  - ddp-swarm contributors (@ddp-swarm)
options:
  paths:
    description: The directories, or files.
    type: list
    elements: path
    required: true
  sample_mb:
    description: Megabytes that are read of each of O(paths) at most.
    type: int
    default: 256
  buckets:
    description: For a directory of O(paths) the buckets, from 0 to 255, whose files are told one by one.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Changes nothing, in check mode or out of it.
    support: full
notes:
  - Fails for a directory with more than two million files, and where one cannot be read.
"""

EXAMPLES = r"""
- name: Look at the dataset
  dataset_info:
    paths: [/srv/imagenet]
  register: seen
"""

RETURN = r"""
sets:
  description:
    - Of each of O(paths), in their order, its C(path), whether it is C(missing), and else how many C(files) and C(bytes) it has, how many bytes were
      C(read), and for each of 256 buckets, into which files fall by their names, a digest of C(names) (with sizes) and of C(contents).
    - C(listed) has up to 200 files of the O(buckets) that were asked for, each with its size in bytes, its kind, and a digest where it was read.
  returned: success
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.dataset import TooMany, looked_at
from ..module_utils.text import printable_all


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "list", "elements": "path", "required": True},
            "sample_mb": {"type": "int", "default": 256},
            "buckets": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    budget = module.params["sample_mb"] * 1_000_000
    try:
        sets = [looked_at(path, budget, module.params["buckets"].get(path)) for path in module.params["paths"]]
    except TooMany as many:
        module.fail_json(
            msg=f"{many}: it cannot be compared. Take it out of training_data, or pack its files together."
        )
    except OSError as error:
        module.fail_json(msg=f"{error.filename or 'The data'} cannot be read: {error.strerror}.")
    module.exit_json(changed=False, sets=printable_all(sets))


if __name__ == "__main__":
    main()
