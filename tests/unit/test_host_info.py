"""What is read of a host: its distribution, engine, packages, settings and service. The answers of commands are shaped as those of Debian
and Rocky hosts; what no host here is (snap, podman, Docker Desktop, rootless, rpm) is given as its documentation has it."""

from __future__ import annotations

import grp
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.host import (
    certificates,
    distribution,
    engine,
    proxy,
    service,
    settings,
)
from ansible_collections.ddp.swarm.plugins.modules import host_info
from by_path import ROOT
from docker_stand_in import StandIn, Told, run
from host_stand_in import Host

# --- the distribution

ROCKY = 'NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.6"\nPRETTY_NAME="Rocky Linux 9.6 (Blue Onyx)"\n'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nVERSION_CODENAME=trixie\nID=debian\n',
            ("debian", "13", "trixie", "Debian GNU/Linux 13 (trixie)", "debian"),
        ),
        (
            "# made by hand, not ID=arch\n#ID=arch\nnonsense\n\nID=ubuntu\nID_LIKE=debian\nVERSION_ID='24.04'\nPRETTY_NAME='Ubuntu 24.04.3 LTS'\nVERSION_CODENAME=noble",
            ("ubuntu", "24.04", "noble", "Ubuntu 24.04.3 LTS", "debian"),
        ),
        (ROCKY, ("rocky", "9.6", "", "Rocky Linux 9.6 (Blue Onyx)", "redhat")),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'\n", ("linuxmint", "", "", "linuxmint", "debian")),
        ("ID=arch\nPRETTY_NAME=\"it's\n", ("arch", "", "", "\"it's", "")),
        ("", ("", "", "", "an unknown system", "")),
    ],
)
def test_distribution(text: str, found: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text(text)
    assert tuple(distribution.look(tmp_path).values()) == found
    assert list(distribution.look(tmp_path)) == ["id", "version", "codename", "name", "family"]


def test_the_distributions_own_file_counts_where_there_is_no_other(tmp_path: Path) -> None:
    assert distribution.look(tmp_path)["id"] == ""
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/os-release").write_text("ID=fedora\n")
    assert distribution.look(tmp_path)["family"] == "redhat"


# --- the engine

INFO = {"ServerVersion": "26.1.5", "DockerRootDir": "/srv/docker", "OperatingSystem": "Debian GNU/Linux 13 (trixie)"}
DOWN = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.\nIs the docker daemon running?"


def seen(info: Any = INFO, host: Host | None = None) -> dict[str, Any]:
    answers = {"info": info if isinstance(info, tuple) else json.dumps(info)}
    host = host or Host(docker=(0, ""), dockerd=(0, "Docker version 26.1.5, build 411e817"))
    return engine.look(host, *engine.asked(host, Told(answers)))


def test_an_engine_that_answers() -> None:
    assert seen() == {
        "command": True,
        "installed": "26.1.5",
        "version": "26.1.5",
        "problem": "",
        "root": "/srv/docker",
        "userns_remap": False,
        "live_restore": False,
        "nftables": False,
        "swarm_address": "",
        "swarm_nodes": 0,
        "unfit": "",
    }
    assert seen({**INFO, "SecurityOptions": ["name=seccomp,profile=builtin", "name=userns"]})["userns_remap"] is True
    assert seen({**INFO, "LiveRestoreEnabled": True})["live_restore"] is True
    assert seen({**INFO, "Swarm": {"NodeAddr": "10.0.0.1"}})["swarm_address"] == "10.0.0.1"
    for driver, it_does in (("nftables", True), ("nftables+firewalld", True), ("iptables+firewalld", False)):
        assert seen({**INFO, "FirewallBackend": {"Driver": driver}})["nftables"] is it_does
    # One that is in a swarm was allowed to (features.swarm-nftables).
    inside = {**INFO, "FirewallBackend": {"Driver": "nftables"}, "Swarm": {"NodeAddr": "10.0.0.1"}}
    assert seen(inside)["nftables"] is False


@pytest.mark.parametrize(
    ("info", "problem"),
    [
        ((DOWN, 1), DOWN.splitlines()[0]),
        ({**INFO, "ServerErrors": ["permission denied\nwhile", "x"]}, "permission denied"),
        ({"ServerVersion": ""}, "the engine does not answer"),
        ([], "docker info prints no mapping"),
    ],
)
def test_an_engine_that_does_not_answer(info: Any, problem: str) -> None:
    found = seen(info)
    assert (found["installed"], found["version"], found["problem"]) == ("26.1.5", "", problem)
    assert (found["root"], found["unfit"]) == ("", "")


@pytest.mark.parametrize(
    ("words", "unfit"),
    [
        (
            "client version 1.41 is too old. Minimum supported API version is 1.44, please upgrade your client to a newer version",
            (
                "a docker command that is too old for its engine (it speaks version 1.41 of the API, the engine 1.44 and newer): upgrade the command "
                "there (package docker-ce-cli, docker-cli or docker.io), or take DOCKER_API_VERSION out of its environment, and run this again"
            ),
        ),
        (
            "client version 1.52 is too new. Maximum supported API version is 1.41",
            (
                "a docker command that is too new for its engine (it speaks version 1.52 of the API, the engine 1.41 and older): upgrade the engine "
                "there, or take DOCKER_API_VERSION out of its environment, and run this again"
            ),
        ),
    ],
)
def test_a_command_that_does_not_fit_its_engine(words: str, unfit: str) -> None:
    """As moby's daemon/server/middleware/version.go has it. The command prints it as JSON, or fails."""
    said = f"Error response from daemon: {words}"
    assert seen({"ServerVersion": "", "ServerErrors": [said]})["unfit"] == unfit
    assert seen((said, 1))["unfit"] == unfit


def test_a_host_without_one() -> None:
    docker = Told({})
    found = engine.look(Host(), *engine.asked(Host(), docker))
    assert (found["command"], found["installed"], found["version"]) == (False, "", "")
    assert found["problem"] == "the docker command is not installed"
    assert found["unfit"] == ""
    assert docker.asked == []


@pytest.mark.parametrize(
    ("said", "installed"),
    [((0, "Docker version dev, build x"), "unknown"), ((1, "26.1"), "unknown"), ((0, "x 5:20.10.24~3 y"), "20.10.24")],
)
def test_the_version_of_a_stopped_engine(said: tuple[int, str], installed: str) -> None:
    assert seen((DOWN, 1), Host(docker=(0, ""), dockerd=said))["installed"] == installed


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({**INFO, "ServerVersion": "19.03.15"}, "Docker 19.03.15, which is too old: upgrade it to 20.10 or newer"),
        ({**INFO, "ServerVersion": "20.9.1"}, "too old"),
        ({**INFO, "ServerVersion": "20.10.0"}, ""),
        ({**INFO, "ServerVersion": "29.0"}, ""),
        ({**INFO, "OperatingSystem": "Docker Desktop"}, "Docker Desktop, whose engine runs in a virtual machine"),
        ({**INFO, "SecurityOptions": ["name=rootless", "name=cgroupns"]}, "a rootless engine, which has no overlay"),
        ({**INFO, "SecurityOptions": None}, ""),
        ({**INFO, "DockerRootDir": "/var/snap/docker/common/var-lib-docker"}, "Docker from snap"),
    ],
)
def test_an_engine_that_can_join_no_swarm(info: dict[str, Any], words: str) -> None:
    said = seen(info)["unfit"]
    assert words in said
    assert bool(said) is bool(words)


