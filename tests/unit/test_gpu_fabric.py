"""Layer 5: Fabric Manager, and DCGM's diagnosis. All answers are invented, in the form of documented ones; no such machine was at hand."""

from __future__ import annotations

import json
import subprocess
from types import SimpleNamespace

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.host.gpus import BRIDGE, cards
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe import fabric
from preflight_ranks import told, verdict


def test_an_nvswitch_is_told_from_a_gpu(tmp_path):
    for name, kind in (("a", "0x030200"), ("b", "0x068000"), ("c", "0x068000")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text("0x10de\n")
        (tmp_path / name / "class").write_text(kind + "\n")
    assert (cards(str(tmp_path)), cards(str(tmp_path), BRIDGE)) == (1, 2)


@pytest.mark.parametrize(
    ("switches", "said", "found"),
    [
        (0, "LoadState=loaded\nActiveState=active\n", {}),
        (6, "LoadState=loaded\nActiveState=active\n", {"switches": 6, "service": "active"}),
        (6, "LoadState=loaded\nActiveState=failed\n", {"switches": 6, "service": "failed"}),
        (6, "LoadState=not-found\nActiveState=inactive\n", {"switches": 6, "service": "not installed"}),
        (6, "", {"switches": 6, "service": ""}),
    ],
)
def test_fabric_manager_as_systemd_tells_of_it(monkeypatch, switches, said, found):
    monkeypatch.setattr(fabric, "cards", lambda kind: switches)
    monkeypatch.setattr(fabric, "printed", lambda command, seconds: (said, ""))
    assert fabric.fabric() == found


WELL = {"fabric_state": "Completed", "fabric_status": "Success"}


@pytest.mark.parametrize(
    ("service", "state", "sees", "finding", "remark"),
    [
        ("active", {}, 0, None, None),
        ("active", WELL, 8, None, None),
        ("", {}, 8, None, None),
        ("failed", {}, 0, "6 NVSwitches, and the service nvidia-fabricmanager is failed", None),
        ("inactive", {}, 8, None, "6 NVSwitches, and the service nvidia-fabricmanager is inactive"),
        ("inactive", WELL, 8, None, None),
        ("active", {"fabric_state": "In Progress"}, 8, "GPU 3 has the fabric state In Progress, status Success", None),
        (None, {**WELL, "fabric_status": "Failure"}, 8, "GPU 3 has the fabric state Completed, status Failure", None),
    ],
)
def test_an_invented_machine_with_nvswitch(pair, service, state, sees, finding, remark):
    known = {} if service is None else {"switches": 6, "service": service}
    pair[1]["host_checks"].update(fabric=known, gpu_states=[{"index": "3", **state}], nvidia_driver="550.54.15")
    pair[1]["probe"]["gpus"] = sees
    found = verdict(pair)
    assert [one["observed"] for one in found["findings"]] == ([finding] if finding else [])
    assert [one["observed"] for one in found["remarks"]] == ([remark] if remark else [])


def dcgm(*tests, name="DCGM Diagnostic"):
    return json.dumps({name: {"test_categories": [{"category": "Deployment", "tests": [None, *tests]}]}})


PERSISTENCE = {
    "error_id": 29,
    "error_severity": 5,
    "warning": "Persistence Mode: Persistence mode for GPU 0 is disabled.",
}
BROKEN = {"error_id": 12, "error_severity": 2, "warning": "Pending page retirements"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None), ("Error: unable to connect", None), ("{", None), ("[]", None), ('{"DCGM Diagnostic": {}}', None),
        (dcgm({"name": "software", "results": [{"entity_id": 0, "status": "Pass"}, {"entity_id": 1, "status": "Skip"}]}), []),
        # DCGM 4: a failure of a setting is none of the card.
        ("a warning\n" + dcgm({"name": "software", "results": [{"entity_id": n, "status": "Fail", "warnings": [PERSISTENCE]} for n in (0, 1)]}),
         [{"test": "software", "failed": False, "gpus": ["0", "1"], "said": PERSISTENCE["warning"]}]),
        (dcgm({"name": "software", "results": [{"entity_id": 2, "status": "Fail", "warnings": [PERSISTENCE, BROKEN]}]}),
         [{"test": "software", "failed": True, "gpus": ["2"], "said": PERSISTENCE["warning"]}]),
        # DCGM 3 and before.
        (dcgm({"name": "Page Retirement", "results": [{"gpu_ids": "0,1", "status": "FAIL", "warnings": ["pending"]}]},
              {"name": "Inforom", "results": [{"gpu_ids": "0", "status": "WARN"}]}, name="DCGM GPU Diagnostic"),
         [{"test": "Page Retirement", "failed": True, "gpus": ["0,1"], "said": "pending"},
          {"test": "Inforom", "failed": False, "gpus": ["0"], "said": ""}]),
    ],
)  # fmt: skip
def test_invented_results_of_dcgm_are_read(text, found):
    assert fabric.results(text) == found


@pytest.mark.parametrize(
    ("run", "found"),
    [
        (None, {}),
        (subprocess.TimeoutExpired("dcgmi", 60), {"error": "no answer within 60 s"}),
        (SimpleNamespace(stdout="", stderr="Error: unable to establish a connection to the specified host\n", returncode=255),
         {"error": "Error: unable to establish a connection to the specified host"}),
        (SimpleNamespace(stdout=dcgm({"name": "x", "results": []}), stderr="", returncode=226), {"results": []}),
    ],
)  # fmt: skip
def test_dcgm_is_asked_where_it_is_installed_and_not_for_long(monkeypatch, run, found):
    def stands_in_for_dcgmi(command, timeout, **_):
        assert (command, timeout) == (["dcgmi", "diag", "-r", "1", "-j"], 60)
        if isinstance(run, Exception):
            raise run
        return run

    monkeypatch.setattr(fabric.shutil, "which", lambda name: run and f"/usr/bin/{name}")
    monkeypatch.setattr(fabric.subprocess, "run", stands_in_for_dcgmi)
    assert fabric.diagnosis() == found


def test_what_dcgm_found_is_a_finding_or_a_remark(pair):
    one = {"test": "software", "failed": True, "gpus": ["0", "3"], "said": "Pending page retirements"}
    pair[1]["host_checks"]["dcgm"] = {"results": [one, {**one, "failed": False, "said": ""}]}
    pair[0]["host_checks"]["dcgm"] = {"error": "no answer within 60 s"}
    found = verdict(pair)
    assert told(found, "layer", "check", "host", "observed") == [
        (5, "DCGM", "host2", "software does not pass on GPU 0, 3: Pending page retirements")
    ]
    assert [(one["host"], one["observed"]) for one in found["remarks"]] == [
        ("host1", "dcgmi gave no result: no answer within 60 s"),
        ("host2", "software does not pass on GPU 0, 3: no reason given"),
    ]
