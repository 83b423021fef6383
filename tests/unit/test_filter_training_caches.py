"""Where programs find their caches."""

from typing import Any

import pytest
import yaml
from ansible_collections.ddp.swarm.plugins.filter.training_caches import KNOWN, cache_variables, variables_of
from ansible_collections.ddp.swarm.plugins.module_utils.names import CACHES
from by_path import ROOT

VOLUME = [
    {"type": "bind", "source": "/data", "target": "/data"},
    {"type": "volume", "source": "s", "target": "/snapshots"},
]
BIND = [{"type": "bind", "source": "/data", "target": "/snapshots"}]


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        (True, [*KNOWN]),
        ("True", [*KNOWN]),
        ("yes", [*KNOWN]),
        (False, []),
        ("false", []),
        ([], []),
        (["HF_HOME", "TORCH_HOME"], ["HF_HOME", "TORCH_HOME"]),
        ("HF_HOME", None),
        ({"HF_HOME": "/x"}, None),
        ([True], None),
        ([["HF_HOME"]], None),
        (None, None),
        (7, None),
    ],
)
def test_what_the_setting_names(setting: Any, names: list[str] | None) -> None:
    assert variables_of(setting) == names


def test_each_has_a_directory_in_the_volume_of_the_results() -> None:
    expected = {name: f"/snapshots/.ddp-caches/{name}" for name in KNOWN}
    assert cache_variables(True, VOLUME, "/snapshots") == cache_variables(True, VOLUME, "/snapshots/") == expected
    assert cache_variables(["TORCH_HOME"], VOLUME, "/snapshots") == {"TORCH_HOME": "/snapshots/.ddp-caches/TORCH_HOME"}
    assert cache_variables(False, VOLUME, "/snapshots") == {}


@pytest.mark.parametrize(
    "mounts",
    [[], None, BIND, [{**VOLUME[1], "read_only": True}], [{**VOLUME[1], "target": "/snapshots/x"}], [{}], ["x"]],
    ids=str,
)
def test_without_a_volume_there_are_none(mounts: Any) -> None:
    """A directory of the host may not be the program's to write to, and what is in the container dies with it."""
    assert cache_variables(True, mounts, "/snapshots") == {}


def test_a_volume_with_nothing_but_caches_is_empty_for_a_backup() -> None:
    tasks = yaml.safe_load((ROOT / "roles/training/tasks/volumes/restore.yml").read_text())
    (find,) = [task["ansible.builtin.find"] for task in tasks if "ansible.builtin.find" in task]
    assert find["excludes"] == CACHES
