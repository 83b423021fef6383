"""What it takes until an engine follows its new settings."""

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.docker_settings import (
    FilterModule,
    left_behind,
    settings_step,
    swarm_problems,
)


@pytest.mark.parametrize(
    ("found", "asked", "step"),
    [
        ({}, {}, ""),
        ({"debug": True}, {"debug": True}, ""),
        ({}, {"debug": True}, "reload"),
        ({"debug": True}, {}, "reload"),
        ({"labels": ["a"], "mtu": 1400}, {"labels": ["b"], "mtu": 1400}, "reload"),
        ({"labels": ["a"], "mtu": 1400}, {"labels": ["b"], "mtu": 1450}, "restart"),
        ({}, {"log-level": "warn"}, "restart"),
        ({"log-level": "warn"}, {}, "restart"),
        (None, {"debug": True}, "restart"),
        (["x"], {}, "restart"),
    ],
    ids=str,
)
def test_reload_or_restart(found: Any, asked: dict[str, Any], step: str) -> None:
    assert settings_step(found, asked) == step


@pytest.mark.parametrize(
    ("root", "found", "asked", "left"),
    [
        ("/var/lib/docker", {}, {}, ""),
        ("/var/lib/docker", {}, {"data-root": "/srv/docker"}, "/var/lib/docker"),
        ("/srv/docker", {}, {"data-root": "/srv/docker/"}, ""),
        ("/srv/docker", {"data-root": "/srv/docker"}, {}, "/srv/docker"),
        ("/srv/docker", None, {}, "/srv/docker"),
        # By an option of its service.
        ("/srv/docker", {}, {"debug": True}, ""),
        # No engine answers.
        ("", {}, {"data-root": "/srv/docker"}, ""),
    ],
)
def test_the_directory_that_is_left(root: str, found: Any, asked: dict[str, Any], left: str) -> None:
    assert left_behind({"engine": {"root": root}, "settings": {"value": found}}, asked) == left


NFTABLES = {"firewall-backend": "nftables"}


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({}, []),
        ({"live-restore": False, "firewall-backend": "iptables"}, []),
        ({"live-restore": True}, ["live-restore"]),
        (NFTABLES, ["firewall-backend"]),
        ({**NFTABLES, "live-restore": True}, ["live-restore", "firewall-backend"]),
        # What engines allow (IsSwarmCompatible in moby's daemon/config).
        ({**NFTABLES, "iptables": False}, []),
        ({**NFTABLES, "features": {"swarm-nftables": True}}, []),
        ({**NFTABLES, "features": {"swarm-nftables": False}}, ["firewall-backend"]),
        ({**NFTABLES, "features": None}, ["firewall-backend"]),
        (["x"], []),
        (None, []),
    ],
    ids=str,
)
def test_what_excludes_a_swarm(settings: Any, options: list[str]) -> None:
    assert [said.split(" is ")[0] for said in swarm_problems(settings, "host1")] == options


def test_what_to_do_about_it() -> None:
    assert swarm_problems(NFTABLES, "host1") == [
        (
            "firewall-backend is nftables in /etc/docker/daemon.json on host1 or in docker_daemon_options, and an engine with it takes part in no "
            "swarm: take it out, or set docker_daemon_options to {firewall-backend: iptables}."
        )
    ]


def test_names() -> None:
    assert set(FilterModule().filters()) == {"settings_step"}