@pytest.mark.parametrize(
    ("host", "context", "words"),
    [
        ("", "default", ""),
        ("unix:///var/run/docker.sock", "", ""),
        ("unix:///run/docker.sock", "default", ""),
        (
            "tcp://10.0.0.9:2375",
            "default",
            "(DOCKER_HOST is tcp://10.0.0.9:2375 there, perhaps by /etc/environment: take it out, and run this again)",
        ),
        ("unix:///run/user/1000/docker.sock", "", "(DOCKER_HOST is unix:///run/user/1000/docker.sock there"),
        ("", "remote", "(its context is remote: say 'docker context use default' there as root, and run this again)"),
    ],
)
def test_a_command_that_speaks_to_another_engine(
    host: str, context: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    monkeypatch.setenv("DOCKER_CONTEXT", context)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    said = seen()["unfit"]
    assert words in said
    assert said.startswith("a docker command that speaks to another engine than the host's own (" if words else "")
    assert bool(said) is bool(words)
    # Though nobody answers.
    assert words in seen((DOWN, 1))["unfit"]


@pytest.mark.parametrize(
    ("config", "environment", "context"),
    [
        (None, {}, ""),
        ("{}", {}, ""),
        ('{"currentContext": "far"}', {}, "far"),
        ('{"currentContext": "far"}', {"DOCKER_CONTEXT": "default"}, "default"),
        ('{"currentContext": "far"}', {"DOCKER_CONFIG": "/nowhere"}, ""),
        ("{", {}, ""),
        ("[]", {}, ""),
    ],
)
def test_the_context_that_the_command_uses(
    config: str | None, environment: dict[str, str], context: str, tmp_path: Path
) -> None:
    (tmp_path / ".docker").mkdir()
    if config is not None:
        (tmp_path / ".docker/config.json").write_text(config)
    assert engine.context_of({"HOME": str(tmp_path), **environment}) == context


def test_a_stopped_engine_may_be_too_old() -> None:
    said = seen((DOWN, 1), Host(docker=(0, ""), dockerd=(0, "Docker version 18.09.1")))["unfit"]
    assert said.startswith("Docker 18.09.1, which is too old")


def test_snaps_command_is_a_link_to_snap(tmp_path: Path) -> None:
    (tmp_path / "snap").touch()
    (tmp_path / "docker").symlink_to("snap")
    assert "snap remove docker" in seen((DOWN, 1), Host(docker=tmp_path / "docker"))["unfit"]


@pytest.mark.parametrize("script", [True, False], ids=["script", "link"])
def test_podman_in_place_of_docker(script: bool, tmp_path: Path) -> None:
    if script:
        (tmp_path / "docker").write_text('#!/bin/sh\nexec /usr/bin/podman "$@"\n')
    else:
        (tmp_path / "podman").write_bytes(b"\x7fELF")
        (tmp_path / "docker").symlink_to("podman")
    assert "podman-docker" in seen((DOWN, 1), Host(docker=tmp_path / "docker"))["unfit"]


@pytest.mark.parametrize("content", [b"\x7fELF podman", b"#!/bin/sh\nexec /opt/docker\n", None])
def test_a_command_of_ones_own_is_none_of_these(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "docker").write_bytes(content)
    assert seen(INFO, Host(docker=tmp_path / "docker", dockerd=(0, "26.1")))["unfit"] == ""


# --- settings


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (None, {}),
        ("", {}),
        (" \n", {}),
        ('{"debug": true}', {"debug": True}),
        ("[1]", [1]),
        ("{debug", None),
        ("null", None),
    ],
)
def test_settings(text: str | None, value: Any, etc: Path) -> None:
    if text is not None:
        (etc / "daemon.json").write_text(text)
        (etc / "daemon.json").chmod(0o640)
    found = settings.look(etc, etc / "proxy.env", etc / "none.pid")
    assert found["value"] == value
    assert (found["mode"], found["unread"], found["before_gpus"]) == ("0644" if text is None else "0640", False, None)
    assert ("Expecting property name" in found["error"]) is (text == "{debug")
    assert (found["directory"], settings.look(etc / "none", etc / "proxy.env")["directory"]) == (True, False)


