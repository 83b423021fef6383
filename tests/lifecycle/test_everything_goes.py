"""Two jobs that lose all and are restored, and hosts from which all is removed but the snapshots: a job goes on from these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from labs import Lab, Run
from waiting import until

JOBS = ("first", "second")
SNAPSHOT = "/var/lib/docker/volumes/{}_snapshots/_data/snapshot.pt"
MADE = (
    "/usr/bin/docker",
    "/usr/bin/containerd",
    "/etc/ddp-swarm",
    "/var/lib/ddp-swarm-installed",
    "/var/lib/ddp-swarm",
)
RESUMED = "resuming from snapshot at epoch "


@pytest.fixture(scope="module")
def pair() -> Iterator[Lab]:
    with Lab("everything").running("docker", "swarm", "image") as lab:
        yield lab


def play(lab: Lab, playbook: str, options: str = "", **variables: Any) -> Run:
    places = f"{lab.artifacts}/{{{{ training_stack }}}}"
    own = {
        "training_args": "100000 1 --snapshot_path /snapshots/snapshot.pt",
        "training_env": {"OMP_NUM_THREADS": "1"},
        "training_artifacts_dir": places,
        "preflight_artifacts_dir": places,
        "backup": "both",
        "backup_dir": str(lab.directory / "backups"),
    }
    run = lab.play(playbook, options=options, **{**own, **variables})
    assert run.rc == 0, run.stdout[-4000:]
    return run


def times(lab: Lab) -> dict[str, str]:
    return {name: lab.on("host1", "stat", "--format=%.9Y", SNAPSHOT.format(name), check=False) for name in JOBS}


def both_save(lab: Lab) -> None:
    before = times(lab)
    until(lambda: all(now and now != before[name] for name, now in times(lab).items()), timeout=180)


def log(lab: Lab, name: str) -> str:
    # Of a task that a restored swarm knows and no host ever had, docker says that it has no log.
    return lab.on("host1", "sh", "-c", f"docker service logs {name}_node0 2>&1", check=False)


def there(lab: Lab, host: str, *paths: str) -> list[str]:
    return [path for path in paths if lab.on(host, "sh", "-c", f"test -e {path} && echo yes", check=False).strip()]


def test_a_restore_brings_both_back(pair: Lab) -> None:
    for name in JOBS:
        play(pair, "playbooks/training.yml", training_stack=name)
    both_save(pair)
    play(pair, "playbooks/backup.yml", swarm_disturb_training=True)
    play(pair, "playbooks/teardown.yml", swarm_disturb_training=True, teardown_volumes=True)
    for host in pair.hosts:
        assert pair.on(host, "docker", "volume", "ls", "--quiet", "--filter", "name=_snapshots") == ""
    play(pair, "playbooks/restore.yml")
    play(pair, "playbooks/swarm.yml")
    both_save(pair)
    for name in JOBS:
        assert RESUMED in log(pair, name)


def test_all_goes_but_the_snapshots(pair: Lab) -> None:
    foretold = play(pair, "playbooks/teardown.yml", "--check", teardown_all=True, swarm_disturb_training=True)
    assert "would be removed; left would be /var/lib/docker (" in foretold.said()
    assert there(pair, "host1", "/usr/bin/docker")
    pair.on("host1", "apt-mark", "hold", "docker.io")
    # What somebody has built on the image has its label.
    base = pair.on("host1", "docker", "image", "ls", "--quiet", "my-ddp-trainer:latest").strip()
    pair.on("host1", "sh", "-c", f"echo FROM {base} | docker build --quiet --tag theirs:1 -")
    run = play(pair, "playbooks/teardown.yml", teardown_all=True, swarm_disturb_training=True)
    said = run.said()
    for host in pair.hosts:
        assert there(pair, host, *MADE) == []
        assert (
            there(pair, host, *map(SNAPSHOT.format, JOBS)) == [SNAPSHOT.format(name) for name in JOBS]
            or host != "host1"
        )
        assert f"{host}: containerd, docker.io, docker-cli, runc are removed; left are /var/lib/docker (" in said
    assert "first_snapshots, second_snapshots" in said
    assert play(pair, "playbooks/teardown.yml", teardown_all=True).changed() == []


def test_it_is_installed_again_and_a_job_goes_on(pair: Lab) -> None:
    play(pair, "site.yml", training_stack="first")
    assert RESUMED in log(pair, "first")
    assert "theirs:1" in pair.on("host1", "docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}")


def test_an_engine_that_holds_something_stays(pair: Lab) -> None:
    play(pair, "playbooks/stop.yml", all=True)
    pair.on("host1", "sh", "-c", "docker run --detach --name db --entrypoint sleep theirs:1 1000")
    pair.on("host2", "systemctl", "stop", "docker.socket", "docker")
    said = play(pair, "playbooks/teardown.yml", teardown_all=True).said()
    assert "host1: the engine stays, which runs the containers db;" in said
    assert "host2: the engine stays, which does not answer" in said
    assert pair.on("host1", "docker", "ps", "--format", "{{.Names}}").strip() == "db"
