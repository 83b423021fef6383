#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: which NVIDIA GPUs a host has, and what stands in the way of using them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_info
short_description: Tell which NVIDIA GPUs a host has
description:
  - Asks the driver (C(nvidia-smi)), the PCI bus and the NVIDIA container toolkit. Changes nothing.
  - A driver that is missing or fails is an answer too, not a failure.
author:
  - ddp-swarm contributors (@ddp-swarm)
options: {}
"""

EXAMPLES = r"""
- name: Look for GPUs
  gpu_info:
  register: seen
"""

RETURN = r"""
gpus:
  description:
    - Full UUID of each device that a program can be given, in the driver's order. A GPU that is divided into MIG devices
      counts as these.
  returned: always
  type: list
  elements: str
driver:
  description: Version of the driver, empty where it gives none.
  returned: always
  type: str
cards:
  description: How many display controllers by NVIDIA the PCI bus has, with or without a driver.
  returned: always
  type: int
error:
  description: The first line of what nvidia-smi complains about. Empty where it does not, and where there is no nvidia-smi.
  returned: always
  type: str
toolkit:
  description: Version of the NVIDIA container toolkit, empty where there is none.
  returned: always
  type: str
"""

import glob
import re
from pathlib import Path
from typing import Any

from ..module_utils.reporting import ReportingModule

# A driver in trouble can make nvidia-smi wait for ever.
SECONDS = "60"
NVIDIA = "0x10de"  # https://pci-ids.ucw.cz/read/PC/10de
DISPLAY = "0x03"  # the class of VGA and 3D controllers


def devices(listing: str) -> list[str]:
    """The UUIDs in what `nvidia-smi -L` prints: a GPU's line is followed by those of its MIG devices, indented."""
    found: list[str] = []
    whole = ""
    for line in listing.splitlines():
        match = re.search(r"\(UUID: ([^)\s]+)\)", line)
        if not match:
            continue
        if line[:1].isspace():
            if whole:
                found.remove(whole)
            whole = ""
            found.append(match.group(1))
        else:
            whole = match.group(1)
            found.append(whole)
    return found


def cards(root: str = "/sys/bus/pci/devices") -> int:
    def says(device: str, name: str, beginning: str) -> bool:
        try:
            return Path(device, name).read_text().startswith(beginning)
        except OSError:
            return False

    return sum(says(path, "vendor", NVIDIA) and says(path, "class", DISPLAY) for path in glob.glob(f"{root}/*"))


def ask(module: Any, *command: str) -> tuple[str, str]:
    """What a command prints, and the first line of its complaint if it failed. A missing command says nothing at all."""
    if not module.get_bin_path(command[0]):
        return "", ""
    code, out, err = module.run_command([module.get_bin_path("timeout", required=True), SECONDS, *command])
    if code == 124:
        return "", f"{command[0]} gave no answer within {SECONDS} s"
    lines = (out + err).strip().splitlines()
    return (out, "") if code == 0 else ("", lines[0].strip() if lines else f"{command[0]} ended with exit code {code}")


def main() -> None:
    module = ReportingModule(argument_spec={}, supports_check_mode=True)
    listing, error = ask(module, "nvidia-smi", "-L")
    driver = "" if error else ask(module, "nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")[0]
    version = re.search(r"version (\d[^\s,]*)", ask(module, "nvidia-ctk", "--version")[0])
    module.exit_json(
        changed=False,
        gpus=devices(listing),
        driver=driver.strip().splitlines()[0].strip() if driver.strip() else "",
        cards=cards(),
        error=error,
        toolkit=version.group(1) if version else "",
    )


if __name__ == "__main__":
    main()
