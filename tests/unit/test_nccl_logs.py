"""What NCCL prints, read and compared with what was asked, and a failing start explained.

There is no GPU here: logs in the recorded format (NCCL's own lines, with made-up addresses) stand in for one.
"""

from pathlib import Path

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe.engine import nvidia_gpus
from ddp_probe.checks.nccl_log import nccl_compared, nccl_facts
from ddp_probe.child import child_environment
from preflight_ranks import fail, only, record, verdict

LOGS = Path(__file__).parent / "nccl_logs"


def facts(name: str) -> dict:
    return nccl_facts((LOGS / f"stands_in_for_gpu_{name}.log").read_text().splitlines())


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("socket", {"network": "Socket", "transports": ["NET/Socket"], "interfaces": ["eth0"], "devices": [],
                    "version": "2.27.5+cuda12.9", "warnings": []}),
        ("two_interfaces", {"network": "Socket", "interfaces": ["eth0", "eth1"], "version": "2.18.5+cuda12.2"}),
        ("infiniband", {"network": "IB", "transports": ["NET/IB"], "interfaces": ["ib0"], "devices": ["mlx5_0", "mlx5_1"]}),
        ("one_host", {"network": "Socket", "transports": ["P2P", "SHM"], "interfaces": ["eth0"]}),
        ("no_interface", {"network": None, "interfaces": [], "warnings": ["Bootstrap : no socket interface found"]}),
    ],
)  # fmt: skip
def test_log_standing_in_for_a_gpu_tells_what_was_taken(log: str, expected: dict) -> None:
    got = facts(log)
    assert {key: got[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("log", "env", "wrong", "hint"),
    [
        ("socket", {"NCCL_IB_DISABLE": "1"}, None, None),
        ("socket", {}, None, None),
        ("two_interfaces", {"NCCL_IB_DISABLE": "1"}, "nccl interface", "set training_interface to eth0"),
        ("infiniband", {"NCCL_IB_DISABLE": "1"}, "nccl interface", "set training_interface to eth0"),
        ("socket", {"NCCL_IB_DISABLE": "0"}, "nccl network", "set NCCL_IB_DISABLE=1 in training_env"),
        ("socket", {"NCCL_NET": "IB"}, "nccl network", "set NCCL_IB_DISABLE=1 in training_env"),
        ("one_host", {"NCCL_P2P_DISABLE": "1"}, "nccl transport", "training_env"),
        ("one_host", {"NCCL_SHM_DISABLE": "1"}, "nccl transport", "training_env"),
    ],
)
def test_log_standing_in_for_a_gpu_is_compared_with_what_was_asked(
    log: str, env: dict, wrong: str | None, hint: str, pair: list[dict]
) -> None:
    compared = nccl_compared(facts(log), env, "eth0")
    failed = [one for one in compared if not one[1]]
    assert compared
    assert (failed[0][0] if failed else None) == wrong
    pair[1]["probe"]["records"] += [
        record(11, 1, ok, None, check, seen, asked, code=code) for check, ok, seen, asked, code in compared
    ]
    if not wrong:
        assert verdict(pair)["ok"]
    else:
        assert hint in only(verdict(pair), 11, "host2")["hint"]


def test_infiniband_against_the_will_is_named_by_log_standing_in_for_a_gpu() -> None:
    compared = {one[0]: one for one in nccl_compared(facts("infiniband"), {"NCCL_IB_DISABLE": "1"}, "ib0")}
    assert compared["nccl interface"][1] is True
    assert compared["nccl network"][1:] == (False, "IB", "no IB (NCCL_IB_DISABLE=1)", None)


@pytest.mark.parametrize(
    ("log", "error", "hint"),
    [
        ("no_interface", "NCCL error", "set training_interface to eth0"),
        ("interface_without_address", "ncclInternalError", "set training_interface to eth0"),
        ("version_mismatch", "NCCL error", "run playbooks/image.yml on every host"),
        ("shm_full", "unhandled system error", "training_shm_size"),
        ("same_device", "ncclInvalidUsage", "same GPU"),
        ("old_driver", "unhandled cuda error", "update the driver"),
        ("connection_lost", "ncclSystemError", "firewall"),
        ("memlock", "unhandled system error", "NCCL_IB_DISABLE=1"),
        ("socket", "ProcessGroupNCCL is only supported with GPUs, no GPUs found!", "default runtime is runc"),
        ("socket", "CUDA error: no kernel image is available for execution on the device", "older torch for an older"),
        ("socket", "CUDA out of memory. Tried to allocate 2.00 MiB", "nvidia-smi"),
    ],
)
def test_a_start_that_fails_is_explained_by_log_standing_in_for_a_gpu(
    log: str, error: str, hint: str, pair: list[dict]
) -> None:
    pair[1]["host_checks"].update(gpus=1)
    pair[1]["host_checks"]["engine"]["default_runtime"] = "runc"
    pair[1]["probe"].update(backend="nccl", gpus=1)
    pair[1]["probe"]["identity"]["cuda"] = pair[0]["probe"]["identity"]["cuda"] = "12.9"
    words = " | ".join([error, *facts(log)["warnings"]])
    fail(pair[1], 11, name="group", observed=words, detail="rank 0: busy")
    assert hint in only(verdict(pair), 11, "host2")["hint"]


def test_what_nccl_prints_is_asked_for_whatever_the_training_says() -> None:
    env = child_environment({"NCCL_DEBUG": "WARN", "NCCL_DEBUG_FILE": "/tmp/x", "NCCL_DEBUG_SUBSYS": "COLL", "A": "1"})
    assert env["NCCL_DEBUG"] == "INFO" and "NET" in env["NCCL_DEBUG_SUBSYS"] and env["A"] == "1"
    assert "NCCL_DEBUG_FILE" not in env
    assert child_environment({"NCCL_DEBUG": "TRACE"})["NCCL_DEBUG"] == "TRACE"


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"runtime": "runc", "gpus": 2, "cuda": "12.9"}, "default runtime is runc"),
        ({"runtime": "nvidia", "gpus": 2, "cuda": "12.9"}, "generic resources"),
        ({"runtime": "nvidia", "gpus": 2, "cuda": None}, "has no CUDA"),
    ],
)
def test_gpus_that_the_task_does_not_see_are_named_by_facts_standing_in_for_a_gpu(
    pair: list[dict], change: dict, hint: str
) -> None:
    for one in pair:
        one["probe"]["identity"]["cuda"] = change["cuda"]
    pair[1]["host_checks"].update(gpus=change["gpus"])
    pair[1]["host_checks"]["engine"]["default_runtime"] = change["runtime"]
    found = only(verdict(pair), 5, "host2")
    assert hint in found["hint"] and "the host has 2" in found["observed"]
    assert verdict(pair, backend="gloo")["ok"]


def test_a_host_without_the_driver_is_told_so(pair: list[dict]) -> None:
    pair[1]["host_checks"].update(gpus=0)
    pair[1]["probe"]["identity"]["cuda"] = pair[0]["probe"]["identity"]["cuda"] = "12.9"
    fail(pair[1], 5, name="gpu", observed=0, expected="at least 1")
    assert "the NVIDIA driver on host2 shows no GPU" in only(verdict(pair), 5, "host2")["hint"]
    assert nvidia_gpus("/nonexistent") == 0
