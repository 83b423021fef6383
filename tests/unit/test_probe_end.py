"""How a probe ends: it prints its report, says goodbye, and stays for those that are not done yet."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from types import SimpleNamespace

import pytest
from ddp_probe import main as program
from ddp_probe import waiting, worker
from ddp_probe import wire as probe_wire
from ddp_probe.state import State
from probe_alone import Clock, Instead, alone, everywhere

SILENT = TimeoutError()


class Lingering:
    def __init__(self, monkeypatch, answers=None, goodbyes=(), size=3, **env):
        self.clock = Clock()
        everywhere(monkeypatch, "time", self.clock)
        monkeypatch.setattr(probe_wire, "ask", self.ask)
        self.state = alone(size, **env)
        for peer in self.state.peers.values():
            peer.reached, peer.address = True, f"10.0.1.{peer.rank}"
        self.state.listener = SimpleNamespace(goodbyes=set(goodbyes))
        self.answers = answers or {}
        self.asked = []

    def ask(self, settings, address, message, timeout):
        assert (settings, timeout) == (self.state.settings, 1)
        rank = int(address.rpartition(".")[2])
        self.asked.append((message["op"], rank))
        answer = self.answers.get(rank, [{}])
        answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, Exception):
            raise answer
        if answer == "bye":
            self.state.listener.goodbyes.add(rank)
        return {}

    def linger(self, at=10**9):
        told, waits = [], []

        def sleep(seconds):
            waits.append(seconds)
            self.clock.now += seconds
            if self.clock.now >= at:
                told.append(signal.SIGTERM)

        self.clock.sleep = sleep
        waiting.linger(self.state, told)
        return self.asked, waits


def test_when_all_have_said_goodbye_the_last_answer_is_waited_for(monkeypatch):
    assert Lingering(monkeypatch, goodbyes=[1, 2]).linger() == ([("bye", 1), ("bye", 2)], [0.3])


def test_who_has_not_is_waited_for(monkeypatch):
    asked, waits = Lingering(monkeypatch, {1: [{}, {}, "bye"]}, goodbyes=[2]).linger()
    assert asked == [("bye", 1), ("bye", 2), ("status", 1), ("status", 1)]
    assert waits == [0.3] * 3


@pytest.mark.parametrize("error", [SILENT, ValueError("not a line of the probe")])
def test_who_is_silent_three_times_in_a_row_is_gone(monkeypatch, error):
    asked, waits = Lingering(monkeypatch, {1: [error, error, error, {}, error, error, error]}, goodbyes=[2]).linger()
    assert asked == [("bye", 1), ("bye", 2), *[("status", 1)] * 6]
    assert waits == [0.3] * 7


def test_nobody_is_waited_for_beyond_the_deadline(monkeypatch):
    lingering = Lingering(monkeypatch, size=2, PROBE_TIMEOUT="3")
    asked, waits = lingering.linger()
    assert waits == [0.3] * (len(asked) - 1)
    assert 0 <= lingering.clock.now - lingering.state.deadline < 0.3
    late = Lingering(monkeypatch, size=2, PROBE_TIMEOUT="3")
    late.clock.now = late.state.deadline
    assert late.linger() == ([("bye", 1)], [])


def test_who_is_told_to_stop_leaves(monkeypatch):
    assert Lingering(monkeypatch, size=2).linger(at=1000.3) == ([("bye", 1), ("status", 1)], [0.3])


@pytest.mark.parametrize("absent", [{"reached": False}, {"address": None}])
def test_who_was_never_there_is_not_waited_for(monkeypatch, absent):
    lingering = Lingering(monkeypatch, goodbyes=[1])
    for name, value in absent.items():
        setattr(lingering.state.peers[2], name, value)
    assert lingering.linger() == ([("bye", 1)], [0.3])


def test_without_a_listener_there_is_nobody_to_answer(monkeypatch):
    lingering = Lingering(monkeypatch)
    lingering.state.listener = None
    assert lingering.linger() == ([("bye", 1), ("bye", 2)], [])


def test_what_is_reported_can_be_written():
    one = alone(3)
    one.listener = SimpleNamespace(heard={1: 4})
    one.peers[1].pair = {"latency_us": 80.0}
    one.peers[1].clock = {"offset_s": 0.1}
    made = json.loads(json.dumps(program.finish(one, "time was over")))
    assert (made["heard"], made["pairs"], made["clock"]) == (
        {"1": 4}, {"1": {"latency_us": 80.0}, "2": {}}, {"1": {"offset_s": 0.1}},
    )  # fmt: skip
    assert made["records"][0]["detail"] == "not reached: time was over"
    assert program.finish(alone(), "")["heard"] == {}


# ---------------------------------------------------------------- main


class Main:
    """The program, with a worker of the test's, until it leaves: what it did, in its order."""

    def __init__(self, monkeypatch, run, argv=()):
        self.done = []
        self.clock = Clock()
        self.handlers = {}
        self.turns = []
        outer = self

        class Played(State):
            def __init__(self, settings):
                super().__init__(settings)
                outer.state = self
                self.child = SimpleNamespace(kill=lambda: outer.done.append(("kill", self.status)), facts={})
                self.finished = SimpleNamespace(wait=outer.wait, set=lambda: outer.done.append("finished"))

        def linger(state, told):
            self.done.append("linger")
            assert (state, told) == (self.state, [])

        def write(text):
            self.done.append(("print", text))
            self.printed = self.clock.now

        for name, value in {"PROBE_PEERS": "node0,node1", "PROBE_RANK": "0", "PROBE_TIMEOUT": "60"}.items():
            monkeypatch.setenv(name, value)
        self.run_worker = run
        out = SimpleNamespace(write=write, flush=lambda: self.done.append("flush"))
        monkeypatch.setattr(program, "State", Played)
        monkeypatch.setattr(waiting, "linger", linger)
        everywhere(monkeypatch, "time", self.clock)
        everywhere(monkeypatch, "sys", Instead(sys, argv=["/probe", *argv], stdout=out))
        everywhere(monkeypatch, "os", Instead(os, _exit=self.leave))
        everywhere(monkeypatch, "threading", Instead(threading, Thread=self.thread))
        monkeypatch.setattr(signal, "signal", lambda number, handler: self.handlers.update({number: handler}))
        monkeypatch.setattr(program, "child_main", lambda writer: self.done.append(("child", writer)))

    def thread(self, target, args, daemon):
        assert (target, args) == (worker.run, (self.state,))
        assert daemon
        return SimpleNamespace(start=lambda: self.done.append("start"))

    def wait(self, seconds):
        self.turns.append(seconds)
        self.clock.now += seconds
        return self.run_worker(self)

    def leave(self, code):
        self.done.append(("exit", code))
        raise SystemExit(code)

    def report(self):
        with pytest.raises(SystemExit):
            program.main()
        (line,) = [step[1] for step in self.done if step[0] == "print"]
        assert line.startswith("DDP_PROBE_REPORT {") and line.endswith("}\n") and ", " not in line.split('"records"')[0]
        return json.loads(line.removeprefix("DDP_PROBE_REPORT "))


