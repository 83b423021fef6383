"""The wait for the report of the probe: how long, for whose, and what else is seen on the way."""

from __future__ import annotations

import json

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.docker.cli import CompletedDocker, DockerError
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.contract import MARKER
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe import look as observed
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe.look import listen
from test_observe_bandwidth import Clock
from test_observe_look import params

FAULT = DockerError("docker ps: " + "x" * 600)


def report(**facts):
    return MARKER + json.dumps({"run_id": "7", **facts})


class Played:
    """An engine on which one scene follows another: since when, the state of the newest container, its log.

    Without a state there is no container; an exception is what docker says instead. `cut`: the log's end cannot be read.
    """

    def __init__(self, clock, *scenes, cut=False):
        self.clock, self.scenes, self.cut, self.asked = clock, scenes, cut, []

    def answer(self, name):
        number = max(n for n, scene in enumerate(self.scenes) if scene[0] <= self.clock.now - 1000)
        state, log = self.scenes[number][1:]
        if isinstance(state, Exception):
            raise state
        details = {"State": {"Status": state}, "Config": {"Env": ["DOCKER_RESOURCE_NVIDIA-GPU=GPU-1"]}}
        other = {"Name": "/other.1", **details}
        answers = {
            f"inspect --type container c{number}": json.dumps([details]),
            f"logs c{number}": log,
            "ps --quiet --no-trunc": f"c{number}\nother\n",
            "inspect --type container other": json.dumps([other]),
        }
        return [{"ID": f"c{number}"}] if state else [], answers.get(name)

    def json_lines(self, *args):
        self.asked.append(args[0])
        rows, _ = self.answer("")
        return [{"Name": "t_node0.1"}] if args[0] == "stack" else rows

    def run(self, *args, check=True, **_):
        self.asked.append(args[0])
        _, said = self.answer(" ".join(args))
        assert said is not None, args
        if args[0] == "logs" and self.cut:
            if check:
                raise DockerError("docker logs: error grabbing logs")
            return CompletedDocker(1, said, "error grabbing logs\n")
        # Docker prints the log's two streams on its own.
        return CompletedDocker(0, said, "said on stderr\n" if args[0] == "logs" else "")


@pytest.fixture
def listened(monkeypatch):
    """What came of it: the report, and what was noted beside it."""

    def listened(*scenes, manager=False, ok=True, cut=False, gpus=0, **changes):
        clock = Clock()
        monkeypatch.setattr(observed, "time", clock)
        engine = Played(clock, *scenes, cut=cut)
        checks = {"engine": {"ok": ok, "manager": manager}, "gpus": gpus}
        arguments = {"service": "t_node0", "run_id": "7", "timeout": 65, "start_timeout": 45, **changes}
        probe = listen(params(**arguments), engine, checks)
        assert checks["waited_s"] == round(clock.now - 1000, 1)
        return probe, checks, engine.asked

    return listened


@pytest.mark.parametrize(("gpus", "complaint", "asks"), [(0, "", 0), (2, "", 2), (2, "no answer", 1)])
def test_gpus_are_looked_at_while_the_probe_works_them(listened, monkeypatch, gpus, complaint, asks):
    asked = []
    state = {"uuid": "GPU-1", "utilization": "99", "temperature": "70"}
    monkeypatch.setattr(observed, "gpu_states", lambda fields: asked.append(fields) or ([state], complaint))
    _, checks, _ = listened((0, "running", ""), (2, "running", report(rank=0)), gpus=gpus)
    assert len(asked) == asks
    assert [one["temperature"] for one in checks["gpu_load"].values()] == (["70"] if gpus else [])


def test_a_report_ends_the_wait(listened):
    probe, checks, asked = listened(
        (0, None, ""), (2, "running", "hello\n"), (3, "running", f"hello\n{report(rank=0)}\nbye")
    )
    assert probe == {"run_id": "7", "rank": 0}
    assert (checks["waited_s"], checks["error"], checks["service"]) == (3.0, "", "t_node0")
    assert checks["container"]["id"] == "c2"
    assert checks["log_tail"] == ["hello", "bye", "said on stderr"]
    assert checks["gpus_of_others"] == {"GPU-1": "other.1"}
    assert checks["tasks"] == [] and "stack" not in asked, "a worker knows nothing of tasks"


