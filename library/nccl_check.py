#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: does what DDP is about to use work, and if not, on which host and why."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nccl_check
short_description: Observe the preflight probe on a host, and judge all hosts' observations
description:
  - Has two uses, told apart by their options. With O(rank) it observes on a training host,
    with O(reports) it judges on the controller.
  - To observe is to look at the host, such as its engine, kernel, clock, disk, ports and, on a manager, the swarm's
    nodes, and with O(service) to wait until the local container of that service has printed the probe's report line.
  - To judge is to compare every rank's observation, in fourteen layers from the clock to stragglers,
    and to name the hosts, the peer and the remedy at the first layer that fails.
    Layers after it are marked as not reached, never as passed.
  - Needs Python 3.9, and for observing the docker command line (20.10 or newer). Changes nothing but the file at O(path),
    which is no part of the managed state.
author:
  - ddp-swarm contributors (@ddp-swarm)
extends_documentation_fragment: [ddp.swarm.docker_cli]
options:
  rank:
    description:
      - The rank that the host carries, V(-1) for a manager that carries none. Selects observing.
    type: int
  service:
    description:
      - Full name of the swarm service whose local container runs the probe. Without it nothing is waited for.
    type: str
  host:
    description:
      - Name under which results speak of this host. The default is the host's own node name.
    type: str
  run_id:
    description:
      - Only a report that carries this identifier (the probe's E(PROBE_RUN_ID)) counts, so that the log of an
        earlier preflight is not taken for this one's.
    type: str
    default: ""
  timeout:
    description:
      - Seconds to wait for the report, counted from when the container is there.
      - Should exceed the probe's own E(PROBE_TIMEOUT) by a few seconds.
    type: int
    default: 65
  start_timeout:
    description:
      - Seconds to wait until a container of O(service) exists on this host at all.
    type: int
    default: 45
  sent_at:
    description:
      - The controller's clock when the task was sent, in seconds since the epoch.
      - Used to bound the clock skew of hosts whose probes cannot talk to each other.
    type: float
  image:
    description:
      - Image that must be present on the host. Not looked for when empty.
    type: str
    default: ""
  stack:
    description:
      - Name of the probe's stack. A manager says whether it exists, which is so when an earlier check was interrupted.
    type: str
    default: ""
  own_stacks:
    description:
      - Stacks that the check, or the training after it, takes the place of. A manager leaves them out when it counts the
        addresses of O(network) that others hold.
    type: list
    elements: str
    default: []
  control_peers:
    description:
      - Swarm control ports to connect to from this host. An entry with this host's own name is left out.
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description: Name of the host to reach.
        type: str
        required: true
      address:
        description: Address of the host to reach.
        type: str
        required: true
      ports:
        description: TCP ports to connect to, 7946 on every host and 2377 too on managers.
        type: list
        elements: int
        default: [7946]
  bind_mounts:
    description:
      - What the containers get of the host's files. Each has to be there, and the user of O(image) has to be able to read it, and to
        write to what is mounted at O(results). SELinux labels are looked at where these are in force.
    type: list
    elements: dict
    default: []
    suboptions:
      source:
        description: Path on the host.
        type: str
        required: true
      target:
        description: Path in the containers.
        type: str
        default: ""
      read_only:
        description: Whether the containers only read it.
        type: bool
        default: false
  volumes:
    description:
      - What the containers get of Docker volumes, each with C(name), C(target), C(read_only), C(nocopy), and C(driver) and C(driver_opts) where it has
        them. One that is there has to be as it is here, and the user of O(image) has to be able to read one with a driver.
    type: list
    elements: dict
    default: []
  results:
    description: Where the containers leave their results. Of O(bind_mounts) and O(volumes), that with this target has to be writable.
    type: str
    default: ""
  results_volume:
    description: The Docker volume in which the rank's launcher has measured how fast it grows.
    type: str
    default: ""
  gpu_uuids:
    description: The GPUs of the host that its node is to offer to the swarm, all of them when empty.
    type: list
    elements: str
    default: []
  host_network_port:
    description:
      - TCP port at which the hosts measure the bandwidth between each other, beside the training's network. Each listens
        there for at most a few seconds, and has to run this module at the same time as the others.
      - V(0) measures nothing. Where the port is closed nothing is measured, which is no fault.
    type: int
    default: 0
  reports:
    description:
      - The RV(report) of every host, several of one host if there are. Selects judging.
        Hosts that could not be asked are left out, and reported.
    type: list
    elements: dict
  unreachable:
    description:
      - Hosts on which the module could not run, each with the reason.
    type: dict
    default: {}
  probed:
    description:
      - Whether the probes have run. With V(false) only what the hosts say is judged, and the other layers stay
        not reached, so that RV(ok) is false even if RV(findings) is empty.
    type: bool
    default: true
  ranks:
    description:
      - The ranks that must pass. Required with O(reports).
      - With O(rank), a manager names the swarm's nodes by it, and the bandwidth is measured between these hosts only.
    type: list
    elements: dict
    suboptions:
      rank:
        description: The rank.
        type: int
        required: true
      host:
        description: The host that carries it.
        type: str
        required: true
  path:
    description:
      - File to write the verdict to as JSON, all that is returned but RV(table). Its directory is made if it is missing.
    type: path
  enforce:
    description:
      - Fail when the verdict is bad. Otherwise a bad verdict is only returned.
    type: bool
    default: false
  network:
    description:
      - Name of the network, for messages.
    type: str
    default: ddp-net
  network_mode:
    description:
      - Which remedy to name, that of an overlay or that of the hosts' own network.
    type: str
    choices: [overlay, host]
    default: overlay
  network_mtu:
    description:
      - The value of the network's option C(com.docker.network.driver.mtu), in bytes, where no manager reports it.
        An overlay's interfaces have 50 bytes less, for VXLAN's header. V(0) means that the option is not set, which
        is 1500.
    type: int
    default: 0
  expected_mtu:
    description:
      - MTU in bytes that the training's interface must have. V(0) accepts any that is the same on every rank.
    type: int
    default: 0
  training_interface:
    description:
      - The interface that training was told to use (training_interface). A variable of the container that says otherwise
        was set by hand, and the message says where.
    type: str
    default: ""
  master_port:
    description: The port at which rank 0 will listen, for messages.
    type: int
    default: 12355
  backend:
    description:
      - The backend that training asks for. With V(gloo), GPUs that a task does not see are no fault.
    type: str
    choices: [auto, nccl, gloo]
    default: auto
  max_clock_skew:
    description: Largest accepted difference between two hosts' clocks, in seconds.
    type: float
    default: 5
  min_disk:
    description: Least free space under the engine's data directory, in bytes.
    type: int
    default: 268435456
  min_disk_hours:
    description:
      - For how many hours there has to be room at the rate at which the job's ranks have filled O(results_volume), 0 for any.
    type: float
    default: 24
  min_shm:
    description:
      - Smallest accepted size of /dev/shm in the container, in bytes. The default is what engines give a container.
    type: int
    default: 67108864
  min_gpus:
    description: Fewest GPUs that every rank must see.
    type: int
    default: 0
  min_bus_bandwidth:
    description:
      - Smallest accepted bus bandwidth of a 16 MiB all-reduce, of 256 MiB between GPUs, in MB/s (10^6 bytes per second). V(0) accepts any.
    type: float
    default: 0
  min_pair_bandwidth:
    description:
      - Smallest accepted bandwidth of one connection between two ranks, the best of several tries, in MB/s. V(0) accepts any. A wire of 100 Mbit/s
        cannot reach 12.5, one of 1 Gbit/s reaches more than 100.
    type: float
    default: 20
  min_speed_fraction:
    description:
      - Smallest accepted part of what is there, that a pair must reach of the slower of its two links' speed (of which no
        more than 100 MB/s are asked), and all ranks together of what the slowest pair reaches alone. V(0) accepts any.
    type: float
    default: 0.25
  min_network_fraction:
    description:
      - Smallest accepted bandwidth of a connection over the training's network, as a fraction of what the same two hosts reach without it.
        V(0) accepts any. A connection of 200 MB/s or more always passes, since the CPU bounds it, not the network.
    type: float
    default: 0.1
  straggler_factor:
    description:
      - A rank is a straggler when its computing or its sending is this many times slower than the median of the others. V(0) compares none.
    type: float
    default: 3
  gpu_straggler_factor:
    description: The same of GPUs of one kind, each of which has computed for five seconds and is hot.
    type: float
    default: 1.2
