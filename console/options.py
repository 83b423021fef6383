"""What every subcommand takes, added to each in one place."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from .command import Settings

Job = Annotated[str, typer.Argument(help="Name of the job (training_stack).", metavar="[JOB]", show_default=False)]
Jobs = Annotated[
    list[str] | None, typer.Argument(help="Names of jobs; none for all.", metavar="[JOB]...", show_default=False)
]

COMMON: dict[str, Any] = {
    "inventory": Annotated[
        list[str] | None,
        typer.Option("--inventory", "-i", metavar="PATH", help="Inventory. Default: $ANSIBLE_INVENTORY, else the project's inventory/, else the lab's."),
    ],
    "extra": Annotated[
        list[str] | None, typer.Option("--extra-vars", "-e", metavar="NAME=VALUE", help="A variable, as ansible-playbook takes it.")
    ],
    "limit": Annotated[str, typer.Option("--limit", "-l", metavar="HOSTS", help="Only these hosts.", show_default=False)],
    "check": Annotated[bool, typer.Option("--check", "-C", help="Show what would change, and change nothing.")],
    "verbose": Annotated[int, typer.Option("--verbose", "-v", count=True, help="Ansible's whole output.", show_default=False)],
    "json": Annotated[bool, typer.Option("--json", help="Write the result as JSON, for programs.")],
    "more": Annotated[
        list[str] | None, typer.Option("--ansible", metavar="OPTION", help="An option for ansible-playbook, such as --ansible=-K.")
    ],
}  # fmt: skip
DEFAULTS: dict[str, Any] = {"limit": "", "check": False, "verbose": 0, "json": False}


def with_settings(function: Callable[..., int]) -> Callable[..., None]:
    """The function as a subcommand: what is common comes to it as Settings, and what it returns is the exit code."""
    signature = inspect.signature(function, eval_str=True)
    own = list(signature.parameters.values())[1:]
    common = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=DEFAULTS.get(name), annotation=annotation)
        for name, annotation in COMMON.items()
    ]

    def command(**values: Any) -> None:
        given: dict[str, Any] = {name: values.pop(name) for name in COMMON}
        for name in ("inventory", "extra", "more"):
            given[name] = tuple(given[name] or ())
        settings = Settings(**given)
        raise typer.Exit(function(settings, **values))

    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + common
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    return command
