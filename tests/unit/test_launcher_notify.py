"""Who is to be told how a job goes: real launchers on loopback, and a receiver that is there, is away, refuses, or takes its time."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ddp_launcher import notify
from ddp_launcher.peers import Peer, bound_server
from ddp_launcher.post import Receiver as Read
from ddp_launcher.progress import Output
from ddp_launcher.reports import duration
from launchers import Job, Rank, says
from ports import free_port
from waiting import until

TOKEN = "/services/T000/B000/WEBHOOK-TOKEN"
SECRET = "hunter2-is-the-password"
Start = Callable[..., Job]
WAITS = "import time; print('begins', flush=True); time.sleep(600)"


class Receiver:
    """What is POSTed to a port, and what is answered."""

    def __init__(self) -> None:
        self.port, self.status, self.taken, self.asked = free_port(), 200, [], []  # type: int, int, list[Any], list[str]
        self.delay = 0.0
        self.server: ThreadingHTTPServer | None = None

    def open(self) -> Receiver:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked.append(self.path)
                time.sleep(outer.delay)
                if outer.status == 200:
                    assert self.headers["Content-Type"] == "application/json"
                    outer.taken.append(json.loads(body))
                self.send_response(outer.status)
                if outer.status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        ThreadingHTTPServer.allow_reuse_address = True
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def close(self) -> None:
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    @property
    def events(self) -> list[str]:
        return [said["event"] for said in self.taken]

    def texts(self) -> str:
        return "\n".join(said["text"] for said in self.taken)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def job(tmp_path: Path, receiver: Receiver) -> Iterator[Start]:
    made: list[Job] = []

    def make(size: int = 2, *options: str, address: str = "", proxy: Any = None) -> Job:
        secrets = tmp_path / "secrets"
        secrets.mkdir(exist_ok=True)
        (secrets / "token").write_text(SECRET + "\n")
        url = address or f"http://127.0.0.1:{receiver.port}{TOKEN}"
        (secrets / "ddp-notify").write_text(json.dumps({"url": url, "proxy": proxy or {}}))
        more = ("--job=night", f"--notify_file={secrets}/ddp-notify", "--restarts=3", *options)
        made.append(Job(tmp_path, size, more=more))
        return made[-1]

    yield make
    for one in made:
        one.end()


def started(job: Job) -> Job:
    job.start()
    for rank in job.ranks:
        says(rank, "starts at")
    return job


def quiet(job: Job) -> None:
    """Nothing that a launcher writes has the address or a secret in it, nor has its command line."""
    said = "".join(rank.said for rank in job.ranks)
    for rank in job.ranks:
        if rank.process and rank.process.poll() is None:
            said += Path(f"/proc/{rank.process.pid}/cmdline").read_text()
        said += "".join(path.read_text() for path in rank.volume.glob(".ddp-launcher/notify-*.json"))
    assert "WEBHOOK" not in said


def test_the_end_is_told_once_and_by_the_fields_of_each_receiver(job: Start, receiver: Receiver) -> None:
    receiver.open()
    three = started(job(3))
    quiet(three)
    for rank in reversed(three.ranks):
        rank.order("exit", 0)
    assert [rank.wait() for rank in three.ranks] == [0, 0, 0]
    (said,) = receiver.taken
    assert said["text"].startswith("night has finished: 3 ranks after ")
    assert "Not heard" not in said["text"]
    assert said["text"] == said["content"] == said["message"]
    assert (said["event"], said["job"], said["rank"], said["exit_code"]) == ("finished", "night", 0, None)
    assert receiver.asked == [TOKEN]
    assert "topic" not in said


def test_a_job_of_one_rank_has_nobody_else_to_hear_of(job: Start, receiver: Receiver) -> None:
    receiver.open()
    one = started(job(1))
    began = time.monotonic()
    assert one.ranks[0].exit(0) == 0
    assert time.monotonic() < began + 5
    assert receiver.texts().startswith("night has finished: 1 rank after ")


def test_the_first_failure_is_told_with_its_lines_and_without_secrets(job: Start, receiver: Receiver) -> None:
    receiver.open()
    two = started(job())
    first, second = two.ranks
    second.order("print", f"password: {SECRET} and again {SECRET}")
    second.order("raise", f"the loss is nan, and {SECRET} is no word for a log")
    assert second.wait() == 1
    # What takes the others with it is no event of its own.
    first.order("raise", "Connection closed by peer")
    assert first.wait() == 1
    (said,) = receiver.taken
    assert said["event"] == "failed"
    assert (said["rank"], said["exit_code"]) == (1, 1)
    assert said["text"].startswith("night failed: rank 1 on ")
    assert "ended with exit code 1" in said["text"]
    assert "Swarm starts a rank again, 3 times at most." in said["text"]
    assert "RuntimeError: the loss is nan, and ******** is no word for a log" in said["text"]
    assert SECRET not in json.dumps(receiver.taken)
    quiet(two)


def test_a_consequence_that_is_told_sooner_is_not_the_first(job: Start, receiver: Receiver) -> None:
    receiver.open()
    two = started(job())
    two.ranks[0].order("raise", "Connection reset by peer")
    time.sleep(0.5)
    two.ranks[1].order("raise", "out of memory")
    for rank in two.ranks:
        assert rank.wait() == 1
    (said,) = receiver.taken
    assert said["rank"] == 1
    assert "out of memory" in said["text"]


def test_a_restart_is_told_once_for_all_ranks(job: Start, receiver: Receiver) -> None:
    receiver.open()
    two = started(job())
    for rank in two.ranks:
        rank.kill()  # the container: nobody could report anything
    started(two)
    until(lambda: receiver.events == ["restarted"], 20)
    assert "night was started again after a failure: rank " in receiver.texts()
    assert "rank 0 on" in receiver.texts()
    assert "rank 1 on" in receiver.texts()
    # And once more, for it is another one.
    two.ranks[1].kill()
    two.ranks[1].start()
    until(lambda: receiver.events == ["restarted", "restarted"], 20)
    for rank in two.ranks:
        rank.order("exit", 0)
    until(lambda: receiver.events == ["restarted", "restarted", "finished"], 20)


def test_what_was_stopped_on_purpose_is_no_event(job: Start, receiver: Receiver) -> None:
    receiver.open()
    two = started(job())
    for rank in two.ranks:
        assert rank.process
        rank.process.terminate()
    for rank in two.ranks:
        rank.wait()
    started(two)
    time.sleep(3)
    for rank in two.ranks:
        rank.order("exit", 0)
    until(lambda: receiver.events == ["finished"], 20)


def test_a_receiver_that_is_down_and_back(job: Start, receiver: Receiver) -> None:
    """It holds up nobody, and each event comes once when it is back, in order, also over a restart of the rank that tells."""
    two = started(job())
    first, second = two.ranks
    second.order("exit", 3)
    began = time.monotonic()
    assert second.wait() == 3
    assert time.monotonic() < began + 5, "a rank that failed was held up"
    first.order("exit", 1)
    began = time.monotonic()
    assert first.wait() == 1
    assert time.monotonic() < began + 13, "rank 0 was held up"
    says(first, "the receiver cannot be reached: Connection refused; what is to be told is kept")
    started(two)
    receiver.open()
    until(lambda: receiver.events == ["failed", "restarted"], 30)
    assert receiver.taken[0]["rank"] == 1
    quiet(two)


@pytest.mark.parametrize(("status", "words"), [(404, "HTTP 404"), (302, "HTTP 302")])
def test_one_that_refuses_is_not_asked_again(job: Start, receiver: Receiver, status: int, words: str) -> None:
    receiver.open()
    receiver.status = status
    one = started(job(1))
    assert one.ranks[0].exit(0) == 0
    assert receiver.asked == [TOKEN]
    assert f"nobody is told that the job has finished: the receiver answers {words}" in one.ranks[0].said
    quiet(one)


def test_one_that_is_overloaded_is_asked_again(job: Start, receiver: Receiver) -> None:
    receiver.open()
    receiver.status = 503
    one = started(job(1))
    one.ranks[0].order("exit", 0)
    until(lambda: len(receiver.asked) > 1)
    receiver.status = 200
    assert one.ranks[0].wait() == 0
    assert receiver.events == ["finished"]


def test_no_progress_is_told_once_until_it_goes_on(job: Start, receiver: Receiver) -> None:
    receiver.open()
    one = started(job(1, f"--notify_stall={2 / 60}"))
    until(lambda: receiver.events == ["stalled"], 10)
    time.sleep(3)
    assert receiver.events == ["stalled"]
    assert "night makes no progress: rank 0 on" in receiver.texts()
    assert "rank 0 starts at nothing" in receiver.texts(), "the last lines"
    one.ranks[0].order("print", "goes on")
    until(lambda: receiver.events == ["stalled", "stalled"], 10)
    assert receiver.taken[1]["text"].endswith("goes on")


def test_a_stall_is_told_with_who_hangs(job: Start, receiver: Receiver) -> None:
    receiver.open()
    two = job(2, f"--notify_stall={2 / 60}")
    for rank in two.ranks:
        rank.start(["env", f"RANK={rank.rank}", sys.executable, "-c", WAITS])
    until(lambda: receiver.events == ["stalled"], 30)
    text = receiver.texts()
    assert "has written nothing for 2 s. No rank waits for another. Rank 0 on " in text
    assert "Rank 1 on " in text
    for rank in two.ranks:
        for one in rank.dump()["processes"]:
            os.kill(one["pid"], signal.SIGKILL)


def test_when_a_rank_failed_is_told_by_the_clock_of_rank_0(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    receiver.open()
    (one, first), (two, second) = in_process(monkeypatch, receiver, 2)
    two.ahead = lambda: 50.0
    two._report("failed", 1, ["out of memory"])
    assert two.unsent[0]["at"] == pytest.approx(time.time() - 50, abs=5)
    one._report("failed", 1, ["nan"])
    assert one.seen[0, "failed"] == pytest.approx(time.time(), abs=5)
    for each in ((one, first), (two, second)):
        gone(*each)


def test_topic_user_and_proxy(job: Start, receiver: Receiver) -> None:
    """Through a proxy, which a request reaches with the whole address in it; ntfy's topic stands behind #."""
    receiver.open()
    proxy = {"http": f"http://127.0.0.1:{receiver.port}", "no_proxy": "elsewhere"}
    one = started(job(1, address="http://me:pass@receiver.invalid/#training", proxy=proxy))
    assert one.ranks[0].exit(0) == 0
    assert receiver.asked == ["http://receiver.invalid/"]
    assert receiver.taken[0]["topic"] == "training"
    assert "pass" not in one.ranks[0].said


