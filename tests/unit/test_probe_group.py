"""Layers 11 to 14: the ranks wait for each other, form a group, and tell what became of it."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from types import SimpleNamespace

import pytest
from ddp_probe import checks, waiting
from ddp_probe import wire as probe_wire
from probe_alone import Clock, Instead, alone, everywhere, record

SILENT = TimeoutError()


class Played:
    """A probe whose peers give one answer after the other, the last for ever, and whose child has said these events."""

    def __init__(self, monkeypatch, size=3, rank=0, answers=None, events=None, **env):
        self.clock = Clock()
        everywhere(monkeypatch, "time", self.clock)
        monkeypatch.setattr(probe_wire, "ask", self.ask)
        self.state = alone(size, rank, **{"PROBE_MASTER_PORT": "9", **env})
        for peer in self.state.peers.values():
            peer.address = f"10.0.1.{peer.rank}"
        self.answers = {other: list(said) for other, said in (answers or {}).items()}
        self.asked = []
        self.waited = []
        self.told = []
        self.takes = 0.5
        self.child = SimpleNamespace(
            events=events or {}, facts={}, log=deque(), wait_for=self.wait_for, tell=self.tell,
            failure=lambda: "", last_words=lambda: "last words",
        )  # fmt: skip
        self.state.child = self.child

    def ask(self, settings, address, message, timeout):
        assert settings is self.state.settings
        rank = int(address.rpartition(".")[2])
        self.asked.append((rank, message["op"], timeout))
        left = self.answers[rank]
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return {"status": answer} if isinstance(answer, str) else answer

    def wait_for(self, event, deadline):
        self.waited.append((event, round(deadline - self.clock.now, 3), self.state.stage))
        self.clock.now += self.takes
        return self.child.events.get(event)

    def tell(self, order):
        self.told.append((order, self.state.master))

    @property
    def records(self):
        return self.state.report.records


# ---------------------------------------------------------------- ready?


@pytest.mark.parametrize("status", ["ready", "go", "done"])
def test_all_are_ready(monkeypatch, status):
    played = Played(monkeypatch, answers={1: [status], 2: ["busy", "busy", status]})
    assert waiting.wait_for_peers(played.state, "ready") is True
    # Who is ready is asked no more.
    assert played.asked == [(1, "status", 2), (2, "status", 2), (2, "status", 2), (2, "status", 2)]
    assert played.clock.now == pytest.approx(1000.2)
    assert played.state.peers[2].hello == {"status": status}
    assert (played.records, played.state.blocked_by) == ([], "")


def test_what_is_waited_for_may_be_something_else(monkeypatch):
    played = Played(monkeypatch, answers={1: ["idle"], 2: ["idle"]})
    assert waiting.wait_for_peers(played.state, "idle") is True


@pytest.mark.parametrize("answer", ["failed at layer 9 (path MTU)", {}])
def test_a_rank_that_failed_ends_the_waiting(monkeypatch, answer):
    played = Played(monkeypatch, answers={1: ["busy"], 2: ["busy", answer]})
    assert waiting.wait_for_peers(played.state, "ready") is False
    assert played.state.blocked_by == f"rank 2 (node2) {answer or None}"
    assert (played.records, len(played.asked)) == ([], 4)


def test_ranks_that_stay_busy_are_named_when_time_is_over(monkeypatch):
    played = Played(monkeypatch, 4, answers={1: ["busy"], 2: ["ready"], 3: ["busy"]})
    assert waiting.wait_for_peers(played.state, "ready") is False
    assert played.state.blocked_by == "rank 1 (node1), rank 3 (node3) did not become ready in time"
    assert 0 < played.clock.now - played.state.work_deadline < 0.11


def test_time_is_over_after_the_deadline_and_not_at_it(monkeypatch):
    played = Played(monkeypatch, 2, answers={1: ["busy"]})
    played.clock.now = played.state.work_deadline
    assert waiting.wait_for_peers(played.state, "ready") is False
    assert len(played.asked) == 2
    silent = Played(monkeypatch, 2, answers={1: [SILENT, "ready"]})
    silent.clock.now = silent.state.work_deadline
    assert waiting.wait_for_peers(silent.state, "ready") is True


@pytest.mark.parametrize(("error", "said"), [(SILENT, "timed out"), (ValueError("not a line"), "not a line")])
@pytest.mark.parametrize(("late", "seconds"), [(0, 8.1), (50, 5.1)])
def test_a_rank_that_is_silent_for_ten_seconds_is_gone(monkeypatch, error, said, late, seconds):
    """The question itself took two of them."""
    played = Played(monkeypatch, 2, answers={1: [error]})
    played.clock.now += late
    assert waiting.wait_for_peers(played.state, "ready") is False
    why = "rank 1 (node1) answered before and is silent now"
    assert played.records == [record(11, "ready", False, said, "every rank is ready", detail=why, peer=1)]
    assert (played.state.blocked_by, played.state.status) == (why, f"failed: {why}")
    assert played.clock.now - 1000 - late == pytest.approx(seconds, abs=0.11)


def test_a_rank_that_is_silent_now_and_then_is_not(monkeypatch):
    answers = [*[SILENT] * 60, "busy", *[SILENT] * 60, "ready"]
    played = Played(monkeypatch, 2, answers={1: answers}, PROBE_TIMEOUT="100")
    assert waiting.wait_for_peers(played.state, "ready") is True


# ---------------------------------------------------------------- which backend

WITH = {"gpus": 1, "nccl": True}


def no_gpu(*ranks):
    return {"code": "no_gpu", "ranks": list(ranks)}


@pytest.mark.parametrize(
    ("own", "peers", "backend", "reason"),
    [
        ((1, "2"), [WITH, WITH], "nccl", {"code": "all_gpus"}),
        ((2, "2"), [WITH, {"gpus": 0, "nccl": True}], "gloo", no_gpu(2)),
        ((1, "2"), [{"gpus": 1, "nccl": False}, WITH], "gloo", no_gpu(1)),
        ((1, "2"), [{}, {}], "gloo", no_gpu(1, 2)),
        ((0, "2"), [WITH, WITH], "gloo", no_gpu(0)),
        ((1, None), [WITH, {}], "gloo", no_gpu(0, 2)),
    ],
)
def test_all_ranks_choose_the_same_backend(own, peers, backend, reason):
    one = alone()
    one.child.facts.update(gpus=own[0], nccl=own[1])
    for rank, hello in enumerate(peers, 1):
        one.peers[rank].hello = hello
    assert checks.group.choose_backend(one) == (backend, reason)


def test_a_backend_that_is_asked_for_is_taken():
    assert checks.group.choose_backend(alone(PROBE_BACKEND="nccl")) == ("nccl", {"code": "asked_for"})


def test_ranks_without_a_gpu_are_named_in_their_order():
    one = alone(3, 1)
    assert checks.group.choose_backend(one) == ("gloo", no_gpu(0, 1, 2))


# ---------------------------------------------------------------- the group's beginning


def grouped(monkeypatch, played, backend="gloo"):
    """`check_group`, with the orders that the child got."""
    followed = []
    monkeypatch.setattr(checks.group, "choose_backend", lambda state: (backend, {"code": "why"}))
    monkeypatch.setattr(checks.group, "follow_child", lambda state, order: followed.append((order, state.status)))
    checks.group.check_group(played.state)
    return followed


def test_rank_0_closes_the_master_port_for_the_store_and_says_go(monkeypatch):
    played = Played(monkeypatch, events={"store": {}})
    closed = []
    played.state.master = SimpleNamespace(shutdown=closed.append, close=lambda: closed.append("closed"))
    ((order, status),) = grouped(monkeypatch, played)
    assert order == {
        "rank": 0, "world_size": 3, "backend": "gloo", "master": "127.0.0.1", "port": 9, "pair_mb_s": None,
        "group_timeout": 30, "device": 0, "members": ["rank 0", "rank 1", "rank 2"],
    }  # fmt: skip
    assert played.told == [(order, None)]
    assert closed == [socket.SHUT_RDWR, "closed"]
    assert played.waited == [("store", 15, "starting the store")]
    assert (status, played.state.status) == ("go", "done")
    assert played.state.report.facts == {"backend": "gloo", "backend_reason": {"code": "why"}}


@pytest.mark.parametrize(
    ("failure", "said"), [("RuntimeError: in use", "RuntimeError: in use"), ("", "the store did not start")]
)
def test_a_store_that_does_not_start_is_layer_11(monkeypatch, failure, said):
    played = Played(monkeypatch)
    played.child.failure = lambda: failure
    assert grouped(monkeypatch, played) == []
    assert played.records == [record(11, "store", False, said, "a TCPStore on the master port", detail="last words")]
    assert played.state.status == "failed at layer 11 (process group)"


def test_the_others_join_when_rank_0_says_go(monkeypatch):
    played = Played(monkeypatch, rank=1, answers={0: ["ready", "go"]})
    ((order, _),) = grouped(monkeypatch, played)
    assert (order["rank"], order["master"], order["port"]) == (1, "10.0.1.0", 9)
    assert played.told == [(order, None)]
    assert (played.waited, played.state.status) == ([], "done")


def test_without_rank_0_nobody_joins(monkeypatch):
    played = Played(monkeypatch, rank=1, answers={0: ["failed at layer 10 (master port)"]})
    assert grouped(monkeypatch, played) == played.told == []
    assert played.state.blocked_by == "rank 0 (node0) failed at layer 10 (master port)"


@pytest.mark.parametrize(("late", "limit"), [(0, 30), (40, 13), (51, 2), (55, 2)])
def test_the_group_gets_the_time_that_is_left(monkeypatch, late, limit):
    played = Played(monkeypatch, events={"store": {}})
    played.clock.now += late
    # 60 seconds, without 5 for printing and 2 for the end.
    assert grouped(monkeypatch, played)[0][0]["group_timeout"] == limit


def test_a_group_that_failed_says_so_and_what_nccl_took(monkeypatch):
    played = Played(monkeypatch, events={"store": {}})
    played.child.log.append("NCCL version 2.27.5+cuda12.9")
    played.state.report.add(12, "all-reduce 4 B", False)
    grouped(monkeypatch, played, "nccl")
    assert played.state.status == "failed in the process group"
    assert played.state.report.facts["nccl"]["version"] == "2.27.5+cuda12.9"


@pytest.mark.parametrize("said", ["go", "done"])
def test_the_master_is_waited_for(monkeypatch, said):
    played = Played(monkeypatch, rank=1, answers={0: ["busy", "ready", SILENT, ValueError("x"), said]})
    assert checks.group.wait_for_master(played.state) is True
    assert played.asked == [(0, "status", 2)] * 5
    assert played.clock.now == pytest.approx(1000.2)
    assert played.state.peers[0].hello == {"status": said}
    assert (played.records, played.state.blocked_by) == ([], "")


@pytest.mark.parametrize(
    ("answer", "said", "late", "seconds"),
    [("ready", "ready", 0, 20), (SILENT, "timed out", 0, 20), ("busy", "busy", 50, 5), ("busy", "", 55, 0)],
)
def test_a_master_that_never_opens_the_store_is_named(monkeypatch, answer, said, late, seconds):
    played = Played(monkeypatch, rank=1, answers={0: [answer]})
    played.clock.now += late
    assert checks.group.wait_for_master(played.state) is False
    more = {"peer": 0, "rank": 1}
    assert played.records == [record(11, "store", False, f"rank 0: {said}", "rank 0 opens the store", **more)]
    assert played.state.blocked_by == "rank 0 did not open the store"
    assert played.clock.now - 1000 - late == pytest.approx(seconds, abs=0.06)


# ---------------------------------------------------------------- what the child says

SUM = {"right": True, "observed": "sum 6 at element 0", "expected": "6", "seconds": 0.1}
EVENTS = {
    "group": {"backend": "gloo", "seconds": 1.234, "connections": ["10.0.1.3"]},
    "reduce 4": {"bytes": 4, **SUM}, "reduce 65536": {"bytes": 65536, **SUM}, "reduce 16777216": {"bytes": 16777216, **SUM},
    "bandwidth": {"bus_bandwidth_mb_s": 400.0, "seconds": 0.2}, "compute": {"seconds": 0.002}, "end": {},
}  # fmt: skip
ORDER = {"group_timeout": 10, "backend": "gloo"}


def test_every_event_of_a_group_becomes_a_record(monkeypatch):
    played = Played(monkeypatch, events=EVENTS)
    monkeypatch.setattr(os, "getloadavg", lambda: (1.26, 2, 3))
    played.state.address = "10.0.1.3"
    checks.group.follow_child(played.state, ORDER)
    assert played.records == [
        record(11, "process group", True, "gloo, 1.23 s", "within 30 s", seconds=1.234),
        record(11, "connections", True, "? 10.0.1.3", "addresses in 10.0.1.3/32"),
        *(
            record(12, f"all-reduce {size} B", True, "sum 6 at element 0", "6", seconds=0.1)
            for size in (4, 65536, 16777216)
        ),
        record(13, "bus bandwidth", True, 400.0, detail="MB/s; the floor is the judge's", seconds=0.2),
        record(14, "compute", True, 0.002, detail="seconds of a matrix product; others decide"),
    ]
    limits = [13, 25, 25, 25, 25, 20, 8]
    assert played.waited == [
        (event, limit, "leaving" if event == "end" else event) for event, limit in zip(EVENTS, limits, strict=True)
    ]
    assert played.state.report.facts == {
        "connections": ["10.0.1.3"], "allreduce": EVENTS["bandwidth"],
        "compute": {"seconds": 0.002, "load": 1.3, "cores": os.cpu_count()},
    }  # fmt: skip


def test_no_event_is_waited_for_beyond_the_time_that_is_left(monkeypatch):
    played = Played(monkeypatch, events=EVENTS)
    played.clock.now += 50
    played.takes = 0.25
    checks.group.follow_child(played.state, ORDER)
    assert [wait for _, wait, _ in played.waited] == [5, 4.75, 4.5, 4.25, 4, 3.75, 3.5]


@pytest.mark.parametrize(
    ("event", "layer"),
    [
        ("group", 11),
        ("reduce 4", 12),
        ("reduce 65536", 12),
        ("reduce 16777216", 12),
        ("bandwidth", 13),
        ("compute", 14),
    ],
)
def test_an_event_that_does_not_come_is_explained_and_ends_it(monkeypatch, event, layer):
    played = Played(monkeypatch, events={name: facts for name, facts in EVENTS.items() if name != event})
    played.state.address = "10.0.1.3"
    explained = []
    monkeypatch.setattr(checks.group, "explain_hang", lambda *told: explained.append(told))
    checks.group.follow_child(played.state, ORDER)
    assert explained == [(played.state, event, layer, 0.5, None)]
    assert [waited for waited, *_ in played.waited][-1] == event
    assert played.state.report.first_failure() is None
    assert layer not in [one["layer"] for one in played.records] or event in ("reduce 65536", "reduce 16777216")


def test_a_rank_that_failed_takes_part_and_says_no_more(monkeypatch):
    events = {**EVENTS, "reduce 4": {**EVENTS["reduce 4"], "right": False}}
    played = Played(monkeypatch, events=events)
    played.state.address = "10.0.1.3"
    monkeypatch.setattr(checks.group, "explain_hang", lambda *told: pytest.fail("it has failed already"))
    checks.group.follow_child(played.state, ORDER)
    assert [one["name"] for one in played.records] == ["process group", "connections", "all-reduce 4 B"]
    assert [waited for waited, *_ in played.waited] == list(EVENTS)
    del events["compute"]
    checks.group.follow_child(played.state, ORDER)
    assert played.waited[-1][0] == "compute"


@pytest.mark.parametrize(
    ("addresses", "subnet", "ok", "observed", "expected", "used"),
    [
        (["10.0.1.3"], "10.0.1.0/24", True, "eth0 10.0.1.3", "addresses in 10.0.1.0/24", ["10.0.1.3"]),
        (["10.0.1.3", "127.0.0.1"], "10.0.1.0/24", True, "eth0 10.0.1.3", "addresses in 10.0.1.0/24", ["10.0.1.3"]),
        (["10.0.1.3", "172.18.0.3"], "10.0.1.0/24", False, "eth1 172.18.0.3", "addresses in 10.0.1.0/24",
         ["10.0.1.3", "172.18.0.3"]),
        (["127.0.0.1"], "10.0.1.0/24", True, "none but its own", "addresses in 10.0.1.0/24", []),
        (["10.0.1.3", "10.0.1.4"], "", False, "? 10.0.1.4", "addresses in 10.0.1.3/32", ["10.0.1.3", "10.0.1.4"]),
    ],
)  # fmt: skip
def test_the_group_must_talk_from_within_the_subnet(addresses, subnet, ok, observed, expected, used):
    one = alone(PROBE_SUBNET=subnet)
    one.address = "10.0.1.3"
    one.report.note(interfaces=[{"address": "10.0.1.3", "name": "eth0"}, {"address": "172.18.0.3", "name": "eth1"}])
    checks.group_records.check_connections(one, addresses)
    assert one.report.records == [record(11, "connections", ok, observed, expected)]
    assert one.report.facts["connections"] == used


def test_where_nothing_is_known_of_the_own_address_every_one_is_fine():
    one = alone()
    checks.group_records.check_connections(one, ["10.0.1.3"])
    assert one.report.records == [record(11, "connections", True, "? 10.0.1.3", "addresses in 0.0.0.0/0")]


@pytest.mark.parametrize(("size", "ok"), [(1, True), (2, None)])
def test_only_a_single_rank_needs_no_connections(size, ok):
    one = alone(size)
    checks.group_records.record_group(one, {"backend": "gloo", "seconds": 1.0, "connections": None})
    assert [(made["name"], made["ok"]) for made in one.report.records] == [("process group", True), ("connections", ok)]
    if size == 2:
        told = {"detail": "no connection of the process group was found"}
        assert one.report.records[1] == record(11, "connections", None, **told)


def test_what_nccl_took_is_compared_with_the_interface():
    one = alone(1, NCCL_IB_DISABLE="1")
    one.report.note(interface="eth0")
    one.child.log.extend(["[0] NCCL INFO NET/Socket : Using [0]eth1:10.0.1.3<0>", "NCCL INFO Using network Socket"])
    checks.group_records.record_group(one, {"backend": "nccl", "seconds": 1.0})
    assert one.report.records[2:] == [
        record(11, "nccl interface", False, "eth1", "eth0"),
        record(11, "nccl network", True, "Socket", "no IB (NCCL_IB_DISABLE=1)"),
    ]


def test_a_single_rank_uses_no_bus():
    one = alone(1)
    checks.group_records.record_bandwidth(one, EVENTS["bandwidth"])
    told = {"detail": "a single rank uses no bus"}
    assert one.report.records == [record(13, "bus bandwidth", True, "one rank", **told)]
    assert one.report.facts == {"allreduce": EVENTS["bandwidth"]}


def test_a_load_that_nobody_knows_is_left_out(monkeypatch):
    def refuse():
        raise OSError(2, "unobtainable")

    everywhere(monkeypatch, "os", Instead(os, getloadavg=refuse))
    one = alone()
    checks.group_records.record_compute(one, {"seconds": 0.002})
    assert one.report.facts["compute"]["load"] is None


def test_a_wrong_sum_says_what_is_wrong():
    one = alone()
    checks.group_records.record_reduce(
        one, {"bytes": 4, "right": False, "observed": "7", "expected": "6", "seconds": 0.5, "detail": "more"}
    )
    assert one.report.records == [
        record(12, "all-reduce 4 B", False, "7", "6", detail="more", seconds=0.5, code="wrong_sum")
    ]


# ---------------------------------------------------------------- a collective that does not end

HERE = {"status": "go", "stage": "reduce 4"}


def hung(one, observed, detail, peer=None, code="no_result"):
    more = {"detail": detail, "peer": peer, "seconds": 7.6, "code": code}
    return record(12, "reduce 4", False, observed, "every rank takes part", **more)


@pytest.mark.parametrize(
    ("answers", "failure", "missing", "log", "wanted"),
    [
        ([HERE, HERE], "", [], [],
         [(None, "no result after 8 s", "rank 1: go, reduce 4; rank 2: go, reduce 4")]),
        ([HERE, SILENT], "", [], [],
         [(2, "silent (timed out)", "no result after 8 s; rank 1: go, reduce 4; rank 2: silent (timed out)")]),
        ([ValueError("bad"), SILENT], "RuntimeError: closed", [], [],
         [(1, "silent (bad)", "RuntimeError: closed; rank 1: silent (bad); rank 2: silent (timed out)"),
          (2, "silent (timed out)", "RuntimeError: closed; rank 1: silent (bad); rank 2: silent (timed out)")]),
        ([HERE, HERE], "", [0, 2], [],
         [(2, "did not join", "no result after 8 s; rank 1: go, reduce 4; rank 2: go, reduce 4")]),
        ([HERE, SILENT], "", [2, 1], [],
         [(2, "silent (timed out)", "no result after 8 s; rank 1: go, reduce 4; rank 2: silent (timed out)"),
          (1, "did not join", "no result after 8 s; rank 1: go, reduce 4; rank 2: silent (timed out)")]),
        ([HERE, HERE], "", [], ["x NCCL WARN one", "x NCCL WARN two"],
         [(None, "no result after 8 s | one | two", "rank 1: go, reduce 4; rank 2: go, reduce 4")]),
    ],
)  # fmt: skip
def test_a_hang_names_who_is_silent_or_missing(monkeypatch, answers, failure, missing, log, wanted):
    played = Played(monkeypatch, answers={1: answers[:1], 2: answers[1:]})
    played.child.failure = lambda: failure
    played.child.facts["missing"] = missing
    played.child.log.extend(log)
    checks.group.explain_hang(played.state, "reduce 4", 12, 7.6)
    assert played.records == [
        hung(played, said, detail, peer, None if failure else "no_result") for peer, said, detail in wanted
    ]
    assert sorted(played.asked) == [(1, "status", 2), (2, "status", 2)]
    assert played.state.report.facts == {"log_tail": log}


def test_a_hang_is_told_at_bearable_length(monkeypatch):
    played = Played(monkeypatch, answers={1: [{"status": "s" * 2000}], 2: [SILENT]})
    played.child.log.extend(str(number) for number in range(30))
    checks.group.explain_hang(played.state, "reduce 4", 12, 7.6)
    assert len(played.records[0]["detail"]) == 900
    assert played.state.report.facts["log_tail"] == [str(number) for number in range(5, 30)]
    played.answers[2] = [HERE]
    checks.group.explain_hang(played.state, "reduce 4", 12, 7.6)
    assert len(played.records[1]["detail"]) == 900


def test_an_answer_that_never_comes_is_silence(monkeypatch):
    played = Played(monkeypatch, 2, answers={1: [HERE]})
    silent = SimpleNamespace(start=int, join=lambda limit: None)
    everywhere(monkeypatch, "threading", Instead(threading, Thread=lambda **_: silent))
    checks.group.explain_hang(played.state, "reduce 4", 12, 7.6)
    assert played.records == [hung(played, "silent (timed out)", "no result after 8 s; rank 1: silent", 1)]
