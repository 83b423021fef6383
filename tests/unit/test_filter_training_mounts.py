"""What a stack makes of training_mounts whose volumes have drivers, and what the preflight is asked to look at."""

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.training_mounts import (
    checked_volumes,
    driver_refusals,
    service_mounts,
    stack_volumes_of,
)

PLAIN: dict[str, Any] = {"type": "volume", "source": "snapshots", "target": "/snapshots"}
OPTIONS = {"type": "nfs", "o": "addr=10.0.0.5,rw,nfsvers=4", "device": ":/srv/job"}
NFS = {**PLAIN, "driver": "local", "driver_opts": OPTIONS, "volume": {"nocopy": True}}
BIND = {"type": "bind", "source": "/srv/data", "target": "/data", "read_only": True}


def test_a_driver_stands_with_the_volume() -> None:
    mounts = [NFS, BIND, {"type": "tmpfs", "target": "/scratch"}]
    assert stack_volumes_of(mounts, "job") == {
        "snapshots": {"name": "job_snapshots", "driver": "local", "driver_opts": OPTIONS}
    }
    assert service_mounts(mounts) == [{**PLAIN, "volume": {"nocopy": True}}, *mounts[1:]]
    assert stack_volumes_of([PLAIN], "job") == {"snapshots": {"name": "job_snapshots"}}
    assert stack_volumes_of([], "job") == stack_volumes_of(None, "job") == {}


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ({"driver_opts": {"size": 1024, "ro": True}}, {"driver": "local", "driver_opts": {"size": "1024", "ro": "true"}}),
        ({"driver": "vieux/sshfs"}, {"driver": "vieux/sshfs"}),
        ({"driver": "", "driver_opts": {}}, {}),
        ({"driver": None, "driver_opts": None}, {}),
    ],
)  # fmt: skip
def test_drivers(given: dict[str, Any], driver: dict[str, Any]) -> None:
    assert stack_volumes_of([{**PLAIN, **given}], "job")["snapshots"] == {"name": "job_snapshots", **driver}


def test_a_volume_at_two_places_has_its_driver_from_either() -> None:
    twice = [{**PLAIN, "target": "/again"}, NFS, {**PLAIN, "target": "/third"}]
    assert stack_volumes_of(twice, "job")["snapshots"]["driver_opts"] == OPTIONS
    assert driver_refusals({"training_mounts": twice}, []) == ""
    other = {**NFS, "target": "/other", "driver_opts": {**OPTIONS, "device": ":/srv/other"}}
    assert "gives the volume snapshots two drivers" in driver_refusals({"training_mounts": [*twice, other]}, [])


def test_what_the_preflight_looks_at() -> None:
    volume = {"name": "job_snapshots", "driver": "local", "driver_opts": OPTIONS}
    assert checked_volumes([NFS, BIND, {**PLAIN, "source": "out", "target": "/out", "read_only": True}], "job") == [
        {"target": "/snapshots", "read_only": False, "nocopy": True, **volume},
        {"target": "/out", "read_only": True, "nocopy": False, "name": "job_out"},
    ]
