"""What it takes until an engine follows its new settings."""

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.docker_settings import (
    BOUNDED_LOGS,
    FilterModule,
    left_behind,
    settings_step,
    swarm_problems,
    with_bounded_logs,
    without_bounded_logs,
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
    assert set(FilterModule().filters()) == {"settings_step", "with_bounded_logs", "without_bounded_logs"}


IDLE: dict[str, Any] = {
    "engine": {"version": "28.1.1", "installed": "28.1.1", "swarm_address": ""},
    "running": {"services": [], "containers": []},
    "settings": {"value": {}},
    "service": {"logs": False, "active": "active"},
}
STOPPED = {"version": "", "installed": "28.1.1", "swarm_address": ""}
NONE: dict[str, Any] = {"engine": {"version": "", "installed": "", "swarm_address": ""}}
PLAN: dict[str, Any] = {"install": ["docker.io", "zstd"]}


@pytest.mark.parametrize(
    ("host", "settings", "bounded"),
    [
        (NONE, {"debug": True}, True),
        ({}, {"debug": True}, True),
        ({}, {"log-level": "warn"}, True),
        # It has a setting of its own.
        (NONE, {"log-driver": "journald"}, False),
        ({}, {"log-opts": {"max-size": "1m"}}, False),
        # In daemon.json as well, an engine does not start.
        ({"service": {"logs": True}}, {}, False),
        # It would have to be restarted.
        ({"running": {"services": [], "containers": ["mine"]}}, {}, False),
        ({"running": {"services": ["simple-training_node0"], "containers": []}}, {}, False),
        ({"engine": {"version": "28.1.1", "installed": "28.1.1", "swarm_address": "10.0.0.1"}}, {}, False),
        # It is started anyway, and reads them then.
        ({"engine": STOPPED, "service": {"logs": False, "active": "inactive"}}, {}, True),
        ({"engine": STOPPED, "service": {"logs": True, "active": "inactive"}}, {}, False),
        # Nobody knows what runs there.
        ({"engine": STOPPED}, {}, False),
        ({"engine": STOPPED, "service": {"logs": False, "active": "failed"}}, {}, False),
        # It was bounded before.
        ({"settings": {"value": BOUNDED_LOGS}, "running": {"services": ["x"], "containers": []}}, {}, True),
        ({"settings": {"value": None}}, {}, True),
    ],
)
def test_containers_logs_are_bounded(host: dict[str, Any], settings: dict[str, Any], bounded: bool) -> None:
    asked = with_bounded_logs(settings, {**IDLE, **host}, PLAN)
    assert asked == ({**settings, **BOUNDED_LOGS} if bounded else settings)


def test_fedoras_engine_gets_its_log_driver_from_its_service() -> None:
    assert with_bounded_logs({}, {**IDLE, **NONE}, {"install": ["moby-engine", "zstd"]}) == {}


def test_logs_are_bounded_by_the_default_alone() -> None:
    assert without_bounded_logs({"debug": True, **BOUNDED_LOGS}) == {"debug": True}
    for own in ({"log-driver": "json-file"}, {**BOUNDED_LOGS, "log-opts": {"max-size": "1m"}}, {}):
        assert without_bounded_logs(own) == own
