"""What goes wrong on the way: a sentence each, no half image, and the next run repairs it."""

import os
import random
import signal
import subprocess
import time

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
        cwd=ROOT, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}, start_new_session=True,
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


def test_a_layer_that_did_not_arrive_as_it_was_sent(images: Images) -> None:
    """Nothing on the way changes a layer unseen, so the module gets a wrong one."""
    images.have("whole", image_distribution="ship")
    recipe = {
        "ref": "my-ddp-trainer:wrong",
        "src": "/root/ship",
        "id": "sha256:" + "0" * 64,
        "config": "",
        "diff_ids": [],
    }
    layer = {"diff_id": "sha256:" + "0" * 64, "file": "layer.tar", "sha256": "0" * 64, "bytes": 1, "size": 1}
    images.lab.on("host3", "sh", "-c", "mkdir -p /root/ship && echo other >/root/ship/layer.tar")
    said = subprocess.run(
        ["ansible", "--inventory", str(images.lab.inventory), "host3", "--become", "--module-name", "image_load",
         "--args", str({**recipe, "layers": [layer]}).replace("'", '"')],
        cwd=ROOT, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode != 0
    assert "did not arrive as it was sent (layer.tar, wrong checksum): run this again." in said.stdout
    assert images.lab.on("host3", "ls", "/root/ship") == ""
    assert "my-ddp-trainer:wrong" not in images.names("host3")
