"""A job that makes no progress is noticed by its launchers, and rank 0's says which rank hangs, and on which line.

Progress is what a rank writes, and the collectives that it enters. A rank that only computes makes none that could be seen:
what is said of it is said as it is, and nothing is ended for it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from .child import Child
from .files import OWN
from .log import say
from .pace import pace_of, words
from .peers import ERRORS, MORE, Peer
from .stacks import RESULTS, below, clear, collectives, look, one_asks, traces
from .store import write_whole
from .verdict import groups_of, judge

ASK_TIMEOUT = 60.0
KEPT = 4  # of what was found, in the volume
PACE = 5  # looks at the pace in the minutes of a stall
UNLIMITED = 600.0  # seconds that count as those of a stall where none is told of
PACE_FILE = "pace.json"


class Watch:
    """One on each rank. Rank 0 has `peers`, asks them, and judges."""

    def __init__(
        self, folder: str, seconds: float, child: Child, peers: Sequence[Peer], first: bool, results: str
    ) -> None:
        self.folder, self.seconds, self.child, self.peers, self.first = folder, seconds, child, peers, first
        self.results = os.path.join(results, OWN, "stalls") if results else ""
        self.own = os.path.join(results, OWN) if results else ""
        if results:
            with suppress(OSError), open(os.path.join(folder, RESULTS), "w", encoding="utf-8") as file:
                file.write(os.path.realpath(results))
        self.entered, self.moved, self.reported = -1, time.monotonic(), False
        self.compared, self.slow, self.told = time.monotonic(), frozenset[int](), frozenset[int]()
        MORE.update(quiet=lambda: {"seconds": self.quiet()}, stacks=self.record, pace=self.recorded)
        threading.Thread(target=self.watch, daemon=True).start()

    def quiet(self) -> float:
        """Seconds since this rank made progress."""
        return time.monotonic() - max(self.moved, self.child.output.time)

    def record(self) -> dict[str, Any]:
        try:
            return look(self.folder)
        except (OSError, ValueError) as error:
            return {"why": f"it cannot be asked: {error}"}

    def recorded(self) -> dict[str, Any]:
        try:
            return collectives(self.folder)
        except (OSError, ValueError) as error:
            return {"why": f"it cannot be asked: {error}"}

    def watch(self) -> None:
        tick = min(30.0, max(0.5, (self.seconds or UNLIMITED) / 8))
        while True:
            time.sleep(tick)
            clear(self.folder)
            with suppress(OSError, ValueError):
                self.step(tick)

    def step(self, tick: float) -> None:
        if self.first and self.peers and time.monotonic() > self.compared + (self.seconds or UNLIMITED) / PACE:
            self.compare()
        if not self.seconds:
            return
        if not self.child.pid:
            self.moved = time.monotonic()
        elif self.quiet() > tick:
            self.count()
        if self.quiet() < self.seconds:
            self.reported = False
        elif self.first and not self.reported and self.all_quiet():
            self.reported = True
            self.report()

    def count(self) -> None:
        """How many collectives were entered: asked for only where nothing is written."""
        with one_asks(self.folder) as top:
            said = traces(self.folder, below(top))
        entered = sum(group.entered for one in said.values() for group in groups_of(one).values())
        if entered != self.entered:
            self.entered, self.moved = entered, time.monotonic()

    def ask(self, peer: Peer, what: str) -> dict[str, Any]:
        with peer.channel() as channel:
            channel.sock.settimeout(ASK_TIMEOUT)
            channel.send({"ask": what})
            return channel.receive()

    def all_quiet(self) -> bool:
        """One that cannot be asked makes no progress that anybody knows of."""
        for peer in self.peers:
            with suppress(*ERRORS):
                seconds = self.ask(peer, "quiet").get("seconds")
                if isinstance(seconds, (int, float)) and seconds < self.seconds:
                    return False
        return True

    def given(self, own: dict[str, Any], what: str) -> list[dict[str, Any]]:
        """What all ranks tell."""
        given = [own]
        for peer in self.peers:
            try:
                given.append(self.ask(peer, what))
            except ERRORS as error:
                given.append({"why": f"its launcher does not answer: {error}", "host": peer.host})
        return [{"host": one.get("host"), "record": one} for one in given]

    def compare(self) -> None:
        """Who is slow twice in a row is told of, once."""
        pace = pace_of(self.given(self.recorded(), "pace"))
        self.compared = time.monotonic()
        slow = frozenset(worker.rank for worker in pace.slow) if pace else frozenset[int]()
        again, self.slow = bool(slow) and slow == self.slow, slow
        if pace and again and slow != self.told:
            say(words(pace))
        self.told = slow if again else self.told & slow
        if self.own:
            found = {**pace.shown(), "sentence": words(pace)} if pace and again else {"sentence": ""}
            write_whole(os.path.join(self.own, PACE_FILE), {"schema": 1, "time": time.time(), **found})

    def sentence(self) -> str:
        """Which rank hangs, as far as the ranks tell."""
        return judge(self.given(self.record(), "stacks")).sentence

    def report(self) -> None:
        told = self.given(self.record(), "stacks")
        verdict = judge(told)
        minutes = f"{self.seconds / 60:g} minute{'' if self.seconds == 60 else 's'}"
        message = f"no rank has written anything or entered a collective for {minutes}: {verdict.sentence}"
        say(message)
        if self.child.log:
            self.child.log.write(1, f"[launcher] {message}\n".encode())
        self.keep({"schema": 1, "time": time.time(), **verdict.shown(), "given": told})

    def keep(self, found: dict[str, Any]) -> None:
        if not self.results:
            return
        os.makedirs(self.results, exist_ok=True)
        path = os.path.join(self.results, time.strftime("%Y%m%dT%H%M%SZ.json", time.gmtime()))
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(found, file)
        os.rename(path + ".new", path)
        for name in sorted(name for name in os.listdir(self.results) if name.endswith(".json"))[:-KEPT]:
            os.unlink(os.path.join(self.results, name))
