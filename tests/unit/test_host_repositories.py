"""Which repositories apt or dnf knows on a host."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.ddp.swarm.plugins.module_utils.host import repositories

ONE_LINE = """\
# deb http://off.example/debian trixie main
deb-src http://deb.example/debian trixie main
deb http://deb.example/debian/ trixie main contrib
deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.gpg] https://docker.example/linux/debian trixie stable  # Docker
  deb [ arch=amd64 ] https://nvidia.example/stable/deb/$(ARCH) /
nonsense
"""
DEB822 = """\
# Debian
Types: deb deb-src
URIs: http://deb.example/debian http://mirror.example/debian
Suites: trixie trixie-updates
Components: main

Types: deb-src
URIs: http://src.example
Suites: trixie

Enabled: no
Types: deb
URIs: http://off.example
Suites: trixie

types: deb
uris:
 https://docker.example/linux/debian
# between
suites: trixie
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 x: y
"""


REPO = """\
[docker-ce-stable]
name=Docker CE Stable - $basearch
baseurl=https://docker.example/linux/centos/$releasever/$basearch/stable/
  https://mirror.example/centos
enabled=1
gpgkey=https://docker.example/linux/centos/gpg

[docker-ce-test]
baseurl=https://docker.example/test
enabled = 0
[mirrors]
mirrorlist=https://x.example
[docker-ce-nightly]
baseurl=https://docker.example/50%
"""


def test_repositories_of_dnf(tmp_path: Path) -> None:
    folder = tmp_path / "etc/yum.repos.d"
    folder.mkdir(parents=True)
    (folder / "docker-ce.repo").write_text(REPO)
    (folder / "odd.repo").write_text("no section\n")
    (folder / "x.repo.rpmsave").write_text(REPO)
    assert repositories.look(tmp_path) == [
        {"file": "/etc/yum.repos.d/docker-ce.repo", "uri": uri, "suite": suite}
        for uri, suite in [
            ("https://docker.example/linux/centos/$releasever/$basearch/stable", "docker-ce-stable"),
            ("https://mirror.example/centos", "docker-ce-stable"),
            ("https://docker.example/50%", "docker-ce-nightly"),
        ]
    ]


def test_repositories(tmp_path: Path) -> None:
    assert repositories.look(tmp_path) == []
    folder = tmp_path / "etc/apt/sources.list.d"
    folder.mkdir(parents=True)
    (tmp_path / "etc/apt/sources.list").write_text("deb http://old.example trixie main\n")
    (folder / "a.list").write_text(ONE_LINE)
    (folder / "b.sources").write_text(DEB822)
    (folder / "c.list.save").write_text(ONE_LINE)
    (folder / "d.list").mkdir()
    found = [(entry["file"].rpartition("/")[2], entry["uri"], entry["suite"]) for entry in repositories.look(tmp_path)]
    assert found == [
        ("sources.list", "http://old.example", "trixie"),
        ("a.list", "http://deb.example/debian", "trixie"),
        ("a.list", "https://docker.example/linux/debian", "trixie"),
        ("a.list", "https://nvidia.example/stable/deb/$(ARCH)", "/"),
        ("b.sources", "http://deb.example/debian", "trixie"),
        ("b.sources", "http://deb.example/debian", "trixie-updates"),
        ("b.sources", "http://mirror.example/debian", "trixie"),
        ("b.sources", "http://mirror.example/debian", "trixie-updates"),
        ("b.sources", "https://docker.example/linux/debian", "trixie"),
    ]
    assert repositories.look(tmp_path)[1]["file"] == "/etc/apt/sources.list.d/a.list"
