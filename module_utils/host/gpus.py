"""NVIDIA GPUs of a host: what the driver, the PCI bus and the container toolkit say. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import Any

# A driver in trouble can make nvidia-smi wait for ever.
SECONDS = "60"
COMPLAINT = re.compile(r"fail|error|couldn't|unable|mismatch|no devices", re.IGNORECASE)
NVIDIA = "0x10de"  # https://pci-ids.ucw.cz/read/PC/10de
SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
DISPLAY = "0x03"  # the class of VGA and 3D controllers
BRIDGE = "0x0680"  # and that of NVSwitch


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


def cards(root: str = "/sys/bus/pci/devices", kind: str = DISPLAY) -> int:
    def says(device: str, name: str, beginning: str) -> bool:
        try:
            return Path(device, name).read_text().startswith(beginning)
        except OSError:
            return False

    return sum(says(path, "vendor", NVIDIA) and says(path, "class", kind) for path in glob.glob(f"{root}/*"))


def ask(module: Any, *command: str) -> tuple[str, str]:
    """What a command prints, and the line of its complaint if it failed. A missing command says nothing at all."""
    if not module.get_bin_path(command[0]):
        return "", ""
    code, out, err = module.run_command([module.get_bin_path("timeout", required=True), SECONDS, *command])
    if code == 124:
        return "", f"{command[0]} gave no answer within {SECONDS} s"
    return (out, "") if code == 0 else ("", complaint(f"{out}\n{err}\n{command[0]} ended with exit code {code}"))


def complaint(said: str) -> str:
    """The line that tells what is wrong. nvidia-smi warns of one thing, such as a corrupt infoROM, before it fails of another."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    wrong = [line for line in lines if COMPLAINT.search(line)] or lines
    return wrong[0] if wrong else ""


def obstacle(error: str, root: Path = Path("/")) -> str:
    """Why a driver does not work, where the host shows it, and what to do; empty where it does not."""
    if "version mismatch" in error:
        return "the driver was updated under the one that is loaded: reboot the host"
    if (root / "sys/module/nouveau").is_dir():
        return "the driver nouveau holds the card: blacklist nouveau, install NVIDIA's driver and reboot"
    if (root / "sys/module/nvidia").is_dir():
        return ""
    try:
        # Four bytes of attributes, then the value (https://docs.kernel.org/filesystems/efivarfs.html).
        secure = (root / SECURE_BOOT).read_bytes()[4:5] == b"\x01"
    except OSError:
        secure = False
    if secure:
        return (
            "Secure Boot is on, and loads no module that nobody has signed: enroll the key that signs NVIDIA's (mokutil --import), or switch "
            "Secure Boot off"
        )
    return ""


def look(module: Any) -> dict[str, Any]:
    """Which GPUs programs can be given, and what stands in the way of that."""
    listing, error = ask(module, "nvidia-smi", "-L")
    driver = "" if error else ask(module, "nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")[0]
    version = re.search(r"version (\d[^\s,]*)", ask(module, "nvidia-ctk", "--version")[0])
    found = devices(listing)
    count = cards()
    return {
        "gpus": found,
        "driver": driver.strip().splitlines()[0].strip() if driver.strip() else "",
        "cards": count,
        "error": error,
        "obstacle": obstacle(error) if not found and (count or error) else "",
        "toolkit": version.group(1) if version else "",
    }
