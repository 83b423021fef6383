"""What a rank has found out so far, and the report that it becomes."""

from __future__ import annotations

import threading
import time
from typing import Any

from .contract import PROBED_LAYERS
from .settings import Settings

SCHEMA = 1


class Report:
    """Collects records from several threads. A layer that nobody wrote about is 'not reached', never passed."""

    def __init__(self, settings: Settings) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self.settings = settings
        self.started = time.monotonic()
        self.records: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}

    def add(
        self,
        layer: int,
        check: str,
        ok: bool | None,
        observed: Any = None,
        expected: Any = None,
        detail: str = "",
        peer: int | None = None,
        seconds: float = 0.0,
        code: str | None = None,
        value: str | None = None,
        device: int | None = None,
    ) -> bool:
        """`observed`, `expected` and `detail` are for people; `code` (contract.py) and `value`, a setting, for the remedy.

        `device` is the GPU's number in the task, where there are several and it is about one.
        """
        record = {
            "layer": layer,
            "name": check,
            "rank": self.settings.rank,
            "peer": peer,
            "ok": ok,
            "observed": observed,
            "expected": expected,
            "detail": detail,
            "seconds": round(seconds, 4),
            "code": code,
            "value": value,
        }
        if device is not None:
            record["device"] = device
        with self._lock:
            if not self._closed:
                self.records.append(record)
        return bool(ok)

    def note(self, **facts: Any) -> None:
        with self._lock:
            if not self._closed:
                self.facts.update(facts)

    def first_failure(self) -> int | None:
        with self._lock:
            failed = [record["layer"] for record in self.records if record["ok"] is False]
        return min(failed) if failed else None

    def close(self, why_not_reached: str) -> dict[str, Any]:
        with self._lock:
            self._closed = True
            seen = {record["layer"] for record in self.records}
            for layer in PROBED_LAYERS:
                if layer not in seen:
                    self.records.append(
                        {
                            "layer": layer,
                            "name": "not reached",
                            "rank": self.settings.rank,
                            "peer": None,
                            "ok": None,
                            "observed": None,
                            "expected": None,
                            "detail": f"not reached: {why_not_reached}",
                            "seconds": 0.0,
                            "code": None,
                            "value": None,
                        }
                    )
            self.records.sort(key=lambda record: record["layer"])
            return {
                "schema": SCHEMA,
                "rank": self.settings.rank,
                "world_size": self.settings.world_size,
                "host": self.settings.host,
                "run_id": self.settings.run_id,
                "peers": self.settings.peers,
                **self.facts,
                "seconds": round(time.monotonic() - self.started, 3),
                "records": list(self.records),
            }
