"""Each broken state is named in a sentence, foretold by --check, and repaired by running a playbook again."""

import subprocess

import job
import pytest
from conftest import Shape
from labs import ROOT, Lab
from shell_image import import_shell


@pytest.fixture
def one(lab: Lab) -> Shape:
    """One manager, two workers: a Debian 13 and a Debian 12."""
    shape = Shape(lab, ["host1"], ["host2", "host4"])
    shape.have_if_broken()
    return shape


def reinstall(lab: Lab, host: str) -> None:
    """The host as a new machine of the same name and address has it: no engine, and nothing on its disk."""
    lab.on(host, "systemctl", "stop", "docker.socket", "docker", check=False)
    lab.on(host, "apt-get", "purge", "-qq", "-y", "docker.io", "containerd", timeout=300)
    lab.on(host, "sh", "-c", "rm -rf /var/lib/docker/* /var/lib/containerd /etc/docker")


def wipe(lab: Lab, host: str) -> None:
    """The same for the swarm, and quicker: the engine is there, and knows nothing."""
    lab.on(host, "systemctl", "stop", "docker.socket", "docker")
    lab.on(host, "sh", "-c", "rm -rf /var/lib/docker/* && systemctl start docker")


def test_engine_stopped(one: Shape) -> None:
    one.lab.on("host2", "systemctl", "stop", "docker.socket", "docker")
    one.recover("engine stopped", "The engine on host2 was inactive", "site.yml", limit="host2")


def test_engine_not_there_for_the_swarm_playbook(one: Shape) -> None:
    one.lab.on("host2", "systemctl", "stop", "docker.socket", "docker")
    run = one.play("playbooks/swarm.yml")
    assert run.rc != 0
    assert "host2 has no Docker engine that answers" in run.failure()
    assert "playbooks/docker.yml" in run.failure()
    assert run.changed() == []
    assert one.play("playbooks/docker.yml", limit="host2").rc == 0
    one.is_whole()


def test_worker_reinstalled(one: Shape) -> None:
    reinstall(one.lab, "host4")
    one.recover(
        "worker installed anew",
        "host4 was installed anew or left the swarm: its former node goes, and it joins as a worker.",
        "site.yml",
        foretold="host4 has no Docker engine that answers: it gets one, and joins as a worker.",
        limit="host4",
    )


def test_worker_left(one: Shape) -> None:
    one.lab.on("host4", "docker", "swarm", "leave")
    one.recover("worker left", "host4 was installed anew or left the swarm", limit="host4")


def test_worker_removed_by_hand(one: Shape) -> None:
    one.lab.on("host1", "docker", "node", "rm", "--force", "host4")
    one.recover("worker removed with `docker node rm`", "host4 is no longer among the swarm's nodes", limit="host4")


def test_worker_in_another_swarm(one: Shape) -> None:
    one.lab.on("host4", "docker", "swarm", "leave")
    one.lab.on("host4", "docker", "swarm", "init", "--advertise-addr", "eth0")
    one.recover(
        "worker in another swarm",
        "host4 is in another swarm, of which it is a manager. It leaves that swarm and joins as a worker.",
        allow="swarm_rejoin",
        limit="host4",
    )


@pytest.mark.parametrize("availability", ["drain", "pause"])
def test_node_drained_or_paused(one: Shape, availability: str) -> None:
    one.lab.on("host1", "docker", "node", "update", "--availability", availability, "host2")
    one.recover(
        {"drain": "node drained", "pause": "node paused"}[availability],
        f"host2 is set to {availability}, and becomes active.",
        limit="host2",
    )


def test_label_gone(one: Shape) -> None:
    one.lab.on("host1", "docker", "node", "update", "--label-rm", "ddp_rank", "host2")
    one.recover("rank label gone", "host2 gets rank 1.", limit="host2")


def test_labels_swapped(one: Shape) -> None:
    one.lab.on("host1", "docker", "node", "update", "--label-add", "ddp_rank=2", "host2")
    one.lab.on("host1", "docker", "node", "update", "--label-add", "ddp_rank=1", "host4")
    one.recover("ranks swapped by hand", "host2 gets rank 1 in place of 2.")