@pytest.mark.parametrize(
    ("scenes", "limits", "waited"),
    [
        # No container at all.
        ([(0, None, "")], {"start_timeout": 5}, 5.25),
        ([(0, None, "")], {"start_timeout": 0}, 0.25),
        # One that says nothing: the time is counted from when it was there.
        ([(0, None, ""), (4, "running", "")], {"timeout": 20}, 24.25),
        ([(0, "running", "")], {"timeout": 20, "start_timeout": 5}, 20.25),
        ([(0, None, ""), (1, "running", "")], {"timeout": 20, "start_timeout": 5}, 21.25),
        # One that is over: another may come, but soon.
        ([(0, "running", ""), (2, "exited", "")], {}, 10.25),
        ([(0, None, ""), (4, "dead", "")], {}, 14.25),
        ([(0, "exited", "")], {"timeout": 5}, 5.25),
        ([(0, "running", ""), (30, "exited", "")], {}, 30.0),
        ([(0, "created", "")], {"timeout": 20}, 20.25),
    ],
)
def test_a_wait_without_a_report_ends(listened, scenes, limits, waited):
    probe, checks, _ = listened(*scenes, **limits)
    assert probe is None
    assert checks["waited_s"] == round(waited, 1)
    assert (checks["container"] is None) == (scenes[-1][1] is None)
    assert checks["gpus_of_others"] == {}, "nothing was proven, so nobody is asked"


def test_a_container_that_takes_the_place_of_a_dead_one_is_listened_to(listened):
    probe, checks, _ = listened((0, "exited", "oh no"), (8, None, ""), (9, "running", report(rank=1)))
    assert (probe, checks["waited_s"]) == ({"run_id": "7", "rank": 1}, 9.0)
    assert (checks["container"]["id"], checks["container"]["state"]) == ("c2", "running")


def test_the_report_of_another_check_is_none(listened):
    probe, checks, _ = listened((0, "running", report(run_id="6")), timeout=3)
    assert probe is None
    assert checks["log_tail"] == ["said on stderr"], "a report is not part of the words"


def test_a_report_counts_though_the_logs_end_cannot_be_read(listened):
    probe, checks, _ = listened((0, "exited", f"hello\n{report()}\n"), cut=True)
    assert (probe, checks["error"], checks["log_tail"]) == ({"run_id": "7"}, "", ["hello", "error grabbing logs"])


def test_an_engine_that_recovers_is_listened_to(listened):
    probe, checks, _ = listened((0, FAULT, ""), (2, "running", report()))
    assert (probe, checks["error"], checks["waited_s"]) == ({"run_id": "7"}, "", 2.0)


def test_an_engine_that_fails_in_the_end_says_why(listened):
    probe, checks, _ = listened((0, "running", "hello"), (2, FAULT, ""), timeout=4)
    assert (probe, checks["error"]) == (None, str(FAULT)[:500])
    assert checks["log_tail"] == ["hello", "said on stderr"]
    assert checks["waited_s"] == 4.2


def test_of_a_progress_bar_the_last_state_is_kept(listened):
    _, checks, _ = listened((0, "exited", "begin\n" + "\r".join(f"{step}%" for step in range(99)) + "\n"), timeout=0)
    assert checks["log_tail"] == ["begin", "98%", "said on stderr"]


def test_the_end_of_a_long_log_is_kept(listened):
    lines = [f"line {number}" for number in range(20)] + ["x" * 400]
    _, checks, _ = listened((0, "exited", "\n".join(lines) + "\n"), timeout=0)
    assert checks["log_tail"] == [*lines[12:20], "x" * 300, "said on stderr"]


def test_a_stopped_engine_is_not_waited_for(listened):
    probe, checks, asked = listened((0, "running", report()), ok=False)
    assert (probe, asked, checks["waited_s"]) == (None, [], 0.0)
    assert (checks["container"], checks["log_tail"], checks["tasks"]) == (None, [], [])


@pytest.mark.parametrize("log", ["", report()])
def test_a_manager_tells_of_the_tasks_whatever_was_heard(listened, log):
    _, checks, _ = listened((0, "running", log), manager=True, timeout=1)
    assert [task["name"] for task in checks["tasks"]] == ["t_node0"]