@pytest.mark.parametrize(
    ("text", "before"),
    [("{}", None), ('{"settings": {}}', {}), ('{"settings": {"a": 1}}', {"a": 1}), ("[]", None), ("{", None)],
)
def test_settings_from_before_the_gpus(text: str, before: Any, etc: Path) -> None:
    (etc / "before-gpus.json").write_text(text)
    assert settings.look(etc, etc / "proxy.env")["before_gpus"] == before


@pytest.mark.parametrize(("written", "started", "unread"), [(200, 100, True), (100, 200, False), (100, 100, False)])
def test_settings_that_the_engine_has_not_read(written: int, started: int, unread: bool, etc: Path) -> None:
    for name, time in (("daemon.json", written), ("pid", started)):
        (etc / name).write_text("{}")
        os.utime(etc / name, (time, time))
    assert settings.look(etc, etc / "proxy.env", etc / "pid")["unread"] is unread
    assert settings.look(etc, etc / "proxy.env", etc / "none")["unread"] is False
    # It was let read them again later.
    (etc / "again").touch()
    assert settings.look(etc, etc / "proxy.env", etc / "pid", etc / "again")["unread"] is False
    assert settings.look(etc, etc / "proxy.env", etc / "again", etc / "pid")["unread"] is False
    os.utime(etc / "again", (50, 50))
    assert settings.look(etc, etc / "proxy.env", etc / "pid", etc / "again")["unread"] is unread
    # So does the environment count that the service gives it.
    (etc / "proxy.env").touch()
    os.utime(etc / "proxy.env", (150, 150))
    assert settings.look(etc, etc / "proxy.env", etc / "pid")["unread"] is (unread or started < 150)
    (etc / "proxy.env").unlink()
    (etc / "daemon.json").unlink()
    assert settings.look(etc, etc / "proxy.env", etc / "pid")["unread"] is False


