"""GPUs in a swarm, as far as a machine without one can show it: the UUIDs are invented, and where NVIDIA's driver and runtime
would be, programs stand in whose names say so. The engines, the swarm and its scheduler are real.

The tests are a story: each goes on where the one before has ended.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import GPUS, OWN_LINE, THEIRS, have_gpus, offered, put, recorded, settings
from labs import Lab, good
from waiting import until

# A shell and sleep, out of the host: an image without a registry. What it calls torchrun says what it was given, and stays.
TORCHRUN = '#!/bin/sh\necho "$@"\nwhile :; do sleep 1; done\n'
IMPORT = (
    "cd /root/image && tar --dereference -rf image.tar -C / bin/sh bin/sleep $(ldd /bin/sh /bin/sleep | grep -o '/[^ ]*lib[^ ]*'"
    " | sort -u | cut -c2-) && docker import image.tar stand-in:1"
)
# The site's last step without its first four, and no torch: what swarm does with a rank does not depend on what the rank does.
JOB = {
    "image_ref": "stand-in:1",
    "training_mounts": [],
    "training_results_dir": "/nowhere",
    "training_script": "none.py",
    "training_stop_grace": "1s",
}


def running(lab: Lab, stack: str) -> set[str]:
    form = "{{.Name}} {{.CurrentState}}"
    lines = lab.on(
        "host1", "docker", "stack", "ps", "--filter", "desired-state=running", "--format", form, stack, check=False
    )
    return {line.split(".")[0] for line in lines.splitlines() if " Running" in line}


@pytest.fixture(scope="module")
def swarm(lab: Lab, repository: dict[str, Any]) -> Lab:
    good(lab.play("site.yml", options="--tags docker,swarm", **repository))
    for host in GPUS:
        put(lab, host, "/root/image/bin/torchrun", TORCHRUN)
        lab.on(host, "sh", "-c", "cd /root/image && chmod 0755 bin/torchrun && tar -cf image.tar bin")
        lab.on(host, "sh", "-c", IMPORT)
    return lab


def test_a_gpu_that_is_demanded_and_missing(lab: Lab) -> None:
    run = lab.play("playbooks/docker.yml", docker_gpu=True)
    assert run.rc != 0
    assert run.failure().startswith("host2 shall offer GPUs (docker_gpu is true), but it has"), run.failure()
    for host in GPUS:
        assert settings(lab, host) == THEIRS


def test_without_gpus_nothing_is_touched(lab: Lab) -> None:
    good(lab.play("playbooks/docker.yml"))
    for host in GPUS:
        assert settings(lab, host) == THEIRS
        assert lab.on(host, "sh", "-c", "ls /etc/docker/before-gpus.json /etc/nvidia-container-runtime || true") == ""


def test_a_driver_that_is_too_old(lab: Lab) -> None:
    have_gpus(lab, "host1", GPUS["host1"], driver="535.104.05")
    run = lab.play("playbooks/docker.yml", limit="host1", image_cuda="13.0")
    assert "host1 has the NVIDIA driver 535.104.05, and the image's CUDA 13.0 needs 580 or newer" in run.failure()


def test_a_gpu_that_the_host_has_not(lab: Lab) -> None:
    run = lab.play("playbooks/docker.yml", limit="host1", docker_gpu_uuids=["GPU-none"])
    assert "docker_gpu_uuids names GPU-none, which host1 has not. It has GPU-1" in run.failure()


def test_a_repository_with_another_key(lab: Lab) -> None:
    run = lab.play("playbooks/docker.yml", limit="host1", docker_gpu_apt_repository="file:///srv/nvidia")
    assert "must not trust file:///srv/nvidia/gpgkey: its fingerprint is " in run.failure()
    assert "with the fingerprint C95B321B61E88C1809C4F759DDCAE044F796ECB0" in run.failure()
    assert lab.on("host1", "sh", "-c", "command -v nvidia-ctk || true") == ""
    assert settings(lab, "host1") == THEIRS


def test_offering(lab: Lab, repository: dict[str, Any]) -> None:
    for host, gpus in GPUS.items():
        have_gpus(lab, host, gpus)
    check = good(lab.play("playbooks/docker.yml", options="--check --diff", **repository))
    assert "The NVIDIA container toolkit would be installed on host1." in check.stdout
    assert settings(lab, "host1") == THEIRS
    good(lab.play("playbooks/docker.yml", **repository))
    for host, gpus in GPUS.items():
        now = settings(lab, host)
        assert now["default-runtime"] == "nvidia"
        assert now["runtimes"] == {**THEIRS["runtimes"], "nvidia": {"path": "nvidia-container-runtime"}}
        assert now["log-opts"] == THEIRS["log-opts"]
        assert now["node-generic-resources"] == ["FPGA=card0", *(f"NVIDIA-GPU={uuid}" for uuid in gpus)]
        assert lab.on(host, "docker", "info", "--format", "{{.DefaultRuntime}}").strip() == "nvidia"
        line = lab.on(host, "grep", "--line-number", "swarm-resource", "/etc/nvidia-container-runtime/config.toml")
        assert line == '3:swarm-resource = "DOCKER_RESOURCE_NVIDIA-GPU"\n'
    assert good(lab.play("playbooks/docker.yml", **repository)).changed() == []
    assert good(lab.play("playbooks/docker.yml", options="--check --diff", **repository)).changed() == []


def test_given_packages(lab: Lab, tmp_path: Path) -> None:
    """For hosts that reach no repository."""
    package = tmp_path / "nvidia-container-toolkit.deb"
    found = lab.on("host1", "sh", "-c", "ls /srv/nvidia/stable/deb/*/*.deb").strip()
    subprocess.run(["docker", "cp", "--quiet", f"{lab.name}-host1:{found}", str(package)], check=True, timeout=60)
    lab.on("host1", "apt-get", "remove", "--yes", "-qq", "nvidia-container-toolkit")
    lab.on("host1", "rm", "/etc/apt/sources.list.d/nvidia-container-toolkit.sources")
    run = good(lab.play("playbooks/docker.yml", limit="host1", docker_gpu_packages=[str(package)]))
    assert run.changed() != []
    lab.on("host1", "nvidia-ctk", "--version")
    lab.on("host1", "rm", "-rf", "/var/lib/ddp-swarm")  # which the role image does
    assert good(lab.play("playbooks/docker.yml", limit="host1", docker_gpu_packages=[str(package)])).changed() == []


def test_a_toolkit_that_does_not_listen_to_swarm(lab: Lab) -> None:
    told = lab.on("host1", "cat", "/usr/bin/nvidia-ctk")
    put(lab, "host1", "/usr/bin/nvidia-ctk", told.replace("1.19.0", "1.18.2"))
    run = lab.play("playbooks/docker.yml", limit="host1")
    put(lab, "host1", "/usr/bin/nvidia-ctk", told)
    assert "host1 has NVIDIA Container Toolkit CLI version 1.18.2" in run.failure()


def test_the_swarm_knows_them(swarm: Lab) -> None:
    for host, gpus in GPUS.items():
        assert sorted(offered(swarm, host)) == gpus


def test_each_rank_is_given_the_gpus_of_its_host(swarm: Lab) -> None:
    good(swarm.play("playbooks/training.yml", training_nproc_per_node="auto", **JOB))
    for rank, (host, gpus) in enumerate(GPUS.items()):
        (asked,) = recorded(swarm, host, "torchrun")
        assert sorted(asked["gpus"]) == gpus
        assert sorted(asked["env"]["DOCKER_RESOURCE_NVIDIA-GPU"].split(",")) == gpus
        assert f"--nproc_per_node={len(gpus)}" in asked["args"]
        assert f"--node_rank={rank}" in asked["args"]
    again = good(swarm.play("playbooks/training.yml", training_nproc_per_node="auto", **JOB))
    assert again.changed() == []


def test_a_second_stack_waits_and_says_for_what(swarm: Lab) -> None:
    good(swarm.play("playbooks/swarm.yml", swarm_network="second-net"))
    second = {**JOB, "training_stack": "second", "training_network": "second-net", "training_nproc_per_node": "auto"}
    run = swarm.play("playbooks/training.yml", training_wait_timeout=15, **second)
    assert "insufficient resources" in run.failure()
    assert "No node has NVIDIA-GPU=2 free" in run.failure()
    assert running(swarm, "second") == set()
    # Its GPUs become free, and it goes on by itself.
    swarm.on("host1", "docker", "stack", "rm", "simple-training")
    assert until(lambda: running(swarm, "second") == {"second_node0", "second_node1"})
    assert [sorted(recorded(swarm, host, "torchrun")[-1]["gpus"]) for host in GPUS] == list(GPUS.values())


def test_engines_are_not_restarted_under_a_job(swarm: Lab) -> None:
    run = swarm.play("playbooks/docker.yml", limit="host2", docker_gpu_uuids=GPUS["host2"][:2])
    assert "was not restarted" in run.failure()
    assert "docker_restart_during_training=true" in run.failure()
    assert "second_node1" in running(swarm, "second")


def test_a_part_of_a_hosts_gpus(swarm: Lab) -> None:
    swarm.on("host1", "docker", "stack", "rm", "second")
    assert until(lambda: swarm.on("host2", "docker", "ps", "--quiet") == "")
    good(swarm.play("playbooks/docker.yml", limit="host2", docker_gpu_uuids=GPUS["host2"][:2]))
    assert until(lambda: sorted(offered(swarm, "host2")) == GPUS["host2"][:2])


def test_each_task_of_a_host_has_its_own_gpu(swarm: Lab) -> None:
    """Three tasks for two GPUs: two have one each, the third waits for one of them."""
    swarm.on("host1", "docker", "service", "create", "--detach", "--name", "three", "--replicas", "3", "--constraint", "node.role==manager",
             "--generic-resource", "NVIDIA-GPU=1", "--no-resolve-image", "--stop-grace-period", "1s", "stand-in:1", "torchrun", "three")  # fmt: skip
    asked = until(lambda: len(recorded(swarm, "host1", "three")) == 2 and recorded(swarm, "host1", "three"))
    assert asked
    assert sorted(uuid for line in asked for uuid in line["gpus"]) == GPUS["host1"]
    tasks = swarm.on(
        "host1", "docker", "service", "ps", "--no-trunc", "--format", "{{.CurrentState}} {{.Error}}", "three"
    )
    assert "no suitable node (insufficient resources on 1 node" in tasks
    swarm.on("host1", "docker", "service", "rm", "three")


def test_more_than_there_is(swarm: Lab) -> None:
    run = swarm.play("playbooks/training.yml", training_nproc_per_node=3, **JOB)
    assert "training_nproc_per_node is 3, and host1 offers 2 GPU(s) to swarm" in run.failure()


def test_a_driver_that_fails_takes_nothing_away(swarm: Lab) -> None:
    before = settings(swarm, "host1")
    put(
        swarm,
        "host1",
        "/usr/local/bin/nvidia-smi",
        "#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch'; exit 18\n",
    )
    run = swarm.play("playbooks/docker.yml", limit="host1")
    assert "host1 offers GPUs to swarm, but nvidia-smi there fails: Failed to initialize NVML" in run.failure()
    assert settings(swarm, "host1") == before


def test_a_host_loses_its_gpus(swarm: Lab) -> None:
    """host1's are gone, host2's are offered: a mixed swarm."""
    swarm.on("host1", "rm", "--force", "/usr/local/bin/nvidia-smi")
    good(swarm.play("playbooks/docker.yml", limit="host1"))
    assert settings(swarm, "host1") == THEIRS
    assert swarm.on("host1", "docker", "info", "--format", "{{.DefaultRuntime}}").strip() == "mine"
    assert swarm.on("host1", "grep", "swarm-resource", "/etc/nvidia-container-runtime/config.toml").strip() == OWN_LINE
    assert until(lambda: offered(swarm, "host1") == [])
    assert good(swarm.play("playbooks/docker.yml", limit="host1")).changed() == []
    run = swarm.play("playbooks/training.yml", training_backend="nccl", **JOB)
    assert (
        "host1 offers no GPU to swarm (docker node inspect), other hosts do, and nccl takes a GPU for each rank"
        in run.failure()
    )
    run = good(swarm.play("playbooks/training.yml", training_nproc_per_node=2, **JOB))
    assert "host1 offers no GPU to swarm" in run.stdout
    assert recorded(swarm, "host2", "torchrun")[-1]["gpus"] == ["void"]
    swarm.on("host1", "docker", "stack", "rm", "simple-training")
    assert until(lambda: swarm.on("host2", "docker", "ps", "--quiet") == "")


def test_gpus_are_withdrawn(swarm: Lab) -> None:
    good(swarm.play("playbooks/docker.yml", docker_gpu=False))
    assert settings(swarm, "host2") == THEIRS
    assert until(lambda: offered(swarm, "host2") == [])
    assert good(swarm.play("playbooks/docker.yml", docker_gpu="false")).changed() == []


def test_a_torch_of_another_cuda_ends_the_build(lab: Lab) -> None:
    """The lab's torch is built for CPUs."""
    run = lab.play("playbooks/image.yml", limit="host1", image_cuda="12.8")
    assert "torch came for CUDA none, not 12.8" in run.stdout


