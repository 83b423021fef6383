"""Which NVIDIA driver a CUDA version needs. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

# The oldest driver for each CUDA: https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
OLDEST_DRIVERS = {"11": 450, "12": 525, "13": 580}


def oldest_driver(cuda: str) -> int:
    """The first number of the driver's version, 0 for a CUDA that is not known here."""
    return OLDEST_DRIVERS.get(cuda.split(".")[0], 0)


def driver_needed(driver: str, cuda: str) -> int:
    """Which driver this CUDA needs, if `driver` is older, else 0. One that tells no version is taken to be new enough."""
    needed, first = oldest_driver(cuda), driver.split(".")[0]
    return needed if first.isdigit() and int(first) < needed else 0


def cuda_problem(cuda: object) -> str:
    """Why this is no CUDA version that is known; empty if it is, and for an empty one."""
    if str(cuda) == "" or oldest_driver(str(cuda)):
        return ""
    return f"'{cuda}', and it is a version of CUDA {', '.join(OLDEST_DRIVERS)}, such as '12.8'"


def driver_problem(driver: str, cuda: object) -> str:
    """Which driver this CUDA needs, if `driver` is older; empty otherwise."""
    needed = driver_needed(driver, str(cuda))
    return f"needs {needed} or newer" if needed else ""
