"""What is read out of the driver's words. The texts are shaped as NVIDIA documents them (MIG user guide); no GPU printed them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.host import gpus
from ansible_collections.ddp.swarm.plugins.modules import host_info
from docker_stand_in import run

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
        (line(0) + mig(1) + line(2) + mig(3) + mig(4), [MIG.format(1), MIG.format(3), MIG.format(4)]),
        ("Unable to determine the device handle for GPU 0\n" + line(1), [GPU.format(1)]),
        (mig(1) + line(0), [MIG.format(1), GPU.format(0)]),
        # Drivers before 470 named MIG devices after their GPU.
        (line(0) + "  MIG 1g.5gb Device 0: (UUID: MIG-GPU-5c89852c/7/0)\n", ["MIG-GPU-5c89852c/7/0"]),
    ],
)
def test_devices(listing: str, expected: list[str]) -> None:
    assert gpus.devices(listing) == expected


def test_cards(tmp_path: Path) -> None:
    for name, vendor, kind in [("a", "0x10de", "0x030000"), ("b", "0x10de", "0x040300"), ("c", "0x8086", "0x030000")]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(vendor + "\n")
        (tmp_path / name / "class").write_text(kind + "\n")
    (tmp_path / "d").mkdir()
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "vendor").write_text("0x10de\n")
    assert gpus.cards(str(tmp_path)) == 1
    assert gpus.cards(str(tmp_path / "gone")) == 0


class Host:
    def __init__(self, code: int, out: str, err: str = "", there: bool = True) -> None:
        self.answer, self.there = (code, out, err), there

    def get_bin_path(self, name: str, required: bool = False) -> str | None:
        return f"/usr/bin/{name}" if self.there else None

    def run_command(self, command: list[str]) -> Any:
        assert command == ["/usr/bin/timeout", "60", "nvidia-smi", "-L"]
        return self.answer


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (Host(0, "GPU 0\n"), ("GPU 0\n", "")),
        (Host(0, "", there=False), ("", "")),
        (Host(124, ""), ("", "nvidia-smi gave no answer within 60 s")),
        (Host(18, "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 535\n"),
         ("", "Failed to initialize NVML: Driver/library version mismatch")),
        # A line that is no error comes first, and the error on the other stream.
        (Host(18, "", "WARNING: infoROM is corrupted at gpu 0000:3B:00.0\nFailed to initialize NVML: Unknown Error\n"),
         ("", "Failed to initialize NVML: Unknown Error")),
        (Host(9, "Thu Nov 26 10:00:00\n", "Unable to determine the device handle for GPU0\n"),
         ("", "Unable to determine the device handle for GPU0")),
        (Host(3, ""), ("", "nvidia-smi ended with exit code 3")),
        (Host(1, "  out\n", "err\n"), ("", "out")),
        (Host(0, "GPU 0\n", "a warning\n"), ("GPU 0\n", "")),
    ],
)  # fmt: skip
def test_ask(host: Host, expected: tuple[str, str]) -> None:
    assert gpus.ask(host, "nvidia-smi", "-L") == expected


def host(folder: Path, monkeypatch: pytest.MonkeyPatch, **commands: str) -> None:
    """This machine with two cards and these commands, each a shell's."""
    for name, script in commands.items():
        (folder / name.replace("_", "-")).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name.replace("_", "-")).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(gpus, "cards", lambda: 2)


def look(capsys: pytest.CaptureFixture[str], **params: Any) -> dict[str, Any]:
    result = run(host_info, capsys, **params)
    assert result["changed"] is False
    found: dict[str, Any] = result["gpus"]
    return found


def test_what_a_host_with_gpus_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    smi = f"[ $1 = -L ] && printf '{line(0)}{line(1)}' && exit; [ $1 = --query-gpu=driver_version ] && printf ' 550.54.15 \\n551\\n'"
    ctk = "echo 'NVIDIA Container Toolkit CLI version 1.17.8'; echo 'commit: 0123'"
    host(tmp_path, monkeypatch, nvidia_smi=smi, nvidia_ctk=ctk)
    said = look(capsys, _ansible_check_mode=True)
    assert said["gpus"] == [GPU.format(0), GPU.format(1)]
    assert (said["driver"], said["toolkit"], said["cards"], said["error"]) == ("550.54.15", "1.17.8", 2, "")


def test_a_driver_in_trouble_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host(
        tmp_path,
        monkeypatch,
        nvidia_smi="[ $1 = -L ] && echo 'No devices\x1b[2J were found' && exit 6; echo 550",
        nvidia_ctk="exit 1",
    )
    said = look(capsys)
    assert (said["gpus"], said["driver"], said["toolkit"]) == ([], "", "")
    assert said["error"] == "No devices were found"


def test_a_host_without_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host(tmp_path, monkeypatch, nvidia_smi="exit 0")
    said = look(capsys)
    assert (said["gpus"], said["driver"], said["toolkit"], said["error"]) == ([], "", "", "")


SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


@pytest.mark.parametrize(
    ("error", "modules", "secure", "said"),
    [
        ("", (), None, ""),
        ("", (), b"\x06\0\0\0\x00", ""),
        ("", (), b"\x06\0\0\0\x01", "Secure Boot is on"),
        ("", ("nvidia",), b"\x06\0\0\0\x01", ""),
        ("", ("nouveau",), b"\x06\0\0\0\x01", "the driver nouveau holds the card: blacklist nouveau"),
        ("Failed to initialize NVML: Driver/library version mismatch", ("nvidia",), None, "reboot the host"),
        ("No devices were found", ("nvidia",), None, ""),
    ],
)
def test_why_a_driver_does_not_work(
    error: str, modules: tuple[str, ...], secure: bytes | None, said: str, tmp_path: Path
) -> None:
    for name in modules:
        (tmp_path / "sys/module" / name).mkdir(parents=True)
    if secure is not None:
        (tmp_path / SECURE_BOOT).parent.mkdir(parents=True)
        (tmp_path / SECURE_BOOT).write_bytes(secure)
    found = gpus.obstacle(error, tmp_path)
    assert said in found
    assert bool(found) is bool(said)


def test_the_reason_is_looked_for_where_there_is_a_card_and_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpus, "obstacle", lambda error: f"reason of {error or 'none'}")
    host(tmp_path, monkeypatch, nvidia_smi=f"printf '{line(0)}'")
    assert look(capsys)["obstacle"] == ""
    host(tmp_path, monkeypatch, nvidia_smi="exit 0")
    assert look(capsys)["obstacle"] == "reason of none"
    host(tmp_path, monkeypatch, nvidia_smi="echo broken; exit 9")
    monkeypatch.setattr(gpus, "cards", lambda: 0)
    assert look(capsys)["obstacle"] == "reason of broken"
    host(tmp_path, monkeypatch, nvidia_smi="exit 0")
    monkeypatch.setattr(gpus, "cards", lambda: 0)
    assert look(capsys)["obstacle"] == ""
