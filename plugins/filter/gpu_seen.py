"""Filter: in words, what keeps a host's GPUs from being used, with the command that installs a driver there."""

from typing import Any

from ..module_utils.docker.platforms import release

GUIDE = "https://docs.nvidia.com/datacenter/tesla/driver-installation-guide"
FROM_NVIDIA = f"from NVIDIA's repository ({GUIDE})"


def gpu_seen(gpus: dict[str, Any], system: dict[str, Any]) -> str:
    """`gpus` and `system` are what host_info says of GPUs, of which none can be used, and of the distribution."""
    if gpus.get("error"):
        seen = f"nvidia-smi there fails: {gpus['error']}"
    elif gpus.get("cards"):
        seen = (
            f"it has {gpus['cards']} NVIDIA card(s) without a driver (no nvidia-smi answers; to install one: {driver_command(system)}, then "
            "reboot)"
        )
    else:
        seen = "it has no NVIDIA card"
    return f"{seen}, since {gpus['obstacle']}" if gpus.get("obstacle") else seen


def driver_command(system: dict[str, Any]) -> str:
    """As Ubuntu's, Debian's and NVIDIA's documentation have it."""
    if system["id"] == "ubuntu":
        return "'apt-get install ubuntu-drivers-common && ubuntu-drivers install'"
    if system["family"] == "debian":
        headers = "linux-headers-$(dpkg --print-architecture)"
        return (
            f"'apt-get install {headers} nvidia-driver nvidia-smi' with contrib and non-free among Debian's components"
        )
    if system["family"] == "redhat":
        modular = system["id"] != "fedora" and release(system) in ("8", "9")
        enable = "dnf module enable nvidia-driver:open-dkms && " if modular else ""
        return f"'{enable}dnf install nvidia-open' {FROM_NVIDIA}"
    return f"NVIDIA's driver, by {GUIDE}"


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"gpu_seen": gpu_seen}
