"""The probe without its processes, and a clock that moves only when somebody waits."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Self

import ddp_probe.main
import pytest
from ddp_probe.settings import Settings
from ddp_probe.state import State
from probe_files import files_of

Json = dict[str, Any]


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic

    def time(self) -> float:
        return self.now + 5000

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Instead:
    """A module, some names of which are others."""

    def __init__(self, real: ModuleType, **names: Any) -> None:
        self.__dict__.update(names, real=real)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class Wire:
    """Stands in for a connected socket: it gives these blocks, then closes."""

    def __init__(self, *blocks: bytes | Exception) -> None:
        self.blocks = list(blocks)
        self.asked: list[int] = []
        self.sent = b""
        self.options: list[tuple[int, int, int]] = []
        self.timeouts: list[float] = []
        self.closed = False

    def recv(self, size: int) -> bytes:
        self.asked.append(size)
        block = self.blocks.pop(0) if self.blocks else b""
        if isinstance(block, Exception):
            raise block
        assert len(block) <= size
        return block

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def settimeout(self, seconds: float) -> None:
        self.timeouts.append(seconds)

    def setsockopt(self, *option: int) -> None:
        self.options.append(option)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True


def alone(size: int = 3, rank: int = 0, **env: str) -> Any:
    """A rank that has not begun: its peers are node0, node1, ..."""
    names = ",".join(f"node{number}" for number in range(size))
    return State(Settings({"PROBE_PEERS": names, "PROBE_RANK": str(rank), "PROBE_HOST": f"host{rank + 1}", **env}))


def everywhere(monkeypatch: pytest.MonkeyPatch, name: str, value: Any) -> None:
    """Puts something in the place of a module, in each file of the probe that uses it."""
    users = [module for module in files_of(ddp_probe) if hasattr(module, name)]
    assert users
    for module in users:
        monkeypatch.setattr(module, name, value)


def record(layer: int, name: str, ok: bool | None, observed: Any = None, expected: Any = None, **more: Any) -> Json:
    """A record as rank 0 makes it, unless `more` says otherwise."""
    common = {"rank": 0, "peer": None, "detail": "", "seconds": 0.0, "code": None, "value": None}
    return {"layer": layer, "name": name, "ok": ok, "observed": observed, "expected": expected, **common, **more}