def test_a_file_that_cannot_be_read_is_no_reason_not_to_train(job: Start, tmp_path: Path) -> None:
    two = job()
    (tmp_path / "secrets/ddp-notify").write_text("WEBHOOK")
    started(two)
    for rank in two.ranks:
        rank.order("exit", 0)
        assert "nobody is told how the job goes:" in rank.said
    assert [rank.wait() for rank in two.ranks] == [0, 0]
    quiet(two)


def test_a_rank_that_cannot_begin_is_told(job: Start, receiver: Receiver, tmp_path: Path) -> None:
    receiver.open()
    two = job(2, "--patience=1")
    first: Rank = two.ranks[0]
    first.start()
    assert first.wait() == 1
    assert receiver.events == ["failed"]
    assert "rank 1 (127.0.1.2) has not answered in 1 s" in receiver.texts()


class Nothing:
    """What a launcher answers that has nothing to give."""

    def state(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {}


def in_process(monkeypatch: pytest.MonkeyPatch, receiver: Receiver, size: int) -> list[tuple[notify.Notifier, Any]]:
    """Notifiers of ranks with servers of their own, and seconds for minutes."""
    for name, seconds in (("GONE", 1.5), ("ALIVE", 0.2), ("GATHER", 0.2), ("QUIET", 0.5)):
        monkeypatch.setattr(notify, name, seconds)
    secret, port = b"x" * 32, free_port()
    ranks = [Peer(rank, f"127.0.2.{rank + 1}", port, secret) for rank in range(size)]
    made = []
    for rank in range(size):
        one = notify.Notifier(Read(f"http://127.0.0.1:{receiver.port}/"), "night", rank, ranks, Output(), deployed="d")
        server = bound_server((f"127.0.2.{rank + 1}", port), secret, Nothing())  # type: ignore[arg-type]
        server.heard = one.heard
        one.began()
        made.append((one, server))
    return made


def gone(notifier: notify.Notifier, server: Any) -> None:
    notifier.over.set()
    server.shutdown()
    server.server_close()


def test_a_rank_that_says_nothing_is_told_by_rank_0(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    receiver.open()
    ranks = in_process(monkeypatch, receiver, 3)
    until(lambda: len(ranks[0][0].heard_at) == 2)
    gone(*ranks[2])
    until(lambda: receiver.events == ["failed"])
    assert receiver.taken[0]["rank"] == 2
    assert "has said nothing for 1 s. Its container or its host is gone" in receiver.texts()
    time.sleep(3)
    assert receiver.events == ["failed"], "once"
    for one in ranks[:2]:
        gone(*one)


def test_rank_1_tells_when_rank_0_is_gone_and_nobody_else(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    receiver.open()
    ranks = in_process(monkeypatch, receiver, 3)
    until(lambda: len(ranks[0][0].heard_at) == 2)
    gone(*ranks[0])
    until(lambda: receiver.events == ["failed"])
    assert receiver.taken[0]["rank"] == 0
    ranks[2][0].ended(1, False)
    time.sleep(3)
    assert receiver.events == ["failed"], "its own end is a consequence, and rank 2 tells nobody itself"
    ranks[1][0].ended(7, False)
    time.sleep(1)
    assert receiver.events == ["failed"]
    for one in ranks[1:]:
        gone(*one)


def test_the_end_of_rank_0_is_not_its_loss(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    receiver.open()
    ranks = in_process(monkeypatch, receiver, 2)
    until(lambda: ranks[0][0].heard_at)
    ranks[0][0].ended(0, False)
    time.sleep(0.6)  # rank 1 hears of it
    gone(*ranks[0])
    time.sleep(3)
    assert receiver.events == []
    gone(*ranks[1])


def test_what_ranks_report_is_looked_at(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    receiver.open()
    ranks = in_process(monkeypatch, receiver, 2)
    one = ranks[0][0]
    for odd in ({}, {"rank": 2}, {"rank": True}, {"rank": "1"}, {"rank": -1}):
        assert one.heard({"kind": "failed", **odd}) == {"taken": False}
    assert one.heard({"rank": 1, "kind": "failed", "code": "x", "lines": "text", "host": "h\x1b[2Jh", "at": "now"})[
        "taken"
    ]
    one.heard({"rank": 1, "kind": "something"})
    until(lambda: receiver.events == ["failed"])
    assert "rank 1 on hh has said nothing" in receiver.texts()
    for each in ranks:
        gone(*each)


def test_the_same_rank_again_is_another_incident(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    receiver.open()
    ((one, server),) = in_process(monkeypatch, receiver, 1)
    for at in (1.0, 1.0, 2.0):  # of the first the answer was lost
        one.take({"kind": "failed", "rank": 0, "host": "h", "code": 1, "lines": ["a"], "at": at})
        until(lambda: one.record["queue"] == [])
    assert receiver.events == ["failed", "failed"]
    gone(one, server)


def test_what_is_kept_for_a_receiver_is_bounded(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    ((one, server),) = in_process(monkeypatch, receiver, 1)
    one.again = time.monotonic() + 3600
    for number in range(notify.QUEUE + 5):
        one._queue("stalled", f"number {number}")
    assert next(entry["text"] for entry in one.record["queue"]) == "number 5"
    long = one.receiver.body({"text": "x" * 9000})
    assert len(json.loads(long)["content"]) <= 2000
    gone(one, server)


def test_durations() -> None:
    assert [duration(s) for s in (0.4, 59, 61, 3599, 3600, 90061)] == [
        "0 s",
        "59 s",
        "1 min",
        "59 min",
        "1 h 0 min",
        "25 h 1 min",
    ]


def test_rank_0_that_goes_on_keeps_what_is_to_be_told(job: Start, receiver: Receiver) -> None:
    """Rank 1 alone fails, and is started again, while the receiver is away."""
    receiver.open()
    two = started(job())
    second = two.ranks[1]
    second.kill()
    second.start()
    until(lambda: receiver.events == ["restarted"], 20)
    receiver.close()
    assert second.exit(3) == 3
    second.start()
    time.sleep(15)
    receiver.open()
    until(lambda: receiver.events == ["restarted", "failed", "restarted"], 40)
