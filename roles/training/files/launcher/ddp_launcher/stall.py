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
from .peers import ERRORS, MORE, Peer
from .stacks import below, clear, look, one_asks, traces
from .verdict import groups_of, judge

ASK_TIMEOUT = 60.0
KEPT = 4  # of what was found, in the volume


class Watch:
    """One on each rank. Rank 0 has `peers`, asks them, and judges."""

    def __init__(
        self, folder: str, seconds: float, child: Child, peers: Sequence[Peer], first: bool, results: str
    ) -> None:
        self.folder, self.seconds, self.child, self.peers, self.first = folder, seconds, child, peers, first
        self.results = os.path.join(results, OWN, "stalls") if results else ""
        self.entered, self.moved, self.reported = -1, time.monotonic(), False
        MORE.update(quiet=lambda: {"seconds": self.quiet()}, stacks=self.record)
        threading.Thread(target=self.watch, daemon=True).start()

    def quiet(self) -> float:
        """Seconds since this rank made progress."""
        return time.monotonic() - max(self.moved, self.child.output.time)

    def record(self) -> dict[str, Any]:
        try:
            return look(self.folder)
        except (OSError, ValueError) as error:
            return {"why": f"it cannot be asked: {error}"}

    def watch(self) -> None:
        tick = min(30.0, max(0.5, (self.seconds or 240) / 8))
        while True:
            time.sleep(tick)
            clear(self.folder)
            if not self.seconds:
                continue
            with suppress(OSError, ValueError):
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

    def report(self) -> None:
        given = [self.record()]
        for peer in self.peers:
            try:
                given.append(self.ask(peer, "stacks"))
            except ERRORS as error:
                given.append({"why": f"its launcher does not answer: {error}", "host": peer.host})
        told = [{"host": one.get("host"), "record": one} for one in given]
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
