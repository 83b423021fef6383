"""Filters: what a build of the training image is told, and what cannot be asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..module_utils.typed import did_you_mean

DEFAULT_VOLUMES = ["/snapshots"]


def image_args(
    base: str,
    pip_index: str = "",
    cuda: Any = "",
    volumes: list[str] | None = None,
    packages: list[str] | None = None,
    wheels: str = "",
) -> dict[str, str]:
    """Arguments of the build. One that says nothing is left out: each of them is part of the image's tag."""
    said = {
        "BASE_IMAGE": base,
        "PIP_EXTRA_INDEX_URL": pip_index,
        "TORCH_CUDA": str(cuda),
        "VOLUMES": " ".join(volumes or []) if volumes != DEFAULT_VOLUMES else "",
        "APT_PACKAGES": " ".join(sorted(set(packages or []))),
        "WHEELS_IMAGE": wheels,
    }
    return {name: value for name, value in said.items() if value or name == "BASE_IMAGE"}


def image_refusals(asked: Mapping[str, Any]) -> list[str]:
    """Sentences about an image that cannot be as it is asked for.

    `asked` has `finished` (the name of an image that is taken as it is), `packages` (image_apt_packages), `dockerfile` and `text` (its path
    and what it says), `pattern` (the path of the project's own), `script` (its path), `script_is_there`, and `command` (training_command).
    """
    said = []
    if asked["packages"] and asked["finished"]:
        said.append(
            "training_image is taken as it is, and image_apt_packages is for an image that is built: leave one of them out, or build on that "
            f"image with image_base={asked['finished']}."
        )
    elif asked["packages"] and "APT_PACKAGES" not in asked["text"]:
        said.append(
            f"{asked['dockerfile']} does not mention APT_PACKAGES, so image_apt_packages would not be in the image: install them there, as "
            f"{asked['pattern']} does, or leave image_apt_packages out."
        )
    # Which file another command needs, nobody can tell.
    if not (asked["command"] or asked["finished"] or asked["script_is_there"]):
        said.append(no_script(Path(asked["script"])))
    return said


def no_script(script: Path) -> str:
    if not script.parent.is_dir():
        return f"{script.parent} is no directory on this machine: set training_dir to the one that {script.name} (training_script) is in."
    meant = did_you_mean(script.name, (file.name for file in script.parent.iterdir()))
    return f"{script} cannot be found on this machine: set training_dir to a directory, and training_script to the name of a script in it.{meant}"


def registry_serves(answers: list[Mapping[str, Any]], hosts: list[str]) -> bool:
    """Whether each of the hosts has got the image from the registry, or heard that there is none.

    `answers` are what image_pull returned there, with `image` or `missing`.
    """
    return sum("image" in answer or bool(answer.get("missing")) for answer in answers) == len(hosts)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {
            "image_args": image_args,
            "image_refusals": image_refusals,
            "registry_serves": registry_serves,
        }
