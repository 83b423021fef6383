"""Hosts come and go, engines are upgraded, machines reboot, and what is running goes on."""

import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import job
import pytest
import yaml
from conftest import Shape, flat, older_engine
from labs import Lab
from shell_image import import_shell


@pytest.fixture(scope="module")
def trio(lab: Lab) -> Shape:
    """Three managers without host4, which comes later."""
    everybody = Shape(lab, ["host1", "host2", "host3"], ["host4"])
    everybody.have()
    run = everybody.play("playbooks/remove.yml", host="host4")
    assert run.rc == 0, run.stdout[-3000:]
    shape = Shape(lab, ["host1", "host2", "host3"])
    shape.is_whole()
    return shape


@pytest.fixture
def everybody(trio: Shape) -> Shape:
    shape = Shape(trio.lab, trio.managers, ["host4"])
    shape.have()
    return shape


@pytest.fixture
def running(everybody: Shape) -> Iterator[Shape]:
    """A job on every host."""
    job.deploy(everybody.lab, "host1", everybody.hosts)
    yield everybody
    job.remove(everybody.lab, "host1")


def unplug(lab: Lab, host: str) -> None:
    """No SSH to the host, and no connection that is open already."""
    lab.on(host, "sh", "-c", "systemctl stop ssh; pkill '^sshd' || true")


def test_a_host_is_added_by_writing_it_down(trio: Shape) -> None:
    shape = Shape(trio.lab, trio.managers, ["host4"])
    run = shape.cluster()
    assert run.rc == 0, run.stdout[-3000:]
    assert [task for task in run.changed() if not task.startswith("host4: ")] == []
    shape.is_whole()
    shape.changes_nothing()


def test_a_host_that_was_only_erased_is_told_and_keeps_no_rank(everybody: Shape) -> None:
    run = Shape(everybody.lab, everybody.managers).play("playbooks/swarm.yml")
    assert run.rc == 0
    assert "playbooks/remove.yml -e host=host4" in run.stdout
    assert everybody.label("host4") == ""


def test_removal_says_which_host_it_needs(everybody: Shape) -> None:
    run = everybody.play("playbooks/remove.yml")
    assert run.rc != 0
    assert "Which host is to leave?" in run.failure()
    run = everybody.play("playbooks/remove.yml", host="host9")
    assert run.rc != 0
    assert "'host9' is neither a host of the inventory nor a node of the swarm" in run.failure()


def test_removal_of_a_busy_host_is_refused_and_else_drains(running: Shape) -> None:
    refused = running.play("playbooks/remove.yml", host="host4")
    assert refused.rc != 0
    assert "swarm_disturb_training=true" in refused.failure()
    told = running.play("playbooks/remove.yml", options="--check", host="host4", swarm_disturb_training=True)
    assert told.rc == 0
    assert told.changed() == ["host1: Report in check mode what would be done"]
    run = running.play("playbooks/remove.yml", limit="host4", swarm_disturb_training=True)
    assert run.rc == 0, run.stdout[-3000:]
    assert running.state("host4") == "inactive"
    assert set(running.nodes()) == {"host1", "host2", "host3"}
    again = running.play("playbooks/remove.yml", host="host4")
    assert (again.rc, again.changed()) == (0, [])


def test_a_dead_manager_is_removed_and_the_next_would_break_the_quorum(everybody: Shape) -> None:
    lab = everybody.lab
    lab.on("host3", "systemctl", "stop", "docker.socket", "docker")
    unplug(lab, "host3")
    try:
        refused = everybody.play("playbooks/remove.yml", host="host2")
        assert refused.rc != 0
        assert "lose its quorum" in refused.failure()
        run = everybody.play("playbooks/remove.yml", host="host3")
        assert run.rc == 0, run.stdout[-3000:]
        assert "It does not answer" in run.stdout
        assert set(everybody.nodes()) == {"host1", "host2", "host4"}
    finally:
        lab.on("host3", "systemctl", "start", "ssh", "docker")
    everybody.have()


