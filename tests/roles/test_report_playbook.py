"""playbooks/report.yml, played for real: it asks no host, and says what it lacks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from by_path import ROOT
from test_inventories import CONFIG, Site, swarm

PLAYBOOK = ROOT / "playbooks/report.yml"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    path = tmp_path / "artifacts" / "mine"
    path.mkdir(parents=True)
    record = {"event": "step", "rank": 0, "time": 1.8e9, "step": 1, "loss": 0.5, "note": "{{ lookup('pipe', 'id') }}"}
    (path / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    (path / "preflight.json").symlink_to("/etc/passwd")
    return path


def report(site: Site, path: Path, *options: str, environment: Any = None) -> tuple[int, str]:
    extra = json.dumps({"training_stack": "mine", "training_artifacts_dir": str(path)})
    given = ("-e", extra, *options)
    return site.play(PLAYBOOK, swarm(["host1"], ["host2"]), *given, environment={**CONFIG, **(environment or {})})


def test_it_makes_a_page_and_asks_no_host(site: Site, artifacts: Path) -> None:
    code, said = report(site, artifacts, "-v")
    assert code == 0, said
    assert f"Report: {artifacts}/report.html" in said
    assert "preflight.json is not read: it is a symbolic link." in said
    assert not site.mark.exists()
    page = (artifacts / "report.html").read_text()
    assert "<title>mine: report</title>" in page
    assert page.count("<circle") == 1
    assert "root:" not in page
    # The same artifacts again are no change.
    code, said = report(site, artifacts, "-v")
    assert code == 0, said
    assert re.search(r"localhost : ok=\d+ changed=0", said), said


def test_check_mode_writes_nothing(site: Site, artifacts: Path) -> None:
    code, said = report(site, artifacts, "--check")
    assert code == 0, said
    assert not (artifacts / "report.html").exists()


def test_a_job_without_artifacts_is_named_with_what_to_do(site: Site, tmp_path: Path) -> None:
    code, said = report(site, tmp_path / "none")
    assert code != 0
    assert f"There are no artifacts of mine in {tmp_path}/none: playbooks/collect.yml fetches them." in said


def test_without_the_library_there_is_a_sentence(site: Site, artifacts: Path, tmp_path: Path) -> None:
    """In its place something of the same name that cannot be imported."""
    (tmp_path / "lacks").mkdir()
    (tmp_path / "lacks" / "pygal.py").write_text("raise ImportError('no such thing')\n")
    code, said = report(site, artifacts, environment={"PYTHONPATH": str(tmp_path / "lacks")})
    assert code != 0
    assert "the Python library pygal, which the controller's Python lacks (no such thing)" in said
    assert "Traceback" not in said
