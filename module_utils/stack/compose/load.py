"""Reads compose definitions from files and texts, and merges them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ...masking import secrets_of
from .merge import merge
from .shapes import ComposeError, Definition, _kind_of, check_shapes

KeepSecret = Callable[[Iterable[str]], None]


def _keep_nothing(_texts: Iterable[str]) -> None:
    """For who shows nothing of a definition."""


def is_path(source: Any) -> bool:
    """A text that is a whole definition is not; it may hold secrets, and is never shown."""
    return isinstance(source, str) and not re.search(r"[\n{}]|:\s", source)


def load(sources: list[Any], keep_secret: KeepSecret = _keep_nothing) -> tuple[Definition, str | None]:
    """Merge all entries in order. The directory of the first file is what relative paths refer to.

    `keep_secret` gets the texts of the secrets of each entry before anything is said about it.
    """
    merged: Definition = {}
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
        except (TypeError, ValueError) as error:
            raise ComposeError(f"compose holds what JSON cannot express: {error}") from error
        keep_secret(secrets_of(part))
        merged = merge(merged, part)
    check_shapes(merged)
    return merged, directory


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
        """To docker, 22:22 and 2025-01-01 are texts. YAML 1.1 makes a number and a date of them."""

        def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
            tag = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call,unused-ignore]
            number_with_colon = tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float") and ":" in value
            return "tag:yaml.org,2002:str" if number_with_colon or tag == "tag:yaml.org,2002:timestamp" else tag

    try:
        return yaml.load(text, Loader)
    except Exception as error:  # noqa: BLE001 - PyYAML lets through what a value of the wrong kind makes Python raise
        # Not in PyYAML's words alone: it quotes the line, whose secrets are not known before it is read.
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "a value is not of its kind"
        problem = re.sub(r"\b(alias|anchor|tag|handle) .*", r"\1", str(problem), flags=re.DOTALL)
        raise ComposeError(f"{path} is not valid YAML: {problem}{where}") from None
