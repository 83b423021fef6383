"""Layer 5: GPUs as nvidia-smi, the kernel and torch tell of them. All answers are made up, in the form of real ones."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe import gpus
from preflight_ranks import node, told, verdict, with_nodes

WELL = {
    "uuid": "GPU-1", "index": "0", "bus": "00000000:3B:00.0", "ecc": "0", "remapping": "No", "pcie_generation": "1",
    "pcie_generation_max": "4", "pcie_width": "16", "pcie_width_max": "16", "throttle": "0x0000000000000001",
    "temperature": "41", "power_limit": "350.00", "persistence": "Enabled", "memory_used": "4", "memory_total": "81559",
    "capability": "9.0", "tlimit": "46", "mig": "Disabled",
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

    temperatures = ""

    def run(self, command, **_):
        fields = command[1].partition("=")[2].split(",")
        self.asked.append(fields)
        wrong = [field for field in fields if field in self.unknown]
        if wrong:
            return SimpleNamespace(
                returncode=2, stdout=f'Field "{wrong[0]}" is not a valid field to query.\n\n', stderr=""
            )
        names = {theirs: ours for ours, theirs in gpus.FIELDS.items()} | {v: "throttle" for v in gpus.RENAMED.values()}
        if "--query" in command:
            return SimpleNamespace(returncode=0, stdout=self.temperatures, stderr="")
        lines = [", ".join(row.get(names[field], "[N/A]") for field in fields) for row in self.rows]
        return SimpleNamespace(returncode=self.code, stdout="\n".join(lines) + "\n", stderr="")


def test_nvidia_smi_is_read(monkeypatch):
    Smi(monkeypatch, [WELL, {**WELL, "ecc": "[Unknown Error]"}])
    assert gpus.gpu_states() == ([WELL, {name: value for name, value in WELL.items() if name != "ecc"}], "")


def test_a_field_that_a_driver_does_not_know_is_left_out_or_has_another_name(monkeypatch):
    smi = Smi(monkeypatch, [WELL], ("remapped_rows.pending", "clocks_throttle_reasons.active"))
    assert gpus.gpu_states() == ([{name: value for name, value in WELL.items() if name != "remapping"}], "")
    assert len(smi.asked) == 3


def test_lines_that_are_no_row_are_passed_over():
    assert gpus.states("WARNING: infoROM is corrupted at gpu 0000:3B:00.0\n0, GPU-1\n", ["index", "uuid"]) == [
        {"index": "0", "uuid": "GPU-1"}
    ]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "no such file"), "nvidia-smi: no such file"),
        (subprocess.TimeoutExpired("nvidia-smi", 20), "nvidia-smi gave no answer within 20 s"),
    ],
)
def test_nvidia_smi_that_does_not_answer_is_told(monkeypatch, error, said):
    smi = Smi(monkeypatch, [])
    smi.run = lambda *_, **__: (_ for _ in ()).throw(error)
    monkeypatch.setattr(gpus.subprocess, "run", smi.run)
    assert gpus.gpu_states() == ([], said)
    assert gpus.recent_xids() == []


def test_what_nvidia_smi_complains_of_is_told(monkeypatch):
    lost = (
        "Unable to determine the device handle for GPU0000:3B:00.0: GPU is lost.  Reboot the system to recover this GPU"
    )
    smi = Smi(monkeypatch, [])
    smi.run = lambda *_, **__: SimpleNamespace(returncode=15, stdout="WARNING: infoROM is corrupted\n", stderr=lost)
    monkeypatch.setattr(gpus.subprocess, "run", smi.run)
    assert gpus.gpu_states() == ([], lost)


def test_a_host_without_nvidia_smi_has_no_states(monkeypatch):
    monkeypatch.setattr(gpus.shutil, "which", lambda name: None)
    assert gpus.gpu_states() == ([], "")


def test_an_invented_gpu_without_a_margin_has_the_temperature_that_slows_it_down(monkeypatch):
    old = {name: value for name, value in WELL.items() if name != "tlimit"}
    smi = Smi(monkeypatch, [old])
    smi.temperatures = (
        "Attached GPUs : 1\nGPU 00000000:3B:00.0\n    Temperature\n        GPU Current Temp     : 41 C\n"
        "        GPU Shutdown Temp    : 98 C\n        GPU Slowdown Temp    : 95 C\n"
    )
    assert gpus.gpu_states() == ([{**old, "slowdown": "95"}], "")
    smi.temperatures = smi.temperatures.replace("95 C", "N/A")
    assert gpus.gpu_states() == ([old], "")


def test_what_invented_gpus_say_at_work_is_put_together():
    seen = {}
    for change in (
        {"temperature": "60", "tlimit": "30", "throttle": "0x20"}, {"temperature": "70", "tlimit": "20", "pcie_generation": "4"},
        {"temperature": "65", "throttle": "0x1"}, {"temperature": "99", "utilization": "49"}, {"temperature": "99", "uuid": ""},
    ):  # fmt: skip
        gpus.busiest(
            seen, [{"uuid": "GPU-1", "utilization": "97", "pcie_generation": "1", "throttle": "0x0", **change}]
        )
    assert {name: seen["GPU-1"][name] for name in ("temperature", "tlimit", "throttle", "pcie_generation")} == {
        "temperature": "70", "tlimit": "20", "throttle": "0x21", "pcie_generation": "4",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "load", "said"),
    [
        ({}, {}, None),
        ({"pcie_width": "8"}, {}, "GPU 0 has 8 of 16 PCIe lanes"),
        ({}, {"pcie_generation": "4"}, None),
        ({}, {"pcie_generation": "3"}, "GPU 0 ran at PCIe generation 3 under load"),
        ({"power_limit": "314.00", "power_limit_default": "350.00"}, {}, "GPU 0 is capped at 314 W"),
        ({"power_limit": "315.00", "power_limit_default": "350.00"}, {}, None),
        ({"persistence": "Disabled"}, {}, "persistence mode is off for GPU 0"),
        ({"tlimit": "6"}, {}, None),
        ({"tlimit": "5"}, {}, "GPU 0 is at 41 degrees C, 5 below what slows it down"),
        ({}, {"temperature": "84", "tlimit": "3"}, "GPU 0 is at 84 degrees C, 3 below what slows it down"),
        ({"tlimit": "", "slowdown": "90"}, {"temperature": "86"}, "GPU 0 is at 86 degrees C, 4 below what slows it down"),
        ({"tlimit": "", "slowdown": "90"}, {"temperature": "84"}, None),
        ({}, {"throttle": "0x20", "temperature": "88", "tlimit": "0"},
         "GPU 0 is slowed down by its temperature (software) (at 88 degrees C)"),
    ],
)  # fmt: skip
def test_what_is_worth_a_look_at_an_invented_gpu_fails_nothing(pair, change, load, said):
    pair[1]["host_checks"].update(gpus=1, gpu_states=[{**WELL, **change}], gpu_load={"GPU-1": load})
    for one in pair:
        one["probe"]["gpus"] = 1
    found = verdict(pair)
    assert found["ok"]
    assert [(one["host"], one["observed"]) for one in found["remarks"]] == ([("host2", said)] if said else [])
    assert (f"Remark on host2, {found['remarks'][0]['check']}: {said} (wanted: " if said else "ok") in found["table"]
    assert verdict(pair, backend="gloo")["remarks"] == []


def names(*numbers):
    return [f"GPU-{number}" for number in numbers]


@pytest.mark.parametrize(
    ("has", "lists", "chosen", "offers", "given", "sees", "said"),
    [
        (8, range(8), [], names(*range(8)), names(0, 1), 2, []),
        (8, range(8), [], [], [], 8, []),  # no generic resources, and an image that takes all
        (8, range(8), names(0, 1), names(0, 1), names(0), 1, []),
        (8, range(8), [], names(*range(4)), names(*range(4)), 3, [
            "the host has 8 GPUs to offer, its node in the swarm offers 4 (not GPU-4, not GPU-5, not GPU-6, not GPU-7)",
            "swarm gave the task 4 GPUs, torch in it sees 3",
        ]),
        (2, range(2), names(0), names(0, 1), names(0), 2, ["swarm gave the task 1 GPUs, torch in it sees 2"]),
        (1, range(1), [], names(0, 1), names(0), 1, ["the host has 1 GPUs to offer, its node in the swarm offers 2 (GPU-1, which is not there)"]),
        (8, range(7), names(0), names(0), names(0), 1, ["the driver has 8 GPUs, nvidia-smi lists 7"]),
        # CUDA sees one part of a divided GPU; what is offered of it is for the role docker to know.
        (1, range(1), [], ["MIG-1", "MIG-2"], ["MIG-1", "MIG-2"], 1, ["the host has 1 GPUs to offer, its node in the swarm offers 0 (not GPU-0)"]),
    ],
)  # fmt: skip
def test_the_counts_of_invented_gpus(pair, has, lists, chosen, offers, given, sees, said):
    states = [{**WELL, "uuid": f"GPU-{number}", "index": str(number)} for number in lists]
    with_nodes(pair, node(0), node(1, named={"NVIDIA-GPU": offers}))
    pair[1]["host_checks"].update(gpus=has, gpu_states=states, gpu_uuids=chosen)
    pair[1]["host_checks"]["container"]["gpus"] = given
    pair[1]["probe"]["gpus"] = sees
    found = verdict(pair)
    assert [one["observed"] for one in found["findings"]] == said
    assert {(one["layer"], one["check"], one["host"]) for one in found["findings"]} <= {(5, "GPU count", "host2")}


def test_an_invented_gpu_that_is_divided_is_offered_by_its_parts(pair):
    with_nodes(pair, node(0), node(1, named={"NVIDIA-GPU": ["MIG-1", "MIG-2", "GPU-2"]}))
    states = [{**WELL, "mig": "Enabled"}, {**WELL, "uuid": "GPU-2"}]
    pair[1]["host_checks"].update(gpus=2, gpu_states=states)
    pair[1]["host_checks"]["container"]["gpus"] = ["MIG-1", "MIG-2"]
    pair[1]["probe"]["gpus"] = 1
    assert verdict(pair)["ok"]


def test_an_nvidia_smi_in_trouble_is_told(pair):
    pair[1]["host_checks"].update(gpus=2, gpu_states=[], gpu_error="GPU is lost. Reboot the system")
    pair[1]["probe"]["gpus"] = 1
    assert told(verdict(pair), "layer", "host", "observed") == [
        (5, "host2", "the driver has 2 GPUs, nvidia-smi lists 0 (GPU is lost. Reboot the system)")
    ]


@pytest.mark.parametrize(("sees", "fails"), [(0, True), (1, False)])
def test_a_driver_that_is_too_old_is_a_finding_of_its_own(pair, sees, fails):
    """Unless torch sees GPUs all the same, as with NVIDIA's compatibility package in the image."""
    for one in pair:
        one["probe"]["identity"]["cuda"] = "13.0"
    pair[1]["host_checks"].update(gpus=1, nvidia_driver="535.104.05")
    pair[1]["probe"]["gpus"] = sees
    found = verdict(pair)
    said = [(one["check"], one["expected"]) for one in found["findings" if fails else "remarks"]]
    assert said == [("driver", "driver 580 or newer")]
    assert found["ok"] is not fails


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
