"""Reads compose definitions from files and texts."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ...masking import secrets_of
from .files import read_text
from .shapes import ComposeError, Definition, _kind_of, check_shapes

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
        elif is_path(source) and not source.strip():
            raise ComposeError("an entry of compose is empty: write a mapping, or the path of a file on the target")
        elif is_path(source):
            path = os.path.abspath(os.path.expanduser(source))
            part = read_file(path)
            directory = directory or os.path.dirname(path)
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
    text = read_text(path, f"cannot read the compose file {path} on the target", yaml=True)
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _once(path, pairs), parse_constant=_no_number)
    except ValueError:
        pass
    except RecursionError as error:
        raise ComposeError(f"{path} is nested too deeply") from error
    try:
        from .yaml_file import first_document
    except ImportError as error:
        raise ComposeError(
            f"{path} is YAML, and the target has no PyYAML to read it: install python3-yaml there, write the file as JSON, "
            "or give the definition as a mapping (for a file on the controller: "
            "compose: \"{{ lookup('file', 'stack.yml') | from_yaml }}\")"
        ) from error
    try:
        return first_document(text)
    except RecursionError:
        raise ComposeError(f"{path} is nested too deeply, or an anchor in it holds itself") from None
    except Exception as error:  # noqa: BLE001 - PyYAML lets through what a value of the wrong kind makes Python raise
        # Not in PyYAML's words alone: it quotes the line, whose secrets are not known before it is read.
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "a value is not of its kind"
        problem = re.sub(r"\b(alias|anchor|tag|handle) .*", r"\1", str(problem), flags=re.DOTALL)
        problem += ": PyYAML takes no tabs, write blanks" if "'\\t'" in problem else ""
        raise ComposeError(f"{path} is not valid YAML: {problem}{where}") from None


def _no_number(word: str) -> Any:
    """NaN and Infinity are no JSON. To docker they are texts."""
    raise ValueError(word)


def _once(path: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ComposeError(f"{path}: a mapping has the same key twice")
    return found
