"""What is installed as `ddp` is this project."""

import subprocess
import sys
import tomllib
from email.parser import Parser
from pathlib import Path

import yaml
from by_path import ROOT


def test_the_package_is_the_console() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"ddp": "console.main:main"}


def test_the_package_takes_its_version_from_the_collection(tmp_path: Path) -> None:
    """As pip asks for it, in a tree of its own with another version."""
    for name in ("pyproject.toml", "setup.py", "requirements.txt", "README.md", "galaxy.yml", "console"):
        (tmp_path / name).symlink_to(ROOT / name)
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    (tmp_path / "galaxy.yml").unlink()
    text = (ROOT / "galaxy.yml").read_text()
    (tmp_path / "galaxy.yml").write_text(text.replace(f"version: {version}\n", "version: 7.8.9\n"))
    ask = "from setuptools import build_meta; build_meta.prepare_metadata_for_build_wheel('.')"
    done = subprocess.run([sys.executable, "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (metadata,) = tmp_path.glob("*.dist-info/METADATA")
    said = Parser().parsestr(metadata.read_text())
    assert (said["Name"], said["Version"]) == ("ddp-swarm", "7.8.9")
