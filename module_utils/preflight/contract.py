"""What the probe in a rank's container and the judge on the controller agree on.

The probe's archive holds this same file: it imports nothing of this project, and runs with Python 3.9.
"""

from __future__ import annotations

from typing import Any

MARKER = "DDP_PROBE_REPORT "
LAYERS = {
    1: "clock",
    2: "engine and kernel",
    3: "swarm control",
    4: "image identity",
    5: "GPU and memory",
    6: "interface",
    7: "names",
    8: "TCP between ranks",
    9: "path MTU",
    10: "master port",
    11: "process group",
    12: "all-reduce",
    13: "bus bandwidth",
    14: "straggler",
}
# The layers before are the hosts' own: of these the probe says something, be it that it did not reach them.
PROBED_LAYERS = {layer: name for layer, name in LAYERS.items() if layer >= 4}
# A figure above this is limited by the CPU's mood, not by a network that needs repair.
FAST_ENOUGH_MB_S = 200.0
# To the probe: three tries of which the slowest reaches this much of the best agree, and a fourth would say the same.
TRIES_THAT_AGREE = 0.9
# To the probe: how often it counts what is lost, if the first turn lost something; the middle one counts.
COUNTED_TURNS = 3
# To the probe: of segments sent again, as many are worth a second and a third look.
SUSPECT_PERCENT = 0.5
# To both: on a network as slow as this, sizes that would take seconds are not sent.
SLOW_MB_S = 20.0
# To the judge: a connection whose usual try reaches less of its best was slowed by a busy CPU. A slow network is as slow every time.
STEADY_CONNECTION = 0.8
# What a record's `code` says of a failure, where it is for the remedy to know.
IMPORT_UNFINISHED = "import_unfinished"
IMPORT_KILLED = "import_killed"
NO_NCCL = "no_nccl"
SHARED_SUBNET = "shared_subnet"
UNRESOLVED = "unresolved"
OUTSIDE_SUBNET = "outside_subnet"
SEARCH_DOMAIN = "search_domain"
REFUSED = "refused"
NO_GREETING = "no_greeting"
OTHER_RANK = "other_rank"
NO_INFINIBAND = "no_infiniband"
NO_RESULT = "no_result"
WRONG_SUM = "wrong_sum"
NO_VERBS = "no_verbs"
# The same of what the judge finds itself: the sentences are in faults.py.
SUBNET_SMALL = "subnet_small"
SUBNET_FULL = "subnet_full"
SUBNET_TAKEN = "subnet_taken"
GWBRIDGE_TAKEN = "gwbridge_taken"
NAT_RULES_GONE = "nat_rules_gone"
CONNTRACK_FULL = "conntrack_full"
DATA_MISSING = "data_missing"
DATA_OTHER = "data_other"
BIND_LABEL = "bind_label"
MOUNT_MISSING = "mount_missing"
MOUNT_DENIED = "mount_denied"
VOLUME_OTHER = "volume_other"
VOLUME_MOUNT = "volume_mount"
VOLUME_DENIED = "volume_denied"
ADDRESS_TWICE = "address_twice"
LOSS = "loss"
LINK_ERRORS = "link_errors"
LINK_DROPS = "link_drops"
HALF_DUPLEX = "half_duplex"
BOND_MEMBER = "bond_member"
PAIR_SLOW = "pair_slow"
LINK_SLOW = "link_slow"
GROUP_SLOW = "group_slow"
GPU_ECC = "gpu_ecc"
GPU_REPAIR = "gpu_repair"
GPU_PCIE = "gpu_pcie"
GPU_THROTTLED = "gpu_throttled"
GPU_TAKEN = "gpu_taken"
GPU_XID = "gpu_xid"
GPU_LOST = "gpu_lost"
GPU_OFFERED = "gpu_offered"
GPU_HIDDEN = "gpu_hidden"
GPU_DRIVER = "gpu_driver"
GPU_LANES = "gpu_lanes"
GPU_GENERATION = "gpu_generation"
GPU_POWER_CAP = "gpu_power_cap"
GPU_PERSISTENCE = "gpu_persistence"
GPU_HOT = "gpu_hot"
FABRIC_MANAGER = "fabric_manager"
FABRIC_STATE = "fabric_state"
GPU_DIAG = "gpu_diag"
GPU_DIAG_SILENT = "gpu_diag_silent"
GPU_TOO_OLD = "gpu_too_old"
GPU_TOO_NEW = "gpu_too_new"
# Of a record that is well all the same: it is worth a remark.
NO_COMPILER = "no_compiler"
# And the reason for a backend: that it was asked for, that every rank has a GPU, or that `ranks` have none.
ASKED_FOR, ALL_GPUS, NO_GPU = "asked_for", "all_gpus", "no_gpu"
Json = dict[str, Any]