def test_image_gone(one: Shape) -> None:
    """With an image that has no torch in it: the recipe is the image scenario's, its base is made of the host's own shell."""
    recipe = {
        "training_dir": str(ROOT / "molecule/image/context"),
        "training_script": "train.py",
        "image_base": "counter:1",
        "image_base_archive": "",
        "image_wheelhouse": "",
    }
    for host in one.hosts:
        import_shell(one.lab, host, job.IMAGE)
    assert one.play("playbooks/image.yml", **recipe).rc == 0
    one.lab.on("host2", "sh", "-c", "docker image rm --force $(docker image ls --quiet my-ddp-trainer | sort -u)")
    one.recover(
        "image gone",
        "layers of my-ddp-trainer",
        "playbooks/image.yml",
        foretold="would be shipped from",
        limit="host2",
        **recipe,
    )


def test_overlay_gone(one: Shape) -> None:
    one.lab.on("host1", "docker", "network", "rm", "ddp-net")
    one.recover("overlay gone", "The overlay ddp-net is not there", limit="host2")


def test_a_network_of_that_name_that_is_no_overlay_is_left_alone(one: Shape) -> None:
    one.lab.on("host1", "docker", "network", "rm", "ddp-net")
    one.lab.on("host1", "docker", "network", "create", "ddp-net")
    run = one.play("playbooks/swarm.yml")
    assert run.rc != 0
    assert "host1 has a network ddp-net that is no overlay but a bridge network" in run.failure()
    assert run.changed() == []
    one.lab.on("host1", "docker", "network", "rm", "ddp-net")
    assert one.play("playbooks/swarm.yml").rc == 0
    one.is_whole()


def test_daemon_json_edited(one: Shape) -> None:
    one.lab.on("host2", "sh", "-c", """echo '{"debug": true}' >/etc/docker/daemon.json""")
    one.recover(
        "daemon.json edited, and not in force yet",
        "The engine on host2 started before its settings were written",
        "playbooks/docker.yml",
        limit="host2",
    )
    assert "Debug Mode: true" in one.lab.on("host2", "docker", "info")


def test_daemon_json_that_is_no_json(one: Shape) -> None:
    one.lab.on(
        "host2", "sh", "-c", """echo '{"debug": true,' >/etc/docker/daemon.json; systemctl restart docker || true"""
    )
    one.recover(
        "daemon.json is no JSON, and the engine is down",
        "The engine on host2 was",
        "playbooks/docker.yml",
        allow="docker_daemon_replace",
        limit="host2",
    )
    assert '"debug": true,' in one.lab.on("host2", "sh", "-c", "cat /etc/docker/daemon.json.*~")


def test_daemon_json_that_the_engine_refuses(one: Shape) -> None:
    one.lab.on(
        "host2", "sh", "-c", """echo '{"debgu": true}' >/etc/docker/daemon.json; systemctl restart docker || true"""
    )
    run = one.play("playbooks/docker.yml", limit="host2")
    assert run.rc != 0
    assert "The engine on host2 does not start. Its own words:" in run.failure()
    assert "debgu" in run.failure()
    one.lab.on("host2", "rm", "/etc/docker/daemon.json")
    assert one.play("playbooks/docker.yml", limit="host2").rc == 0
    one.is_whole()


def test_worker_address_changed(one: Shape) -> None:
    one.lab.on("host4", "ip", "address", "replace", "172.31.255.4/32", "dev", "eth0")
    one.lab.on("host1", "ip", "route", "replace", "172.31.255.4/32", "dev", "eth0")
    one.lab.on("host2", "ip", "route", "replace", "172.31.255.4/32", "dev", "eth0")
    moved = Shape(one.lab, one.managers, one.workers, {"host4": {"swarm_advertise_addr": "172.31.255.4"}})
    moved.recover(
        "worker's address changed",
        "and its address is 172.31.255.4: it leaves and joins again as a worker.",
        limit="host4",
    )
    one.have()


