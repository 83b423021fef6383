"""A folder as one file that Python runs: the probe, as it is delivered."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ansible.errors import AnsibleError
from ansible_collections.ddp.swarm.plugins.filter import zipapp
from by_path import ROOT
from probe_files import PROBE

CONTRACT = ROOT / "module_utils/preflight/contract.py"
# What swarm takes for a config.
LIMIT = 500_000


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program of three files, and what a tree has besides."""
    folder = tmp_path / "program"
    (folder / "part" / "__pycache__").mkdir(parents=True)
    (folder / "__main__.py").write_text("from part.b import said\nprint(said)\n")
    (folder / "part" / "__init__.py").touch()
    (tmp_path / "real.py").write_text("said = 'here'\n")
    (folder / "part" / "b.py").symlink_to("../../real.py")
    (folder / "part" / "__pycache__" / "b.cpython-39.pyc").touch()
    (folder / "notes.txt").touch()
    return folder


def test_python_runs_it(program: Path, tmp_path: Path) -> None:
    path = tmp_path / "made"
    path.write_bytes(base64.b64decode(zipapp.zipapp(str(program))))
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("here\n", "")


def test_its_files_are_in_it_and_nothing_else(program: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(zipapp.archive(str(program)))) as made:
        assert made.namelist() == ["__main__.py", "part/__init__.py", "part/b.py"]
        assert made.read("part/b.py") == b"said = 'here'\n"
        assert {member.external_attr >> 16 for member in made.infolist()} == {0o644}


def test_the_same_files_are_the_same_bytes(program: Path, tmp_path: Path) -> None:
    """Whenever they were written, and by whom: a config is named after them."""
    first = zipapp.archive(str(program))
    os.utime(program / "__main__.py", (1, 10**9))
    (program / "__main__.py").chmod(0o755)
    moved = program.rename(tmp_path / "elsewhere")
    assert zipapp.archive(str(moved)) == zipapp.archive(f"{moved}/") == first
    (tmp_path / "real.py").write_text("said = 'there'\n")
    assert zipapp.archive(str(moved)) != first


def test_a_folder_without_a_program_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(AnsibleError, match=f"^{folder} is no program: there is no __main__.py in it"):
            zipapp.zipapp(str(folder))


def test_the_filter_has_its_name() -> None:
    assert zipapp.FilterModule().filters() == {"zipapp": zipapp.zipapp}


def test_the_probe_holds_the_judges_contract_and_fits_into_a_config() -> None:
    whole = zipapp.archive(str(PROBE))
    assert len(whole) < LIMIT
    with zipfile.ZipFile(io.BytesIO(whole)) as made:
        assert made.read("ddp_probe/contract.py") == CONTRACT.read_bytes()
        wanted = {str(path.relative_to(PROBE)) for path in PROBE.rglob("*.py")}
        assert {"__main__.py", "ddp_probe/worker.py", "ddp_probe/checks/path.py"} < wanted == set(made.namelist())
