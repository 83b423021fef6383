"""Puts values in the place of ${VARIABLE}, as docker does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...masking import is_secret_name, mask
from .shapes import ComposeError

VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?:(?P<op>:?[-?+])(?P<word>[^}]*))?\}|(?P<bad>))",
    re.ASCII,
)


def interpolate(
    value: Any, environment: Mapping[str, str], warnings: list[str], where: str = "", private: bool = False
) -> Any:
    """Replace $NAME as `docker stack deploy` does. Done here, so that a changed value is a changed definition.

    `private`: it is a secret by its name. What is called a variable there may be a part of a password.
    """
    if isinstance(value, dict):
        names_of_things = where in ("services", "networks", "volumes", "configs")
        return {
            # A program's text is full of dollars that are its own.
            name: item if name in ("content", "content_base64") and where.startswith(("configs.", "secrets."))
            else interpolate(item, environment, warnings, f"{where}.{name}" if where else str(name),
                             private or (is_secret_name(str(name)) and not names_of_things))
            for name, item in value.items()
        }  # fmt: skip
    if isinstance(value, list):
        return [
            interpolate(item, environment, warnings, f"{where}.{number}", private or masked != item)
            for number, (item, masked) in enumerate(zip(value, mask(value)))
        ]
    if not isinstance(value, str) or "$" not in value:
        return value

    private = private or mask(value) != value

    def replace(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        name = match["name"] or match["braced"]
        if not name:
            raise ComposeError(f"{where}: the value is no valid interpolation: write $$ for a dollar sign")
        found = environment.get(name)
        operator, word = match["op"] or "", match["word"] or ""
        missing = found is None or (operator.startswith(":") and not found)
        if operator.endswith("+"):
            return "" if missing else word
        if not missing:
            return str(found)
        if operator.endswith("-"):
            return word
        if operator.endswith("?"):
            why = "it is not set on the target" if private or not word else word
            raise ComposeError(f"{where}: the variable{'' if private else f' {name}'} is required: {why}")
        warnings.append(
            f"{where}: the variable{'' if private else f' {name}'} is not set on the target, it became empty; write $$ for a "
            "dollar sign"
        )
        return ""

    return VARIABLE.sub(replace, value)


def escape(value: Any) -> Any:
    """Protect a resolved definition from the CLI's own interpolation."""
    if isinstance(value, dict):
        return {name: escape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [escape(item) for item in value]
    return value.replace("$", "$$") if isinstance(value, str) else value