def test_only_managers_address_changed(one: Shape) -> None:
    one.lab.on("host1", "ip", "address", "replace", "172.31.255.1/32", "dev", "eth0")
    for host in ("host2", "host4"):
        one.lab.on(host, "ip", "route", "replace", "172.31.255.1/32", "dev", "eth0")
    moved = Shape(one.lab, one.managers, one.workers, {"host1": {"swarm_advertise_addr": "172.31.255.1"}})
    moved.recover("only manager's address changed", "starts its swarm anew from what it knows, under the new address.")
    one.have()


def test_only_manager_reinstalled(one: Shape) -> None:
    wipe(one.lab, "host1")
    one.recover(
        "only manager installed anew",
        "belongs to the swarm that host1 led before it was installed anew or left",
        allow="swarm_rebuild",
    )


# Three managers and a worker from here on.


@pytest.fixture
def three(lab: Lab) -> Shape:
    shape = Shape(lab, ["host1", "host2", "host3"], ["host4"])
    shape.have_if_broken()
    return shape


def test_workers_become_managers(three: Shape) -> None:
    three.is_whole()
    three.changes_nothing()


@pytest.mark.parametrize("host", ["host3", "host1"])
def test_one_of_three_managers_reinstalled(three: Shape, host: str) -> None:
    wipe(three.lab, host)
    three.recover(
        "one of three managers installed anew" + (" (the first)" if host == "host1" else ""),
        f"{host} was installed anew or left the swarm: its former node goes, and it joins as a manager.",
        limit=host,
    )


def test_manager_address_changed(three: Shape) -> None:
    three.lab.on("host1", "ip", "address", "replace", "172.31.255.1/32", "dev", "eth0")
    for host in ("host2", "host3", "host4"):
        three.lab.on(host, "ip", "route", "replace", "172.31.255.1/32", "dev", "eth0")
    moved = Shape(three.lab, three.managers, three.workers, {"host1": {"swarm_advertise_addr": "172.31.255.1"}})
    moved.recover("one of three managers' address changed", "it leaves and joins again as a manager.")
    three.have()


def test_quorum_lost_and_managers_come_back(three: Shape) -> None:
    for host in ("host2", "host3"):
        three.lab.on(host, "systemctl", "stop", "docker.socket", "docker")
    # A leader notices within some seconds.
    three.lab.on("host1", "sh", "-c", "while docker node ls >/dev/null 2>&1; do sleep 1; done")
    run = three.play("playbooks/swarm.yml", limit="host1,host4")
    assert run.rc != 0
    assert "The swarm has lost its quorum" in run.failure()
    assert run.changed() == []
    three.recover("quorum lost, the other managers' engines stopped", "The engine on host3 was inactive", "site.yml")


def test_quorum_lost_for_good(three: Shape) -> None:
    for host in ("host2", "host3"):
        wipe(three.lab, host)
    three.recover(
        "quorum lost for good: two of three managers installed anew",
        "host1 goes on as the only manager, with all that it knows, and the others join it again.",
        allow="swarm_force_new_cluster",
    )


def test_autolock(three: Shape) -> None:
    run = three.play("playbooks/swarm.yml", swarm_autolock=True)
    assert run.rc == 0, run.stdout[-3000:]
    key = three.lab.on("host1", "docker", "swarm", "unlock-key", "--quiet").strip()
    assert key.startswith("SWMKEY")
    three.lab.on("host2", "systemctl", "restart", "docker")
    assert three.state("host2") == "locked"
    three.recover("manager locked since its engine started", "host2 is locked since its engine started", limit="host2")
    for host in three.managers:
        three.lab.on(host, "systemctl", "restart", "docker")
    refused = three.play("playbooks/swarm.yml")
    assert refused.rc != 0
    assert "swarm_unlock_key" in refused.failure()
    run = three.play("playbooks/swarm.yml", swarm_unlock_key=key, options="-vvv")
    assert run.rc == 0, run.stdout[-3000:]
    three.is_whole()
    found = subprocess.run(
        ["grep", "-rl", "SWMKEY", str(three.lab.directory)], capture_output=True, text=True, check=False
    )
    # What this test itself gave to ansible-runner as a variable is its own affair.
    assert [path for path in found.stdout.split() if not path.endswith("env/extravars")] == []
    three.lab.on("host1", "docker", "swarm", "update", "--autolock=false")
