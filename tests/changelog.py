"""CHANGELOG.md: whether it has the form of Keep a Changelog, and what it says of one version.

    python tests/changelog.py dist

writes the notes of galaxy.yml's version to dist/notes-VERSION.md. `make release` does.
"""

from __future__ import annotations

import re
import sys
from datetime import date
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")


def below(text: str, mark: str) -> list[tuple[str, str]]:
    """Each heading of this depth, and the text below it. What stands before the first of them has the heading ""."""
    found = re.split(rf"^{mark} (.*)\n", f"\n{text}\n", flags=re.MULTILINE)
    return [("", found[0].strip("\n")), *zip(found[1::2], (part.strip("\n") for part in found[2::2]), strict=True)]


def wrong_headings(names: list[str]) -> list[str]:
    wrong, above = [], (sys.maxsize, 0, 0)
    for name in names[names[:1] == ["Unreleased"] :]:
        found = re.fullmatch(r"(\d+)\.(\d+)\.(\d+) - (\d{4}-\d\d-\d\d)", name)
        if not found:
            wrong.append(f"'## {name}' is not '## VERSION - YYYY-MM-DD', and not '## Unreleased' as the first")
            continue
        version = (int(found[1]), int(found[2]), int(found[3]))
        if version >= above:
            wrong.append(f"'## {name}' is not older than the version above it")
        above = version
        try:
            date.fromisoformat(found[4])
        except ValueError:
            wrong.append(f"'## {name}' has no date that there is")
    return wrong


def faults(text: str) -> list[str]:
    """What is wrong with the changelog's form."""
    parts = below(text, "##")[1:]
    wrong = [] if text.startswith("# Changelog\n") else ["the first line is not '# Changelog'"]
    wrong += wrong_headings([name for name, _part in parts])
    for name, part in parts:
        kinds = below(part, "###")
        wrong += [f"{name}: '{kind}' is none of {', '.join(KINDS)}" for kind, _ in kinds[1:] if kind not in KINDS]
        wrong += [f"{name}: '{kind}' stands twice" for kind in KINDS if [kind for kind, _ in kinds].count(kind) > 1]
        for kind, entries in kinds:
            where = f"{name}, {kind}" if kind else f"{name}, below no heading"
            if kind and not entries:
                wrong.append(f"{where}: nothing stands here")
            lines = entries.splitlines()
            wrong += [
                f"{where}: '{line}' is no entry and no part of one" for line in lines if line[:2] not in {"- ", "  "}
            ]
            if not kind and entries:
                wrong.append(f"{where}: an entry needs one")
    return wrong


def notes(text: str, version: str) -> str:
    """What the changelog says of the version; of one that has no part yet, what is unreleased."""
    parts = {name.split(" ")[0]: part for name, part in below(text, "##")[1:]}
    if not {version, "Unreleased"} & set(parts):
        sys.exit(f"CHANGELOG.md has no part '## {version} - YYYY-MM-DD', and no '## Unreleased'. Write one.")
    return f"{parts.get(version) or parts['Unreleased']}\n"


def main(place: Path) -> None:
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    for old in place.glob("notes-*.md"):
        old.unlink()
    (place / f"notes-{version}.md").write_text(notes((ROOT / "CHANGELOG.md").read_text(), version))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
