"""A host with results of a training, for the tests of the module training_results."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.modules import training_results
from docker_stand_in import StandIn, run

# What was counted, or copied, where nothing was.
AGE = {"lineage": "", "counter": 0}


def nothing_stays_open() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


class Host:
    """A host with results in a directory, which docker says is the volume job_snapshots."""

    def __init__(self, place: Path, docker: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
        self.results, self.stage, self.archive = place / "results", place / "stage", place / "volume.tar.gz"
        self.docker, self.capsys = docker, capsys
        self.results.mkdir()
        self.docker.answer({"volume inspect": f"{self.results}\n"})

    def put(self, **files: str) -> None:
        for name, content in files.items():
            (self.results / name).write_text(content)

    def call(self, state: str, check: bool = False, **params: Any) -> dict[str, Any]:
        """The module on the directory; volume="job_snapshots" asks docker for it."""
        needed = {"laid_out": {"stage": self.stage}, "packed": {"archive": self.archive}}.get(state, {})
        where = {} if {"volume", "path"} & set(params) else {"path": self.results}
        given = {
            name: str(value) if isinstance(value, Path) else value for name, value in (needed | where | params).items()
        }
        found = run(training_results, self.capsys, state=state, _ansible_check_mode=check, **given)
        return {key: value for key, value in found.items() if key != "invocation"}

    def staged(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.stage.iterdir()}

    def moved(self) -> list[str]:
        return sorted(str(path.relative_to(self.results)) for path in self.results.rglob("*") if path.is_file())


def host_in(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    monkeypatch.setenv("SUDO_UID", str(os.getuid()))
    return Host(place, StandIn(place / "docker", monkeypatch), capsys)
