"""The probe's files: as they lie in the tree, once more for one rank, and as they are delivered."""

from __future__ import annotations

import importlib.util
import itertools
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from ansible_collections.ddp.swarm.plugins.filter.zipapp import archive
from by_path import ROOT

PROBE = ROOT / "roles/preflight/files/probe"
NUMBERS = itertools.count()


def own_probe() -> ModuleType:
    """The probe's package for one rank alone: what is planted in it is in no other."""
    folder = PROBE / "ddp_probe"
    name = f"ddp_probe_{next(NUMBERS)}"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec
    assert spec.loader
    package = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    for found in pkgutil.walk_packages([str(folder)], f"{name}."):
        importlib.import_module(found.name)
    return package


def files_of(package: ModuleType) -> list[ModuleType]:
    """Each file of a package, as far as they were imported."""
    start = package.__name__ + "."
    return [package, *(module for name, module in list(sys.modules.items()) if name.startswith(start))]


def delivered_probe(folder: Path) -> Path:
    """The probe as it comes into a rank's container."""
    path = folder / "probe"
    path.write_bytes(archive(str(PROBE)))
    return path
