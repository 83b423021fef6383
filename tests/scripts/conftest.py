"""A lab with the packages of all examples, and the dataset of one of them on each host."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from labs import ROOT, Lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    # The lab's hosts fetch no packages: they get the wheels of all examples.
    wanted = tmp_path_factory.mktemp("wanted")
    files = sorted((ROOT / "examples").glob("*/requirements.txt"))
    lines = {line for file in files for line in file.read_text().split()}
    (wanted / "requirements.txt").write_text("".join(f"{line}\n" for line in sorted(lines)))
    settings = {"lab_training_dir": str(wanted), "lab_releases": {"host2": "bookworm"}}
    with Lab("examples", **settings).running("docker", "swarm") as lab:
        yield lab


@pytest.fixture(scope="session")
def shapes(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the images are on this machine; on each host they are in /srv/shapes."""
    drawn = tmp_path_factory.mktemp("shapes")
    subprocess.run([sys.executable, ROOT / "examples/images/make_shapes.py", drawn], check=True)
    for host in lab.hosts:
        subprocess.run(["docker", "cp", f"{drawn}/.", f"{lab.name}-{host}:/srv/shapes"], check=True)
        lab.on(host, "chmod", "-R", "a+rX", "/srv/shapes")
    return drawn
