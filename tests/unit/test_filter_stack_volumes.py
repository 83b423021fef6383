"""Which volumes are a stack's. What is taken for one is removed by a teardown that is told to."""

import pytest
from ansible_collections.ddp.swarm.plugins.filter.stack_volumes import job_of_volume, job_volumes, stack_volumes


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


def test_those_of_all_jobs() -> None:
    """Also of a job that is stopped, so that no service tells of it; and nobody else's."""
    lines = [
        "demo_snapshots\t",
        "one_snapshots\tone-preflight",
        "one_extra\tone-preflight",
        "two_snapshots\ttwo",
        "two_x_snapshots\ttwo_x",
        "shop_database\tshop",
        "theirs\t",
        "other_snapshots\t",
    ]
    wanted = ["demo_snapshots", "one_snapshots", "one_extra", "two_snapshots", "two_x_snapshots"]
    assert job_volumes(lines, "demo", ["snapshots"]) == wanted
    assert job_volumes([], "demo", ["snapshots"]) == []


@pytest.mark.parametrize(
    ("volume", "job"),
    [
        ("demo_snapshots", "demo"),
        ("demo_x_snapshots", "demo_x"),
        ("demo_my_data", "demo"),
        ("demo_other", "demo"),
        ("plain", "plain"),
    ],
)
def test_the_job_that_a_volume_is_called_after(volume: str, job: str) -> None:
    assert job_of_volume(volume, ["snapshots", "data", "my_data"]) == job
