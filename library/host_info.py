#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: what the roles need to know of a host, in one look."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: Tell a host's distribution, engine, packages, settings, addresses, GPUs and free disk space
description:
  - Changes nothing. What is missing or fails is an answer too, not a failure.
  - Needs Python 3.9 on the target, and nothing else.
author:
  - ddp-swarm contributors (@ddp-swarm)
options:
  packages:
    description: Packages to look for, beside those that carry an engine.
    type: list
    elements: str
    default: []
  gpus:
    description: Whether to ask for NVIDIA GPUs. A driver in trouble takes a minute to fail.
    type: bool
    default: true
  firewall:
    description:
      - Whether to ask a firewall for its ports. V(auto) does while the host is in no swarm with others, V(false) does not. firewalld takes a second.
    type: str
    default: auto
  etc:
    description: The directory of the engine's settings.
    type: path
    default: /etc/docker
  volumes:
    description: Whether to list the engine's volumes.
    type: bool
    default: false
  image:
    description: An image to look for, with the options C(ref), C(others), C(keep), C(keep_days) and C(work) of M(ddp.swarm.image_state). Empty looks for none.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Gather host facts
  host_info:
    packages: [zstd]
  register: host
"""

RETURN = r"""
distribution:
  description:
    - From os-release(5), C(id), C(version), C(codename) and C(name) (for people), and C(family), which is C(debian), C(redhat) or empty.
  returned: always
  type: dict
  sample: {id: ubuntu, version: "24.04", codename: noble, name: Ubuntu 24.04.3 LTS, family: debian}
engine:
  description:
    - C(command), whether the docker command is there, C(installed), the version of the daemon's program, C(version), that of the engine that answers, C(problem), why none answers,
      C(root), its data directory, C(swarm_address), by which its swarm knows it, C(swarm_nodes), how many nodes a manager counts, C(userns_remap),
      C(live_restore), C(nftables) (it writes rules of nftables and is in no swarm), and C(unfit), what it is instead of an engine that can join a swarm, with what to do.
      Each is empty where there is nothing to say.
  returned: always
  type: dict
  sample: {command: true, installed: 26.1.5, version: 26.1.5, problem: "", root: /var/lib/docker, swarm_address: 192.168.1.10, swarm_nodes: 2, userns_remap: false, live_restore: false, nftables: false, unfit: ""}
running:
  description: C(services), the swarm services of which a container runs, and C(containers), the other containers, by their names.
  returned: always
  type: dict
  sample: {services: [simple-training_node0], containers: []}
volumes:
  description: The names of the engine's volumes.
  returned: if O(volumes)
  type: list
  elements: str
  sample: []
swarm_node:
  description: C(swarm), C(nodes), C(networks), C(jobs) and C(idle), as M(ddp.swarm.swarm_node_info) tells them. Each is empty where there is no engine.
  returned: always
  type: dict
  sample: {swarm: {}, nodes: [], networks: [], jobs: [], idle: []}
packages:
  description:
    - C(installed), the versions of packages by their names, C(held), those that are not to be upgraded, C(broken), those whose installation
      was interrupted, and C(engine), the package that the engine came with.
  returned: always
  type: dict
  sample: {installed: {docker.io: 26.1.5+dfsg1-9, zstd: 1.5.7}, held: [], broken: [], engine: docker.io}
docker_group:
  description: The users in the group docker, empty if there is no such group.
  returned: always
  type: list
  elements: str
  sample: []
settings:
  description:
    - Of daemon.json, C(value), C(error), C(directory) (the one that it lies in is there), C(mode) and C(unread) (it is newer than the
      engine), and as C(before_gpus) what it said before GPUs were offered, null if none are.
  returned: always
  type: dict
  sample: {value: {}, error: "", directory: true, mode: "0644", unread: false, before_gpus: null}
firewall:
  description:
    - C(name) is ufw, firewalld, or empty where neither runs or was asked, C(open) are the ports that it lets in from everywhere, C(unsure) says that
      other rules may let in more, and C(zones) are those of firewalld that have a network interface.
  returned: always
  type: dict
  sample: {name: ufw, open: [22/tcp], unsure: false, zones: []}
proxy:
  description: Of an HTTP proxy that the role docker has told the host of, the SHA-256 of each file with it, by its path.
  returned: always
  type: dict
  sample: {}
repositories:
  description: For each C(uri) and C(suite) (of dnf, the name) of which apt or dnf gets packages the C(file) that names them.
  returned: always
  type: list
  elements: dict
  sample: [{uri: "http://deb.debian.org/debian", suite: trixie, file: /etc/apt/sources.list.d/debian.sources}]
