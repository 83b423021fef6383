"""Three hosts in a swarm, and an image of a few files. The tests of a module build on each other, in the order they stand."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import registries
from labs import ROOT, Lab, Run

HOSTS = ["host1", "host2", "host3"]
SECRET = "correct horse battery"


class Images:
    """The lab, as the role image sees it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.context = lab.directory / "context"
        shutil.rmtree(self.context, ignore_errors=True)
        shutil.copytree(ROOT / "molecule/image/context", self.context)
        self.registry = {
            "image_distribution": "registry",
            "image_registry_image": registries.NAME,
            "image_registry_archive": str(registries.archive(lab, "host2")),
        }

    def write(self, text: str) -> None:
        # An image of its own each time: one that a host has already is left as it is, and so is its tag latest.
        (self.context / "train.py").write_text(f'print("{text}")  # {time.time()}\n')

    def play(self, **options: Any) -> Run:
        return self.lab.play(
            "playbooks/image.yml", **{"training_dir": str(self.context), "training_script": "train.py"} | options
        )

    def have(self, text: str, **options: Any) -> Run:
        """Change the program, and have it on every host, from one build."""
        self.write(text)
        run = self.play(**options)
        assert run.rc == 0, run.stdout[-4000:]
        self.are_the_same(text)
        return run

    def are_the_same(self, text: str) -> None:
        assert len({self.id(host) for host in HOSTS}) == 1
        for host in HOSTS:
            assert self.lab.on(host, "docker", "run", "--rm", "my-ddp-trainer:latest").strip() == text
            assert self.lab.on(host, "ls", "/var/lib").split().count("ddp-swarm") == 0
            assert {name.split(":")[0] for name in self.names(host)} <= {
                "my-ddp-trainer",
                "ddp-base",
                "registry",
                "kept",
            }

    def id(self, host: str) -> str:
        return self.lab.on(host, "docker", "image", "inspect", "--format", "{{.Id}}", "my-ddp-trainer:latest").strip()

    def ref(self) -> str:
        """The name of the current image, with the tag that says what is in it."""
        tags = self.lab.on(
            "host1", "docker", "image", "inspect", "--format", "{{json .RepoTags}}", "my-ddp-trainer:latest"
        )
        return next(str(tag) for tag in json.loads(tags) if not tag.endswith(":latest"))

    def names(self, host: str) -> list[str]:
        rows = self.lab.on(host, "docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
        return [row for row in rows if row != "<none>:<none>"]

    def tags(self, host: str) -> set[str]:
        return {
            name for name in self.names(host) if name.startswith("my-ddp-trainer:") and not name.endswith(":latest")
        }

    def forget(self, host: str) -> None:
        """As if the host had never had the image."""
        self.lab.on(
            host, "sh", "-c", "docker image ls --quiet my-ddp-trainer | sort -u | xargs -r docker image rm --force 2>&1"
        )

    def received(self, host: str) -> int:
        """Bytes that came to the host over its network since it started."""
        return int(self.lab.on(host, "cat", "/sys/class/net/eth0/statistics/rx_bytes"))


@pytest.fixture(scope="session")
def images() -> Iterator[Images]:
    packages = ["docker.io", "zstd"]
    lab = Lab("images", lab_size=3, lab_releases={"host2": "bookworm"}, lab_packages=packages)
    with lab.running("docker", "swarm") as running:
        yield Images(running)


def left_behind(directory: Path, secret: str) -> list[str]:
    """Files of a run that hold a secret. What the test itself gave to ansible-runner as a variable is its own affair."""
    files = [path for path in directory.rglob("*") if path.is_file() and path.name != "extravars"]
    return [str(path) for path in files if secret.encode() in path.read_bytes()]
