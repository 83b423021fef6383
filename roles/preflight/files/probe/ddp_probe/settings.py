"""What the stack tells a rank."""

from __future__ import annotations

import ipaddress
import socket


class Settings:
    """What the stack's environment says; anything that cannot be read is reported, not raised."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self.problems: list[str] = []
        self.peers = [name.strip() for name in env.get("PROBE_PEERS", "").split(",") if name.strip()]
        self.rank = int(self._number("PROBE_RANK", 0))
        self.world_size = int(self._number("PROBE_WORLD_SIZE", len(self.peers) or 1))
        self.master_port = int(self._number("PROBE_MASTER_PORT", 12355))
        self.port = int(self._number("PROBE_PORT", 12356))
        self.timeout = self._number("PROBE_TIMEOUT", 60)
        # Tasks of one stack start seconds apart on slow machines; less than half of the time goes into waiting.
        self.appear_timeout = self._number("PROBE_APPEAR_TIMEOUT", 0.45 * self.timeout)
        self.group_timeout = self._number("PROBE_GROUP_TIMEOUT", 30)
        # In place of GPUs, for a test of ranks that have several: so many children form the group over gloo.
        self.stand_ins = int(self._number("PROBE_STAND_INS", 1))
        self.backend = env.get("PROBE_BACKEND", "auto") or "auto"
        self.files = env.get("PROBE_FILES", ".") or "."
        self.host = env.get("PROBE_HOST") or socket.gethostname()
        self.run_id = env.get("PROBE_RUN_ID", "")
        self.subnet: ipaddress.IPv4Network | None = None
        text = env.get("PROBE_SUBNET", "")
        if text:
            try:
                self.subnet = ipaddress.IPv4Network(text, strict=False)
            except ValueError as error:
                self.problems.append(f"PROBE_SUBNET: {error}")
        if not self.peers:
            self.peers = [socket.gethostname()]
        if len(self.peers) != self.world_size:
            self.problems.append(f"PROBE_PEERS names {len(self.peers)} ranks, PROBE_WORLD_SIZE says {self.world_size}")
        if not 0 <= self.rank < len(self.peers):
            self.problems.append(f"PROBE_RANK {self.rank} is not a rank of {len(self.peers)}")
        if self.backend not in ("auto", "nccl", "gloo"):
            self.problems.append(f"PROBE_BACKEND is {self.backend}, not auto, nccl or gloo")

    def _number(self, name: str, default: float) -> float:
        try:
            return float(self.env.get(name) or default)
        except ValueError:
            self.problems.append(f"{name} is not a number: {self.env.get(name)}")
            return default

    def others(self) -> list[int]:
        """The other ranks, starting after the own one, so that not all of them begin with rank 0."""
        size = len(self.peers)
        return [(self.rank + step) % size for step in range(1, size)]
