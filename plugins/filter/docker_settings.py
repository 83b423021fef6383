"""Filters: what it takes until an engine follows its new settings, and why it must not get them."""

from typing import Any

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


def settings_step(found: Any, asked: dict[str, Any]) -> str:
    """`reload` or `restart`; empty if the settings that were `found` are those that are `asked`."""
    if not isinstance(found, dict):
        return "restart"
    differing = {name for name in {**found, **asked} if found.get(name) != asked.get(name)}
    if not differing:
        return ""
    return "reload" if differing <= RELOADED else "restart"


def left_behind(host: dict[str, Any], asked: dict[str, Any]) -> str:
    """The directory that an engine would leave with its volumes, if `asked` gives it another; empty if not. `host` is what host_info says."""
    root: str = host["engine"]["root"]
    found = host["settings"]["value"]
    # Without a change, the engine may have its directory by an option of its service.
    if isinstance(found, dict) and found.get("data-root") == asked.get("data-root"):
        return ""
    wanted = str(asked.get("data-root") or "/var/lib/docker").rstrip("/")
    return root if root and root.rstrip("/") != wanted else ""


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"settings_step": settings_step, "left_behind": left_behind}
