"""A few planted faults on the lab that the tests before these have made: all of them are in tests/faults (`make faults`)."""

import json

import pytest
from labs import Lab, Play
from planted import QUICK
from planting import Fault


@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: fault.name)
def test_a_fault_is_located(fault: Fault, play: Play, lab: Lab) -> None:
    with fault.plant(lab) as settings:
        run = play("playbooks/preflight.yml", **settings)
    verdict = json.loads((lab.artifacts / "preflight.json").read_text())
    assert fault.missed_by(verdict) == ""
    assert run.rc != 0
    assert verdict["message"] in run.failure()