def test_a_dead_worker_does_not_hide_what_happened_on_the_rest(everybody: Shape) -> None:
    unplug(everybody.lab, "host4")
    try:
        everybody.lab.on("host1", "docker", "node", "update", "--availability", "drain", "host2")
        run = everybody.play("playbooks/swarm.yml")
        assert run.rc != 0
        assert run.stats["dark"] == {"host4": 1}
        assert everybody.nodes()["host2"] == "Ready Active Manager"
    finally:
        everybody.lab.on("host4", "systemctl", "start", "ssh")


def test_a_worker_is_repaired_while_a_manager_outside_the_limit_is_dead(everybody: Shape) -> None:
    everybody.lab.on("host1", "docker", "node", "update", "--availability", "drain", "host4")
    unplug(everybody.lab, "host3")
    try:
        run = everybody.play("playbooks/swarm.yml", limit="host4")
        assert run.rc == 0, run.stdout[-3000:]
        assert everybody.nodes()["host4"] == "Ready Active"
    finally:
        everybody.lab.on("host3", "systemctl", "start", "ssh")


def test_status_and_results_without_the_first_manager(running: Shape) -> None:
    """It is switched off, as far as the others can tell."""
    lab = running.lab
    lab.on("host1", "systemctl", "stop", "docker.socket", "docker")
    unplug(lab, "host1")
    try:
        run = running.play("playbooks/status.yml")
        assert re.search(r"host1 (Down|Unknown) Active Unreachable", flat(run.stdout)), run.stdout[-3000:]
        assert "node1 on host2: running" in run.stdout
        run = running.play("playbooks/collect.yml")
        assert run.stats["dark"] == {"host1": 1}
        assert "resumed at" in (lab.artifacts / "node1.log").read_text()
    finally:
        lab.on("host1", "systemctl", "start", "ssh", "docker")
    running.is_whole(patience=60)


def test_upgrade(running: Shape) -> None:
    lab = running.lab
    for host in ("host2", "host4"):
        older_engine(lab, host)
    running.have()
    job.runs(lab, running.hosts)
    refused = running.play("playbooks/upgrade.yml")
    assert refused.rc != 0
    assert "simple-training_node" in refused.failure()
    assert "swarm_disturb_training=true" in refused.failure()
    before = {host: job.count(lab, host) for host in running.hosts}
    told = running.play("playbooks/upgrade.yml", options="--check", swarm_disturb_training=True)
    assert told.rc == 0, told.stdout[-3000:]
    assert {task.split(":")[0] for task in told.changed()} >= {"host2", "host4"}
    run = running.play("playbooks/upgrade.yml", swarm_disturb_training=True)
    assert run.rc == 0, run.stdout[-3000:]
    assert "host1 has the newest engine" in run.stdout
    for host in ("host2", "host4"):
        version = lab.on(host, "dpkg-query", "--show", "--showformat=${Version}", "docker.io")
        assert "older" not in version
    running.is_whole()
    job.runs(lab, running.hosts)
    assert all(job.count(lab, host) > before[host] for host in running.hosts)
    again = running.play("playbooks/upgrade.yml")
    assert (again.rc, again.changed()) == (0, [])


def test_reboot(running: Shape) -> None:
    lab = running.lab
    refused = running.play("playbooks/reboot.yml", limit="host4")
    assert refused.rc != 0
    assert "swarm_disturb_training=true" in refused.failure()
    before = job.count(lab, "host4")
    run = running.play("playbooks/reboot.yml", limit="host4", swarm_disturb_training=True)
    assert run.rc == 0, run.stdout[-3000:]
    running.is_whole()
    job.runs(lab, running.hosts)
    assert job.count(lab, "host4") > before


def test_rotate_tokens(everybody: Shape) -> None:
    read = ("docker", "swarm", "join-token", "--quiet", "worker")
    old = everybody.lab.on("host1", *read)
    run = everybody.play("playbooks/rotate_tokens.yml", options="-vvv")
    assert run.rc == 0
    new = everybody.lab.on("host1", *read)
    assert new != old
    assert re.search(r"SWMTKN-1-\w", run.stdout) is None
    everybody.is_whole()


