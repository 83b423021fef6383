"""Puts values in the place of ${VARIABLE}, as docker does: after cli/compose/template and cli/compose/loader/interpolate.go of docker/cli.

Also where docker surprises: a default ends at the next }, with braces or without, so that $NAME-x is NAME or else x.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ...masking import is_secret_name, mask
from . import values
from .shapes import ComposeError

WORD = r"[A-Za-z_][A-Za-z0-9_]*"
VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)"
    rf"|(?P<plain>{WORD}(?::?[-?][^}}]*)?)"
    rf"|\{{(?P<braced>{WORD}(?::?[-?][^}}]*)?)\}}"
    # Not docker's, whose newest version refuses it.
    rf"|\{{(?P<instead>{WORD})(?P<op>:?)\+(?P<word>[^}}]*)\}}"
    r"|(?P<bad>))",
)
# The paths whose values have a type. A variable's value is text, and becomes that.
_SERVICE: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(
        (
            "configs.[].mode",
            "secrets.[].mode",
            "healthcheck.retries",
            "deploy.replicas",
            "deploy.update_config.parallelism",
            "deploy.rollback_config.parallelism",
            "deploy.restart_policy.max_attempts",
            "deploy.placement.max_replicas_per_node",
            "ports.[].target",
            "ports.[].published",
            "ulimits.*",
            "ulimits.*.hard",
            "ulimits.*.soft",
            "oom_score_adj",
        ),
        values.integer,
    ),
    **dict.fromkeys(
        (
            "healthcheck.disable",
            "privileged",
            "read_only",
            "stdin_open",
            "tty",
            "volumes.[].read_only",
            "volumes.[].volume.nocopy",
        ),
        values.boolean,
    ),
    **dict.fromkeys(
        ("deploy.update_config.max_failure_ratio", "deploy.rollback_config.max_failure_ratio"), values.number
    ),
}
CASTS: dict[tuple[str, ...], Callable[[str], Any]] = {
    **{("services", "*", *path.split(".")): cast for path, cast in _SERVICE.items()},
    **{(section, "*", "external"): values.boolean for section in ("networks", "volumes", "secrets", "configs")},
    **{("networks", "*", key): values.boolean for key in ("internal", "attachable")},
}


def interpolate(
    value: Any, environment: Mapping[str, str], warnings: list[str], path: tuple[str, ...] = (), private: bool = False
) -> Any:
    """Replace variables as `docker stack deploy` does. Done here, so that a changed value is a changed definition.

    `private`: it is a secret by its name. What is called a variable there may be a part of a password.
    """
    if isinstance(value, dict):
        names_of_things = path in (("services",), ("networks",), ("volumes",), ("configs",))
        return {
            # A program's text is full of dollars that are its own.
            name: item if name in ("content", "content_base64") and path[:-1] in (("configs",), ("secrets",))
            else interpolate(item, environment, warnings, (*path, str(name)),
                             private or (is_secret_name(str(name)) and not names_of_things))
            for name, item in value.items()
        }  # fmt: skip
    if isinstance(value, list):
        return [
            interpolate(item, environment, warnings, (*path, str(number)), private or masked != item)
            for number, (item, masked) in enumerate(zip(value, mask(value)))
        ]
    if not isinstance(value, str) or "$" not in value:
        return value
    text = _Replacer(environment, warnings, ".".join(path), private or mask(value) != value).replace(value)
    return _cast(text, path) if text != value else value


def _cast(text: str, path: tuple[str, ...]) -> Any:
    for pattern, cast in CASTS.items():
        if len(pattern) == len(path) and all(
            part == "*" or part == given or (part == "[]" and given.isdigit()) for part, given in zip(pattern, path)
        ):
            try:
                return cast(text)
            except ValueError as error:
                raise ComposeError(f"{'.'.join(path)}: what its variables make {error}") from error
    return text


class _Replacer:
    def __init__(self, environment: Mapping[str, str], warnings: list[str], where: str, private: bool) -> None:
        self.environment = environment
        self.warnings = warnings
        self.where = where
        self.private = private

    def replace(self, text: str) -> str:
        return VARIABLE.sub(self._one, text)

    def _one(self, match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        if match["instead"]:
            found = self.environment.get(match["instead"])
            return "" if found is None or (match["op"] and not found) else match["word"]
        variable = match["plain"] or match["braced"]
        if not variable:
            raise ComposeError(f"{self.where}: the value is no valid interpolation: write $$ for a dollar sign")
        # In docker's order: a dash in what ? would say makes it a default.
        for sign in (":-", "-"):
            if sign in variable:
                name, _sign, default = variable.partition(sign)
                found = self.environment.get(name)
                return default if found is None or (sign == ":-" and not found) else found
        for sign in (":?", "?"):
            if sign in variable:
                name, _sign, why = variable.partition(sign)
                found = self.environment.get(name)
                if found is None or (sign == ":?" and not found):
                    raise self._required(name, why)
                return found
        found = self.environment.get(variable)
        if found is None:
            self.warnings.append(
                f"{self.where}: the variable{self._shown(variable)} is not set on the target, it became empty; write $$ for "
                "a dollar sign"
            )
        return found or ""

    def _shown(self, name: str) -> str:
        return "" if self.private else f" {name}"

    def _required(self, name: str, why: str) -> ComposeError:
        reason = "it is not set on the target" if self.private or not why else why
        return ComposeError(f"{self.where}: the variable{self._shown(name)} is required: {reason}")


def escape(value: Any) -> Any:
    """Protect a resolved definition from the CLI's own interpolation."""
    if isinstance(value, dict):
        return {name: escape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [escape(item) for item in value]
    return value.replace("$", "$$") if isinstance(value, str) else value
