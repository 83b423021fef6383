"""Two definitions beside each other, for people and for decisions."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from ..masking import mask

# One numbering for all that is hidden in a result, so that what was and what will be can be compared.
_HIDDEN: dict[str, int] = {}


def without_empty(value: Any) -> Any:
    """Engines differ in whether they write an empty field or leave it out."""
    if isinstance(value, dict):
        cleaned = {key: without_empty(item) for key, item in value.items()}
        return {key: item for key, item in cleaned.items() if item not in (None, {}, [])}
    if isinstance(value, list):
        return [without_empty(item) for item in value]
    return value


def _by_key(value: Any, path: str) -> dict[Any, Any] | None:
    """A mapping as it is, a list by position, the engine's list of environment variables by name."""
    if isinstance(value, list):
        if path.rpartition(".")[2] == "Env":
            return dict(item.partition("=")[::2] for item in value)
        return dict(enumerate(value))
    return value if isinstance(value, dict) else None


def pick(value: Any, paths: list[str], path: str = "") -> dict[str, Any]:
    """What is at those paths that `differences` found."""
    if path in paths:
        return {path: value}
    found: dict[str, Any] = {}
    for key, item in (_by_key(value, path) or {}).items():
        found.update(pick(item, paths, f"{path}.{key}" if path else str(key)))
    return found


def differences(before: Any, after: Any, path: str = "") -> list[str]:
    """The paths at which two structures differ; what only one of them has counts once, however much is in it."""
    old, new = _by_key(before, path), _by_key(after, path)
    if path and (not old or not new or isinstance(before, list) != isinstance(after, list)):
        return [path] if before != after else []
    old, new = old or {}, new or {}
    found: list[str] = []
    for key in sorted({*old, *new}, key=str):
        below = f"{path}.{key}" if path else str(key)
        found += differences(old[key], new[key], below) if key in old and key in new else [below]
    return found


def shorten(paths: list[str], limit: int = 6) -> str:
    """In a few words. Of a list that differs at several places its name says enough: command, and not command.0, command.1 and so on."""
    lists = Counter(path.rpartition(".")[0] for path in paths if path.rpartition(".")[2].isdigit())
    many = {name for name, places in lists.items() if name and places > 1}
    paths = list(dict.fromkeys(path.rpartition(".")[0] if path.rpartition(".")[0] in many else path for path in paths))
    shown = ", ".join(paths[:limit])
    return shown if len(paths) <= limit else f"{shown} and {len(paths) - limit} more"


def readable(value: Any, indent: str = "") -> str:
    """YAML for people, without PyYAML."""
    if isinstance(value, dict) and value:
        lines = []
        for key in sorted(value, key=str):
            item = value[key]
            if isinstance(item, (dict, list)) and item:
                lines.append(f"{indent}{key}:\n{readable(item, indent + '  ')}")
            else:
                lines.append(f"{indent}{key}: {_readable_scalar(item)}\n")
        return "".join(lines)
    if isinstance(value, list) and value:
        lines = []
        for item in value:
            if isinstance(item, (dict, list)) and item:
                lines.append(f"{indent}- {readable(item, indent + '  ')[len(indent) + 2 :]}")
            else:
                lines.append(f"{indent}- {_readable_scalar(item)}\n")
        return "".join(lines)
    return f"{indent}{_readable_scalar(value)}\n"


def _readable_scalar(value: Any) -> str:
    plain = isinstance(value, str) and re.fullmatch(r"[\w./@+(-][\w./@+ =:,()-]*", value) and ": " not in value
    return str(value) if plain else json.dumps(value)


def shown_definition(definition: dict[str, Any]) -> Any:
    """A definition without what its names make a secret, as in the differences."""
    return mask(definition, _HIDDEN)


def make_diff(title: str, before: Any, after: Any) -> dict[str, str]:
    return {
        "before_header": title,
        "after_header": title,
        "before": readable(mask(before, _HIDDEN)) if before else "",
        "after": readable(mask(after, _HIDDEN)) if after else "",
    }
