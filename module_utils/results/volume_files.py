"""Where the files of a Docker volume lie. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..docker.cli import THROWAWAY, DockerCli, DockerError

# What is asked of a volume: where it is, and who puts it there.
ASKED = "{{.Mountpoint}}\n{{.Driver}}\n{{json .Options}}"
# A container that nobody ends, since its module was killed, ends by itself, in seconds.
AT_MOST = 3600
PATIENCE = 60.0
# Images that are tried, since one may have no program sleep.
TRIES = 5


@contextmanager
def files_of(docker: DockerCli, volume: str) -> Iterator[str | None]:
    """The directory, while it is looked at; None where there is no such volume.

    What a driver or options put somewhere else (NFS), an engine mounts only while a container has it: one that sleeps is started for that.
    """
    done = docker.run("volume", "inspect", "--format", ASKED, volume, check=False)
    place, driver, options = (*done.stdout.split("\n"), "", "", "")[:3] if done.rc == 0 else ("", "", "")
    # Of an engine that is asked for one thing.
    if driver in ("", "local") and options.strip() in ("", "null", "{}"):
        yield place.strip() or None
        return
    container = sleeper(docker, volume)
    try:
        yield place.strip() or None
    finally:
        docker.run("rm", "--force", container, check=False, timeout=PATIENCE)


def sleeper(docker: DockerCli, volume: str) -> str:
    """A container that has the volume, and no network. It is made of an image that is here: best of one that has had the volume before."""
    filtered = ["--filter", f"volume={volume}", "--format", "{{.Image}}"]
    images = docker.run("ps", "--all", *filtered).stdout.split()
    images += docker.run("image", "ls", "--format", "{{.ID}}").stdout.split()
    mount = f"type=volume,source={volume},target=/held,volume-nocopy"
    why = DockerError(
        f"the volume {volume} is mounted by a container alone, and there is no image of which one could be made"
    )
    for image in list(dict.fromkeys(images))[:TRIES]:
        run = [*THROWAWAY, "--detach", "--mount", mount, "--entrypoint", "sleep"]
        try:
            return docker.run(*run, image, str(AT_MOST), timeout=PATIENCE).stdout.strip()
        except DockerError as error:
            why = error
    raise why
