"""What the probe is told, what it keeps, and the order in which it goes about its checks."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from ddp_probe import checks, waiting, worker
from ddp_probe.settings import Settings
from probe_alone import Clock, alone, everywhere, record

# ---------------------------------------------------------------- settings


def said(settings):
    return {name: value for name, value in vars(settings).items() if name != "env"}


DEFAULTS = {
    "problems": [], "peers": ["box"], "rank": 0, "world_size": 1, "master_port": 12355, "port": 12356, "timeout": 60,
    "appear_timeout": 27.0, "group_timeout": 30, "backend": "auto", "files": ".", "host": "box", "run_id": "", "subnet": None,
    "stand_ins": 1,
}  # fmt: skip
NAMES = (
    "PEERS", "RANK", "WORLD_SIZE", "MASTER_PORT", "PORT", "TIMEOUT", "APPEAR_TIMEOUT", "GROUP_TIMEOUT", "BACKEND", "FILES",
    "HOST", "RUN_ID", "SUBNET", "STAND_INS",
)  # fmt: skip


@pytest.mark.parametrize("env", [{}, {f"PROBE_{name}": "" for name in NAMES}], ids=["unset", "empty"])
def test_what_is_not_said_has_a_default(env, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "box")
    assert said(Settings(env)) == DEFAULTS


def test_what_is_said_is_taken():
    words = [
        " a, b ,,c",
        "2",
        "3",
        "1",
        "2",
        "40",
        "7.5",
        "9",
        "nccl",
        "/work /more",
        "host3",
        "one",
        "10.0.1.7/24",
        "2",
    ]
    settings = Settings({f"PROBE_{name}": word for name, word in zip(NAMES, words, strict=True)})
    assert said(settings) == {
        "problems": [], "peers": ["a", "b", "c"], "rank": 2, "world_size": 3, "master_port": 1, "port": 2, "timeout": 40,
        "appear_timeout": 7.5, "group_timeout": 9, "backend": "nccl", "files": "/work /more", "host": "host3", "run_id": "one",
        "subnet": ipaddress.IPv4Network("10.0.1.0/24"), "stand_ins": 2,
    }  # fmt: skip
    assert Settings({"PROBE_TIMEOUT": "40"}).appear_timeout == 18


@pytest.mark.parametrize(
    ("env", "problems"),
    [
        ({"PEERS": "a,b", "RANK": "1"}, []),
        ({"PEERS": "a,b", "RANK": "2"}, ["PROBE_RANK 2 is not a rank of 2"]),
        ({"PEERS": "a,b", "RANK": "-1"}, ["PROBE_RANK -1 is not a rank of 2"]),
        ({"PEERS": "a,b", "WORLD_SIZE": "3"}, ["PROBE_PEERS names 2 ranks, PROBE_WORLD_SIZE says 3"]),
        ({"BACKEND": "gloo"}, []),
        ({"BACKEND": "mpi"}, ["PROBE_BACKEND is mpi, not auto, nccl or gloo"]),
        ({"TIMEOUT": "soon"}, ["PROBE_TIMEOUT is not a number: soon"]),
        ({"SUBNET": "10.0.0.0/33"}, ["PROBE_SUBNET: '33' is not a valid netmask"]),
        ({"SUBNET": "fd00::/64"}, ["PROBE_SUBNET: Expected 4 octets in 'fd00::'"]),
    ],
)
def test_what_makes_no_sense_is_a_problem(env, problems):
    settings = Settings({f"PROBE_{name}": word for name, word in env.items()})
    assert settings.problems == problems
    assert settings.timeout == 60


@pytest.mark.parametrize(
    ("size", "rank", "others"), [(1, 0, []), (2, 1, [0]), (4, 0, [1, 2, 3]), (4, 2, [3, 0, 1]), (4, 3, [0, 1, 2])]
)
def test_each_rank_begins_with_the_one_after_it(size, rank, others):
    one = alone(size, rank)
    assert one.settings.others() == others
    assert [(peer.rank, peer.name) for peer in one.peers.values()] == [(other, f"node{other}") for other in others]
    assert list(one.peers) == others


@pytest.mark.parametrize(("timeout", "left"), [("10", 3), ("30", 3), ("40", 4), ("50", 5), ("600", 5)])
def test_the_last_seconds_belong_to_printing(timeout, left):
    one = alone(PROBE_TIMEOUT=timeout, PROBE_APPEAR_TIMEOUT="8")
    began = one.report.started
    assert one.deadline == began + float(timeout)
    assert one.work_deadline == pytest.approx(began + float(timeout) - left)
    assert one.appear_deadline == began + 8
    assert one.until(0.5) == began + 0.5
    assert one.until(1000) == one.work_deadline


# ---------------------------------------------------------------- the report


def test_a_record_says_all_of_a_check():
    one = alone(3, 2)
    one.report.add(8, "tcp", False, "seen", "wanted", "why", 1, 1.23456)
    one.report.add(9, "path mtu", True)
    more = {"detail": "why", "peer": 1, "rank": 2, "seconds": 1.2346}
    assert one.report.records == [
        record(8, "tcp", False, "seen", "wanted", **more),
        record(9, "path mtu", True, rank=2),
    ]


def test_the_first_failure_is_that_of_the_lowest_layer():
    report = alone().report
    report.add(4, "torch", None)
    report.add(5, "shm", True)
    assert report.first_failure() is None
    report.add(9, "path mtu", False)
    report.add(7, "peer name", False)
    report.add(8, "tcp", False)
    assert report.first_failure() == 7


def test_a_layer_that_nobody_wrote_about_is_not_reached(monkeypatch):
    clock = Clock()
    everywhere(monkeypatch, "time", clock)
    one = alone(2, 1, PROBE_RUN_ID="one")
    one.report.note(mtu=1450)
    one.report.add(6, "interface", True)
    one.report.add(4, "torch", True)
    clock.now += 2.34567
    made = one.report.close("time was over")
    left = [record(layer, "not reached", None, rank=1, detail="not reached: time was over") for layer in range(4, 15)]
    left[0], left[2] = record(4, "torch", True, rank=1), record(6, "interface", True, rank=1)
    assert made == {
        "schema": 1, "rank": 1, "world_size": 2, "host": "host2", "run_id": "one", "peers": ["node0", "node1"], "mtu": 1450,
        "seconds": 2.346, "records": left,
    }  # fmt: skip


def test_what_comes_after_the_report_is_lost():
    """A thread that still hangs in a check must not change what is being printed."""
    report = alone().report
    made = report.close("time was over")
    count = len(made["records"])
    report.add(9, "path mtu", False)
    report.note(mtu=1450)
    assert (len(report.records), len(made["records"]), report.facts) == (count, count, {})


# ---------------------------------------------------------------- the order of the checks


class Played:
    """A probe whose checks only say that they were called."""

    def __init__(self, monkeypatch, size=3, rank=0, **env):
        self.clock = Clock()
        everywhere(monkeypatch, "time", self.clock)
        monkeypatch.setattr(checks.identity, "file_identity", lambda paths: {"hash": paths})
        self.monkeypatch = monkeypatch
        self.state = alone(size, rank, PROBE_FILES="/code", **env)
        self.done = []
        self.stages = {}
        self.plant(
            "check_memory", "check_interface", "check_own_name", "start_listener", "check_peer", "open_master_port"
        )
        self.plant("check_identity", "check_master_port", "measure_pairs", "check_group")
        self.plant("wait_for_peers", does=lambda *_: True)
        self.child = SimpleNamespace(start=lambda: self.done.append("start"), wait_for=self.wait_for, facts={})
        self.state.child = self.child

    def wait_for(self, event, deadline):
        self.done.append((event, deadline))
        self.stages["import"] = self.state.stage
        return {"torch": "2"}

    def plant(self, *names, does=lambda *_: None):
        for name in names:

            def check(state, *args, name=name):
                assert state is self.state
                self.done.append((name, *(getattr(one, "rank", one) for one in args)) if args else name)
                self.stages[name] = (self.state.status, self.state.stage)
                return does(state, *args)

            self.monkeypatch.setattr(PLACES[name], name, check)

    def run(self):
        worker.run(self.state)
        assert self.state.finished.is_set()
        return self.done


PLACES = {
    "check_memory": checks.memory,
    "check_interface": checks.interface,
    "check_own_name": checks.names,
    "start_listener": checks.reach,
    "check_peer": checks.reach,
    "open_master_port": checks.master_port,
    "check_identity": checks.identity,
    "check_master_port": checks.master_port,
    "wait_for_peers": waiting,
    "measure_pairs": checks.pairs,
    "check_group": checks.group,
}
FIRST = ["start", "check_memory", "check_interface", "check_own_name", "start_listener"]
IDENTITY = ("check_identity", {"torch": "2"}, {"hash": "/code"})


@pytest.mark.parametrize("rank", [0, 1])
def test_every_check_has_its_turn(monkeypatch, rank):
    played = Played(monkeypatch, 3, rank)
    done = played.run()
    assert done[:5] == FIRST
    others = [("check_peer", other) for other in range(3) if other != rank]
    master = ["open_master_port"] if rank == 0 else []
    assert sorted(done[5:7]) == others
    # 0.6 of 60 seconds.
    last = [*master, ("versions", 1036.0), IDENTITY, "check_master_port", ("wait_for_peers", "ready")]
    assert done[7:] == [*last, "measure_pairs", "check_group"]
    assert played.stages["import"] == "importing torch"
    assert played.stages["check_master_port"] == ("busy", "talking to the other ranks")
    assert played.stages["wait_for_peers"] == ("ready", "waiting for the other ranks")
    assert (played.state.report.records, played.state.report.facts, played.state.blocked_by) == ([], {}, "")


def test_a_single_rank_has_no_peers_to_fail_on(monkeypatch):
    played = Played(monkeypatch, 1)
    done = played.run()
    assert done == [
        *FIRST, "open_master_port", ("versions", 1036.0), IDENTITY, "check_master_port", ("wait_for_peers", "ready"),
        "measure_pairs", "check_group",
    ]  # fmt: skip
    alone_here = {"detail": "a single rank has no peer to reach"}
    assert played.state.report.records == [
        record(layer, "peers", True, "one rank", **alone_here) for layer in (7, 8, 9)
    ]


@pytest.mark.parametrize(
    ("check", "layer", "name", "after"),
    [("check_own_name", 7, "names", 0), ("check_identity", 4, "image identity", 0), ("check_master_port", 10, "master port", 1)],
)  # fmt: skip
def test_after_a_failure_nobody_is_waited_for(monkeypatch, check, layer, name, after):
    played = Played(monkeypatch)
    played.plant(check, does=lambda one, *_: one.report.add(layer, "planted", False))
    done = played.run()
    assert [step for step in done if step in ("check_master_port", "measure_pairs")] == ["check_master_port"] * after
    assert ("wait_for_peers", "ready") not in done
    assert IDENTITY in done
    assert played.state.status == f"failed at layer {layer} ({name})"
    assert played.state.blocked_by == f"layer {layer} ({name}) failed on this rank"


def test_a_check_of_a_peer_that_does_not_end_is_left_alone(monkeypatch):
    played = Played(monkeypatch)
    held = threading.Event()
    played.plant("check_peer", does=lambda one, peer: peer.rank == 2 and held.wait(20))
    played.clock.now = played.state.work_deadline
    done = played.run()
    held.set()
    assert "check_master_port" not in done and ("wait_for_peers", "ready") not in done
    assert played.state.blocked_by == played.state.status == "checks between the ranks did not end in time"


def test_checks_of_peers_are_waited_for(monkeypatch):
    played = Played(monkeypatch)
    played.plant("check_peer", does=lambda one, peer: time.sleep(0.02) or one.report.add(8, "tcp", peer.rank == 1))
    played.run()
    assert sorted(one["ok"] for one in played.state.report.records) == [False, True]
    assert played.state.blocked_by == "layer 8 (TCP between ranks) failed on this rank"


def test_files_that_take_too_long_to_read_are_not_waited_for(monkeypatch):
    played = Played(monkeypatch)
    held = threading.Event()
    monkeypatch.setattr(checks.identity, "file_identity", lambda paths: {"hash": held.wait(20)})
    played.clock.now = played.state.until(36)
    done = played.run()
    held.set()
    assert ("check_identity", {"torch": "2"}, {}) in done


def test_files_are_waited_for(monkeypatch):
    played = Played(monkeypatch)
    monkeypatch.setattr(checks.identity, "file_identity", lambda paths: time.sleep(0.02) or {"hash": "late"})
    played.clock.now = played.state.until(36) - 5
    assert ("check_identity", {"torch": "2"}, {"hash": "late"}) in played.run()


def test_a_group_that_is_not_ready_is_not_formed(monkeypatch):
    played = Played(monkeypatch)
    played.plant("wait_for_peers", does=lambda *_: False)
    assert played.run()[-1] == ("wait_for_peers", "ready")


def test_settings_that_make_no_sense_stop_all(monkeypatch):
    played = Played(monkeypatch, PROBE_PORT="x", PROBE_BACKEND="mpi")
    assert played.run() == []
    told = "PROBE_PORT is not a number: x; PROBE_BACKEND is mpi, not auto, nccl or gloo"
    assert (played.state.report.facts, played.state.blocked_by) == ({"error": told}, told)


def test_a_fault_of_the_probe_itself_is_reported(monkeypatch):
    def fault(*_):
        raise KeyError("n" * 700)

    played = Played(monkeypatch)
    played.plant("check_memory", does=fault)
    assert played.run() == ["start", "check_memory"]
    error = played.state.report.facts["error"]
    assert len(error) == 600
    where, line, last = error.split(" | ")
    assert ", in fault" in where
    assert line.strip() == 'raise KeyError("n" * 700)'
    assert last.startswith("KeyError: 'nnn")
    assert played.state.blocked_by == "the probe itself failed: KeyError: '" + "n" * 189


def test_what_blocked_before_stays_the_reason(monkeypatch):
    def fault(one, *_):
        one.blocked_by = "rank 1 failed"
        raise RuntimeError("after that")

    played = Played(monkeypatch)
    played.plant("check_group", does=fault)
    played.run()
    assert played.state.blocked_by == "rank 1 failed"
    assert played.state.report.facts["error"].endswith("RuntimeError: after that")


@pytest.mark.parametrize(
    ("facts", "gpus", "nccl"), [({}, 0, False), ({"gpus": None, "nccl": None}, 0, False), ({"gpus": 2, "nccl": "2.27"}, 2, True)]
)  # fmt: skip
def test_the_others_are_told_where_a_rank_is_and_what_it_has(facts, gpus, nccl):
    one = alone()
    one.child.facts.update(facts)
    assert one.shown() == {"status": "busy", "stage": "starting", "gpus": gpus, "nccl": nccl}
    assert one.nccl_version() == facts.get("nccl")
