"""Filters: who is told how a job goes (training_notify). An address holds a secret, and is in no message."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from .proxy import joined
from .training_caches import results_volume
from .training_command import words

ADDRESS = re.compile(r"https?://", re.IGNORECASE)
EXAMPLE = "such as https://hooks.example.org/services/T0/B0/X"


def notify_address(setting: Any) -> str:
    """The address that is POSTed to; empty for a command, and where nobody is to be told."""
    return setting if isinstance(setting, str) and ADDRESS.match(setting) else ""


def notify_command(setting: Any) -> list[str]:
    """The words of a command on the controller; none for an address."""
    return [] if not setting or notify_address(setting) else words(setting)


def notify_secret(setting: Any, proxy: Any) -> str:
    """What the ranks' launchers read: the address, and by which proxy it is reached (as docker_proxy has it)."""
    given = proxy if isinstance(proxy, Mapping) else {}
    known = {key: str(given.get(key) or "") for key in ("http", "https")}
    by = {**known, "no_proxy": joined(given.get("no_proxy"))} if any(known.values()) else {}
    return json.dumps({"url": notify_address(setting), "proxy": by})


def notify_refusals(settings: Mapping[str, Any], _swarm: list[str]) -> str:
    setting, minutes = settings["training_notify"], settings["training_notify_stall_minutes"]
    try:
        if not 0 <= float(minutes) < float("inf"):
            raise ValueError
    except (TypeError, ValueError):
        return f"training_notify_stall_minutes is {minutes}: it is a number of minutes, 0 for never."
    if not setting:
        return ""
    if not isinstance(setting, (str, list)):
        return f"training_notify is neither an address, {EXAMPLE}, nor a command."
    if not notify_address(setting):
        try:
            own = words(setting)
        except ValueError:
            return "training_notify is a command with a quote that nothing closes: close it, or write it as a list of words."
        if own and "://" in own[0]:
            return (
                f"training_notify is no address that can be POSTed to: it begins with http:// or https://, {EXAMPLE}."
            )
        return ""
    try:
        parts = urlsplit(notify_address(setting))
        host, _port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or re.search(r"[\s\x00-\x20\x7f]|[^\x00-\x7f]", str(setting)):
        return f"training_notify is no address: it has a host, a port that is a number if it has one, and no blanks, {EXAMPLE}."
    if settings["training_snapshots"] == "none":
        return (
            "training_notify is told by the ranks' launchers, and training_snapshots is none, which starts ranks without: say "
            "training_snapshots=rank0, or leave it out."
        )
    if not results_volume(settings["training_mounts"], str(settings["training_results_dir"])):
        return (
            "training_notify is told by the ranks' launchers, which keep in the volume what was told, and training_mounts has no volume at "
            f"training_results_dir ({settings['training_results_dir']}): mount one there."
        )
    return ""


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"notify_address": notify_address, "notify_command": notify_command, "notify_secret": notify_secret}
