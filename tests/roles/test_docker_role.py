"""The engine's settings, written by the role docker for real, on this machine, into a directory that stands in for /etc/docker."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from plays import of_role, play, stand_in


def settings(
    etc: Path, asked: dict[str, Any], *options: str, entry: str = "settings", **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Play the role's settings, or another entry point that judges them, with docker_daemon_options as asked."""
    common = {"_docker_etc": str(etc), "docker_daemon_options": asked, "docker_gpu": "false"}
    # Whatever this machine's own engine runs; nothing restarts that.
    common["docker_restart_during_training"] = True
    entries = ["gather", "validate", *(["settings/merge"] if entry == "settings" else [])]
    return play(etc.parent, of_role("docker", *entries), options=options, **{**common, **variables})


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    path = tmp_path / "etc"
    path.mkdir()
    return path


@pytest.fixture(autouse=True)
def engine(stand_ins: Path) -> None:
    """One that runs a container, so that nothing restarts it but what a test asks for."""
    answers_as(stand_ins, "mine\t")


def answers_as(stand_ins: Path, containers: str = "") -> None:
    """An engine in no swarm with these containers, and its service."""
    said = {"ServerVersion": "28.1.1", "DockerRootDir": "/nowhere", "Swarm": {"LocalNodeState": "inactive"}}
    stand_in(
        stand_ins, "docker", f"case $1 in info) echo '{json.dumps(said)}';; ps) printf '%b\\n' '{containers}';; esac"
    )
    stand_in(stand_ins, "systemctl", "printf 'LoadState=loaded\\nActiveState=active\\nSubState=running\\n'")


@pytest.fixture
def gpu(stand_ins: Path) -> None:
    """A driver and a toolkit, which stand-ins of their commands invent."""
    stand_in(stand_ins, "nvidia-smi", "case $1 in -L) echo 'GPU 0: Invented (UUID: GPU-1)';; *) echo 570.1;; esac")
    stand_in(stand_ins, "nvidia-ctk", "echo NVIDIA Container Toolkit CLI version 1.19.0")


@pytest.mark.usefixtures("gpu")
def test_what_the_settings_said_before_the_gpus_is_kept_as_closed_as_they_are(etc: Path) -> None:
    (etc / "daemon.json").write_text('{"runtimes": {"nvidia": {"path": "/usr/bin/mine"}}}')
    (etc / "daemon.json").chmod(0o600)
    done = settings(etc, {}, docker_gpu="true")
    assert done.returncode == 0, done.stdout
    kept = json.loads((etc / "before-gpus.json").read_text())
    assert kept == {"settings": {"runtimes": {"nvidia": {"path": "/usr/bin/mine"}}}}
    assert modes(etc) == {"daemon": 0o600, "before-gpus": 0o600}


def modes(etc: Path) -> dict[str, int]:
    """Of the settings and of the copies kept beside them."""
    return {path.name.split(".json")[0]: path.stat().st_mode & 0o7777 for path in etc.iterdir()}


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_the_settings_keep_their_mode(etc: Path, mode: int) -> None:
    (etc / "daemon.json").write_text('{"proxies": {"http-proxy": "http://me:S3CR3T@proxy:3128"}}')
    (etc / "daemon.json").chmod(mode)
    done = settings(etc, {"debug": True})
    assert done.returncode == 0, done.stdout
    written = json.loads((etc / "daemon.json").read_text())
    assert written == {"proxies": {"http-proxy": "http://me:S3CR3T@proxy:3128"}, "debug": True}
    assert [path.stat().st_mode & 0o7777 for path in etc.iterdir()] == [mode, mode]


def test_settings_that_are_as_asked_are_not_touched(etc: Path) -> None:
    (etc / "daemon.json").write_text('{"debug": true}')
    (etc / "daemon.json").chmod(0o600)
    assert "changed=0 " in settings(etc, {"debug": True}).stdout
    assert modes(etc) == {"daemon": 0o600}


def test_new_settings_may_be_read_by_all(etc: Path) -> None:
    assert settings(etc, {"debug": True}).returncode == 0
    assert modes(etc) == {"daemon": 0o644}


def test_what_is_no_json_keeps_its_mode_too(etc: Path) -> None:
    (etc / "daemon.json").write_text("{debug")
    (etc / "daemon.json").chmod(0o600)
    refused = settings(etc, {"debug": True})
    assert "is not a JSON mapping" in refused.stdout
    assert (etc / "daemon.json").read_text() == "{debug"
    assert settings(etc, {"debug": True}, docker_daemon_replace=True).returncode == 0
    assert json.loads((etc / "daemon.json").read_text()) == {"debug": True}
    assert [path.stat().st_mode & 0o7777 for path in etc.iterdir()] == [0o600, 0o600]


@pytest.mark.parametrize(
    "text", ['["http://u:pw-S3CR3T@proxy:3128"]', '{"proxies": {"http-proxy": "http://u:pw-S3CR3T@proxy:3128"}}']
)
def test_settings_are_shown_without_secrets(text: str, etc: Path) -> None:
    (etc / "daemon.json").write_text(text)
    done = settings(etc, {"debug": True}, "-vvv", "--diff")
    assert "S3CR3T" not in done.stdout + done.stderr
    assert ("is not a JSON mapping" in done.stdout) is text.startswith("[")
    assert ("S3CR3T" in (etc / "daemon.json").read_text(), done.returncode == 0) == (True, text.startswith("{"))


