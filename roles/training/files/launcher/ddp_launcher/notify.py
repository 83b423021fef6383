"""Tells somebody how the job goes, with no controller running: it has finished, has failed, was started again, makes no progress.

Rank 0 tells. The others report to it what happens to them; rank 1 tells in its place once it has been silent for `GONE` seconds. What was
told, and what is still to be told, is in a record in the volume, so that each event is told once, also by a rank that was started again.
Whoever is to be told may be away: that holds up no training, and at the end of a rank only for some seconds.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from .log import say
from .origin import deployment
from .peers import ERRORS, Peer
from .post import Receiver, Refused
from .progress import Output
from .reports import Masked, duration, known_secrets, sound
from .store import write_whole
from .verdict import CONSEQUENCE

LOOK = 0.2  # seconds between two looks at what there is to do
ALIVE = 5.0  # between two signs of life
GONE = 60.0  # without one, after which a rank counts as gone
GATHER = 3.0  # that other ranks have to report what may have failed before
QUIET = 10.0  # after a restart, in which those of other ranks belong to it
INCIDENT = 600.0  # in which a failure of another rank is a consequence of the first
EXIT, LAST = (
    10.0,
    60.0,
)  # that a rank's end waits for the receiver: where swarm will start it again, and at the very end
SOONEST, LATEST = 1.0, 60.0  # between two attempts
QUEUE, BYTES = 20, 2500  # most of what is kept, and of what a rank reports


class Notifier:
    def __init__(
        self,
        receiver: Receiver,
        job: str,
        rank: int,
        peers: list[Peer],
        output: Output,
        *,
        path: str = "",
        deployed: str = "",
        stall: float = 0,
        restarts: int = 0,
        masked: Callable[[Iterable[Any]], list[str]] | None = None,
    ) -> None:
        self.receiver, self.job, self.rank, self.peers, self.output = receiver, job, rank, peers, output
        self.path, self.stall, self.restarts, self.size = path, stall, restarts, max(1, len(peers))
        self.masked = masked or Masked([])
        self.host = os.uname().nodename
        self.lock, self.over, self.wake = threading.RLock(), threading.Event(), threading.Event()
        self.heard_at: dict[int, float] = {}
        self.hosts: dict[int, str] = {rank: self.host}
        self.codes: dict[int, int] = {}  # of ranks that have ended
        self.unsent: list[dict[str, Any]] = []  # reports to rank 0
        self.seen: dict[tuple[int, str], float] = {}  # when the last report of a kind was made
        self.answered = time.monotonic()
        # Which rank hangs, in a sentence; and by how many seconds this clock is ahead of rank 0's.
        self.verdict: Callable[[], str] = str
        self.ahead: Callable[[], float] = float
        self.running = self.first_ended = False
        self.again, self.next = 0.0, SOONEST  # when the receiver is tried again
        self.record = self._read(deployed)

    # --- the record -------------------------------------------------------------------------------------

    def _read(self, deployed: str) -> dict[str, Any]:
        new: dict[str, Any] = {
            "job": deployed,
            "starts": 0,
            "end": "",
            "began": time.time(),
            "stalled": False,
            "finished": False,
        }
        new.update(queue=[], failed={"at": 0.0, "ranks": []}, restarted={"at": 0.0, "ranks": []})
        try:
            with open(self.path) as file:
                found = json.load(file)
            if found["job"] == deployed and found.keys() == new.keys():
                return dict(found)
            # Of a job that was replaced nothing is left to be told but what the receiver has missed.
            new["queue"] = [entry for entry in found["queue"] if isinstance(entry["text"], str)]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        return new

    def _keep(self) -> None:
        if self.path:
            try:
                write_whole(self.path, self.record)
            except OSError:  # a full disk is no reason to tell nothing
                pass

    # --- what happens to this rank ----------------------------------------------------------------------

    def began(self) -> None:
        with self.lock:
            before = self.record["end"] if self.record["starts"] else "complete"
            self.record.update(starts=self.record["starts"] + 1, end="")
            self._keep()
        self.output.time = time.monotonic()
        self.running = True
        threading.Thread(target=self._work, daemon=True).start()
        if before in ("", "failed"):
            self._report("restarted")

    def ended(self, code: int, stopped: bool, lines: Iterable[str] = ()) -> None:
        """Whoever was told to end tells nothing."""
        self.running = False
        with self.lock:
            self.record["end"] = "stopped" if stopped else "failed" if code else "complete"
            self._keep()
        if not stopped:
            self._report("failed" if code else "ended", code, lines)

    def unable(self, why: str) -> None:
        """It could not begin."""
        with self.lock:
            self.record["end"] = "failed"
        self._report("failed", 1, [why])

    def close(self) -> None:
        """Bounded, whatever the receiver and the other ranks do."""
        end = self.record["end"]
        if end == "stopped":
            self.over.set()
            return
        if self.rank == 0 and end == "complete":
            self._finish()
        last = end == "complete" or self.record["starts"] > self.restarts
        until = time.monotonic() + (LAST if last else EXIT)
        while time.monotonic() < until and (self.unsent and self._first_answers() or self._due() or self._gathers()):
            self.wake.set()
            time.sleep(LOOK / 2)
        self.over.set()
        if self.record["queue"] and last and self._leads():
            say("nobody could be told how the job ended: the receiver does not take it")

    def _finish(self) -> None:
        """Rank 0 waits for how the others end, not for long."""
        until = time.monotonic() + EXIT
        while time.monotonic() < until and len(self.codes) < self.size and not any(self.codes.values()):
            time.sleep(LOOK / 2)
        with self.lock:
            if self.record["finished"] or any(self.codes.values()):
                return
            self.record["finished"] = True
            left = [self._name(peer.rank) for peer in self.peers if peer.rank not in self.codes]
            ranks = f"{self.size} rank{'s' if self.size > 1 else ''}"
            text = f"{self.job} has finished: {ranks} after {duration(time.time() - self.record['began'])}."
            if left:
                text += f" Not heard of the end of {', '.join(left)}."
            self._queue("finished", text)

    # --- what ranks report ------------------------------------------------------------------------------

    def _report(self, kind: str, code: int | None = None, lines: Iterable[Any] = ()) -> None:
        report: dict[str, Any] = {
            "kind": kind,
            "rank": self.rank,
            "host": self.host,
            "code": code,
            "lines": self.masked(lines),
            "at": time.time() - self.ahead(),
        }
        while len(json.dumps(report)) > BYTES and report["lines"]:
            report["lines"] = report["lines"][1:]
        if self.rank == 0:
            self.take(report)
        else:
            with self.lock:
                self.unsent = [*self.unsent, report][-QUEUE:]
        self.wake.set()

    def heard(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Of another rank's launcher: a sign of life, or a report."""
        try:
            report = sound(asked, self.size)
        except ValueError:
            return {"taken": False}
        with self.lock:
            self.heard_at[report["rank"]] = time.monotonic()
            self.hosts[report["rank"]] = report["host"]
            if report["kind"] == "alive":
                self.codes.pop(report["rank"], None)
            else:
                self.take(report)
        return {"taken": True, "ended": self.rank == 0 and self.record["end"] == "complete"}

    def take(self, report: dict[str, Any]) -> None:
        kind, rank = report["kind"], report["rank"]
        with self.lock:
            # Whose answer was lost reports again.
            if self.seen.get((rank, kind)) == report["at"]:
                return
            self.seen[rank, kind] = report["at"]
            if report["code"] is not None:
                self.codes[rank] = report["code"]
            if kind == "failed":
                self._take_failure(report)
            elif kind == "restarted":
                self._take_restart(rank)
            self._keep()

    def _incident(self, kind: str, rank: int) -> bool:
        """Whether this begins a new one. A rank that fails takes the others with it, and each of them once."""
        about = self.record[kind]
        new = rank in about["ranks"] or time.time() > about["at"] + INCIDENT
        self.record[kind] = {"at": time.time(), "ranks": [rank]} if new else {**about, "ranks": [*about["ranks"], rank]}
        return new

    def _take_failure(self, report: dict[str, Any]) -> None:
        new = self._incident("failed", report["rank"])
        pending = next(
            (entry for entry in self.record["queue"] if entry["event"] == "failed" and entry["due"] > time.time()), None
        )
        if new or (pending and self._weight(report) < pending["weight"]):
            if not new and pending:
                self.record["queue"].remove(pending)
            due = time.time() + GATHER if new or not pending else pending["due"]
            self._queue("failed", self._failure(report), due, self._weight(report), report)

    @staticmethod
    def _weight(report: dict[str, Any]) -> list[float]:
        """The smaller one is the first to fail. Where clocks could not be compared, they may differ by some seconds."""
        text = "\n".join(report["lines"])
        return [float(CONSEQUENCE.search(text) is not None or report["code"] is None), float(report["at"])]

    def _failure(self, report: dict[str, Any]) -> str:
        name = self._name(report["rank"])
        if report["code"] is None:
            return f"{self.job} failed: {name} has said nothing for {duration(GONE)}. Its container or its host is gone, or cut off from the others."
        text = (
            f"{self.job} failed: {name} ended with exit code {report['code']} in start {max(1, self.record['starts'])}."
        )
        if self.restarts:
            text += f" Swarm starts a rank again, {self.restarts} times at most."
        return text

    def _take_restart(self, rank: int) -> None:
        new = self._incident("restarted", rank)
        pending = next((entry for entry in self.record["queue"] if entry["event"] == "restarted"), None)
        if not new and not pending:
            return
        ranks = self.record["restarted"]["ranks"]
        if pending:
            self.record["queue"].remove(pending)
        names = ", ".join(self._name(number) for number in ranks)
        self._queue("restarted", f"{self.job} was started again after a failure: {names}.", time.time() + QUIET)

    def _name(self, rank: int) -> str:
        host = self.hosts.get(rank, "")
        return f"rank {rank} on {host}" if host else f"rank {rank}"

    def _queue(
        self,
        event: str,
        text: str,
        due: float = 0.0,
        weight: Iterable[float] = (),
        about: dict[str, Any] | None = None,
    ) -> None:
        about = about or {"rank": self.rank, "host": self.host, "code": None, "lines": []}
        lines = self.masked(about["lines"])
        said = {
            "event": event,
            "job": self.job,
            "rank": about["rank"],
            "host": about["host"],
            "exit_code": about["code"],
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "text": "\n".join([text, *lines]),
        }
        entry = {"event": event, "due": due, "weight": list(weight), "said": said, "text": text}
        self.record["queue"] = [*self.record["queue"], entry][-QUEUE:]
        self._keep()
        self.wake.set()

    # --- beside the command -----------------------------------------------------------------------------

    def _leads(self) -> bool:
        return self.rank == 0 or (self.rank == 1 and not self._first_answers() and not self.first_ended)

    def _first_answers(self) -> bool:
        return time.monotonic() < self.answered + GONE

    def _work(self) -> None:
        told = 0.0
        while not self.over.is_set():
            self.wake.wait(LOOK)
            self.wake.clear()
            try:
                if self.rank and (self.unsent or time.monotonic() > told + ALIVE):
                    told = time.monotonic()
                    self._tell_first()
                if self._leads():
                    self._look()
                    self._post()
            except Exception as error:  # noqa: BLE001 - telling is never a reason to end
                say(f"the notifier goes on after {type(error).__name__}")
                time.sleep(LATEST)

    def _tell_first(self) -> None:
        reports = self.unsent or ([{"kind": "alive", "rank": self.rank, "host": self.host}] if self.running else [])
        for report in list(reports):
            try:
                with self.peers[0].channel() as channel:
                    channel.send({"ask": "event", **report})
                    answer = channel.receive()
            except ERRORS:
                if self._leads() and report in self.unsent:
                    self.take(report)
                    self.unsent.remove(report)
                return
            self.answered, self.first_ended = time.monotonic(), answer.get("ended") is True
            if report in self.unsent:
                self.unsent.remove(report)

    def _look(self) -> None:
        """For ranks that say nothing, and for an output that does not grow."""
        now = time.monotonic()
        silent = [rank for rank, at in self.heard_at.items() if now > at + GONE and rank not in self.codes]
        if self.rank and self.running and 0 not in self.record["failed"]["ranks"]:
            silent.append(0)
        for rank in silent:
            self.heard_at.pop(rank, None)
            self.take(
                {
                    "kind": "failed",
                    "rank": rank,
                    "host": self.hosts.get(rank, ""),
                    "code": None,
                    "lines": [],
                    "at": time.time(),
                }
            )
        if not self.stall or self.rank or not self.running:
            return
        stalled = self.output.silent > self.stall
        if stalled != self.record["stalled"]:
            verdict = " ".join(self.masked([self.verdict()] if stalled else []))
            with self.lock:
                self.record["stalled"] = stalled
                if stalled:
                    text = f"{self.job} makes no progress: {self._name(0)} has written nothing for {duration(self.stall)}. {verdict}"
                    text = text.strip()
                    about = {"rank": 0, "host": self.host, "code": None, "lines": self.output.lines()[-3:]}
                    self._queue("stalled", text, about=about)
                self._keep()

    def _due(self) -> bool:
        return self._leads() and any(entry["due"] <= time.time() for entry in self.record["queue"])

    def _gathers(self) -> bool:
        """Whether a failure waits for what others report of it; a restart is told by whoever was started again."""
        return self._leads() and any(entry["event"] == "failed" for entry in self.record["queue"])

    def _post(self) -> None:
        """One event, the oldest that is due."""
        if time.monotonic() < self.again:
            return
        entry = next((entry for entry in self.record["queue"] if entry["due"] <= time.time()), None)
        if entry is None:
            return
        try:
            self.receiver.tell(entry["said"])
            self.next = SOONEST
        except Refused as error:
            say(f"nobody is told that the job has {entry['event']}: {error}. Correct training_notify")
        except OSError as error:
            if self.next == SOONEST:
                say(f"{error}; what is to be told is kept, and tried again")
            self.again, self.next = time.monotonic() + self.next, min(2 * self.next, LATEST)
            return
        with self.lock:
            self.record["queue"] = [other for other in self.record["queue"] if other is not entry]
            self._keep()


def notifier_of(asked: Any, peers: list[Peer], output: Output, folder: str) -> Notifier | None:
    """By the launcher's options; None where nobody can be told."""
    try:
        with open(asked.notify_file) as file:
            receiver = Receiver.read(file.read())
        secrets = known_secrets(os.path.dirname(asked.notify_file) or ".")
    except (OSError, ValueError, KeyError, TypeError) as error:
        say(f"nobody is told how the job goes: {asked.notify_file} cannot be read ({type(error).__name__})")
        return None
    try:
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, f"notify-rank{asked.rank}.json")
    except OSError:
        path = ""
    return Notifier(
        receiver,
        asked.job,
        asked.rank,
        peers,
        output,
        path=path,
        deployed=deployment(asked.secret_file),
        stall=asked.notify_stall * 60,
        restarts=asked.restarts,
        masked=Masked(
            [*secrets, receiver.address, *(value for key, value in receiver.proxies.items() if key != "no_proxy")]
        ),
    )
