"""Merges compose definitions as docker does: mappings by key, lists by what an item is about."""

from __future__ import annotations

import json
import re
from typing import Any

NAMED_LISTS = frozenset(["environment", "labels", "sysctls"])
REPLACED_LISTS = frozenset(["command", "entrypoint", "test"])
IP_OF_PORT = re.compile(r"(?!0\.0\.0\.0:)(\d+\.){3}\d+:|\[")


def merge(base: Any, extra: Any, key: str = "") -> Any:
    """Deep merge: mappings by key, lists by what their items are about, everything else replaced."""
    if key in NAMED_LISTS:
        base, extra = as_mapping(base), as_mapping(extra)
    if isinstance(base, dict) and isinstance(extra, dict):
        merged = dict(base)
        for name, value in extra.items():
            merged[name] = merge(base[name], value, name) if name in base else value
        return merged
    if isinstance(base, list) and isinstance(extra, list) and key not in REPLACED_LISTS:
        replaced = {_about(item, key) for item in extra}
        return [item for item in base if _about(item, key) not in replaced] + extra
    return extra


def _about(item: Any, key: str) -> str:
    """What makes two list items the same thing: a mount its target, a config its source, all else its whole value."""
    if key == "volumes":
        if isinstance(item, dict):
            return str(item.get("target"))
        parts = str(item).split(":")
        return parts[1] if len(parts) > 1 else parts[0]
    if key in ("configs", "secrets"):
        return str(item.get("source")) if isinstance(item, dict) else str(item)
    return json.dumps(item, sort_keys=True)


def as_mapping(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    mapping: dict[str, Any] = {}
    for item in value:
        name, sign, text = str(item).partition("=")
        mapping[name] = text if sign else None
    return mapping
