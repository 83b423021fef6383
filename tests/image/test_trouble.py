"""What goes wrong on the way: a sentence each, no half image, and the next run repairs it."""

import json
import os
import random
import signal
import subprocess
import time
from typing import Any

import pytest
from conftest import Images
from labs import ROOT


def test_a_full_disk_on_one_host(images: Images) -> None:
    """host3 keeps its images on a disk that has room for the base and hardly more."""
    lab = images.lab
    images.have("roomy", image_distribution="ship")
    lab.on(
        "host3", "sh", "-c", "systemctl stop docker.socket docker && mount -t tmpfs -o size=300m small /var/lib/docker"
    )
    lab.on("host3", "systemctl", "start", "docker")
    images.write("tight")
    run = images.play(image_distribution="ship")
    assert run.rc != 0
    print(run.failure())
    assert "host3 has " in run.failure()
    assert "MB free for images" in run.failure()
    assert images.names("host3") == []
    assert lab.on("host2", "docker", "run", "--rm", images.ref()).strip() == "tight"
    lab.on(
        "host3", "sh", "-c", "systemctl stop docker.socket docker && umount /var/lib/docker && systemctl start docker"
    )
    mended = images.play(image_distribution="ship")
    assert mended.rc == 0, mended.stdout[-4000:]
    images.are_the_same("tight")


@pytest.mark.parametrize("distribution", ["ship", "registry"])
@pytest.mark.parametrize("number", range(2))
def test_interrupted_at_a_random_moment(images: Images, distribution: str, number: int) -> None:
    chance = random.Random(f"{distribution} {number}")
    options = {**images.registry, "image_distribution": distribution, "image_keep": 2}
    images.forget("host3")
    images.write(f"{distribution} {number}")
    process = subprocess.Popen(
        [
            "ansible-playbook", "--inventory", str(images.lab.inventory), "playbooks/image.yml",
            "--extra-vars", str({"training_dir": str(images.context), "training_script": "train.py", **options}),
        ],
        cwd=ROOT, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "default"}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    time.sleep(chance.uniform(4, 20))
    os.killpg(process.pid, [signal.SIGINT, signal.SIGKILL][number % 2])
    output = process.communicate(timeout=60)[0]
    print([line for line in output.splitlines() if line.startswith("TASK [")][-1:])
    run = images.play(**options)
    assert run.rc == 0, run.stdout[-4000:]
    images.are_the_same(f"{distribution} {number}")
    again = images.play(**options)
    assert (again.rc, again.changed()) == (0, [])


def module(images: Images, host: str, name: str, **arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ansible", "--inventory", str(images.lab.inventory), host, "--become", "--module-name", name,
         "--args", json.dumps(arguments)],
        cwd=ROOT, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
                       "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("host", ["host1", "host2"])
def test_layers_are_read_where_the_engine_keeps_them(images: Images, host: str) -> None:
    """By every driver and engine that these hosts have, and not as slowly as `docker save` has to."""
    images.have("kept", image_distribution="ship")
    answer = module(images, host, "image_save", ref=images.ref(), dest="/root/ship")
    result = json.loads(answer.stdout)["plays"][0]["tasks"][0]["hosts"][host]
    images.lab.on(host, "rm", "-r", "/root/ship")
    assert result["source"] == "store", answer.stdout
    assert len(result["layers"]) == len(set(result["diff_ids"]))


def test_a_layer_that_did_not_arrive_as_it_was_sent(images: Images) -> None:
    """Nothing on the way changes a layer unseen, so the module gets a wrong one."""
    images.have("whole", image_distribution="ship")
    digest, file = "sha256:" + "0" * 64, "0" * 64 + ".tar"
    layer = {"diff_id": digest, "chain": digest, "file": file, "sha256": "0" * 64, "bytes": 1, "size": 1}
    images.lab.on("host3", "sh", "-c", f"mkdir -p /root/ship && echo other >/root/ship/{file}")
    said = module(
        images,
        "host3",
        "image_load",
        ref="my-ddp-trainer:wrong",
        src="/root/ship",
        id=digest,
        config="",
        diff_ids=[],
        layers=[layer],
    )
    assert said.returncode != 0
    assert f"did not arrive as it was sent ({file}, wrong checksum): run this again." in said.stdout
    assert images.lab.on("host3", "ls", "/root/ship") == ""
    assert "my-ddp-trainer:wrong" not in images.names("host3")


def test_an_engine_that_keeps_images_in_containerd(images: Images) -> None:
    """As engines from 29 on do unless told otherwise: it gets and gives whole images, and its IDs are its own."""
    lab = images.lab
    images.have("before", image_distribution="ship")
    # The file system of a container does not serve containerd, the volume does.
    lab.on(
        "host3", "sh", "-c",
        "systemctl stop docker.socket docker containerd && mkdir -p /var/lib/docker/of-containerd && "
        "mount --bind /var/lib/docker/of-containerd /var/lib/containerd && systemctl start containerd docker",
    )  # fmt: skip
    run = lab.play(
        "playbooks/docker.yml", limit="host3", docker_daemon_options={"features": {"containerd-snapshotter": True}}
    )
    assert run.rc == 0, run.stdout[-4000:]
    assert images.names("host3") == []
    got = images.play(image_distribution="ship")
    assert got.rc == 0, got.stdout[-4000:]
    assert lab.on("host3", "docker", "run", "--rm", images.ref()).strip() == "before"
    again = images.play(image_distribution="ship")
    assert (again.rc, again.changed()) == (0, [])
    # And the other way: only host3 has it.
    ref = images.ref()
    for host in ("host1", "host2"):
        images.forget(host)
    gave = images.play(image_distribution="ship")
    assert gave.rc == 0, gave.stdout[-4000:]
    for host in ("host1", "host2"):
        assert lab.on(host, "docker", "run", "--rm", ref).strip() == "before"
        assert lab.on(host, "docker", "run", "--rm", "my-ddp-trainer:latest").strip() == "before"
