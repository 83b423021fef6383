"""What the probe in a rank's container and the judge on the controller agree on. The probe has a copy of its own, so far."""

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
# A figure above this is limited by the CPU's mood, not by a network that needs repair.
FAST_ENOUGH_MB_S = 200.0
# A slow network is as slow every time. What differs more than this from try to try was a busy CPU's doing.
STEADY = 0.8
Json = dict[str, Any]