service:
  description: Of docker.service, C(known), C(active), C(runs), C(enabled) and C(logs) (it gives its engine options for containers' logs).
  returned: always
  type: dict
  sample: {known: true, active: active, runs: true, enabled: true, logs: false}
certificates:
  description:
    - Of CA certificates that were added to the host, the C(folder) for them, the C(bundle) that the C(command) makes of all, C(files), their
      SHA-256 by their names, and C(untrusted) (one of them has not been read by the command).
  returned: always
  type: dict
  sample:
    folder: /usr/local/share/ca-certificates
    bundle: /etc/ssl/certs/ca-certificates.crt
    command: update-ca-certificates
    files: {company.crt: 0123abcd}
    untrusted: false
addresses:
  description:
    - C(interfaces), the addresses of each network interface with their prefixes, but for those of containers, and C(default), the address
      of the default route, empty if there is none.
  returned: always
  type: dict
  sample: {interfaces: {eth0: [192.168.1.10/24]}, default: 192.168.1.10}
image:
  description: As the module image_state tells of O(image).
  returned: if O(image)
  type: dict
gpus:
  description:
    - C(gpus), the full UUID of each device that a program can be given, in the driver's order, where a GPU that is divided into MIG devices
      counts as these, C(driver) and C(toolkit), the versions of the driver and of the NVIDIA container toolkit, C(cards), how many display
      controllers by NVIDIA the PCI bus has, C(error), the first line of what nvidia-smi complains about, and C(obstacle), why the driver does
      not work, where the host shows that (nouveau, Secure Boot, a driver that was updated under the one that is loaded).
  returned: if O(gpus)
  type: dict
  sample: {gpus: [], driver: "", cards: 0, error: "", obstacle: "", toolkit: ""}
free_mb:
  description: Free space in MiB where images go, or will go once there is an engine.
  returned: always
  type: int
"""

import grp
import os
import shutil
from pathlib import Path
from typing import Any

from ..module_utils.docker.cli import DockerCli, DockerError
from ..module_utils.docker.running import running, volumes
from ..module_utils.host import (
    addresses,
    certificates,
    distribution,
    engine,
    firewall,
    gpus,
    packages,
    proxy,
    repositories,
    service,
    settings,
)
from ..module_utils.image.state import look as look_for_image
from ..module_utils.reporting import ReportingModule
from ..module_utils.swarm import node

# When the engine has read its settings: at its start, and when the role docker let it read them again.
READ_AT = (Path("/run/docker.pid"), Path("/run/ddp-swarm-settings-read"))


def free_mb(*paths: str) -> int:
    """Of the first path that is there."""
    return shutil.disk_usage(next(path for path in paths if path and os.path.isdir(path))).free >> 20


def members(group: str) -> list[str]:
    try:
        return grp.getgrnam(group).gr_mem
    except KeyError:
        return []


def main() -> None:
    module = ReportingModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "default": []},
            "gpus": {"type": "bool", "default": True},
            "firewall": {"type": "str", "default": "auto"},
            "etc": {"type": "path", "default": "/etc/docker"},
            "volumes": {"type": "bool", "default": False},
            "image": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    docker, system = DockerCli(module), distribution.look(Path("/"))
    info, problem = engine.asked(module, docker)
    found: dict[str, Any] = {
        "distribution": system,
        "engine": engine.look(module, info, problem),
        "packages": packages.look(module, module.params["packages"], system["family"]),
        "settings": settings.look(Path(module.params["etc"]), Path(proxy.ENVIRONMENT), *READ_AT),
        "service": service.look(module),
        "docker_group": members("docker"),
        "firewall": firewall.NONE,
        "proxy": proxy.look(Path("/")),
        "repositories": repositories.look(Path("/")),
        "certificates": certificates.look(Path("/")),
        "addresses": addresses.look(),
    }
    asks = module.params["firewall"]
    if asks != "false" and (asks != "auto" or not engine.among_others(found["engine"])):
        found["firewall"] = firewall.look(module)
    try:
        found["running"] = running(docker) if info else {"services": [], "containers": []}
        if module.params["volumes"]:
            found["volumes"] = volumes(docker) if info else []
    except DockerError as error:
        module.fail_json(msg=str(error))
    found["swarm_node"] = node.look(module, docker, info)
    if module.params["image"]:
        found["image"] = look_for_image(docker, info, problem, **module.params["image"])
    if module.params["gpus"]:
        found["gpus"] = gpus.look(module)
    root = found["engine"]["root"]
    module.exit_json(changed=False, free_mb=free_mb(root, "/var/lib/docker", "/var/lib", "/"), **found)


if __name__ == "__main__":
    main()