attributes:
  check_mode:
    description: Does the same in check mode, and does not write O(path).
    support: full
  diff_mode:
    description: Has no difference to show.
    support: none
"""

EXAMPLES = r"""
- name: Read the probe's report on every training host
  nccl_check:
    service: simple-training-preflight_node0
    rank: 0
    host: "{{ inventory_hostname }}"
    sent_at: "{{ now().timestamp() }}"
    control_peers:
      - {host: worker1, address: 192.0.2.12, ports: [7946]}
  register: observed

- name: Judge what the hosts have reported
  nccl_check:
    reports: "{{ groups['swarm'] | map('extract', hostvars) | map(attribute='observed.report') }}"
    ranks:
      - {rank: 0, host: manager1}
      - {rank: 1, host: worker1}
    min_bus_bandwidth: 100
    enforce: true
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
report:
  description: What was seen on this host.
  returned: with O(rank)
  type: dict
  contains:
    rank: {type: int, returned: always, description: "The rank."}
    host: {type: str, returned: always, description: "The host."}
    probe: {type: dict, returned: always, description: "The probe's own report, or null when it printed none."}
    host_checks:
      description: What the host says about its engine, kernel, clock, disk, ports and the probe's container, and a manager about nodes and network.
      type: dict
      returned: always
ok:
  description: Whether every expected rank has reported and every layer has passed on each.
  returned: with O(reports)
  type: bool
