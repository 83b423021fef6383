"""Filters: where the project's own directories are, where results go, and which parts of site.yml a run has."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

# As site.yml tags them.
PHASES = {"docker", "swarm", "image", "preflight", "training"}
TREE = Path(__file__).resolve().parents[2]


def installed(tree: Path) -> bool:
    """Whether a tree is where ansible-galaxy puts collections: what is written there goes with the next version."""
    return tree.parts[-3:-2] == ("ansible_collections",)


def beside(playbook_dir: str) -> Path:
    path = Path(playbook_dir)
    return path.parent if path.name == "playbooks" else path


def project_part(playbook_dir: str, name: str, tree: Path = TREE) -> str:
    """A directory beside the playbooks that are played; without one, that of the tree this comes from."""
    own = beside(playbook_dir) / name
    return str(own if own.exists() else tree / name)


def results_home(playbook_dir: str, tree: Path = TREE) -> str:
    """Beside the playbooks; for those of an installed collection, where ansible-playbook was started."""
    own = beside(playbook_dir)
    return str(Path.cwd() if installed(tree) and own.resolve() == tree else own)


def phase_wanted(phase: str, tags: Iterable[str], skipped: Iterable[str]) -> bool:
    """Whether a run with these --tags and --skip-tags has that part; also where that cannot be told for sure."""
    return phase not in skipped and bool(set(tags) - (PHASES - {phase}) - {"always"})


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"project_part": project_part, "results_home": results_home, "phase_wanted": phase_wanted}
