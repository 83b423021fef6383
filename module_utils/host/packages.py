"""What the package manager of a host says of packages. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

# By which of them the engine came. Ubuntu's and Debian's own, Docker's, and those that Microsoft's and other images carry.
ENGINES = ["docker-ce", "docker.io", "moby-engine"]
LOCKS = Path("/etc/dnf/plugins/versionlock.list")
LOCKS_OF_DNF5 = Path("/etc/dnf/versionlock.toml")


def look(module: Any, names: list[str], family: str) -> dict[str, Any]:
    """`installed` (whole, by name, with the version), `held` and `broken` (an installation that was interrupted) of these packages.

    `engine` is the package that the engine came with, empty if it came otherwise. `family` is the distribution's: Fedora offers dpkg, too.
    """
    names = list(dict.fromkeys([*ENGINES, *names]))
    seen = rpm(module, names) if family == "redhat" or not module.get_bin_path("dpkg-query") else dpkg(module, names)
    return {
        **seen,
        "engine": next((name for name in ENGINES if name in seen["installed"] or name in seen["broken"]), ""),
    }


def dpkg(module: Any, names: list[str]) -> dict[str, Any]:
    form = "${Package}\t${Version}\t${db:Status-Want}\t${db:Status-Status}\n"
    # Exit code 1 tells that it does not know one of them.
    out = module.run_command(["dpkg-query", "--show", f"--showformat={form}", *names])[1]
    rows = [line.split("\t") for line in out.splitlines() if line.count("\t") == 3]
    return {
        "installed": {name: version for name, version, _, status in rows if status == "installed"},
        "held": [name for name, _, want, _ in rows if want == "hold"],
        "broken": [name for name, _, _, status in rows if status not in ("installed", "config-files", "not-installed")],
    }


def rpm(module: Any, names: list[str]) -> dict[str, Any]:
    command = module.get_bin_path("rpm")
    out = (
        module.run_command([command, "--query", "--queryformat", "%{NAME}\t%{VERSION}-%{RELEASE}\n", *names])[1]
        if command
        else ""
    )
    rows = [line.split("\t") for line in out.splitlines() if line.count("\t") == 1]
    return {"installed": dict(rows), "held": [name for name in names if is_locked(name)], "broken": []}


def is_locked(name: str) -> bool:
    """By dnf's plugin versionlock, whose lines are such as docker-ce-3:28.1.1-1.el9.*, or by dnf5, in a table with the package's name."""
    # Python 3.9 reads no TOML, and dnf5 writes this file by itself.
    rules = {LOCKS: rf"{re.escape(name)}(-[0-9]|\Z)", LOCKS_OF_DNF5: rf'name\s*=\s*"{re.escape(name)}"'}
    return any(re.match(rule, line) for file, rule in rules.items() for line in lines_of(file))


def lines_of(file: Path) -> list[str]:
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return []
