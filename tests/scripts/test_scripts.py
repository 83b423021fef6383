"""Scripts that know nothing of this project, run as they are, beside each other and beside the demo's stack."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from labs import ROOT, Lab, Play

POINTS = [(x + dx / 10, y + dy / 10) for x, y in ((0, 0), (5, 5), (0, 9)) for dx in range(4) for dy in range(5)]
PLAIN: dict[str, Any] = {
    "training_stack": "plain",
    "training_dir": str(ROOT / "tests/scripts/plain_ddp"),
    "training_script": "train.py",
    "training_args": "--epochs 60 --save /snapshots/model.pt",
    "training_collect": ["model.pt"],
}
KMEANS: dict[str, Any] = {
    "training_stack": "kmeans",
    "training_dir": str(ROOT / "tests/scripts/kmeans"),
    "training_script": "kmeans.py",
    "training_args": "/data/points.csv --seed_file /run/secrets/seed --out /results/clusters.json",
    "training_nproc_per_node": 2,
    "training_mounts": [
        {"type": "bind", "source": "/srv/points", "target": "/data", "read_only": True},
        {"type": "volume", "source": "results", "target": "/results"},
    ],
    "training_results_dir": "/results",
    "training_collect": ["clusters.json"],
    "training_secrets": {"seed": {"content": "271828"}},
    "training_cpus": "1",
    "training_memory": "2G",
}
KEY = "correct-horse-battery"
BARS: dict[str, Any] = {
    "training_stack": "bars",
    "training_dir": str(ROOT / "tests/scripts/bars"),
    "training_script": "bars.py",
    "training_args": "",
    "training_wait_for": "complete",
    "training_max_restarts": 0,
    "training_secrets": {"token": {"content": KEY}},
    "training_secret_env": {"API_KEY": "token"},
    "training_collect": ["*", ".ddp-caches/*"],
    "image_apt_packages": ["jq"],
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("scripts", lab_releases={"host2": "bookworm"}).running("docker", "swarm", "image") as lab:
        yield lab


@pytest.fixture(scope="module")
def play(lab: Lab) -> Play:
    return lab.play


def test_a_plain_ddp_script_with_requirements_of_its_own(play: Play, lab: Lab) -> None:
    artifacts = lab.directory / "plain"
    for playbook in ("image", "training"):
        run = play(
            f"playbooks/{playbook}.yml", training_wait_for="complete", **PLAIN, training_artifacts_dir=str(artifacts)
        )
        assert run.rc == 0, run.stdout[-4000:]
    assert "right about" in (artifacts / "node0.log").read_text()
    assert "with 2 ranks" in (artifacts / "node0.log").read_text()
    assert torch.load(artifacts / "model.pt", weights_only=True)["weight"].shape == (1, 34)
    image = lab.on(
        "host1", "docker", "service", "inspect", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Image}}", "plain_node0"
    )
    packages = lab.on("host1", "docker", "run", "--rm", image.strip(), "python", "-m", "pip", "list")
    assert "networkx" in packages
    assert "scikit-learn" not in packages


def test_a_script_without_ddp_requirements_and_dockerfile(play: Play, lab: Lab) -> None:
    artifacts = lab.directory / "kmeans"
    for host in ("host1", "host2"):
        text = "".join(f"{x},{y}\n" for x, y in POINTS)
        lab.on(host, "sh", "-c", f"mkdir -p /srv/points; printf '%s' '{text}' >/srv/points/points.csv")
    for playbook in ("image", "training"):
        run = play(
            f"playbooks/{playbook}.yml",
            options="-vvv --diff",
            training_wait_for="complete",
            **KMEANS,
            training_artifacts_dir=str(artifacts),
        )
        assert run.rc == 0, run.stdout[-4000:]
    found = json.loads((artifacts / "clusters.json").read_text())
    assert sum(found["counts"]) == len(POINTS)
    logs = [(artifacts / f"node{rank}.log").read_text() for rank in (0, 1)]
    assert all(f"rank {rank} looked at 15 of 60 points" in logs[rank // 2] for rank in range(4))
    limits = lab.on(
        "host1",
        "docker",
        "service",
        "inspect",
        "--format",
        "{{json .Spec.TaskTemplate.Resources.Limits}}",
        "kmeans_node0",
    )
    assert json.loads(limits) == {"NanoCPUs": 10**9, "MemoryBytes": 2 * 1024**3}
    # ansible-runner keeps each event of this run, made at -vvv: the secret is in none of them, and in no artifact.
    written = [path for place in (lab.directory / "runner", artifacts) for path in place.rglob("*") if path.is_file()]
    assert [str(path) for path in written if "extravars" not in path.name and b"271828" in path.read_bytes()] == []


def test_jobs_beside_each_other_need_networks_of_their_own(play: Play, lab: Lab) -> None:
    forever = {**PLAIN, "training_args": "--epochs 100000000 --save /snapshots/model.pt"}
    try:
        run = play("playbooks/training.yml", training_wait_for="started", **forever)
        assert run.rc == 0, run.stdout[-4000:]
        again = play("playbooks/training.yml", **forever)
        assert again.rc == 0, again.stdout[-4000:]
        assert again.changed() == []
        refused = play("playbooks/training.yml", training_stack="other", training_network="plain-net")
        assert refused.rc != 0
        assert "plain_node0 runs in the network plain-net, where node0 would then be two" in refused.failure()
        own = {"training_stack": "other"}
        for playbook in ("swarm", "training"):
            run = play(f"playbooks/{playbook}.yml", training_wait_for="complete", **own)
            assert run.rc == 0, run.stdout[-4000:]
        assert "plain_node0  1/1" in lab.on("host1", "docker", "service", "ls", "--format", "{{.Name}}  {{.Replicas}}")
    finally:
        lab.on("host1", "docker", "stack", "rm", "plain", "other", check=False)


def test_the_network_of_the_hosts(play: Play, lab: Lab) -> None:
    artifacts = lab.directory / "on-hosts"
    settings = {"training_stack": "on-hosts", "training_network_mode": "host", "training_artifacts_dir": str(artifacts)}
    run = play("site.yml", training_wait_for="complete", **settings)
    assert run.rc == 0, run.stdout[-4000:]
    assert "weights are identical on all 2 ranks" in (artifacts / "node0.log").read_text()
    again = play("site.yml", training_wait_for="complete", **settings)
    assert again.rc == 0, again.stdout[-4000:]
    assert again.changed() == []


def image_id(lab: Lab, host: str) -> str:
    return lab.on(host, "docker", "image", "inspect", "--format", "{{.Id}}", "my-ddp-trainer:latest").strip()


def lines_of_bars(text: str) -> list[str]:
    return [line for line in text.splitlines() if "%|" in line]


def test_a_script_with_a_bar_a_key_and_a_cache(play: Play, lab: Lab) -> None:
    artifacts = lab.directory / "bars"
    bars = {**BARS, "training_artifacts_dir": str(artifacts)}
    for playbook in ("image", "training"):
        run = play(f"playbooks/{playbook}.yml", options="-vvv --diff", **bars)
        assert run.rc == 0, run.stdout[-4000:]
    # What is shown meanwhile goes on while the bar grows beyond the 16 KiB of which Docker makes a line.
    seen = {line.split("/600 ")[0] for line in lines_of_bars(run.stdout) if "loss=" in line}
    assert len(seen) > 1, run.stdout[-4000:]
    for rank in (0, 1):
        log = (artifacts / f"node{rank}.log").read_text()
        assert f"rank {rank}: key of {len(KEY)} letters, /usr/bin/jq, weights downloaded" in log
        assert len(lines_of_bars(log)) == 1
        assert "100%|" in lines_of_bars(log)[0]
    written = [path for path in (lab.directory / "runner").rglob("*") if path.is_file()]
    written += [path for path in artifacts.rglob("*") if path.is_file()]
    assert [str(path) for path in written if "extravars" not in path.name and KEY.encode() in path.read_bytes()] == []
    assert KEY not in lab.on("host1", "docker", "service", "inspect", "bars_node0")
    assert not (artifacts / ".ddp-caches").exists()
    # Beside the launcher's own, nothing but the caches has been written there.
    listing = ["docker", "run", "--rm", "-v", "bars_snapshots:/s", "my-ddp-trainer:latest", "ls", "-A", "/s"]
    assert lab.on("host1", *listing).split() == [".ddp-caches", ".ddp-launcher"]


def test_a_failure_behind_a_bar(play: Play, lab: Lab) -> None:
    artifacts = lab.directory / "bars"
    failing = {**BARS, "training_artifacts_dir": str(artifacts), "training_args": "--fail"}
    run = play("playbooks/training.yml", **failing)
    assert run.rc != 0
    said = run.failure()
    assert "First to fail was bars_node1 on host2" in said
    assert "RuntimeError: the data are not here" in said
    assert len(lines_of_bars(said)) < 5


def test_an_image_that_exists(play: Play, lab: Lab) -> None:
    """Made by hand, on one host: the other gets that very image, and what was cached is there still."""
    artifacts = lab.directory / "bars"
    lab.on("host1", "docker", "tag", "my-ddp-trainer:latest", "by-hand:1")
    given = {key: value for key, value in BARS.items() if key != "image_apt_packages"}
    mine = {**given, "training_image": "by-hand:1", "image_distribution": "ship", "training_dir": "/nowhere"}
    for playbook in ("image", "training"):
        run = play(f"playbooks/{playbook}.yml", **mine, training_artifacts_dir=str(artifacts))
        assert run.rc == 0, run.stdout[-4000:]
    assert image_id(lab, "host1") == image_id(lab, "host2")
    assert "weights kept" in (artifacts / "node1.log").read_text()
    again = play("playbooks/image.yml", **mine)
    assert again.rc == 0, again.stdout[-4000:]
    assert again.changed() == []
