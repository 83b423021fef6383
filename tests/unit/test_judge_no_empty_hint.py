"""Whatever the probe or the judge can find, its hint has a knob, a command or a place to look.

What they can find is read out of their own source, so that nothing that is added later is left out.
"""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path

import cures
import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.preflight import contract, remedies
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.faults import FAULTS
from by_path import ROOT
from preflight_ranks import fail, verdict

# A variable, a playbook, a command, a port, a file: something to turn, to run or to look at.
USEFUL = re.compile(
    r"\b(training|preflight|swarm|image)_[a-z_]+|\b(NCCL|GLOO|PROBE|TORCH)_[A-Z_]+|playbooks/\w+\.yml|site\.yml"
    r"|\b(systemctl|docker|nvidia-smi|dcgmi|ethtool|ip -s|tc|iptables|modprobe|uptime|ps|dmesg|journalctl|sysctl|chrony|ansible) ?"
    r"|\d+/(tcp|udp)"
)
CODES = sorted(
    value for name, value in vars(contract).items() if name.isupper() and isinstance(value, str) and name != "MARKER"
)
JUDGE = sorted((ROOT / "module_utils/preflight/judge").glob("*.py"))
PROBE = sorted((ROOT / "roles/preflight/files/probe/ddp_probe").rglob("*.py"))


def calls(files: list[Path], *names: str) -> list[tuple[Path, ast.Call]]:
    """Each call of a method with one of these names."""
    trees = [(path, ast.parse(path.read_text())) for path in files]
    found = [(path, node) for path, tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [(path, call) for path, call in found if isinstance(call.func, ast.Attribute) and call.func.attr in names]


def words(node: ast.expr) -> str:
    """A string of the source, with a word where it has a value."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
    return ""


def emitted() -> set[tuple[int, str]]:
    """(layer, check) of everything that a probe can report; of a name that is a value, those that it can have."""
    found = {
        (11, "group"),
        (11, "nccl interface"),
        (11, "nccl network"),
        (11, "nccl transport"),
        (13, "bandwidth"),
        (14, "compute"),
    }
    found |= {(12, f"reduce {size}") for size in (4, 65536, 16777216, 268435456)}
    found |= {(6, f"{backend}_SOCKET_IFNAME") for backend in ("NCCL", "GLOO")}
    for _, call in calls(PROBE, "add"):
        if len(call.args) > 2 and isinstance(call.args[0], ast.Constant) and words(call.args[1]):
            found.add((call.args[0].value, words(call.args[1])))
    return found


def test_the_source_tells_what_can_be_found():
    assert {(5, "gpu"), (8, "tcp"), (9, "path mtu"), (10, "master port free"), (12, "all-reduce x B")} <= emitted()
    assert {layer for layer, _ in emitted()} == set(range(4, 15))
    assert len(calls(JUDGE, "fault")) > 20


@pytest.mark.parametrize(("layer", "check"), sorted(emitted()))
def test_what_a_probe_reports_has_a_useful_hint(pair, layer, check):
    for code, peer in itertools.product([None, *CODES], [None, 0]):
        report = fail(pair[1], layer, peer, name=check, code=code)
        found = next(one for one in verdict([pair[0], report])["findings"] if one["host"] == "host2")
        assert USEFUL.search(found["hint"]), (code, peer, found["hint"])


@pytest.mark.parametrize("code", sorted(FAULTS))
def test_a_fault_of_the_judge_has_a_useful_hint(code):
    fault = FAULTS[code]
    assert fault.layer in contract.LAYERS
    assert USEFUL.search(fault.hint), fault.hint
    assert all(fault[1:4])


def test_each_code_is_a_fault_of_the_judge_or_known_to_the_remedies():
    named = {name for name in vars(contract) if name.isupper() and vars(contract)[name] in CODES and name != "MARKER"}
    reasons = {"ASKED_FOR", "ALL_GPUS", "NO_GPU"}  # for a backend
    known = {name for name in named if name in vars(remedies)}
    of_judge = {name for name in named if vars(contract)[name] in FAULTS}
    assert named == reasons | known | of_judge


@pytest.mark.parametrize("code", sorted(FAULTS))
def test_each_fault_of_the_judge_is_planted_somewhere(code):
    """A sentence that nobody makes is none."""
    name = next(name for name, value in vars(contract).items() if value == code and name.isupper())
    assert any(f"code.{name}" in path.read_text() for path in JUDGE)


def test_every_verdict_of_the_judge_that_is_bad_has_a_hint():
    """`ok` is the fourth argument of Case.say; what can be False needs the seventh."""
    poor = []
    for path, call in calls(JUDGE, "say"):
        ok = call.args[3] if len(call.args) > 3 else None
        fine = isinstance(ok, ast.Constant) and ok.value in (True, None)
        hint = call.args[6] if len(call.args) > 6 else next((k.value for k in call.keywords if k.arg == "hint"), None)
        never_false = isinstance(ok, ast.IfExp) and all(
            isinstance(side, ast.Constant) and side.value in (True, None) for side in (ok.body, ok.orelse)
        )
        if not fine and not never_false and hint is None:
            poor.append(f"{path.name}:{call.lineno}")
    assert poor == []


@pytest.mark.parametrize(
    ("hint", "steps"),
    [
        ("set training_interface to eth0: NCCL_SOCKET_IFNAME on host1 leads elsewhere", [("set", "training_interface", "eth0")]),
        ("NCCL_SOCKET_IFNAME is eth7 in training_env: take it out there, and set training_interface to eth0",
         [("take out", "NCCL_SOCKET_IFNAME", ""), ("set", "training_interface", "eth0")]),
        ("give the task on host1 a larger /dev/shm: set training_shm_size to 67108864 (bytes), or lower preflight_min_shm",
         [("set", "training_shm_size", "67108864")]),
        ("run 'docker image rm --force a:1' on host2, and then run playbooks/image.yml --limit host2: the tag is the same, the content is not",
         [("run", "docker image rm --force a:1", "host2"), ("play", "image", "host2")]),
        ("set swarm_network_subnet to 10.64.0.0/24, remove the network (run 'docker network rm ddp-net' on host1) and run playbooks/swarm.yml",
         [("set", "swarm_network_subnet", "10.64.0.0/24"), ("run", "docker network rm ddp-net", "host1"), ("play", "swarm", "")]),
        ("host2 sends slower than the others: check its link speed, cable and traffic shaping", []),
    ],
)  # fmt: skip
def test_a_hint_that_is_a_cure_can_be_followed(hint, steps):
    assert [tuple(step) for step in cures.steps_of(hint)] == steps