def nothing(main):
    return False


def blocked(main):
    main.state.blocked_by = "rank 1 (node1) failed"
    main.state.status = "failed"
    return stopped(main)


def failed(main):
    main.state.report.add(4, "torch", False)
    main.state.status = "failed in the process group"
    return True


def stopped(main):
    """In the middle of a turn, in which nothing has been finished."""
    main.handlers[signal.SIGTERM](signal.SIGTERM, None)
    return False


def interrupted(main):
    main.handlers[signal.SIGINT](signal.SIGINT, None)
    return failed(main)


@pytest.mark.parametrize(
    ("run", "why", "status", "rest"),
    [
        (nothing, "time was over while starting", "gave up", ["linger"]),
        (failed, "an earlier layer failed", "failed in the process group", ["linger"]),
        (stopped, "the probe was told to stop", "gave up", []),
        (interrupted, "the probe was told to stop", "failed in the process group", []),
        (blocked, "rank 1 (node1) failed", "failed", []),
    ],
)
def test_whatever_happens_the_report_is_printed_before_anything_else(monkeypatch, run, why, status, rest):
    main = Main(monkeypatch, run)
    assert main.report()["records"][-1]["detail"] == f"not reached: {why}"
    steps = [step if step[0] != "print" else "print" for step in main.done]
    # Without "finished": whoever sets an event in a handler may wait for a lock that is held where the signal came in.
    # The child must not be killed, nor the others be waited for, before the report is out.
    assert steps == ["start", "print", "flush", ("kill", status), *rest, "flush", ("exit", 0)]


@pytest.mark.parametrize(("late", "earliest", "latest"), [(0, 59.5, 59.8), (59.4, 59.5, 59.8), (90, 90, 90.25)])
def test_the_report_is_out_before_the_time_is_over(monkeypatch, late, earliest, latest):
    main = Main(monkeypatch, nothing)
    real = main.thread

    def slow(**arguments):
        main.clock.now += late
        return real(**arguments)

    everywhere(monkeypatch, "threading", Instead(threading, Thread=slow))
    main.report()
    assert earliest <= main.printed - 1000 <= latest


@pytest.mark.parametrize(("run", "turn"), [(failed, 1), (stopped, 1), (failed, 7), (stopped, 7)])
def test_what_happens_is_noticed_in_the_turn_in_which_it_happens(monkeypatch, run, turn):
    """Python runs a handler between two of its steps: one long wait that begins just after a signal would swallow it."""
    main = Main(monkeypatch, lambda main: run(main) if len(main.turns) == turn else False)
    main.report()
    assert len(main.turns) == turn
    assert max(main.turns) <= 0.25


def test_the_same_program_is_the_child(monkeypatch):
    main = Main(monkeypatch, nothing, argv=["--child", "7"])
    assert program.main() == 0
    assert main.done == [("child", 7)]


@pytest.mark.parametrize("argv", [["--child"], ["--child", "7", "8"], ["--other", "7"]])
def test_other_arguments_make_no_child(monkeypatch, argv):
    assert Main(monkeypatch, nothing, argv=argv).report()["rank"] == 0