def test_backup_and_restore_of_the_only_manager(lab: Lab) -> None:
    shape = Shape(lab, ["host1"], ["host4"])
    for host in ("host2", "host3"):
        lab.on(host, "docker", "swarm", "leave", "--force", check=False)
    shape.have_anew()
    job.deploy(lab, "host1", shape.hosts)
    backup = {"backup": "test", "backup_dir": str(lab.directory / "backups")}
    refused = shape.play("playbooks/backup.yml", **backup)
    assert refused.rc != 0
    assert "swarm_disturb_training=true" in refused.failure()
    run = shape.play("playbooks/backup.yml", swarm_disturb_training=True, **backup)
    assert run.rc == 0, run.stdout[-3000:]
    files = {path.name: path.stat().st_mode & 0o777 for path in (lab.directory / "backups" / "test").iterdir()}
    assert files.keys() == {"swarm.tar.gz", *(f"{host}.simple-training_snapshots.tar.gz" for host in shape.hosts)}
    assert files["swarm.tar.gz"] == 0o600
    assert left_of_backups(lab, "host1") == ""
    # A step in between fails: the controller has no room for the archive, as a directory is in its place.
    (lab.directory / "backups" / "full" / "swarm.tar.gz" / "x").mkdir(parents=True)
    failed = shape.play("playbooks/backup.yml", swarm_disturb_training=True, **{**backup, "backup": "full"})
    assert failed.rc != 0
    assert left_of_backups(lab, "host1") == ""
    shape.is_whole(patience=60)
    job.runs(lab, shape.hosts, seconds=90)
    saved = job.count(lab, "host1")
    # The disaster: the manager comes back as a new machine.
    lab.on("host1", "systemctl", "stop", "docker.socket", "docker")
    lab.on("host1", "sh", "-c", "rm -rf /var/lib/docker/*")
    lab.on("host1", "systemctl", "start", "docker")
    # As playbooks/image.yml would have it; without the image the rank would use up its restarts.
    import_shell(lab, "host1", job.IMAGE)
    refused = shape.play("playbooks/swarm.yml")
    assert "playbooks/restore.yml" in refused.failure()
    run = shape.play("playbooks/restore.yml", **backup)
    assert run.rc == 0, run.stdout[-3000:]
    assert left_of_backups(lab, "host1") == ""
    shape.have()
    job.runs(lab, shape.hosts, seconds=90)
    assert job.count(lab, "host1") > saved - 30
    refused = shape.play("playbooks/restore.yml", **backup)
    assert "leads a swarm that works" in refused.failure()
    job.remove(lab, "host1")


def left_of_backups(lab: Lab, host: str) -> str:
    """Archives of the swarm's state, and states that were put aside. They hold the CA's key."""
    script = "ls -d /var/tmp/ddp-swarm-backup.* /var/lib/docker/swarm-* 2>/dev/null; find /tmp /var/tmp /root /home -name swarm.tar.gz"
    return lab.on(host, "sh", "-c", script).strip()


def test_a_restore_that_fails_brings_back_the_swarm_and_one_that_works_removes_it(lab: Lab) -> None:
    shape = Shape(lab, ["host1"], ["host4"])
    shape.have_anew()
    backup = {"backup": "again", "backup_dir": str(lab.directory / "backups")}
    run = shape.play("playbooks/backup.yml", **backup)
    assert run.rc == 0, run.stdout[-3000:]
    # A swarm of today, which the backup would replace, and a backup that no engine starts from.
    lab.on("host1", "docker", "node", "update", "--label-add", "today=yes", "host1")
    whole = (lab.directory / "backups" / "again" / "swarm.tar.gz").read_bytes()
    damage(lab.directory / "backups" / "again" / "swarm.tar.gz")
    failed = shape.play("playbooks/restore.yml", swarm_rebuild=True, **backup)
    assert failed.rc != 0
    assert "has what it had before" in failed.stdout
    assert left_of_backups(lab, "host1") == ""
    assert shape.label("host1", "today") == "yes"
    (lab.directory / "backups" / "again" / "swarm.tar.gz").write_bytes(whole)
    run = shape.play("playbooks/restore.yml", swarm_rebuild=True, **backup)
    assert run.rc == 0, run.stdout[-3000:]
    assert left_of_backups(lab, "host1") == ""
    assert shape.label("host1", "today") == ""
    shape.have()


