"""Each example as its README has it, killed on the way: all ranks go on from the same checkpoint, and each has it on its host."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from labs import ROOT, Lab

# What stands in the first host's volume once something is saved, how a rank says where it begins, and what stands at the end.
EXAMPLES = {
    "char_gpt": ("ckpt.pt", r"begins at step (\d+)", "the model says: 17 + 25 ="),
    "images": ("model.pt", r"begins at epoch (\d+)", "epoch 12 of 12"),
    "huggingface": (
        "out/checkpoint-*/trainer_state.json",
        r"begins with /snapshots/out/checkpoint-(\d+)",
        "rank 0 is at step 400",
    ),
    "lightning": ("last.ckpt", r"begins with (/snapshots/last.ckpt)", "rank 0 is at step 3200"),
    "accelerate": ("newest.txt", r"begins at epoch (\d+)", "epoch 400 of 400"),
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    # The lab's hosts fetch no packages: they get the wheels of all examples.
    wanted = tmp_path_factory.mktemp("wanted")
    lines = {line for name in EXAMPLES for line in (ROOT / "examples" / name / "requirements.txt").read_text().split()}
    (wanted / "requirements.txt").write_text("".join(f"{line}\n" for line in sorted(lines)))
    settings = {"lab_training_dir": str(wanted), "lab_releases": {"host2": "bookworm"}}
    with Lab("examples", **settings).running("docker", "swarm") as lab:
        yield lab


@pytest.fixture(scope="module")
def shapes(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> None:
    drawn = tmp_path_factory.mktemp("shapes")
    subprocess.run([sys.executable, ROOT / "examples/images/make_shapes.py", drawn], check=True)
    for host in lab.hosts:
        subprocess.run(["docker", "cp", f"{drawn}/.", f"{lab.name}-{host}:/srv/shapes"], check=True)
        lab.on(host, "chmod", "-R", "a+rX", "/srv/shapes")


def wait_for(lab: Lab, files: str, seconds: int = 120) -> None:
    end = time.monotonic() + seconds
    while not lab.on("host1", "sh", "-c", f"ls /var/lib/docker/volumes/{files} 2>/dev/null || true").strip():
        assert time.monotonic() < end, f"nothing was saved in {files}"
        time.sleep(0.5)


@pytest.mark.usefixtures("shapes")
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_killed_and_goes_on(lab: Lab, tmp_path: Path, name: str) -> None:
    saved, begins, end = EXAMPLES[name]
    job = f"-e @{ROOT}/examples/{name}/job.yml"
    stack = yaml.safe_load((ROOT / "examples" / name / "job.yml").read_text())["training_stack"]
    for playbook in ("image", "training"):
        run = lab.play(f"playbooks/{playbook}.yml", options=job, training_artifacts_dir=str(tmp_path))
        assert run.rc == 0, run.stdout[-4000:]

    wait_for(lab, f"{stack}_snapshots/_data/{saved}")
    lab.on(
        "host2",
        "sh",
        "-c",
        f"docker kill $(docker ps --quiet --filter label=com.docker.swarm.service.name={stack}_node1)",
    )
    run = lab.play(
        "playbooks/training.yml", options=job, training_artifacts_dir=str(tmp_path), training_wait_for="complete"
    )
    assert run.rc == 0, run.stdout[-4000:]

    logs = [(tmp_path / f"node{rank}.log").read_text() for rank in (0, 1)]
    places = [re.findall(begins, log) for log in logs]
    assert places[0] and places[0][-1] != "0", logs[0][-4000:]
    assert places[1][-1:] == places[0][-1:], logs[1][-4000:]
    assert end in logs[0]
    assert [path.name for path in tmp_path.rglob("*") if path.match(Path(saved).name)], (
        "the checkpoint is not collected"
    )
    lab.play("playbooks/stop.yml", options=job, training_stack=stack)
