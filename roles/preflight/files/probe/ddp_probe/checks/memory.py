"""Layer 5: the memory that is shared, and that may be locked."""

from __future__ import annotations

import os
import resource

from ..sizes import MEBIBYTE
from ..state import State
from ..wire import describe


def check_memory(state: State) -> None:
    try:
        stat = os.statvfs("/dev/shm")
        size, free = stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize
        state.report.note(shm_bytes=size, shm_free_bytes=free)
        state.report.add(5, "shm", True, size, detail="size of /dev/shm in bytes; the floor is the judge's")
    except OSError as error:
        state.report.add(5, "shm", False, describe(error), "a tmpfs on /dev/shm")
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    unlimited = soft == resource.RLIM_INFINITY
    infiniband = os.path.isdir("/dev/infiniband") and state.settings.env.get("NCCL_IB_DISABLE", "0") != "1"
    state.report.note(memlock_bytes=None if unlimited else soft)
    state.report.add(
        5,
        "memlock",
        unlimited or not infiniband or soft >= 64 * MEBIBYTE,
        "unlimited" if unlimited else soft,
        "unlimited" if infiniband else None,
        "only InfiniBand needs locked memory",
    )