# --- certificates


def test_certificates(tmp_path: Path) -> None:
    debians = {
        "folder": "/usr/local/share/ca-certificates",
        "bundle": "/etc/ssl/certs/ca-certificates.crt",
        "command": "update-ca-certificates",
    }
    assert certificates.look(tmp_path) == {**debians, "files": {}, "untrusted": False}
    folder, bundle = tmp_path / "usr/local/share/ca-certificates", tmp_path / "etc/ssl/certs/ca-certificates.crt"
    folder.mkdir(parents=True)
    (folder / "a.crt").write_text("a")
    (folder / "notes").write_text("b")
    (folder / "d.crt").mkdir()
    found = certificates.look(tmp_path)
    assert found == {**debians, "files": {"a.crt": hashlib.sha256(b"a").hexdigest()}, "untrusted": True}
    bundle.parent.mkdir(parents=True)
    bundle.touch()
    for written, read, untrusted in ((100, 200, False), (200, 200, False), (201, 200, True)):
        os.utime(folder / "a.crt", (written, written))
        os.utime(bundle, (read, read))
        assert certificates.look(tmp_path)["untrusted"] is untrusted


def test_certificates_of_the_family_redhat(tmp_path: Path) -> None:
    folder, bundle = (
        tmp_path / "etc/pki/ca-trust/source/anchors",
        tmp_path / "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    )
    for path in (folder, bundle.parent, tmp_path / "usr/local/share/ca-certificates"):
        path.mkdir(parents=True)
    (folder / "a.crt").write_text("a")
    (tmp_path / "usr/local/share/ca-certificates/b.crt").write_text("b")
    bundle.touch()
    assert certificates.look(tmp_path) == {
        "folder": "/etc/pki/ca-trust/source/anchors",
        "bundle": "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "command": "update-ca-trust",
        "files": {"a.crt": hashlib.sha256(b"a").hexdigest()},
        "untrusted": False,
    }


# --- the service


def shown(load: str = "loaded", active: str = "active", sub: str = "running", file: str = "enabled") -> tuple[int, str]:
    return 0, f"LoadState={load}\nActiveState={active}\nSubState={sub}\nUnitFileState={file}\n"


@pytest.mark.parametrize(
    ("said", "known", "runs", "enabled"),
    [
        (shown(), True, True, True),
        (shown(file="enabled-runtime"), True, True, True),
        (shown(file="disabled"), True, True, False),
        (shown(active="activating", sub="auto-restart"), True, False, True),
        (shown(active="inactive", sub="dead"), True, False, True),
        (shown(active="active", sub="exited"), True, False, True),
        (shown("not-found", "inactive", "dead", ""), False, False, False),
        (shown(load="masked"), False, True, True),
        ((1, ""), False, False, False),
    ],
)
def test_service(said: tuple[int, str], known: bool, runs: bool, enabled: bool) -> None:
    found = service.look(Host(systemctl=said))
    assert (found["known"], found["runs"], found["enabled"]) == (known, runs, enabled)


def test_a_host_without_systemd() -> None:
    assert service.look(Host()) == {"known": False, "active": "", "runs": False, "enabled": False, "logs": False}


@pytest.mark.parametrize(
    ("said", "file", "logs"),
    [
        ("ExecStart={ path=/usr/bin/dockerd ; argv[]=/usr/bin/dockerd -H fd:// ; ignore_errors=no }", "", False),
        ("ExecStart={ path=/usr/bin/dockerd ; argv[]=/usr/bin/dockerd --log-level=warn ; }", "", False),
        ("ExecStart={ path=/usr/bin/dockerd ; argv[]=/usr/bin/dockerd --log-driver journald ; }", "", True),
        ("Environment=OPTIONS=--log-opt=max-size=10m", "", True),
        # As Fedora's moby-engine comes.
        ("EnvironmentFiles=FILE (ignore_errors=yes)", "OPTIONS='--selinux-enabled --log-driver=journald'", True),
        (
            "EnvironmentFiles=FILE (ignore_errors=yes)\nEnvironmentFiles=/nowhere (ignore_errors=yes)",
            "--log-opt a=b",
            True,
        ),
        ("EnvironmentFiles=FILE (ignore_errors=yes)", "# OPTIONS=--log-driver=journald", False),
    ],
)
def test_log_options_of_the_service(said: str, file: str, logs: bool, tmp_path: Path) -> None:
    options = tmp_path / "docker"
    options.write_text(f"A=b\n{file}\n")
    found = service.look(Host(systemctl=(0, shown()[1] + said.replace("FILE", str(options)))))
    assert (found["logs"], found["known"]) == (logs, True)


# --- the module


def test_one_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    docker = StandIn(tmp_path / "docker", monkeypatch)
    listed = "mine\t\nsimple-training_node0.1.x\tsimple-training_node0\nother\t\nagain\tsimple-training_node0\n"
    docker.answer({"info": json.dumps({**INFO, "DockerRootDir": str(tmp_path)}), "ps": listed})
    (tmp_path / "daemon.json").write_text('{"debug": true}')
    found = run(host_info, capsys, packages=["zstd"], gpus=False, etc=str(tmp_path), _ansible_check_mode=True)
    assert (found["changed"], found["engine"]["version"], found["settings"]["value"]) == (
        False,
        "26.1.5",
        {"debug": True},
    )
    assert found["running"] == {"services": ["simple-training_node0"], "containers": ["mine", "other"]}
    assert "gpus" not in found
    assert (found.get("image"), found["swarm_node"]["swarm"]["state"], found["swarm_node"]["nodes"]) == (
        None,
        "inactive",
        [],
    )
    disk = os.statvfs(tmp_path)
    assert abs(found["free_mb"] - disk.f_bavail * disk.f_frsize / 1024**2) < 100


@pytest.mark.parametrize(
    ("asks", "address", "nodes", "asked"),
    [
        ("auto", "", 0, True),
        ("auto", "10.0.0.1", 0, False),
        ("auto", "10.0.0.1", 2, False),
        ("auto", "10.0.0.1", 1, True),
        ("true", "10.0.0.1", 2, True),
        ("false", "", 0, False),
    ],
)
def test_a_firewall_is_asked_where_somebody_wants_to_know(
    asks: str,
    address: str,
    nodes: int,
    asked: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    docker = StandIn(tmp_path / "docker", monkeypatch)
    info = {**INFO, "DockerRootDir": str(tmp_path), "Swarm": {"NodeAddr": address, "Nodes": nodes}}
    docker.answer({"info": json.dumps(info), "ps": ""})
    monkeypatch.setattr(host_info.firewall, "look", lambda _module: {"name": "asked"})
    found = run(host_info, capsys, gpus=False, firewall=asks, etc=str(tmp_path))
    assert found["firewall"]["name"] == ("asked" if asked else "")


def test_what_yaml_cannot_import_is_what_the_module_looks_at() -> None:
    tasks = [path.read_text() for path in (ROOT / "roles/docker").rglob("*.yml")]
    named = {path for text in tasks for path in re.findall(r"/etc/ddp-swarm/[\w.-]+", text)}
    # The last is made of another on the host itself.
    assert named <= {proxy.ENVIRONMENT, proxy.APT, proxy.DNF, proxy.CURL, f"{proxy.FOLDER}/dnf.conf"}
    assert {path for text in tasks for path in re.findall(r"/run/ddp-swarm[\w-]+", text)} == {str(host_info.READ_AT[1])}


def test_one_reader_asks_for_docker_info() -> None:
    """So that each has its limit, and takes an answer without an engine for none."""
    files = [path for folder in ("library", "module_utils") for path in (ROOT / folder).rglob("*.py")]
    assert [path.name for path in files if re.search(r"""run\(\s*["']info["']""", path.read_text())] == ["info.py"]


def test_an_engine_that_stops_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    docker = StandIn(tmp_path / "docker", monkeypatch)
    docker.answer({"info": json.dumps({**INFO, "DockerRootDir": str(tmp_path)}), "ps": ("Cannot connect", 1)})
    assert "docker ps" in run(host_info, capsys, gpus=False, etc=str(tmp_path))["msg"]


def test_members_of_a_group() -> None:
    assert host_info.members("no-such-group") == []
    group = next((entry for entry in grp.getgrall() if entry.gr_mem), grp.getgrgid(0))
    assert host_info.members(group.gr_name) == group.gr_mem


def test_free_space_is_that_of_the_first_place_that_is_there(tmp_path: Path) -> None:
    assert host_info.free_mb("", str(tmp_path / "none"), str(tmp_path)) > 0
