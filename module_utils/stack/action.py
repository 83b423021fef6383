"""What a module does about a stack: a record for programs, and its sentence for people."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Action:
    """`parts` are the keys of the definition for which it is done."""

    verb: str
    kind: str
    name: str = ""
    note: str = ""
    why: str = ""
    parts: list[str] = field(default_factory=list)

    @property
    def what(self) -> str:
        return f"{self.kind} {self.name}".strip()

    @property
    def sentence(self) -> str:
        said = f"{self.verb} {self.what} {self.note}".strip()
        return f"{said}: {self.why}" if self.why else said

    @property
    def record(self) -> dict[str, Any]:
        return {"verb": self.verb, "kind": self.kind, "name": self.name, "parts": self.parts}


def told(actions: list[Action]) -> dict[str, Any]:
    """What a module returns of its actions."""
    return {
        "actions": [action.sentence for action in actions],
        "changes": [action.record for action in actions],
        "changed": bool(actions),
    }
