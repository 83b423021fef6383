"""Filters: which volumes of a host are a job's."""

from __future__ import annotations

from typing import Any

from ..module_utils.names import CHECK


def stack_volumes(lines: list[str], stack: str, sources: list[str]) -> list[str]:
    """The names of those that are.

    `lines` have a volume's name and, after a tab, its label com.docker.stack.namespace, as `docker volume ls` prints them. It is that of the
    stack which used the volume first: of the preflight's probes, as a rule. A volume that was restored by an earlier version of this project has no label: it counts if it is one of `sources`, the names of the stack's own
    volumes in its definition. One of a stack called STACK_x begins with STACK_ as well. A name that does not begin so is no stack's: a
    backup of it could take the place of another host's.
    """
    named = [line.split("\t", 1) if "\t" in line else [line, ""] for line in lines]
    unlabelled = {f"{stack}_{source}" for source in sources}
    return [
        name
        for name, owner in named
        if (owner in (stack, f"{stack}{CHECK}") and name.startswith(f"{stack}_")) or (not owner and name in unlabelled)
    ]


def job_volumes(lines: list[str], stack: str, sources: list[str]) -> list[str]:
    """The volumes of all jobs, in their order: of `stack`, of each whose check used them first, and others that are called like those of a job."""
    owners = [line.partition("\t")[2] for line in lines]
    checked = {owner[: -len(CHECK)] for owner in owners if owner.endswith(CHECK)}
    alike = {
        owner
        for line, owner in zip(lines, owners)
        if owner and line.partition("\t")[0] in {f"{owner}_{source}" for source in sources}
    }
    found = {name for job in {stack, *checked, *alike} for name in stack_volumes(lines, job, sources)}
    return [name for name in (line.partition("\t")[0] for line in lines) if name in found]


def job_of_volume(name: str, sources: list[str]) -> str:
    """The job that a volume is called after."""
    ends = [f"_{source}" for source in sources if name.endswith(f"_{source}")]
    return name[: -len(max(ends, key=len))] if ends else name.rpartition("_")[0] or name


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"job_volumes": job_volumes, "job_of_volume": job_of_volume}