findings:
  description: What is wrong, at the first layer that fails, on every host.
  returned: with O(reports)
  type: list
  elements: dict
  contains:
    layer: {type: int, returned: always, description: "Number of the layer, 1 to 14."}
    layer_name: {type: str, returned: always, description: "Name of the layer."}
    rank: {type: int, returned: always, description: "The rank that saw it."}
    host: {type: str, returned: always, description: "The host of that rank."}
    peer: {type: str, returned: always, description: "The host towards which it failed, or null."}
    check: {type: str, returned: always, description: "What was checked."}
    observed: {type: str, returned: always, description: "What was seen."}
    expected: {type: str, returned: always, description: "What would have been right."}
    hint: {type: str, returned: always, description: "What to change."}
remarks:
  description: What is worth a look and fails no check, such as a GPU with a power limit below its default. Each has the keys of RV(findings).
  returned: with O(reports)
  type: list
  elements: dict
layers:
  description: For every layer, its number, its name and a mapping from rank to V(ok), V(fail) or V(not reached).
  returned: with O(reports)
  type: list
  elements: dict
table:
  description: The layers against the ranks, and latency and bandwidth between the ranks, as text.
  returned: with O(reports)
  type: str
pairs:
  description:
    - For each rank and peer, a connection's latency in microseconds, its bandwidth in MB/s (10^6 bytes/s), and the
      bandwidth of the hosts' own network beside it.
  returned: with O(reports)
  type: list
  elements: dict
backend:
  description: The backend that the process group used, or null when none was tried.
  returned: with O(reports)
  type: str
backend_reason:
  description: Why it was chosen.
  returned: with O(reports)
  type: str
bus_bandwidth:
  description: Smallest bus bandwidth that a rank measured, in MB/s (10^6 bytes per second), or null.
  returned: with O(reports)
  type: float
latency:
  description: Largest median time of a 4 byte all-reduce, in microseconds, or null.
  returned: with O(reports)
  type: float
versions:
  description:
    - For each rank its C(rank), C(host), the versions of C(engine), C(python), C(torch), C(cuda) and C(nccl), the C(architecture), and the
      fingerprint of the image's own files (C(files_hash)). Null is what neither host nor container says.
  returned: with O(reports)
  type: list
  elements: dict
message:
  description: The verdict in one to three sentences.
  returned: with O(reports)
  type: str
