"""Jobs, watched until they end or somebody has seen enough. A look only asks: whoever leaves takes nothing from the job."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from .command import Usage
from .look import BUSY, EXIT, Look, Memory, look, outcome
from .screen import BARS, PLAIN_BARS, frame, span, swarm

PATIENCE = 30.0  # seconds, the longest pause between two looks that failed
SILENCE = 60.0  # seconds, after which it is told that nothing is new


def bars_for(console: Console) -> str:
    return BARS if console.encoding.lower().startswith("utf") else PLAIN_BARS


def document(command: str, at: str, jobs: list[dict[str, Any]], nodes: list[dict[str, Any]]) -> dict[str, Any]:
    """What a program reads of jobs. `schema` changes when a field is renamed or goes."""
    return {"schema": 1, "command": command, "at": at, "state": outcome(jobs), "jobs": jobs, "nodes": nodes}


def print_json(value: dict[str, Any], indent: int | None = None) -> None:
    print(json.dumps(value, indent=indent, sort_keys=False), flush=True)


class Unanswered(Exception):
    """Nobody tells of the swarm; the text says why."""


class Looker(threading.Thread):
    """Looks again and again, and puts what it sees into a queue, and what ends it."""

    def __init__(self, words: list[str], names: list[str], interval: float) -> None:
        super().__init__(daemon=True)
        self.words, self.names, self.interval = words, names, interval
        self.seen: queue.Queue[Look | Usage | Unanswered] = queue.Queue()
        self.over = threading.Event()

    def run(self) -> None:
        try:
            self.look_on()
        except Usage as error:
            self.seen.put(error)
        finally:
            # For whoever still waits; an error that nobody has foreseen is above it, whole.
            self.seen.put(Unanswered("There are no more looks at the swarm."))

    def look_on(self) -> None:
        failures = 0
        known = False
        while not self.over.is_set():
            # A job that is gone after it was there is no typing error.
            told = look(self.words, [] if known else self.names, self.over.is_set)
            if known and self.names:
                told.jobs = [job for job in told.jobs if job["name"] in self.names]
            known = known or not told.problem
            failures = failures + 1 if told.problem else 0
            self.seen.put(told)
            self.over.wait(min(PATIENCE, self.interval * 2**failures) if failures else self.interval)

    def end(self) -> None:
        self.over.set()
        self.join(timeout=5)


@dataclass
class Watched:
    """What is on the screen: the jobs, how old that is, and what hinders a newer look."""

    jobs: list[dict[str, Any]]
    at: str = ""
    heard: float = 0.0
    problem: str = ""
    nodes: list[dict[str, Any]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def note(self, now: float) -> str:
        if not self.at:
            return f"Asking the swarm ({span(now - self.began)}) ..."
        if self.problem:
            return f"No connection for {span(now - self.heard)}, trying again: {self.problem.splitlines()[0]}"
        return f"Seen {span(now - self.heard)} ago. Ctrl-C leaves, and the jobs go on."


def watch(console: Console, words: list[str], names: list[str], interval: float, as_json: bool) -> int:
    """Exit code: 0 where all jobs have ended well, 1 where one failed or nobody answers at first, 3 where they go on."""
    looker = Looker(words, names, interval)
    live = not as_json and console.is_terminal and not console.is_dumb_terminal
    looker.start()
    try:
        follow = on_screen if live else in_lines
        return follow(console, looker, as_json)
    except KeyboardInterrupt:
        if not as_json:
            console.print(
                "The jobs go on. 'ddp watch' shows them again, 'ddp stop' ends one.",
                highlight=False,
                markup=False,
            )
        return EXIT["running"]
    finally:
        looker.end()


def taken(looker: Looker, state: Watched, memory: Memory, timeout: float | None) -> bool:
    """Waits for a look, and takes it. What hinders the first one ends the watching."""
    try:
        told = looker.seen.get(timeout=timeout)
    except queue.Empty:
        return False
    if isinstance(told, Exception):
        raise told
    if told.problem:
        if not state.at:
            raise Unanswered(told.problem)
        state.problem = told.problem
        return True
    state.jobs, state.at, state.heard, state.problem = memory.take(told), told.at, time.monotonic(), ""
    state.nodes = told.nodes
    return True


def ended(state: Watched) -> bool:
    """Whether nothing of what is watched goes on. One job that has failed does not end the watching of another."""
    return bool(state.at) and not state.problem and not any(job["state"] in BUSY for job in state.jobs)


def on_screen(console: Console, looker: Looker, _as_json: bool) -> int:
    state, memory = Watched([]), Memory()

    def drawn() -> Text:
        width, height = console.size
        body = frame(state.jobs, width, height - 2, bars_for(console)) if state.at else []
        note = Text(state.note(time.monotonic()), style="red" if state.problem else "dim", no_wrap=True, end="")
        note.truncate(width, overflow="ellipsis")
        return Text("\n", no_wrap=True).join([*body, note])

    with Live(console=console, screen=True, auto_refresh=False, get_renderable=drawn) as live:
        while not ended(state):
            taken(looker, state, memory, 1.0)
            live.refresh()
    show(console, state.jobs)
    return EXIT[outcome(state.jobs)]


def show(console: Console, jobs: list[dict[str, Any]], nodes: list[dict[str, Any]] | None = None) -> None:
    """All of it, once, without a screen to fit."""
    for line in [*frame(jobs, console.width, None, bars_for(console)), *swarm(nodes or [])]:
        console.print(line, end="\n", highlight=False, soft_wrap=True)


def in_lines(console: Console, looker: Looker, as_json: bool) -> int:
    """Without a terminal: what is new since the last look, or a document for each look."""
    state, memory, said = Watched([]), Memory(), ""
    changed = told = time.monotonic()
    while not ended(state):
        taken(looker, state, memory, None)
        if as_json:
            if not state.problem:
                print_json(document("watch", state.at, state.jobs, state.nodes))
            continue
        lines = [line.plain for line in frame(state.jobs, max(console.width, 120), None, bars_for(console))]
        now = time.monotonic()
        text = state.note(now) if state.problem else "\n".join(lines)
        if text != said:
            print(text, flush=True)
            said, changed, told = text, now, now
        elif now >= told + SILENCE:
            print(f"Nothing new for {span(now - changed)}.", flush=True)
            told = now
    return EXIT[outcome(state.jobs)]


def follow_logs(
    looker: Looker, chosen: Callable[[str, int], bool], shown: Callable[[str, int, dict[str, Any]], None]
) -> int:
    """Shows the lines of the chosen ranks as they come, until the job ends."""
    state, memory = Watched([]), Memory()
    looker.start()
    try:
        while not ended(state):
            taken(looker, state, memory, None)
            for job, rank, line in memory.fresh if not state.problem else []:
                if chosen(job, rank):
                    shown(job, rank, line)
    except KeyboardInterrupt:
        return EXIT["running"]
    finally:
        looker.end()
    return EXIT[outcome(state.jobs)]
