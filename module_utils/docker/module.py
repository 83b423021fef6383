"""A module that calls the docker command. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..reporting import ReportingModule
from .cli import CONNECTION_ARGUMENTS, CONNECTION_MUTUALLY_EXCLUSIVE, DockerCli


class DockerModule(ReportingModule):
    """It has the options of the documentation fragment docker_cli beside its own, and `docker`, which calls the command by them."""

    def __init__(
        self, argument_spec: dict[str, Any], mutually_exclusive: Iterable[tuple[str, ...]] = (), **options: Any
    ) -> None:
        super().__init__(
            argument_spec={**CONNECTION_ARGUMENTS, **argument_spec},
            mutually_exclusive=[*CONNECTION_MUTUALLY_EXCLUSIVE, *mutually_exclusive],
            **options,
        )
        self.docker = DockerCli(self)