# validate is before anything is changed; an upgrade comes to the settings without it.
@pytest.mark.parametrize(
    ("found", "asked", "entry"),
    [
        ({"firewall-backend": "nftables"}, {}, "validate"),
        ({}, {"firewall-backend": "nftables"}, "validate"),
        ({"live-restore": True}, {}, "validate"),
        ({}, {"live-restore": True}, "settings"),
    ],
)
def test_settings_that_take_part_in_no_swarm(
    found: dict[str, Any], asked: dict[str, Any], entry: str, etc: Path
) -> None:
    (etc / "daemon.json").write_text(json.dumps(found))
    done = settings(etc, asked, entry=entry)
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert (
        "in /etc/docker/daemon.json on host1 or in docker_daemon_options, and an engine with it takes part in no swarm"
        in said
    )
    assert json.loads((etc / "daemon.json").read_text()) == found


def test_live_restore_is_taken_out_as_its_refusal_says(etc: Path) -> None:
    (etc / "daemon.json").write_text('{"live-restore": true}')
    done = settings(etc, {"live-restore": False})
    assert done.returncode == 0, done.stdout
    assert json.loads((etc / "daemon.json").read_text()) == {"live-restore": False}


def test_an_engine_of_release_29_and_an_older_docker_command(etc: Path, stand_ins: Path) -> None:
    said = "client version 1.41 is too old. Minimum supported API version is 1.44, please upgrade your client to a newer version"
    stand_in(stand_ins, "docker", f"echo 'Error response from daemon: {said}' >&2; exit 1")
    done = settings(etc, {}, entry="validate")
    assert done.returncode != 0
    assert "host1 has a docker command that is too old for its engine (it speaks version 1.41" in done.stdout


def test_an_engine_without_a_directory_for_its_settings(etc: Path) -> None:
    """Docker's rpm packages bring none."""
    etc.rmdir()
    done = settings(etc, {"debug": True})
    assert done.returncode == 0, done.stdout
    assert json.loads((etc / "daemon.json").read_text()) == {"debug": True}


BOUNDED = {"log-driver": "json-file", "log-opts": {"max-size": "50m", "max-file": "3"}}


def test_containers_logs_are_bounded_where_nobody_bounds_them(etc: Path, stand_ins: Path) -> None:
    assert "changed=0 " in settings(etc, {}).stdout
    assert list(etc.iterdir()) == []
    answers_as(stand_ins)
    done = settings(etc, {"debug": True})
    assert done.returncode == 0, done.stdout
    assert json.loads((etc / "daemon.json").read_text()) == {"debug": True, **BOUNDED}
    answers_as(stand_ins, "mine\t")
    assert "changed=0 " in settings(etc, {"debug": True}).stdout
    done = settings(etc, {"log-driver": "journald"})
    assert done.returncode == 0, done.stdout
    assert json.loads((etc / "daemon.json").read_text()) == {"debug": True, "log-driver": "journald"}


@pytest.mark.parametrize(
    ("found", "asked", "left"),
    [
        (BOUNDED, {}, None),
        ({"debug": True, **BOUNDED}, {"debug": True}, None),
        (BOUNDED, BOUNDED, None),
        ({"mtu": 1400, **BOUNDED}, {}, {"mtu": 1400}),
        ({"log-driver": "local"}, {}, {"log-driver": "local"}),
    ],
)
def test_the_bound_goes_with_the_engine(
    found: dict[str, Any], asked: dict[str, Any], left: dict[str, Any] | None, etc: Path
) -> None:
    (etc / "daemon.json").write_text(json.dumps(found))
    done = play(
        etc.parent,
        of_role("docker", "gather", "settings/purge"),
        _docker_etc=str(etc),
        docker_daemon_options=asked,
        docker_gpu="false",
    )
    assert done.returncode == 0, done.stdout
    kept = json.loads((etc / "daemon.json").read_text()) if (etc / "daemon.json").exists() else None
    assert kept == left


def test_the_first_start_of_an_engine_reads_its_settings(etc: Path, stand_ins: Path) -> None:
    """The packages of Debian start it, as apt-get does here."""
    stand_in(stand_ins, "apt-get", f"cp {etc}/daemon.json {etc}/read")
    host = {
        "distribution": {
            "id": "debian",
            "version": "13",
            "name": "Debian 13",
            "codename": "trixie",
            "family": "debian",
        },
        "engine": {"installed": "", "version": "", "command": False, "swarm_address": ""},
        "settings": {"value": {}, "mode": "0644", "directory": True, "before_gpus": None, "unread": False},
        "service": {"logs": False, "known": False},
        "packages": {"installed": {}, "broken": [], "held": [], "engine": ""},
        "running": {"services": [], "containers": []},
    }
    done = play(
        etc.parent,
        of_role("docker", "engine/install"),
        docker_host_info=host,
        docker_daemon_options={"debug": True},
        docker_gpu="false",
        _docker_etc=str(etc),
        _docker_work=["packages", "settings", "service"],
        _docker_dnf_by_proxy=False,
        _docker_notes=str(etc / "notes"),
    )
    assert json.loads((etc / "read").read_text()) == {"debug": True, **BOUNDED}, done.stdout
