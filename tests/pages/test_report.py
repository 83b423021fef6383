"""The report of a real job, as a person sees it. `REPORT=artifacts/simple-training make pages` looks at that of a job of your own as well."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import real_run
from ansible_collections.ddp.swarm.plugins.module_utils.report import page
from browser import PICTURES, Look
from by_path import ROOT
from report_page import looked_at

TEMPLATES = ROOT / "roles/training/templates/report"


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory, browser: None) -> Path:
    return real_run.artifacts(tmp_path_factory.mktemp("job"))


def made(folder: Path, name: str) -> Path:
    text, notes = page.make(folder, name, TEMPLATES, {"ddp.swarm": "0.1.0"})
    assert notes == []
    page.write(folder, text)
    return folder / "report.html"


def test_a_job_with_a_rank_that_was_killed(artifacts: Path, window: Callable[..., Look]) -> None:
    report = made(artifacts, "digits")
    looked_at(window, report, artifacts, "report")
    shutil.copy(report, PICTURES / "report.html")


def test_on_paper(artifacts: Path, window: Callable[..., Look]) -> None:
    look = window(1280, "dark").open(made(artifacts, "digits"))
    look.page.emulate_media(media="print")
    look.keep("report-printed")
    assert look.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.skipif("REPORT" not in os.environ, reason="REPORT names no artifacts")
def test_a_job_of_ones_own(window: Callable[..., Look]) -> None:
    folder = ROOT / os.environ["REPORT"]
    looked_at(window, folder / "report.html", folder, f"report-{folder.name}")
