"""What is installed as `ddp` is this project."""

import tomllib

import yaml
from by_path import ROOT


def test_the_package_has_the_collections_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text())
    assert project["version"] == galaxy["version"]
    assert project["scripts"] == {"ddp": "console.main:main"}
