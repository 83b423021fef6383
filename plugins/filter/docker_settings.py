"""Filters: what it takes until an engine follows its new settings, and why it must not get them."""

from typing import Any, NamedTuple

# What the engine reads anew on SIGHUP without a restart, in each version from 20.10 on, and without a container taking notice
# (https://docs.docker.com/reference/cli/dockerd/#configuration-reload-behavior).
RELOADED = {
    "debug",
    "insecure-registries",
    "labels",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "registry-mirrors",
    "shutdown-timeout",
}

# Of its own, an engine bounds no container's log. `docker logs` and `docker service logs` read these as before.
BOUNDED_LOGS: dict[str, Any] = {"log-driver": "json-file", "log-opts": {"max-size": "50m", "max-file": "3"}}


class Excluding(NamedTuple):
    """A setting with which an engine takes part in no swarm: in words, as an option, in daemon.json, and what takes its place there."""

    what: str
    flag: str
    setting: dict[str, Any]
    cure: str


# By their names in what host_info says of an engine. nftables is known from engine 29 on (moby#50467).
EXCLUDING = {
    "live_restore": Excluding("live-restore is on", "--live-restore", {"live-restore": True}, "live-restore: false"),
    "nftables": Excluding(
        "firewall-backend is nftables",
        "--firewall-backend=nftables",
        {"firewall-backend": "nftables"},
        "firewall-backend: iptables",
    ),
}


def settings_step(found: Any, asked: dict[str, Any]) -> str:
    """`reload` or `restart`; empty if the settings that were `found` are those that are `asked`."""
    if not isinstance(found, dict):
        return "restart"
    names = differing(found, asked)
    if not names:
        return ""
    return "reload" if names <= RELOADED else "restart"


def differing(found: dict[str, Any], asked: dict[str, Any]) -> set[str]:
    return {name for name in {**found, **asked} if found.get(name) != asked.get(name)}


def left_behind(host: dict[str, Any], asked: dict[str, Any]) -> str:
    """The directory that an engine would leave with its volumes, if `asked` gives it another; empty if not. `host` is what host_info says."""
    root: str = host["engine"]["root"]
    found = host["settings"]["value"]
    # Without a change, the engine may have its directory by an option of its service.
    if isinstance(found, dict) and found.get("data-root") == asked.get("data-root"):
        return ""
    wanted = str(asked.get("data-root") or "/var/lib/docker").rstrip("/")
    return root if root and root.rstrip("/") != wanted else ""


def excludes_swarm(settings: Any) -> list[str]:
    """Those of EXCLUDING that daemon.json with these settings asks for, as engines judge it (IsSwarmCompatible in moby's daemon/config)."""
    if not isinstance(settings, dict):
        return []
    features = settings.get("features")
    allowed = settings.get("iptables") is False or (isinstance(features, dict) and features.get("swarm-nftables"))
    asked = {
        "live_restore": bool(settings.get("live-restore")),
        "nftables": settings.get("firewall-backend") == "nftables" and not allowed,
    }
    return [name for name in EXCLUDING if asked[name]]


def swarm_problems(settings: Any, name: str) -> list[str]:
    """Why an engine with these settings, on the host called `name`, takes part in no swarm, a sentence each."""
    return [
        f"{EXCLUDING[found].what} in /etc/docker/daemon.json on {name} or in docker_daemon_options, and an engine with it takes part in no "
        f"swarm: take it out, or set docker_daemon_options to {{{EXCLUDING[found].cure}}}."
        for found in excludes_swarm(settings)
    ]


def swarm_problems_of_service(host: dict[str, Any], name: str) -> list[str]:
    """The same of options that the engine's service has, beside daemon.json, of which `host` is what host_info says."""
    engine, found = host["engine"], host["settings"]["value"]
    # What daemon.json asks for, or has asked for before the engine reads it anew, is not the service's.
    unread, told = host["settings"]["unread"], found if isinstance(found, dict) else {}
    return [
        f"{name} has an engine that its service starts with {excluding.flag}, and such an engine takes part in no swarm: take that out of "
        "its options there (OPTIONS in /etc/sysconfig/docker, or see 'systemctl cat docker'), run 'systemctl restart docker', and run this again."
        for option, excluding in EXCLUDING.items()
        if engine[option]
        and not unread
        and option not in excludes_swarm(told)
        and option in excludes_swarm({**told, **excluding.setting})
    ]


def with_bounded_logs(settings: dict[str, Any], host: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """Bound containers' logs where nobody says what to do with them, and no engine has to be restarted that is in use.

    `host` is what host_info says, `plan` what docker_plan decides.
    """
    engine, found = host["engine"], host["settings"]["value"]
    if any(name in settings for name in BOUNDED_LOGS) or host["service"]["logs"]:
        return settings
    was_bounded = isinstance(found, dict) and without_bounded_logs(found) != found
    # Fedora's has a log driver by its service, of which a host without an engine knows nothing yet.
    is_new = not (engine["version"] or engine["installed"]) and "moby-engine" not in plan["install"]
    is_idle = engine["version"] and not engine["swarm_address"] and not any(host["running"].values())
    is_stopped = engine["installed"] and not engine["version"] and host["service"]["active"] == "inactive"
    return {**settings, **BOUNDED_LOGS} if was_bounded or is_new or is_idle or is_stopped else settings


def without_bounded_logs(settings: dict[str, Any]) -> dict[str, Any]:
    """Undo with_bounded_logs. Other options for logs stay."""
    if any(settings.get(name) != value for name, value in BOUNDED_LOGS.items()):
        return settings
    return {name: value for name, value in settings.items() if name not in BOUNDED_LOGS}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "settings_step": settings_step,
            "with_bounded_logs": with_bounded_logs,
            "without_bounded_logs": without_bounded_logs,
        }
