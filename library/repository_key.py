#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: the key of a package repository, of which the fingerprint is known."""

from __future__ import annotations

DOCUMENTATION = r"""
module: repository_key
short_description: Install the key of a package repository, if it is the publisher's
description:
  - Fetches the key, unless the file is there, compares its fingerprint, and writes it anew. apt finds more in an armored file than gpg does, such as
    what follows a block's checksum, so it never gets the publisher's file but the one key that gpg has found in it.
  - A file that is there and holds anything else is called O(dest) with C(.refused), out of the reach of apt.
  - Needs gpg on the target.
author:
  - ddp-swarm contributors (@ddp-swarm)
options:
  url:
    description: Where the key is.
    type: str
    required: true
  dest:
    description: The file for it. Its directory is made.
    type: path
    required: true
  fingerprint:
    description: That the key must have, in hexadecimal.
    type: str
    required: true
  fetch:
    description: A command that fetches what is given to it to the file that is given last, such as one that knows a proxy. Empty fetches without one.
    type: list
    elements: str
    default: []
  host:
    description: What messages call the target.
    type: str
    required: true
  variable:
    description: What messages call the variable with the fingerprint.
    type: str
    required: true
attributes:
  check_mode:
    description: Fetches and compares, and changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Install the repository's key
  repository_key:
    url: https://download.docker.com/linux/debian/gpg
    dest: /etc/apt/keyrings/docker.asc
    fingerprint: 9DC858229FC7DD38854AE2D88D81803C0EBFCD88
    host: "{{ inventory_hostname }}"
    variable: docker_apt_key_fingerprint
"""

RETURN = r""" # """

import os
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.urls import fetch_url

from ..module_utils.host.keyring import keyring_problem
from ..module_utils.reporting import ReportingModule

LARGEST = 2**20  # bytes; a key has some thousand


def fetched(module: Any, file: Path) -> Path:
    url, command = module.params["url"], module.params["fetch"]
    if command:
        rc, out, err = module.run_command([*command, url, str(file)])
        if rc:
            module.fail_json(msg=f"{url} cannot be fetched: {(err or out).strip()}")
        return file
    answer, about = fetch_url(module, url, timeout=30)
    if answer is None or about["status"] not in (200, None):  # of a file, there is none
        module.fail_json(msg=f"{url} cannot be fetched: {about['msg']}")
    file.write_bytes(answer.read(LARGEST))
    return file


def main() -> None:
    module = ReportingModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "dest": {"type": "path", "required": True},
            "fingerprint": {"type": "str", "required": True},
            "fetch": {"type": "list", "elements": "str", "default": []},
            "host": {"type": "str", "required": True},
            "variable": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    with tempfile.TemporaryDirectory(suffix=".apt-key") as place:
        changed = install(module, Path(place))
    module.exit_json(changed=changed)


def install(module: Any, place: Path) -> bool:
    """`place` is empty, and of this run alone. Returns whether there was something to do."""
    dest = Path(module.params["dest"])
    there = dest.exists()
    source = dest if there else fetched(module, place / "fetched")
    gpg = [module.get_bin_path("gpg", required=True), "--homedir", str(place), "--batch", "--no-tty"]
    rc, out, err = module.run_command([*gpg, "--show-keys", "--with-colons", str(source)])
    problem = keyring_problem({"rc": rc, "stdout": out, "stderr": err}, module.params["fingerprint"])
    if problem:
        if there and not module.check_mode:
            os.replace(dest, f"{dest}.refused")
        module.fail_json(msg=refusal(module, there, problem))
    key = place / "key.asc"
    anew = ["--armor", "--output", str(key), "--import-options", "import-export", "--import", str(source)]
    module.run_command([*gpg, *anew], check_rc=True)
    if there and dest.read_bytes() == key.read_bytes() and dest.stat().st_mode & 0o777 == 0o644:
        return False
    if not module.check_mode:
        if not dest.parent.is_dir():
            dest.parent.mkdir(parents=True)
            dest.parent.chmod(0o755)  # apt reads it as a user of its own
        key.chmod(0o644)
        module.atomic_move(str(key), str(dest))
        dest.chmod(0o644)
    return True


def refusal(module: Any, there: bool, problem: str) -> str:
    asked = module.params
    fate = "Nothing of it stays on the host"
    if there:
        fate = (
            f"It {'would be' if module.check_mode else 'is'} called {asked['dest']}.refused now, out of the reach of apt, and the next run "
            f"fetches {asked['url']}"
        )
    return (
        f"{asked['host']} must not trust {asked['dest'] if there else asked['url']}: {problem}. It has to be one key, with the fingerprint "
        f"{asked['fingerprint']} ({asked['variable']}, which is to be set anew if the publisher changed its key). {fate}."
    )


if __name__ == "__main__":
    main()
