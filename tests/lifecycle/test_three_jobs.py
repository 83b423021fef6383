"""Three jobs of two frameworks side by side on three hosts, through all that ends them for a while: nothing is lost, and each result is whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import yaml
from conftest import older_engine
from labs import ROOT, Lab, Run
from waiting import until

LIGHTNING = yaml.safe_load((ROOT / "examples/lightning/job.yml").read_text())
OWN = {"training_env": {"OMP_NUM_THREADS": "1"}}
JOBS: dict[str, dict[str, Any]] = {
    "first": {"training_args": "100000 1 --snapshot_path /snapshots/snapshot.pt", **OWN},
    "second": {"training_args": "100000 2 --task digits --snapshot_path /snapshots/snapshot.pt", **OWN},
    "lightning": {
        **LIGHTNING,
        **OWN,
        "training_dir": str(ROOT / "examples/lightning"),
        "training_args": LIGHTNING["training_args"].replace("100", "100000"),
    },
}
SNAPSHOTS = {"first": "snapshot.pt", "second": "snapshot.pt", "lightning": "last.ckpt"}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    # The lab's hosts fetch no packages: they get the wheels of both images.
    wanted = tmp_path_factory.mktemp("wanted")
    files = [ROOT / "training/requirements.txt", ROOT / "examples/lightning/requirements.txt"]
    (wanted / "requirements.txt").write_text("".join(file.read_text() for file in files))
    settings = {"lab_size": 3, "lab_releases": {"host3": "bookworm"}, "lab_training_dir": str(wanted)}
    with Lab("threejobs", **settings).running("docker", "swarm") as lab:
        for name in ("first", "lightning"):
            succeeds(play(lab, "image", name))
        yield lab


def play(lab: Lab, playbook: str, name: str = "", **variables: Any) -> Run:
    """Of a job, or of all."""
    places = f"{lab.artifacts}/{{{{ training_stack }}}}"
    own = {"training_stack": name, **JOBS[name]} if name else {}
    settings = {"training_artifacts_dir": places, "preflight_artifacts_dir": places, **own, **variables}
    return lab.play(f"playbooks/{playbook}.yml", **settings)


def succeeds(run: Run) -> Run:
    assert run.rc == 0, run.stdout[-4000:]
    return run


def refuses(run: Run, *words: str) -> None:
    assert run.rc != 0
    assert run.changed() == []
    for word in (*JOBS, *words):
        assert word in run.failure()


def status(lab: Lab) -> dict[str, dict[str, Any]]:
    succeeds(play(lab, "status", training_status_file=str(lab.directory / "status.json")))
    return {job["name"]: job for job in json.loads((lab.directory / "status.json").read_text())["jobs"]}


def containers(lab: Lab, name: str) -> list[str]:
    label = f"label=com.docker.stack.namespace={name}"
    return [lab.on(host, "docker", "ps", "--quiet", "--filter", label).strip() for host in lab.hosts]


def log(lab: Lab, name: str, rank: int = 0) -> str:
    return (lab.artifacts / name / f"node{rank}.log").read_text()


def all_train(lab: Lab) -> None:
    """Each has saved something since this was called, so all of its ranks take part."""
    volume = "/var/lib/docker/volumes/{}_snapshots/_data/{}"

    def times() -> dict[str, str]:
        return {
            name: lab.on("host1", "stat", "--format", "%.9Y", volume.format(name, file), check=False).strip()
            for name, file in SNAPSHOTS.items()
        }

    before = times()
    until(lambda: all(now and now != before[name] for name, now in times().items()), timeout=300)


def test_they_train_side_by_side(three: Lab) -> None:
    for name in JOBS:
        succeeds(play(three, "training", name))
    all_train(three)
    assert {name: job["state"] for name, job in status(three).items()} == dict.fromkeys(JOBS, "running")


def test_one_is_stopped_and_started_and_the_others_do_not_notice(three: Lab) -> None:
    others = {name: containers(three, name) for name in ("first", "lightning")}
    succeeds(play(three, "stop", "second"))
    assert set(status(three)) == set(others)
    saved = torch.load(three.artifacts / "second" / "snapshot.pt", weights_only=True)
    run = succeeds(play(three, "training", "second"))
    assert "It goes on from its snapshot" in run.said()
    all_train(three)
    assert {name: containers(three, name) for name in others} == others
    assert saved


def test_new_tokens_disturb_nobody(three: Lab) -> None:
    before = {name: containers(three, name) for name in JOBS}
    succeeds(play(three, "rotate_tokens"))
    assert {name: containers(three, name) for name in JOBS} == before


def test_a_host_that_has_ranks_of_all_is_not_removed(three: Lab) -> None:
    refuses(play(three, "remove", host="host3"))
    all_train(three)


def test_a_host_that_leaves_has_left_all_that_its_ranks_wrote(three: Lab) -> None:
    succeeds(play(three, "remove", host="host3", swarm_disturb_training=True))
    for name in JOBS:
        assert log(three, name, 2).strip(), name
    succeeds(play(three, "swarm"))
    for name in JOBS:
        succeeds(play(three, "training", name))
    all_train(three)


def test_an_upgrade_names_all_and_they_go_on_after_it(three: Lab) -> None:
    before = {name: containers(three, name) for name in JOBS}
    older_engine(three, "host3")
    three.on("host3", "systemctl", "start", "docker")
    until(lambda: all(all(containers(three, name)) for name in before), timeout=300)
    refuses(play(three, "upgrade"), "swarm_disturb_training=true")
    succeeds(play(three, "upgrade", swarm_disturb_training=True))
    assert "older" not in three.on("host3", "dpkg-query", "--show", "--showformat=${Version}", "docker.io")
    all_train(three)


def test_a_reboot_names_all_and_they_go_on_after_it(three: Lab) -> None:
    assert play(three, "reboot", limit="host3").failure().count("swarm_disturb_training=true")
    succeeds(play(three, "reboot", limit="host3", swarm_disturb_training=True))
    all_train(three)


def test_a_backup_names_all_and_they_go_on_after_it(three: Lab) -> None:
    backup = {"backup": "three", "backup_dir": str(three.directory / "backups")}
    refuses(play(three, "backup", **backup), "swarm_disturb_training=true")
    succeeds(play(three, "backup", swarm_disturb_training=True, **backup))
    files = {path.name for path in (three.directory / "backups" / "three").iterdir()}
    assert files >= {f"{host}.{name}_snapshots.tar.gz" for host in three.hosts for name in JOBS}
    all_train(three)
    refuses(play(three, "restore", swarm_rebuild=True, **backup), "swarm_disturb_training=true")
    all_train(three)
    for name in JOBS:
        for rank in range(3):
            (three.artifacts / name / f"node{rank}.log").unlink(missing_ok=True)
    succeeds(play(three, "restore", swarm_rebuild=True, swarm_disturb_training=True, **backup))
    for name in JOBS:
        assert all(log(three, name, rank).strip() for rank in range(3)), name
    succeeds(play(three, "swarm"))
    for name in JOBS:
        succeeds(play(three, "training", name))
    all_train(three)


def test_a_teardown_loses_nothing(three: Lab) -> None:
    refuses(play(three, "teardown"), "swarm_disturb_training=true")
    succeeds(play(three, "teardown", swarm_disturb_training=True))
    for name, file in SNAPSHOTS.items():
        for rank in range(3):
            assert log(three, name, rank).strip(), f"rank {rank} of {name}"
        # Lightning's has more in it than weights. It was made here.
        assert torch.load(three.artifacts / name / file, weights_only=name != "lightning", map_location="cpu")
    for name in ("first", "second"):
        told = [json.loads(line) for line in (three.artifacts / name / "metrics.jsonl").read_text().splitlines()]
        epochs = [one["epoch"] for one in told if one["event"] == "epoch"]
        # Each once or, where a run was ended before it had saved, again; none is left out.
        assert sorted(set(epochs)) == list(range(min(epochs), max(epochs) + 1))
        assert min(epochs) <= 1
        starts = re.findall(r"resuming from snapshot at epoch (\d+)", log(three, name))
        assert len(starts) >= 2, log(three, name)[-2000:]
    begins = list(map(int, re.findall(r"begins at step (\d+)", log(three, "lightning"))))
    assert begins == sorted(begins)
    assert begins[-1] > 0
