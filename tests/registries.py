"""A registry's image for hosts that can pull none: Debian's package docker-registry, on the lab's base image."""

import os
import subprocess
from pathlib import Path

import yaml
from labs import Lab

NAME = "registry:debian"
DOCKERFILE = r"""
FROM {base}
RUN apt-get update && apt-get install --yes --no-install-recommends docker-registry && rm -rf /var/lib/apt/lists/*
ENTRYPOINT ["docker-registry"]
"""


def archive(lab: Lab, host: str) -> Path:
    """Built on a host of the lab, which needs an engine; kept for the next time."""
    path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ddp-swarm/registry-debian12.tar"
    if not path.exists():
        settings = yaml.safe_load(lab.inventory.read_text())["all"]["vars"]
        inside = ["docker", "exec", "--interactive", f"{lab.name}-{host}", "docker"]
        with open(settings["image_base_archive"], "rb") as base:
            subprocess.run([*inside, "load"], stdin=base, check=True)
        recipe = DOCKERFILE.format(base=settings["image_base"])
        subprocess.run([*inside, "build", "--tag", NAME, "-"], input=recipe.encode(), check=True)
        part = path.with_suffix(".part")
        with part.open("wb") as out:
            subprocess.run([*inside, "save", NAME], stdout=out, check=True)
        part.replace(path)
        lab.on(host, "docker", "image", "rm", NAME, settings["image_base"])
    return path
