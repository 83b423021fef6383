"""Eight hosts with three managers, out of one inventory, and then with five and seven managers."""

from collections.abc import Iterator

import pytest
from conftest import Shape
from labs import Lab

HOSTS = [f"host{number}" for number in range(1, 9)]


@pytest.fixture(scope="module")
def eight() -> Iterator[Lab]:
    with Lab("eight", lab_size=8, lab_managers=3).running() as lab:
        yield lab


def test_formed_trained_shrunk_grown_and_torn_down(eight: Lab) -> None:
    shape = Shape(eight, HOSTS[:3], HOSTS[3:])
    # Eight engines and eight ranks on a machine of two cores: swarm's names take longer than the preflight usually waits.
    settings = {
        "training_args": "2 1 --snapshot_path /snapshots/snapshot.pt",
        "training_wait_for": "complete",
        "preflight_timeout": 200,
    }
    run = shape.play("site.yml", **settings)
    assert run.rc == 0, run.stdout[-4000:]
    shape.is_whole()
    for rank in range(8):
        assert f"rank {rank} of 8 on host host{rank + 1}" in (eight.artifacts / f"node{rank}.log").read_text()
    assert "weights are identical on all 8 ranks" in (eight.artifacts / "node0.log").read_text()
    again = shape.play("site.yml", **settings)
    assert (again.rc, again.changed()) == (0, [])

    run = shape.play("playbooks/remove.yml", host="host4,host8")
    assert run.rc == 0, run.stdout[-4000:]
    six = Shape(eight, HOSTS[:3], HOSTS[4:7])
    assert six.cluster().rc == 0
    six.is_whole()

    seven = Shape(eight, HOSTS[:3], [*HOSTS[4:7], "host8"])
    assert seven.cluster().rc == 0
    seven.is_whole()
    seven.changes_nothing()

    for managers, workers in ([*HOSTS[:3], "host5", "host6"], HOSTS[6:]), ([*HOSTS[:3], *HOSTS[4:]], []):
        shape = Shape(eight, managers, workers)
        assert shape.cluster().rc == 0
        shape.is_whole()
        shape.changes_nothing()

    assert shape.play("playbooks/teardown.yml").rc == 0
    assert {seven.state(host) for host in HOSTS} == {"inactive"}
