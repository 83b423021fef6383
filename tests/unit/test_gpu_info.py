"""What is read out of the driver's words. The texts are shaped as NVIDIA documents them (MIG user guide); no GPU printed them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.modules import gpu_info

GPU = "GPU-{0}c89852c-d268-c3f3-1b07-005d5ae1dc3f"
MIG = "MIG-{0}7de94a5-be15-5b5a-b67e-e118352d8a59"


def line(number: int) -> str:
    return f"GPU {number}: NVIDIA A100-SXM4-40GB (UUID: {GPU.format(number)})\n"


def mig(number: int) -> str:
    return f"  MIG 3g.20gb     Device  {number}: (UUID: {MIG.format(number)})\n"


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        ("", []),
        ("No devices found.\n", []),
        (line(0) + line(1), [GPU.format(0), GPU.format(1)]),
        (line(0) + mig(1) + mig(2) + line(3), [MIG.format(1), MIG.format(2), GPU.format(3)]),
        # Drivers before 470 named MIG devices after their GPU.
        (line(0) + "  MIG 1g.5gb Device 0: (UUID: MIG-GPU-5c89852c/7/0)\n", ["MIG-GPU-5c89852c/7/0"]),
    ],
)
def test_devices(listing: str, expected: list[str]) -> None:
    assert gpu_info.devices(listing) == expected


def test_cards(tmp_path: Path) -> None:
    for name, vendor, kind in [("a", "0x10de", "0x030000"), ("b", "0x10de", "0x040300"), ("c", "0x8086", "0x030000")]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(vendor + "\n")
        (tmp_path / name / "class").write_text(kind + "\n")
    assert gpu_info.cards(str(tmp_path)) == 1


class Host:
    def __init__(self, code: int, out: str, err: str = "", there: bool = True) -> None:
        self.answer, self.there = (code, out, err), there

    def get_bin_path(self, name: str, required: bool = False) -> str | None:
        return f"/usr/bin/{name}" if self.there else None

    def run_command(self, command: list[str]) -> Any:
        return self.answer


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (Host(0, "GPU 0\n"), ("GPU 0\n", "")),
        (Host(0, "", there=False), ("", "")),
        (Host(124, ""), ("", "nvidia-smi gave no answer within 60 s")),
        (Host(18, "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 535\n"),
         ("", "Failed to initialize NVML: Driver/library version mismatch")),
        (Host(3, ""), ("", "nvidia-smi ended with exit code 3")),
    ],
)  # fmt: skip
def test_ask(host: Host, expected: tuple[str, str]) -> None:
    assert gpu_info.ask(host, "nvidia-smi", "-L") == expected