def damage(archive: Path) -> None:
    """The same files, with the node's key broken."""
    content = {}
    with tarfile.open(archive) as whole:
        for member in whole:
            file = whole.extractfile(member)
            content[member.name] = (member, file.read() if file else b"")
    with tarfile.open(archive, "w:gz") as broken:
        for name, (member, text) in content.items():
            text = b"broken" if name.endswith("swarm-node.key") else text
            member.size = len(text)
            broken.addfile(member, io.BytesIO(text))


def test_teardown_collects_first_and_keeps_the_volumes(lab: Lab) -> None:
    shape = Shape(lab, ["host1"], ["host4"])
    shape.have_anew()
    job.deploy(lab, "host1", shape.hosts)
    refused = shape.play("playbooks/teardown.yml")
    assert "simple-training runs in the swarm, and would be ended." in refused.failure()
    run = shape.play("playbooks/teardown.yml", swarm_disturb_training=True)
    assert run.rc == 0, run.stdout[-3000:]
    assert {shape.state(host) for host in shape.hosts} == {"inactive"}
    for rank in (0, 1):
        assert "resumed at" in (lab.artifacts / f"node{rank}.log").read_text()
    for host in shape.hosts:
        assert "simple-training_snapshots" in lab.on(host, "docker", "volume", "ls")
        assert lab.on(host, "docker", "ps", "--all", "--quiet") == ""
        assert "ddp-net" not in lab.on(host, "docker", "network", "ls")
    again = shape.play("playbooks/teardown.yml")
    assert (again.rc, again.changed()) == (0, [])
    last = shape.play("playbooks/teardown.yml", teardown_volumes=True)
    assert last.rc == 0, last.stdout[-3000:]
    assert "simple-training" not in lab.on("host1", "docker", "volume", "ls")


def test_teardown_of_a_lost_quorum_and_of_bare_hosts(lab: Lab) -> None:
    shape = Shape(lab, ["host1", "host2", "host3"])
    shape.have()
    for host in ("host2", "host3"):
        lab.on(host, "systemctl", "stop", "docker.socket", "docker")
    run = shape.play("playbooks/teardown.yml")
    assert run.rc == 0, run.stdout[-3000:]
    assert shape.state("host1") == "inactive"
    for host in ("host2", "host3"):
        lab.on(host, "systemctl", "start", "docker")
    assert shape.play("playbooks/teardown.yml").rc == 0
    assert {shape.state(host) for host in shape.hosts} == {"inactive"}


def test_one_host_and_a_manager_that_does_not_train(lab: Lab) -> None:
    alone = Shape(lab, ["host1"])
    alone.have_anew()
    alone.changes_nothing()
    lab.on("host4", "docker", "swarm", "leave", "--force", check=False)
    pair = Shape(lab, ["host1"], ["host4"], {"host1": {"swarm_availability": "drain"}})
    run = pair.cluster(training_hosts=["host4"])
    assert run.rc == 0, run.stdout[-3000:]
    assert pair.nodes() == {"host1": "Ready Drain Manager", "host4": "Ready Active"}
    assert (pair.label("host1"), pair.label("host4")) == ("", "0")
    assert pair.cluster(training_hosts=["host4"]).changed() == []


def test_two_managers_are_warned_about(lab: Lab) -> None:
    shape = Shape(lab, ["host1", "host4"])
    run = shape.cluster(swarm_rebuild=True)
    assert run.rc == 0, run.stdout[-3000:]
    assert "2 managers survive the loss of 0, as 1 do: make it 1 or 3." in " ".join(run.stdout.split())
    assert yaml.safe_load(shape.inventory.read_text())
