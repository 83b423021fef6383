"""What a rank knows, and where it is."""

from __future__ import annotations

import socket
import threading
from typing import Any

from .child import Child
from .listener import Listener
from .report import Report
from .settings import Settings


class Peer:
    """What is known about another rank. Written by its own thread, read by the others."""

    def __init__(self, rank: int, name: str) -> None:
        self.rank = rank
        self.name = name
        self.address: str | None = None
        self.reached = False
        self.bulk_ok = False
        self.hello: dict[str, Any] = {}
        self.pair: dict[str, Any] = {}
        self.clock: dict[str, Any] = {}


class State:
    """Of this rank: the checks write it, the listener tells the other ranks of it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.report = Report(settings)
        self.deadline = self.report.started + settings.timeout
        # The last seconds belong to printing.
        self.work_deadline = self.deadline - max(3.0, min(5.0, 0.1 * settings.timeout))
        self.appear_deadline = self.report.started + settings.appear_timeout
        self.peers = {rank: Peer(rank, settings.peers[rank]) for rank in settings.others()}
        self.child = Child()
        # Of a rank with several GPUs, the children of the others, in their order.
        self.more: list[Child] = []
        # Rank and device of each member of the process group.
        self.places = [(rank, 0) for rank in range(len(settings.peers))]
        self.listener: Listener | None = None
        self.master: socket.socket | None = None
        self.address: str | None = None
        self.mtu: int | None = None
        # The interfaces that training was told to use beside each other, where they are several.
        self.rails: list[str] = []
        self.stage = "starting"
        self.status = "busy"
        self.finished = threading.Event()
        self.blocked_by = ""

    def until(self, seconds: float) -> float:
        """So many seconds after the start, but not in those that belong to printing."""
        return min(self.work_deadline, self.report.started + seconds)

    def shown(self) -> dict[str, Any]:
        """What the other ranks are told."""
        shown = {"status": self.status, "stage": self.stage, "gpus": self.gpus(), "nccl": bool(self.nccl_version())}
        return shown if self.settings.stand_ins == 1 else {**shown, "stand_ins": self.settings.stand_ins}

    def children(self) -> list[Child]:
        return [self.child, *self.more]

    def start_more(self) -> None:
        """A child for each other GPU, early, since each imports torch."""
        gpus = self.gpus() if self.nccl_version() and self.settings.backend != "gloo" else 0
        self.more = [Child() for _ in range(1, gpus or self.settings.stand_ins)]
        for child in self.more:
            child.start()

    def gpus(self) -> int:
        return int(self.child.facts.get("gpus") or 0)

    def nccl_version(self) -> str | None:
        return self.child.facts.get("nccl")