"""

import json
import os

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.docker.cli import CONNECTION_ARGUMENTS, CONNECTION_MUTUALLY_EXCLUSIVE, DockerCli
from ..module_utils.names import GOSSIP_PORT
from ..module_utils.preflight.contract import Json
from ..module_utils.preflight.observe.look import observe
from ..module_utils.preflight.verdict import judge

LIMITS = (
    "network", "network_mode", "network_mtu", "expected_mtu", "training_interface", "max_clock_skew", "min_disk", "min_disk_hours",
    "min_shm", "min_gpus", "min_bus_bandwidth", "min_pair_bandwidth", "min_speed_fraction", "min_network_fraction", "straggler_factor", "gpu_straggler_factor", "master_port", "backend",
    "run_id",
)  # fmt: skip
MOUNT = {
    "source": {"type": "str", "required": True},
    "target": {"type": "str", "default": ""},
    "read_only": {"type": "bool", "default": False},
}
RANK = {"rank": {"type": "int", "required": True}, "host": {"type": "str", "required": True}}
PEER = {
    "host": RANK["host"],
    "address": RANK["host"],
    "ports": {"type": "list", "elements": "int", "default": [GOSSIP_PORT]},
}


def argument_spec() -> Json:
    return {
        "service": {"type": "str"},
        "rank": {"type": "int"},
        "host": {"type": "str"},
        "run_id": {"type": "str", "default": ""},
        "timeout": {"type": "int", "default": 65},
        "start_timeout": {"type": "int", "default": 45},
        "sent_at": {"type": "float"},
        "image": {"type": "str", "default": ""},
        "stack": {"type": "str", "default": ""},
        "own_stacks": {"type": "list", "elements": "str", "default": []},
        "bind_mounts": {"type": "list", "elements": "dict", "default": [], "options": MOUNT},
        "volumes": {"type": "list", "elements": "dict", "default": []},
        "results": {"type": "str", "default": ""},
        "results_volume": {"type": "str", "default": ""},
        "gpu_uuids": {"type": "list", "elements": "str", "default": []},
        "host_network_port": {"type": "int", "default": 0},
        "control_peers": {"type": "list", "elements": "dict", "default": [], "options": PEER},
        "reports": {"type": "list", "elements": "dict"},
        "ranks": {"type": "list", "elements": "dict", "options": RANK},
        "unreachable": {"type": "dict", "default": {}},
        "probed": {"type": "bool", "default": True},
        "path": {"type": "path"},
        "enforce": {"type": "bool", "default": False},
        "network": {"type": "str", "default": "ddp-net"},
        "network_mode": {"type": "str", "choices": ["overlay", "host"], "default": "overlay"},
        "network_mtu": {"type": "int", "default": 0},
        "expected_mtu": {"type": "int", "default": 0},
        "training_interface": {"type": "str", "default": ""},
        "master_port": {"type": "int", "default": 12355},
        "backend": {"type": "str", "choices": ["auto", "nccl", "gloo"], "default": "auto"},
        "max_clock_skew": {"type": "float", "default": 5},
        "min_disk": {"type": "int", "default": 268435456},
        "min_disk_hours": {"type": "float", "default": 24},
        "min_shm": {"type": "int", "default": 67108864},
        "min_gpus": {"type": "int", "default": 0},
        "min_bus_bandwidth": {"type": "float", "default": 0},
        "min_pair_bandwidth": {"type": "float", "default": 20},
        "min_speed_fraction": {"type": "float", "default": 0.25},
        "min_network_fraction": {"type": "float", "default": 0.1},
        "straggler_factor": {"type": "float", "default": 3},
        "gpu_straggler_factor": {"type": "float", "default": 1.2},
        **CONNECTION_ARGUMENTS,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        mutually_exclusive=[("rank", "reports"), *CONNECTION_MUTUALLY_EXCLUSIVE],
        required_one_of=[("rank", "reports")],
        required_by={"service": ["rank"], "reports": ["ranks"]},
        supports_check_mode=True,
    )
    if module.params["rank"] is not None:
        module.exit_json(changed=False, report=observe(module.params, DockerCli(module)))
    limits = {name: module.params[name] for name in LIMITS}
    outcome = judge(
        module.params["reports"], module.params["ranks"], limits, module.params["unreachable"], module.params["probed"]
    )
    if module.params["path"] and not module.check_mode:
        write_verdict(module, outcome)
    if module.params["enforce"] and not outcome["ok"]:
        module.fail_json(msg=outcome["message"], changed=False, **outcome)
    module.exit_json(changed=False, **outcome)


def write_verdict(module: AnsibleModule, outcome: Json) -> None:
    path = module.params["path"]
    text = json.dumps({key: value for key, value in outcome.items() if key != "table"}, indent=4, sort_keys=True)
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path + ".part", "w", encoding="utf-8") as stream:
            stream.write(text + "\n")
        os.replace(path + ".part", path)
    except OSError as error:
        module.fail_json(msg=f"the verdict cannot be written to {path}: {error.strerror}", **outcome)


if __name__ == "__main__":
    main()
