"""Filters: what GPUs change in the engine's settings (daemon.json), and how that is undone."""

from copy import deepcopy
from typing import Any

from ..module_utils.names import GPU

Settings = dict[str, Any]

KIND = f"{GPU}="
RESOURCES = "node-generic-resources"


def gpu_places(settings: Settings) -> Settings:
    """What the settings say, themselves, in the places that with_gpus writes to."""
    places: Settings = {}
    if "default-runtime" in settings:
        places["default-runtime"] = settings["default-runtime"]
    if "nvidia" in settings.get("runtimes", {}):
        places["runtimes"] = {"nvidia": settings["runtimes"]["nvidia"]}
    announced = [entry for entry in settings.get(RESOURCES, []) if entry.startswith(KIND)]
    return {**places, RESOURCES: announced} if announced else places


def without_gpus(settings: Settings, before: Settings) -> Settings:
    """Undo with_gpus. `before` is what gpu_places said before it; all else in the settings stays as it is now."""
    result = deepcopy(settings)
    if result.get("default-runtime") == "nvidia":
        del result["default-runtime"]
    runtimes = result.pop("runtimes", {})
    runtimes.pop("nvidia", None)
    runtimes |= before.get("runtimes", {})
    resources = [entry for entry in result.pop(RESOURCES, []) if not entry.startswith(KIND)] + before.get(RESOURCES, [])
    kept = {"default-runtime": before.get("default-runtime"), "runtimes": runtimes, RESOURCES: resources}
    return {**{name: value for name, value in kept.items() if value}, **result}


def with_gpus(settings: Settings, uuids: list[str], options: Settings) -> Settings:
    """Offer these GPUs to swarm, and no others. What `options` says, which is part of the settings, is kept."""
    if not uuids:
        return settings
    result = deepcopy(settings)
    result.setdefault("runtimes", {}).setdefault("nvidia", {"path": "nvidia-container-runtime"})
    if "default-runtime" not in options:
        result["default-runtime"] = "nvidia"
    others = [entry for entry in result.get(RESOURCES, []) if not entry.startswith(KIND)]
    return {**result, RESOURCES: [*others, *(KIND + uuid for uuid in uuids)]}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"gpu_places": gpu_places, "with_gpus": with_gpus, "without_gpus": without_gpus}
