"""Filter: which of the secrets that a user wrote down are none. Their values are in no message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SOURCES = {"content", "file", "external"}


def malformed_secrets(secrets: Any) -> list[str]:
    """Names whose value is not a mapping with exactly one of content, file and external."""
    if not isinstance(secrets, Mapping):
        return []
    return [
        str(name)
        for name, secret in secrets.items()
        if not isinstance(secret, Mapping) or len(SOURCES & {key for key in secret if secret[key] is not False}) != 1
    ]


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"malformed_secrets": malformed_secrets}
