"""Reads compose definitions from files and texts."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ...masking import secrets_of
from .shapes import ComposeError, Definition, _kind_of, check_shapes
from .values import plain_scalar

# The tag of what is not quoted.
PLAIN = "tag:yaml.org,2002:plain"
KeepSecret = Callable[[Iterable[str]], None]


def _keep_nothing(_texts: Iterable[str]) -> None:
    """For who shows nothing of a definition."""


def is_path(source: Any) -> bool:
    """A text that is a whole definition is not; it may hold secrets, and is never shown."""
    return isinstance(source, str) and not re.search(r"[\n{}]|:\s", source)


def load(sources: list[Any], keep_secret: KeepSecret = _keep_nothing) -> tuple[list[Definition], str | None]:
    """All entries in order. The directory of the first file is what relative paths refer to.

    `keep_secret` gets the texts of the secrets of each entry before anything is said about it.
    """
    parts: list[Definition] = []
    directory = None
    for source in sources:
        if isinstance(source, Mapping):
            part: Any = source
        elif is_path(source):
            part = read_file(source)
            directory = directory or os.path.dirname(os.path.abspath(source))
        else:
            raise ComposeError(
                f"compose takes mappings and paths of files on the target; this entry is {_kind_of(source)}"
                + (": turn it into a mapping with the filter from_yaml" if isinstance(source, str) else "")
            )
        if not isinstance(part, Mapping):
            raise ComposeError(f"{source} does not hold a mapping")
        try:
            part = json.loads(json.dumps(part))
        except (TypeError, ValueError, RecursionError) as error:
            raise ComposeError(f"compose holds what JSON cannot express: {error}") from error
        keep_secret(secrets_of(part))
        check_shapes(part)
        parts.append(part)
    return parts, directory


def read_file(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ComposeError(f"cannot read the compose file {path} on the target: {error}") from error
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        import yaml  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise ComposeError(
            f"{path} is YAML, and the target has no PyYAML to read it: install python3-yaml there, write the file as JSON, "
            "or give the definition as a mapping (for a file on the controller: "
            "compose: \"{{ lookup('file', 'stack.yml') | from_yaml }}\")"
        ) from error

    class Loader(yaml.SafeLoader):  # type: ignore[misc,unused-ignore]
        """Docker reads by YAML 1.2, with some of 1.1: yes and 22:22 are texts, 0o440 and 0440 are octal."""

        def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
            plain = kind is yaml.ScalarNode and implicit[0] and value != "<<"
            return PLAIN if plain else super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call,unused-ignore]

    Loader.add_constructor(PLAIN, lambda _loader, node: plain_scalar(node.value))
    try:
        loader = Loader(text)
        # Docker reads the first document.
        return loader.get_data() if loader.check_data() else None  # type: ignore[no-untyped-call,unused-ignore]
    except Exception as error:  # noqa: BLE001 - PyYAML lets through what a value of the wrong kind makes Python raise
        # Not in PyYAML's words alone: it quotes the line, whose secrets are not known before it is read.
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "a value is not of its kind"
        problem = re.sub(r"\b(alias|anchor|tag|handle) .*", r"\1", str(problem), flags=re.DOTALL)
        raise ComposeError(f"{path} is not valid YAML: {problem}{where}") from None
