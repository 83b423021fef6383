"""Filter: which driver a CUDA version needs, and whether a text is one."""

from typing import Any

from ..module_utils.cuda import OLDEST_DRIVERS, driver_needed, oldest_driver


def cuda_problem(cuda: Any) -> str:
    """Why this is no CUDA version that is known; empty if it is, and for an empty one."""
    if str(cuda) == "" or oldest_driver(str(cuda)):
        return ""
    return f"'{cuda}', and it is a version of CUDA {', '.join(OLDEST_DRIVERS)}, such as '12.8'"


def driver_problem(driver: str, cuda: Any) -> str:
    """Which driver this CUDA needs, if `driver` is older; empty otherwise."""
    needed = driver_needed(driver, str(cuda))
    return f"needs {needed} or newer" if needed else ""


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"driver_problem": driver_problem}
