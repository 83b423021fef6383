"""What is known of a host's packages: which are there, which came with the engine, and which are held. Answers of rpm and dnf are as their
documentation has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.host import packages
from host_stand_in import Host


def test_packages_of_debian() -> None:
    lines = (
        "docker.io\t26.1.5+dfsg1-9\thold\tinstalled\nzstd\t1.5.7\tinstall\tinstalled\n"
        "docker-cli\t26.1.5\tinstall\thalf-configured\ndocker-ce\t\tunknown\tnot-installed\nrunc\t1.1\tdeinstall\tconfig-files\n"
        "odd line\n"
    )
    host = Host(dpkg_query=(1, lines))
    found = packages.look(host, ["zstd", "docker-cli", "docker.io"], "")
    assert found["installed"] == {"docker.io": "26.1.5+dfsg1-9", "zstd": "1.5.7"}
    assert (found["held"], found["broken"], found["engine"]) == (["docker.io"], ["docker-cli"], "docker.io")
    (command,) = host.asked
    assert command[:2] == ["dpkg-query", "--show"]
    assert command[3:] == ["docker-ce", "docker.io", "moby-engine", "zstd", "docker-cli"]


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ("docker.io\t1\tinstall\tunpacked\n", "docker.io"),
        ("moby-engine\t24\tinstall\tinstalled\n", "moby-engine"),
        ("docker.io\t1\tinstall\tinstalled\ndocker-ce\t5\tinstall\tinstalled\n", "docker-ce"),
        ("docker.io\t1\tdeinstall\tconfig-files\n", ""),
        ("", ""),
    ],
)
def test_the_package_that_the_engine_came_with(lines: str, name: str) -> None:
    assert packages.look(Host(dpkg_query=(0, lines)), [], "")["engine"] == name


def test_packages_of_other_families() -> None:
    host = Host(rpm=(1, "docker-ce\t28.5.1-1.el9\npackage zstd is not installed\n"))
    found = packages.look(host, ["zstd"], "")
    assert found == {"installed": {"docker-ce": "28.5.1-1.el9"}, "held": [], "broken": [], "engine": "docker-ce"}
    assert host.asked[0][0] == "/usr/bin/rpm"
    # Fedora offers dpkg, which knows none of its packages.
    both = Host(dpkg_query=(1, ""), rpm=(1, "docker-ce\t28.5.1-1.el9\n"))
    assert packages.look(both, [], "redhat")["engine"] == "docker-ce"
    assert packages.look(both, [], "debian")["engine"] == ""
    assert packages.look(Host(), ["zstd"], "") == {"installed": {}, "held": [], "broken": [], "engine": ""}


@pytest.mark.parametrize(
    ("lines", "held"),
    [
        (None, []),
        ("", []),
        ("# Added\ndocker-ce-3:28.5.1-1.el9.*\n", ["docker-ce"]),
        ("docker-ce\n", ["docker-ce"]),
        ("docker-ce-cli-1:28.5.1-1.el9.*\n", []),
        ("!docker-ce-3:28.5.1\n", []),
    ],
)
def test_packages_that_dnf_holds(
    lines: str | None, held: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "LOCKS", tmp_path / "versionlock.list")
    if lines is not None:
        (tmp_path / "versionlock.list").write_text(lines)
    assert packages.look(Host(rpm=(0, "docker-ce\t28\n")), [], "redhat")["held"] == held


def test_packages_that_dnf5_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As dnf5-versionlock(8) shows the file."""
    monkeypatch.setattr(packages, "LOCKS", tmp_path / "none")
    monkeypatch.setattr(packages, "LOCKS_OF_DNF5", tmp_path / "versionlock.toml")
    table = '[[packages]]\nname = "{}"\ncomment = "docker-ce"\n[[packages.conditions]]\nkey = "evr"\ncomparator = "="\nvalue = "3:28.5.1-1.fc43"\n'
    (tmp_path / "versionlock.toml").write_text('version = "1.0"\n\n' + table.format("docker-ce-cli"))
    assert packages.look(Host(rpm=(0, "docker-ce\t28\n")), [], "redhat")["held"] == []
    (tmp_path / "versionlock.toml").write_text('version = "1.0"\n\n' + table.format("docker-ce"))
    assert packages.look(Host(rpm=(0, "docker-ce\t28\n")), [], "redhat")["held"] == ["docker-ce"]
