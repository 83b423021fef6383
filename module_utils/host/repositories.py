"""Which repositories apt or dnf knows on a host. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator
from pathlib import Path

# sources.list(5): the options in brackets may hold blanks.
LINE = re.compile(r"^\s*deb\s+(?:\[[^\]]*\]\s*)?(\S+)\s+(\S+)")


def look(root: Path) -> list[dict[str, str]]:
    """For each `uri` and `suite` (of dnf, the repository's name) that packages come from the `file` that names them on the host."""
    folder = root / "etc/apt"
    files = [
        folder / "sources.list",
        *sorted((folder / "sources.list.d").glob("*")),
        *sorted((root / "etc/yum.repos.d").glob("*")),
    ]
    return [
        {"file": f"/{file.relative_to(root)}", "uri": uri.rstrip("/"), "suite": suite}
        for file in files
        for uri, suite in read(file)
    ]


def read(file: Path) -> Iterator[tuple[str, str]]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    if file.suffix == ".list":
        yield from (found.groups() for line in text.splitlines() if (found := LINE.match(line)))  # type: ignore[misc]
    elif file.suffix == ".repo":
        yield from of_dnf(text)
    elif file.suffix == ".sources":
        for stanza in re.split(r"\n\s*\n", text):
            yield from of_stanza(stanza)


def of_dnf(text: str) -> Iterator[tuple[str, str]]:
    """As dnf.conf(5) has it, where enabled=1 is the default."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return
    for name in parser.sections():
        if parser[name].get("enabled", "1").strip().lower() in ("1", "true", "yes"):
            for uri in parser[name].get("baseurl", "").split():
                yield uri, name


def of_stanza(stanza: str) -> Iterator[tuple[str, str]]:
    """As deb822(5) has it: a field goes on in lines that begin with a blank, and comments begin with '#'."""
    lines = [line for line in stanza.splitlines() if not line.startswith("#")]
    pairs = re.findall(r"(?m)^([^\s:]+):((?:.*)(?:\n[ \t].*)*)", "\n".join(lines))
    fields = {name.lower(): value.split() for name, value in pairs}
    if "deb" in fields.get("types", []) and fields.get("enabled", ["yes"]) != ["no"]:
        for uri in fields.get("uris", []):
            for suite in fields.get("suites", []):
                yield uri, suite
