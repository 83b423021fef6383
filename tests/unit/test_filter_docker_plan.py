"""Whether a host keeps its engine."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.docker_plan import (
    certificates_are_there,
    docker_plan,
    docker_platform,
    docker_refusals,
    known_repository,
    what_runs,
)

TRIXIE = ("debian", "13", "Debian GNU/Linux 13 (trixie)")
BOOKWORM = ("debian", "12", "Debian GNU/Linux 12 (bookworm)")
NOBLE = ("ubuntu", "24.04", "Ubuntu 24.04.3 LTS")
ROCKY = ("rocky", "9.6", "Rocky Linux 9.6 (Blue Onyx)")
FEDORA = ("fedora", "43", "Fedora Linux 43 (Server Edition)")
DEBS = {"docker.io": "26.1.5", "docker-cli": "26.1.5", "containerd": "1.7", "runc": "1.1", "zstd": "1.5"}
CE = {"docker-ce": "5:28", "docker-ce-cli": "5:28", "containerd.io": "1.7", "docker-buildx-plugin": "0.19"}


def host(
    system: tuple[str, str, str] = TRIXIE,
    /,
    command: bool = True,
    installed: str = "",
    version: str = "",
    known: bool = True,
    **packages: Any,
) -> dict[str, Any]:
    """As host_info says it. A version is that of an engine which answers."""
    names = packages.get("installed", {})
    engine = next((name for name in ("docker-ce", "docker.io", "moby-engine") if name in names), "")
    return {
        "distribution": {
            **dict(zip(("id", "version", "name"), system, strict=True)),
            "family": "redhat" if system[0] in ("rhel", "rocky", "almalinux", "centos", "fedora") else "debian",
        },
        "engine": {
            "command": command,
            "installed": installed or version,
            "version": version,
            "userns_remap": False,
            "live_restore": False,
            "nftables": False,
        },
        "settings": {"value": {}, "unread": False},
        "service": {"known": known},
        "packages": {"installed": {}, "broken": [], "held": [], "engine": engine, **packages},
    }


def debs(system: tuple[str, str, str] = TRIXIE, names: dict[str, str] = DEBS, **more: Any) -> dict[str, Any]:
    found = host(system, **{"version": "26.1.5", **more})
    found["packages"].update(installed=names, engine=next(iter(names)))
    return found


MOBY = debs(NOBLE, {"moby-engine": "24"})


@pytest.mark.parametrize(
    ("found", "source", "version", "kept"),
    [
        (debs(), "auto", "", True),
        (debs(NOBLE, CE), "auto", "", True),
        (MOBY, "auto", "", True),
        (host(ROCKY, version="27.0"), "auto", "", True),
        (host(NOBLE, installed="24.0"), "auto", "", True),
        (host(NOBLE, installed="24.0", known=False), "auto", "", False),
        (host(NOBLE, version="24.0", known=False), "auto", "", True),
        (host(), "auto", "", False),
        (host(installed="26.1", command=False), "auto", "", False),
        (host(installed="26.1", broken=["docker.io"]), "auto", "", False),
        (debs(), "auto", "26.1.5", False),
        (debs(), "distribution", "", False),
        (debs(TRIXIE, CE), "distribution", "", True),
        (debs(TRIXIE, CE), "distribution", "26.1.5", False),
        (debs(TRIXIE, CE), "docker", "", False),
    ],
)
def test_an_engine_that_is_there_is_kept(found: dict[str, Any], source: str, version: str, kept: bool) -> None:
    plan = docker_plan(found, source, version)
    assert plan["kept"] is kept
    assert not (kept and plan["lacks"])


@pytest.mark.parametrize(
    ("system", "source", "version", "install"),
    [
        (TRIXIE, "auto", "", ["docker.io", "docker-cli", "containerd", "runc", "zstd"]),
        (BOOKWORM, "auto", "", ["docker.io", "containerd", "runc", "zstd"]),
        (NOBLE, "distribution", "", ["docker.io", "containerd", "runc", "zstd"]),
        (BOOKWORM, "distribution", "20.10", ["docker.io=20.10", "containerd", "runc", "zstd"]),
        (TRIXIE, "auto", "26", ["docker.io=26", "docker-cli=26", "containerd", "runc", "zstd"]),
        (NOBLE, "docker", "", ["docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin", "zstd"]),
        (ROCKY, "auto", "", ["docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin", "zstd"]),
        (FEDORA, "auto", "", ["docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin", "zstd"]),
        (FEDORA, "distribution", "28.5", ["moby-engine-28.5", "containerd", "runc", "zstd"]),
        (
            ROCKY,
            "docker",
            "3:28.1.1-1.el9",
            [
                "docker-ce-28.1.1-1.el9",
                "docker-ce-cli-28.1.1-1.el9",
                "containerd.io",
                "docker-buildx-plugin",
                "zstd",
            ],
        ),
        (
            BOOKWORM,
            "docker",
            "5:28",
            ["docker-ce=5:28", "docker-ce-cli=5:28", "containerd.io", "docker-buildx-plugin", "zstd"],
        ),
    ],
)
def test_what_a_bare_host_gets(system: tuple[str, str, str], source: str, version: str, install: list[str]) -> None:
    plan = docker_plan(host(system), source, version)
    assert (plan["install"], plan["lacks"], plan["refused"]) == (install, True, "")
    assert plan["package"] == (
        "moby-engine" if "moby" in install[0] else "docker-ce" if "-ce" in install[0] else "docker.io"
    )


def test_a_pinned_version_that_rpm_has_installed() -> None:
    """Its query tells no epoch."""
    names = {
        "docker-ce": "28.1.1-1.el9",
        "docker-ce-cli": "28.1.1-1.el9",
        "containerd.io": "1.7",
        "docker-buildx-plugin": "0.2",
        "zstd": "1",
    }
    found = debs(ROCKY, names)
    for version, lacks in (
        ("3:28.1.1-1.el9", False),
        ("28.1.1-1.el9", False),
        ("28.1.1", False),
        ("3:28.1.2-1.el9", True),
        ("28.1", True),
    ):
        plan = docker_plan(found, "docker", version)
        assert (plan["lacks"], plan["replaces"]) == (lacks, lacks)


def test_a_pinned_version_stays_with_whom_the_engine_came_from() -> None:
    plan = docker_plan(debs(NOBLE, CE), "auto", "5:27")
    assert (plan["origin"], plan["install"][0]) == ("docker", "docker-ce=5:27")


@pytest.mark.parametrize(
    ("names", "version", "lacks"),
    [
        (DEBS, "", False),
        (DEBS, "26.1.5", False),
        (DEBS, "26.1.6", True),
        (DEBS, "26.*", False),
        (DEBS, "27.*", True),
        ({name: number for name, number in DEBS.items() if name != "zstd"}, "", True),
        ({name: number for name, number in DEBS.items() if name != "docker-cli"}, "", True),
    ],
)
def test_what_is_there_is_not_installed(names: dict[str, str], version: str, lacks: bool) -> None:
    assert docker_plan(debs(names=names), "distribution", version)["lacks"] is lacks


@pytest.mark.parametrize(
    ("found", "upgrade"),
    [
        (debs(), ["docker.io", "docker-cli", "containerd", "runc"]),
        (debs(BOOKWORM), ["docker.io", "containerd", "runc"]),
        (debs(NOBLE, CE), ["docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin"]),
        (MOBY, []),
        (host(ROCKY, version="27.0"), []),
        (debs(ROCKY, CE), ["docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin"]),
        (debs(FEDORA, {"moby-engine": "28"}), ["moby-engine", "containerd", "runc"]),
    ],
)
@pytest.mark.parametrize("source", ["auto", "distribution"])
def test_an_upgrade_takes_what_the_engine_came_with(found: dict[str, Any], upgrade: list[str], source: str) -> None:
    assert docker_plan(found, source, "")["upgrade"] == upgrade


@pytest.mark.parametrize(
    ("system", "refused"),
    [
        (TRIXIE, False),
        (("debian", "11", "Debian 11"), True),
        (("debian", "", "Debian GNU/Linux forky/sid"), True),
        (("ubuntu", "22.04", "Ubuntu 22.04"), False),
        (("ubuntu", "26.04", "Ubuntu 26.04"), False),
        (("ubuntu", "20.04", "Ubuntu 20.04"), True),
        (ROCKY, False),
        (("rocky", "8.10", "Rocky Linux 8.10"), True),
        (("rhel", "10.1", "Red Hat Enterprise Linux 10.1"), False),
        (("almalinux", "9.6", "AlmaLinux 9.6"), False),
        (("centos", "10", "CentOS Stream 10"), False),
        (FEDORA, False),
        (("fedora", "40", "Fedora Linux 40"), True),
        (("", "", "an unknown system"), True),
    ],
)
def test_where_the_role_cannot_install_one(system: tuple[str, str, str], refused: bool) -> None:
    said = docker_plan(host(system), "auto", "")["refused"]
    assert bool(said) is refused
    if refused:
        assert f"runs {system[2]}, where the docker role can install no engine" in said
        assert (
            "it knows Debian 12 and 13, Ubuntu 22.04 and 24.04 and 26.04, RHEL 9 and 10, CentOS Stream 9 and 10, Rocky"
            in said
        )
        assert docker_plan(host(system, version="26.0"), "auto", "")["refused"] == ""


@pytest.mark.parametrize("system", [ROCKY, ("rhel", "10.0", "Red Hat Enterprise Linux 10.0")])
def test_a_distribution_without_an_engine_of_its_own(system: tuple[str, str, str]) -> None:
    said = docker_plan(host(system), "distribution", "")["refused"]
    assert said.startswith(
        f"runs {system[2]}, which has no Docker engine of its own: say docker_source=docker, or install Docker Engine 20.10"
    )


def test_certificates_that_the_host_has_read(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine.crt", tmp_path / "theirs.crt"
    mine.write_text("mine")
    theirs.write_text("theirs")
    has = {"mine.crt": hashlib.sha256(b"mine").hexdigest(), "other.crt": "0"}

    def there(*paths: Path, files: dict[str, str] = has, untrusted: bool = False) -> bool:
        return certificates_are_there(
            {"certificates": {"files": files, "untrusted": untrusted}}, [str(path) for path in paths]
        )

    assert there(mine)
    assert there()
    assert not there(mine, untrusted=True)
    assert not there(mine, theirs)
    assert not there(mine, files={"mine.crt": "0"})
    assert not there(tmp_path / "missing.crt")


def refusals(
    found: dict[str, Any],
    source: str = "auto",
    gpu: Any = "auto",
    cuda: Any = "",
    version: str = "",
    disturb: bool = False,
    network_mode: str = "overlay",
) -> list[str]:
    found["engine"].setdefault("unfit", "")
    found.setdefault("running", {"services": [], "containers": []})
    return docker_refusals(found, "host1", source, version, gpu, cuda, disturb, network_mode)


@pytest.mark.parametrize(
    ("source", "version", "engine"),
    [
        ("docker", "", "docker-ce"),
        ("auto", "26.1.6", "docker.io=26.1.6"),
        ("distribution", "26.1.6", "docker.io=26.1.6"),
    ],
)
def test_an_engine_is_not_replaced_under_what_it_runs(source: str, version: str, engine: str) -> None:
    found = {**debs(), "running": {"services": ["simple-training_node0"], "containers": ["db", "web"]}}
    asked = f"docker_source={source}" + (f" and docker_version={version}" if version else "")
    (said,) = refusals(found, source, version=version)
    assert said == (
        f"host1 runs the services simple-training_node0 and the containers db, web, which would be stopped: {asked} puts {engine} in the place of "
        "its engine (docker.io, 26.1.5). Wait until they are done, or say docker_restart_during_training=true."
    )
    assert refusals(found, source, version=version, disturb=True) == []
    assert refusals({**found, "running": {"services": [], "containers": []}}, source, version=version) == []
    # One that does not answer runs nothing.
    stopped = {**debs(version="", installed="26.1.5"), "running": found["running"]}
    assert refusals(stopped, source, version=version) == []


@pytest.mark.parametrize(
    ("source", "version", "names"),
    [
        ("auto", "", DEBS),
        ("distribution", "26.1.5", DEBS),
        ("distribution", "", {**DEBS, "zstd": ""}),
        ("docker", "", CE),
    ],
)
def test_what_replaces_no_engine_is_done_beside_what_runs(source: str, version: str, names: dict[str, str]) -> None:
    """A package beside it may be missing."""
    installed = {name: number for name, number in names.items() if number}
    found = {**debs(names=installed), "running": {"services": ["a"], "containers": []}}
    assert refusals(found, source, version=version) == []


OURS = "/etc/apt/sources.list.d/docker.sources"
THEIRS = "/etc/apt/sources.list.d/get-docker.list"


@pytest.mark.parametrize(
    ("file", "uri", "suite", "known"),
    [
        (THEIRS, "https://docker.example/debian", "trixie", THEIRS),
        (OURS, "https://docker.example/debian", "trixie", ""),
        (THEIRS, "https://docker.example/debian", "bookworm", ""),
        (THEIRS, "https://mirror.example/debian", "trixie", ""),
    ],
)
def test_a_repository_that_apt_knows_already(file: str, uri: str, suite: str, known: str) -> None:
    found: Any = {**host(), "repositories": [{"file": file, "uri": uri, "suite": suite}]}
    assert (
        known_repository(found, {"name": "docker", "uri": "https://docker.example/debian/", "suite": "trixie"}) == known
    )


@pytest.mark.parametrize(
    ("system", "folder", "release"),
    [
        (TRIXIE, "debian", "13"),
        (NOBLE, "ubuntu", "24.04"),
        (ROCKY, "centos", "9"),
        (FEDORA, "fedora", "43"),
        (("arch", "", ""), "", ""),
    ],
)
def test_where_a_distribution_is_in_dockers_repository(system: tuple[str, str, str], folder: str, release: str) -> None:
    assert docker_platform(host(system)["distribution"]) == {"folder": folder, "release": release}


@pytest.mark.parametrize(
    ("file", "uri", "known"),
    [
        ("/etc/yum.repos.d/docker-ce.repo", "https://docker.example/centos/$releasever/$basearch/stable", True),
        ("/etc/yum.repos.d/docker-ce.repo", "https://docker.example/centos/9/$basearch/stable", True),
        ("/etc/yum.repos.d/docker-ce.repo", "https://docker.example/centos/8/$basearch/stable", False),
        ("/etc/yum.repos.d/docker.repo", "https://docker.example/centos/9/$basearch/stable", False),
    ],
)
def test_a_repository_that_dnf_knows_already(file: str, uri: str, known: bool) -> None:
    found: Any = {**host(ROCKY), "repositories": [{"file": file, "uri": uri, "suite": "docker-ce-stable"}]}
    offer = {"name": "docker", "uri": "https://docker.example/centos/9/$basearch/stable", "suite": ""}
    assert known_repository(found, offer) == (file if known else "")


def test_what_runs_in_words() -> None:
    assert what_runs({"services": [], "containers": []}) == ""
    assert what_runs({"services": ["a", "b"], "containers": []}) == "the services a, b"
    assert what_runs({"services": [], "containers": ["c"]}) == "the containers c"


@pytest.mark.parametrize(
    ("source", "gpu", "cuda"), [("auto", "auto", ""), ("docker", True, "12.8"), ("distribution", "False", 13.0)]
)
def test_what_a_host_can_have(source: str, gpu: Any, cuda: Any) -> None:
    assert refusals(debs(), source, gpu, cuda) == []


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"value": {}, "unread": False}, True),
        ({"value": {"live-restore": False}, "unread": False}, True),
        ({"value": None, "unread": False}, True),
        # The role looks after daemon.json itself.
        ({"value": {"live-restore": True}, "unread": False}, False),
        ({"value": {}, "unread": True}, False),
    ],
)
def test_live_restore_by_an_option_of_the_service(settings: dict[str, Any], refused: bool) -> None:
    """As Fedora's moby-engine has it in /etc/sysconfig/docker (coreos/fedora-coreos-tracker#573)."""
    found = debs(FEDORA, {"moby-engine": "28"})
    found["engine"]["live_restore"], found["settings"] = True, settings
    said = refusals(found)
    assert bool(said) is refused
    assert not refused or "host1 has an engine that its service starts with --live-restore" in said[0]