def test_training_with_different_numbers_of_processes(swarm: Lab, repository: dict[str, Any]) -> None:
    """The whole site, with torch, on the CPU: 2 processes on one host and 3 on the other, as many as each has GPUs."""
    have_gpus(swarm, "host1", GPUS["host1"])
    have_gpus(swarm, "host2", GPUS["host2"][:3])
    run = swarm.play("site.yml", training_nproc_per_node="auto", training_args="2 1 --snapshot_path /snapshots/snapshot.pt",
                     training_wait_for="complete", **repository)  # fmt: skip
    good(run)
    node1 = (swarm.artifacts / "node1.log").read_text()
    assert "rank 4 of 5 on host" in node1
    for host in GPUS:
        # The preflight's probe had the same GPUs before.
        assert sorted(recorded(swarm, host, "/probe")[-1]["gpus"]) == GPUS[host][:3]
        assert json.loads(json.dumps(sorted(recorded(swarm, host, "torchrun")[-1]["gpus"]))) == GPUS[host][:3]


def test_a_gpu_that_swarm_gave_to_another_task_as_well(swarm: Lab) -> None:
    """As a leader may that starts anew (docs/gpu.md). It does so by chance, so that the other task is a container made by hand."""
    swarm.on("host1", "docker", "stack", "rm", "simple-training")
    given = f"DOCKER_RESOURCE_NVIDIA-GPU={','.join(GPUS['host2'][:3])}"
    swarm.on("host2", "docker", "run", "--detach", "--name", "other", "--env", given, "stand-in:1", "torchrun", "other")
    run = swarm.play("playbooks/preflight.yml", training_nproc_per_node=1)
    (gpu,) = recorded(swarm, "host2", "/probe")[-1]["gpus"]
    assert f"Layer 5 (GPU and memory) fails on host2 (rank 1), GPUs: {gpu} is other's too." in run.failure()
    swarm.on("host2", "docker", "rm", "--force", "other")
    assert good(swarm.play("playbooks/preflight.yml", training_nproc_per_node=1)).changed() == []
