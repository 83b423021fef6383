"""Which volumes are a stack's. What is taken for one is removed by a teardown that is told to."""

import pytest
from ansible_collections.ddp.swarm.plugins.filter.stack_volumes import stack_volumes


@pytest.mark.parametrize(
    ("line", "ours"),
    [
        ("demo_snapshots\tdemo", True),
        ("demo_old\tdemo", True),
        # The probes use the volumes first, and their stack gives them its name.
        ("demo_snapshots\tdemo-preflight", True),
        ("demo-preflight_snapshots\tdemo-preflight", False),
        ("demo_snapshots\tdemo-other", False),
        ("demo_x_snapshots\tdemo_x", False),
        ("demo_snapshots\tother", False),
        ("example.org.demo_snapshots\tdemo", False),
        ("demo_snapshots\t", True),
        ("demo_snapshots", True),
        ("demo_mine\t", False),
        ("demo_x_snapshots\t", False),
        ("", False),
    ],
)
def test_whose_volume_it_is(line: str, ours: bool) -> None:
    assert stack_volumes([line], "demo", ["snapshots", "cache"]) == ([line.split("\t")[0]] if ours else [])


def test_all_of_them() -> None:
    lines = ["demo_cache\tdemo", "demo_x_cache\tdemo_x", "demo_snapshots\t"]
    assert stack_volumes(lines, "demo", ["snapshots"]) == ["demo_cache", "demo_snapshots"]
    assert stack_volumes(lines, "demo_x", ["snapshots"]) == ["demo_x_cache"]
