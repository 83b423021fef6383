"""Layer 5: GPUs as nvidia-smi, the kernel and torch tell of them. All answers are made up, in the form of real ones."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe import gpus
from preflight_ranks import told, verdict

WELL = {
    "uuid": "GPU-1", "index": "0", "bus": "00000000:3B:00.0", "ecc": "0", "remapping": "No", "pcie_generation": "1",
    "pcie_generation_max": "4", "pcie_width": "16", "pcie_width_max": "16", "throttle": "0x0000000000000001",
    "temperature": "41", "power_limit": "350.00", "persistence": "Enabled", "memory_used": "4", "memory_total": "81559",
    "capability": "9.0",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "check", "observed"),
    [
        ({}, None, None),
        ({"ecc": "3"}, "GPU memory", "GPU 0 has 3 uncorrected memory errors"),
        ({"ecc": "N/A"}, None, None),
        ({"remapping": "Yes"}, "GPU memory", "GPU 0 has broken memory that it will put aside at its next reset"),
        ({"retiring": "Yes"}, "GPU memory", "GPU 0 has broken memory that it will put aside at its next reset"),
        ({"pcie_width": "8"}, None, None),
        ({"pcie_width": "4"}, "GPU slot", "GPU 0 has 4 of 16 PCIe lanes"),
        ({"throttle": "0x0000000000000004"}, None, None),  # its power limit, as it was set
        ({"throttle": "0x0000000000000041"}, "GPU clocks",
         "GPU 0 is slowed down by its temperature (hardware) (at 41 degrees C)"),
        ({"throttle": "0x88"}, "GPU clocks", "GPU 0 is slowed down by its hardware and a lack of power (at 41 degrees C)"),
        ({"memory_used": "40780"}, "GPU memory", "40780 of 81559 MiB of GPU 0 are in use"),
        ({"memory_used": "40779"}, None, None),
    ],
)  # fmt: skip
def test_a_gpu_as_nvidia_smi_tells_of_it(pair, change, check, observed):
    pair[1]["host_checks"]["gpu_states"] = [{**WELL, **change}]
    assert told(verdict(pair), "layer", "check", "host", "observed") == (
        [(5, check, "host2", observed)] if check else []
    )
    assert verdict(pair, backend="gloo")["ok"]


@pytest.mark.parametrize(("given", "found"), [([], True), (["GPU-1"], True), (["GPU-2"], False)])
def test_only_the_gpus_that_the_rank_was_given_count(pair, given, found):
    pair[1]["host_checks"]["gpu_states"] = [{**WELL, "ecc": "1"}, {**WELL, "uuid": "GPU-2", "bus": "00000000:AF:00.0"}]
    pair[1]["host_checks"]["xids"] = [{"bus": "0000:3b:00", "code": 79}]
    pair[1]["host_checks"]["container"]["gpus"] = given
    assert told(verdict(pair), "check") == ([("GPU memory",), ("GPU",)] if found else [])


@pytest.mark.parametrize(
    ("capability", "built", "check"),
    [
        ("9.0", ["sm_80", "sm_90"], None),
        ("8.9", ["sm_80", "sm_90"], None),
        ("6.1", ["sm_75", "sm_80", "compute_90"], "older than the torch"),
        ("7.0", ["sm_75", "sm_80"], "older than the torch"),
        ("12.0", ["sm_80", "sm_90"], "newer than the torch"),
        ("12.0", ["sm_90", "compute_90"], None),
        ("9.0", ["sm_90a"], None),
        ("12.1", ["sm_120"], None),
        ("6.1", [], None),
        ("6.1", {"sm_75": 1}, None),
    ],
)
def test_a_gpu_that_torch_was_not_built_for(pair, capability, built, check):
    for one in pair:
        one["probe"]["identity"].update(architectures=built, capabilities=[])
    pair[1]["probe"]["identity"]["capabilities"] = [capability]
    found = verdict(pair)["findings"]
    assert [one["check"] for one in found] == (["GPU and torch"] if check else [])
    if check:
        assert check in found[0]["hint"] and found[0]["observed"].endswith(f"is built for {', '.join(built)}")


class Smi:
    """Stands in for nvidia-smi, of which an old one does not know every field."""

    def __init__(self, monkeypatch, rows, unknown=(), code=0):
        self.rows, self.unknown, self.code = rows, unknown, code
        self.asked = []
        monkeypatch.setattr(gpus.shutil, "which", lambda name: f"/usr/bin/{name}")
        monkeypatch.setattr(gpus.subprocess, "run", self.run)

    def run(self, command, **_):
        fields = command[1].partition("=")[2].split(",")
        self.asked.append(fields)
        wrong = [field for field in fields if field in self.unknown]
        if wrong:
            return SimpleNamespace(
                returncode=2, stdout=f'Field "{wrong[0]}" is not a valid field to query.\n\n', stderr=""
            )
        names = {theirs: ours for ours, theirs in gpus.FIELDS.items()} | {v: "throttle" for v in gpus.RENAMED.values()}
        lines = [", ".join(row.get(names[field], "[N/A]") for field in fields) for row in self.rows]
        return SimpleNamespace(returncode=self.code, stdout="\n".join(lines) + "\n", stderr="")


def test_nvidia_smi_is_read(monkeypatch):
    Smi(monkeypatch, [WELL, {**WELL, "ecc": "[Unknown Error]"}])
    assert gpus.gpu_states() == [WELL, {name: value for name, value in WELL.items() if name != "ecc"}]


def test_a_field_that_a_driver_does_not_know_is_left_out_or_has_another_name(monkeypatch):
    smi = Smi(monkeypatch, [WELL], ("remapped_rows.pending", "clocks_throttle_reasons.active"))
    assert gpus.gpu_states() == [{name: value for name, value in WELL.items() if name != "remapping"}]
    assert len(smi.asked) == 3


def test_lines_that_are_no_row_are_passed_over():
    assert gpus.states("WARNING: infoROM is corrupted at gpu 0000:3B:00.0\n0, GPU-1\n", ["index", "uuid"]) == [
        {"index": "0", "uuid": "GPU-1"}
    ]


@pytest.mark.parametrize("error", [FileNotFoundError(2, "x"), subprocess.TimeoutExpired("nvidia-smi", 20)])
def test_nvidia_smi_that_does_not_answer_says_nothing(monkeypatch, error):
    smi = Smi(monkeypatch, [])
    smi.run = lambda *_, **__: (_ for _ in ()).throw(error)
    monkeypatch.setattr(gpus.subprocess, "run", smi.run)
    assert gpus.gpu_states() == gpus.recent_xids() == []


def test_a_host_without_nvidia_smi_has_no_states(monkeypatch):
    monkeypatch.setattr(gpus.shutil, "which", lambda name: None)
    assert gpus.gpu_states() == []


def test_what_the_kernel_reported_of_gpus():
    log = (
        "Nov 29 05:00:01 h kernel: NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.\n"
        "Nov 29 05:00:02 h kernel: NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, GPU has fallen off the bus.\n"
        "Nov 29 05:00:03 h kernel: NVRM: Xid (PCI:0000:AF:00): 13, pid=77, Graphics Exception\n"
        "Nov 29 05:00:04 h kernel: NVRM: Xid (PCI:0000:AF:00): 48, pid=77, DBE\n"
    )
    assert gpus.xids(log) == [{"bus": "0000:3b:00", "code": 79}, {"bus": "0000:af:00", "code": 48}]


def test_a_gpu_with_a_fault_in_the_log_is_named(pair):
    pair[1]["host_checks"]["xids"] = [{"bus": "0000:3b:00", "code": 79}, {"bus": "0000:3b:00", "code": 63}]
    assert told(verdict(pair), "layer", "check", "host", "observed") == [
        (5, "GPU", "host2", "the kernel reported Xid 79 of the GPU at 0000:3b:00 within the last day")
    ]