@pytest.mark.parametrize(
    ("value", "refused"),
    [
        ({}, True),
        (None, True),
        # The role looks after daemon.json itself.
        ({"firewall-backend": "nftables"}, False),
        ({"iptables": False}, False),
    ],
)
def test_nftables_by_an_option_of_the_service(value: Any, refused: bool) -> None:
    """Of engine 29 (moby#50467), as it is read in its source."""
    found = debs()
    found["engine"]["nftables"], found["settings"] = True, {"value": value, "unread": False}
    said = refusals(found)
    assert said == [
        (
            "host1 has an engine that its service starts with --firewall-backend=nftables, and such an engine takes part in no swarm: take that out "
            "of its options there (OPTIONS in /etc/sysconfig/docker, or see 'systemctl cat docker'), run 'systemctl restart docker', and run this "
            "again."
        )
    ] * int(refused)


def test_remapped_users_and_the_hosts_network() -> None:
    found = debs()
    found["engine"]["userns_remap"] = True
    assert refusals(found) == []
    (said,) = refusals(found, network_mode="host")
    assert said == (
        "host1 has an engine with userns-remap, which gives no container the host's own network, and training_network_mode is host: take "
        "userns-remap out of /etc/docker/daemon.json there, or train over the overlay (training_network_mode=overlay)."
    )


def test_what_it_cannot_have() -> None:
    assert refusals(debs(), "snap") == ["docker_source is 'snap' on host1: it is 'auto', 'distribution' or 'docker'."]
    assert refusals(debs(), gpu="maybe") == ["docker_gpu is 'maybe' on host1: it is auto, true or false."]
    (said,) = refusals(debs(), cuda="cu12")
    assert said.startswith("On host1, docker_gpu_cuda (image_cuda) is 'cu12', and it is a version of CUDA 11, 12, 13")
    (said,) = refusals(host(("arch", "", "Arch Linux")))
    assert said.startswith("host1 runs Arch Linux, where the docker role can install no engine")
    unfit = debs()
    unfit["engine"]["unfit"] = "podman's command in place of docker: remove it"
    assert refusals(unfit) == ["host1 has podman's command in place of docker: remove it."]
    assert len(refusals(host(("arch", "", "Arch Linux")), gpu="maybe", cuda="x")) == 3
