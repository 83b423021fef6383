"""The version has one home, galaxy.yml. All else is in pyproject.toml."""

import re
from pathlib import Path

from setuptools import setup

GALAXY = Path(__file__).with_name("galaxy.yml").read_text()
setup(version=re.findall(r"^version: (\S+)$", GALAXY, re.MULTILINE)[0])
