"""Volumes that a driver's options put somewhere else, and data that have to be the same on each host: named by the preflight, mended, used."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from labs import ROOT, Lab, Run

PLACE = "/srv/mounts"
JOB: dict[str, Any] = {
    **yaml.safe_load((ROOT / "examples/accelerate/job.yml").read_text()),
    "training_stack": "mounts",
    "training_dir": str(ROOT / "examples/accelerate"),
}
JOB["training_command"] = JOB["training_command"].replace("--epochs 400", "--epochs 40")


def volume(nocopy: bool = False, **options: str) -> list[dict[str, Any]]:
    mount = {"type": "volume", "source": "snapshots", "target": "/snapshots", "volume": {"nocopy": nocopy}}
    return [{**mount, "driver_opts": options}]


BOUND = volume(True, type="none", o="bind", device=PLACE)


@pytest.fixture(scope="module")
def image(lab: Lab) -> None:
    run = lab.play("playbooks/image.yml", **JOB)
    assert run.rc == 0, run.stdout[-4000:]


def checked(lab: Lab, **variables: Any) -> tuple[list[dict[str, Any]], Run]:
    """What the preflight has found."""
    (lab.artifacts / "preflight.json").unlink(missing_ok=True)
    run = lab.play("playbooks/preflight.yml", **JOB, **variables)
    found = json.loads((lab.artifacts / "preflight.json").read_text())
    assert (run.rc == 0) == found["ok"], run.stdout[-4000:]
    return found["findings"], run


def volumes(lab: Lab, host: str) -> list[str]:
    return lab.on(host, "docker", "volume", "ls", "--quiet").split()


@pytest.mark.usefixtures("image")
def test_a_volume_that_cannot_be_mounted_or_not_written_to(lab: Lab) -> None:
    before = {host: volumes(lab, host) for host in lab.hosts}
    found, _ = checked(lab, training_mounts=volume(type="nfs", o="addr=192.0.2.1,rw", device=":/srv/ddp"))
    assert {(one["host"], one["check"]) for one in found} == {(host, "volume") for host in lab.hosts}
    print(found[0]["observed"], found[0]["hint"], sep="\n")
    assert all("the volume mounts_snapshots cannot be mounted at /snapshots: " in one["observed"] for one in found)
    found, _ = checked(lab, training_mounts=volume(True, type="tmpfs", o="size=10m,uid=0,mode=0755", device="tmpfs"))
    print(found[0]["observed"], found[0]["hint"], sep="\n")
    assert {one["host"] for one in found} == set(lab.hosts)
    assert all("user 1000 may not write there" in one["observed"] for one in found)
    assert {host: volumes(lab, host) for host in lab.hosts} == before


@pytest.mark.usefixtures("image")
def test_data_that_differ_are_named_and_copied_and_the_job_ends_in_its_volume(lab: Lab, shapes: Path) -> None:
    """The volume is a directory that is mounted by its options; on host2 one of that name was made otherwise."""
    data = {"training_data": ["/srv/shapes"], "training_mounts": BOUND}
    for host in lab.hosts:
        lab.on(host, "sh", "-c", f"mkdir -p {PLACE} && find {PLACE} -mindepth 1 -delete && chown 1000:1000 {PLACE}")
    lab.on("host2", "docker", "volume", "create", "mounts_snapshots")
    lab.on("host2", "sh", "-c", "cd /srv/shapes/train/circle && printf x >>0001.png && rm 0002.png")
    found, _ = checked(lab, **data)
    assert sorted((one["host"], one["check"]) for one in found) == [("host2", "data"), ("host2", "volume")]
    said = {one["check"]: one for one in found}
    print(*(f"{one['observed']}\n{one['hint']}" for one in found), sep="\n")
    assert "the volume mounts_snapshots is local()" in said["volume"]["observed"]
    assert "train/circle/0001.png (" in said["data"]["observed"]
    assert "train/circle/0002.png (not there, there " in said["data"]["observed"]

    lab.on("host2", "docker", "volume", "rm", "mounts_snapshots")
    found, run = checked(lab, **data, training_data_from="host1")
    assert found == [], run.stdout[-4000:]
    lab.on("host2", "test", "-f", "/srv/shapes/train/circle/0002.png")

    run = lab.play("playbooks/training.yml", **JOB, **data, training_wait_for="complete")
    assert run.rc == 0, run.stdout[-4000:]
    # The engine mounts it only while a container has it: one was there while it was read, and is gone.
    assert (lab.artifacts / "newest.txt").read_text() == "40"
    assert lab.on("host1", "cat", f"{PLACE}/newest.txt") == "40"
    for host in lab.hosts:
        assert lab.on(host, "docker", "ps", "--quiet").split() == []
    # From the controller, to where nothing is yet.
    copied = {"training_data": [{"path": "/srv/copied/shapes", "controller": str(shapes)}], "training_mounts": BOUND}
    found, _ = checked(lab, **copied)
    assert {(one["host"], one["observed"]) for one in found} == {
        (host, "/srv/copied/shapes is not there") for host in lab.hosts
    }
    found, run = checked(lab, **copied, training_data_from="controller")
    assert found == [], run.stdout[-4000:]
    run = lab.play("playbooks/stop.yml", training_stack="mounts")
    assert run.rc == 0, run.stdout[-4000:]
    for host in lab.hosts:
        lab.on(host, "sh", "-c", f"docker volume rm mounts_snapshots; rm -rf {PLACE} /srv/copied")
