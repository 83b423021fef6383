"""CHANGELOG.md keeps its form, and `make release` finds the notes of the version in it."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from by_path import ROOT
from changelog import faults, notes

WELL = """# Changelog

## Unreleased

### Added

- A new way,
  on two lines.

## 0.2.0 - 2026-12-01

### Changed

- `one` is two.

### Fixed

- Three.

## 0.1.0 - 2026-11-30

### Added

- The beginning.
"""


def test_the_projects_own_has_the_form() -> None:
    assert faults((ROOT / "CHANGELOG.md").read_text()) == []


def test_what_has_the_form_has_no_fault() -> None:
    assert faults(WELL) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("# Changelog", "# History", "the first line is not '# Changelog'"),
        (
            "0.2.0 - 2026-12-01",
            "0.2.0",
            "'## 0.2.0' is not '## VERSION - YYYY-MM-DD', and not '## Unreleased' as the first",
        ),
        ("2026-12-01", "2026-13-01", "'## 0.2.0 - 2026-13-01' has no date that there is"),
        ("0.2.0 -", "0.1.0 -", "'## 0.1.0 - 2026-11-30' is not older than the version above it"),
        ("0.2.0 -", "0.0.9 -", "'## 0.1.0 - 2026-11-30' is not older than the version above it"),
        (
            "## 0.1.0 - 2026-11-30",
            "## Unreleased",
            "'## Unreleased' is not '## VERSION - YYYY-MM-DD', and not '## Unreleased' as the first",
        ),
        (
            "### Fixed",
            "### Mended",
            "0.2.0 - 2026-12-01: 'Mended' is none of Added, Changed, Deprecated, Removed, Fixed, Security",
        ),
        ("### Fixed", "### Changed", "0.2.0 - 2026-12-01: 'Changed' stands twice"),
        ("- Three.", "Three.", "0.2.0 - 2026-12-01, Fixed: 'Three.' is no entry and no part of one"),
        ("- Three.\n", "", "0.2.0 - 2026-12-01, Fixed: nothing stands here"),
        ("  on two", "on two", "Unreleased, Added: 'on two lines.' is no entry and no part of one"),
        ("- Three.", "- Three.\n\n- Four.", "0.2.0 - 2026-12-01, Fixed: '' is no entry and no part of one"),
        ("### Added\n\n- A new", "- A new", "Unreleased, below no heading: an entry needs one"),
    ],
)
def test_each_fault_is_named(old: str, new: str, fault: str) -> None:
    assert old in WELL
    assert faults(WELL.replace(old, new, 1)) == [fault]


def test_notes_are_the_part_of_the_version() -> None:
    assert notes(WELL, "0.2.0") == "### Changed\n\n- `one` is two.\n\n### Fixed\n\n- Three.\n"
    assert notes(WELL, "0.1.0") == "### Added\n\n- The beginning.\n"


def test_a_version_without_a_part_has_what_is_unreleased() -> None:
    assert notes(WELL, "0.3.0") == "### Added\n\n- A new way,\n  on two lines.\n"


def test_without_either_the_version_is_named() -> None:
    released = WELL.replace("## Unreleased\n\n### Added\n\n- A new way,\n  on two lines.\n\n", "")
    with pytest.raises(SystemExit, match=r"^CHANGELOG.md has no part '## 0.3.0 - YYYY-MM-DD', and no '## Unreleased'"):
        notes(released, "0.3.0")


def test_make_release_writes_the_notes_of_galaxys_version(tmp_path: Path) -> None:
    place = tmp_path / "dist"
    place.mkdir()
    (place / "notes-0.0.1.md").write_text("of an older version\n")
    command = [sys.executable, ROOT / "tests" / "changelog.py", place]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    (written,) = place.iterdir()
    assert written.name == f"notes-{version}.md"
    assert written.read_text() == notes((ROOT / "CHANGELOG.md").read_text(), version)
    recipe = (ROOT / "Makefile").read_text().partition("\nrelease:")[2].partition("\n\n")[0]
    assert "python tests/changelog.py dist\n" in recipe
