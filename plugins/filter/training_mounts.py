"""Filters: what a stack makes of training_mounts. The driver of a volume stands with the mount there, and with the volume in a stack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

DRIVERS = ("driver", "driver_opts")


def volume_mounts(mounts: Any) -> list[Mapping[str, Any]]:
    """Those of volumes that have a name."""
    return [
        one for one in mounts or [] if isinstance(one, Mapping) and one.get("type") == "volume" and one.get("source")
    ]


def driver_of(mount: Mapping[str, Any]) -> dict[str, Any]:
    """The `driver` of a mount's volume, and its `driver_opts`, each as a text; empty for Docker's own volumes."""
    options = {str(name): text_of(value) for name, value in (mount.get("driver_opts") or {}).items()}
    driver = str(mount.get("driver") or ("local" if options else ""))
    return {"driver": driver, **({"driver_opts": options} if options else {})} if driver else {}


def text_of(value: Any) -> str:
    """As YAML has it: true is a word to a driver."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def stack_volumes_of(mounts: Any, stack: str) -> dict[str, dict[str, Any]]:
    """The section `volumes` of the stack."""
    found: dict[str, dict[str, Any]] = {}
    for mount in volume_mounts(mounts):
        found.setdefault(str(mount["source"]), {}).update(driver_of(mount))
    return {source: {"name": f"{stack}_{source}", **driver} for source, driver in found.items()}


def service_mounts(mounts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The mounts as a service has them."""
    return [{key: value for key, value in mount.items() if key not in DRIVERS} for mount in mounts]


def checked_volumes(mounts: Any, stack: str) -> list[dict[str, Any]]:
    """What the preflight looks at on each host."""
    volumes = stack_volumes_of(mounts, stack)
    return [
        {
            "target": str(mount.get("target")),
            "read_only": bool(mount.get("read_only")),
            "nocopy": bool((mount.get("volume") or {}).get("nocopy")),
            **volumes[str(mount["source"])],
        }
        for mount in volume_mounts(mounts)
    ]


def driver_refusals(settings: Mapping[str, Any], _swarm: list[str]) -> str:
    """One volume has one driver."""
    seen: dict[str, dict[str, Any]] = {}
    for mount in volume_mounts(settings["training_mounts"]):
        driver = driver_of(mount) if any(mount.get(key) for key in DRIVERS) else {}
        if driver and seen.setdefault(str(mount["source"]), driver) != driver:
            return (
                f"training_mounts gives the volume {mount['source']} two drivers, or two sets of driver_opts: name them once, or give "
                "the volumes two names."
            )
    return ""


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "checked_volumes": checked_volumes,
            "service_mounts": service_mounts,
            "stack_volumes_of": stack_volumes_of,
        }
