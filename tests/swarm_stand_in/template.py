"""The few Go templates that this project gives to `docker --format`. What docker refuses is refused in its words."""

from __future__ import annotations

import json
import re
from typing import Any


class TemplateError(Exception):
    """What docker says of a template."""


class NotPlayed(BaseException):
    """Docker knows this, the stand-in does not, and its guess must not pass for an answer. No `except` shall swallow it."""


class Row(dict[str, Any]):
    """One line of a listing: its fields, the Go type that an error names, and labels for `{{.Label "x"}}`."""

    def __init__(self, go_type: str, fields: dict[str, Any], labels: dict[str, str] | None = None) -> None:
        super().__init__(fields)
        self.go_type = go_type
        self.labels = labels or {}


ACTION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
FIELD = re.compile(r"\.(?:\w+(?:\.\w+)*)?")


def render(template: str, value: Any) -> str:
    """One row, without the newline that docker adds."""
    parts = ACTION.split(template)
    if "{{" in "".join(parts[::2]):
        raise TemplateError("template parsing error: template: :1: unclosed action")
    text, rest = _render(parts, value)
    if rest:
        raise TemplateError("template parsing error: template: :1: unexpected {{end}}")
    return text


def _render(parts: list[str], value: Any) -> tuple[str, list[str]]:
    """Up to the end of the text or to the `end` of a range; returns what stands after that."""
    out = parts[0]
    index = 1
    while index < len(parts):
        action = parts[index].strip()
        if action == "end":
            return out, parts[index + 1 :]
        if action.startswith("range "):
            items = _look_up(action[6:].strip(), value) or []
            rest: list[str] = []
            for item in [*(items.values() if isinstance(items, dict) else items), None]:
                text, rest = _render(parts[index + 1 :], _ANYTHING if item is None else item)
                out += "" if item is None else text
            parts, index = rest, 1
            out += parts[0] if parts else ""
            continue
        out += _evaluate(action, value) + parts[index + 1]
        index += 2
    return out, []


class _Anything(dict[str, Any]):
    """Walks a range of nothing once, to find its end."""


_ANYTHING = _Anything()


def _evaluate(action: str, value: Any) -> str:
    words = re.findall(r'"[^"]*"|\S+', action)
    if words[0] == "json" and len(words) == 2:
        found = _look_up(words[1], value)
        return json.dumps(found, separators=(",", ":"), sort_keys=isinstance(found, Row))
    if words[0] == "index" and len(words) == 3:
        return _text((_look_up(words[1], value) or {}).get(json.loads(words[2]), ""))
    if words[0] == ".Label" and len(words) == 2 and isinstance(value, Row):
        return value.labels.get(json.loads(words[1]), "")
    if len(words) == 1:
        return _text(_look_up(words[0], value))
    raise NotPlayed(f"the stand-in does not know the template {{{{{action}}}}}")


def _look_up(path: str, value: Any) -> Any:
    if not FIELD.fullmatch(path):
        raise NotPlayed(f"the stand-in does not know the template's word {path}")
    for name in path[1:].split(".") if path != "." else []:
        if isinstance(value, _Anything):
            return value
        if isinstance(value, Row) and name not in value:
            raise TemplateError(
                f'template parsing error: template: :1:2: executing "" at <{path}>: '
                f"can't evaluate field {name} in type {value.go_type}"
            )
        if not isinstance(value, dict) or name not in value:
            raise TemplateError(
                f'template parsing error: template: :1:2: executing "" at <{path}>: map has no entry for key "{name}"'
            )
        value = value[name]
    return value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_text(value[key])}" for key in sorted(value)) + "]"
    return "<no value>" if value is None else str(value)
