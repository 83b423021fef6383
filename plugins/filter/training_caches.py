"""Filter: the environment variables by which programs find their caches in a rank's volume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.parsing.convert_bool import BOOLEANS_FALSE, BOOLEANS_TRUE

from ..module_utils.names import CACHES

# What is downloaded from Hugging Face, and what torch.compile and Triton have compiled.
KNOWN = ("HF_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


def variables_of(setting: Any) -> list[str] | None:
    """Names of variables, of the setting training_caches: true is all known ones, false is none. None for what it cannot be."""
    if isinstance(setting, (list, tuple)):
        return [str(name) for name in setting] if all(isinstance(name, str) for name in setting) else None
    word = setting.lower() if isinstance(setting, str) else setting
    if isinstance(word, (Mapping, set)):
        return None
    return list(KNOWN) if word in BOOLEANS_TRUE else [] if word in BOOLEANS_FALSE else None


def results_volume(mounts: Any, results_dir: str) -> bool:
    """Whether a volume that can be written to is mounted where a rank leaves its results."""
    return any(
        isinstance(mount, Mapping)
        and mount.get("type") == "volume"
        and not mount.get("read_only")
        and str(mount.get("target")).rstrip("/") == results_dir.rstrip("/")
        for mount in mounts or []
    )


def cache_variables(setting: Any, mounts: list[Mapping[str, Any]], results_dir: str) -> dict[str, str]:
    """Each variable with its directory, which is not there before a program makes it; none where no volume could hold them."""
    names = variables_of(setting) or []
    root = results_dir.rstrip("/")
    return {name: f"{root}/{CACHES}/{name}" for name in names} if results_volume(mounts, results_dir) else {}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"cache_variables": cache_variables}
