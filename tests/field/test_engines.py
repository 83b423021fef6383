"""Engines that serve others too, or that somebody set up before: nothing of theirs is lost, and each obstacle is named."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from labs import Lab, Run
from shell_image import import_shell

SETTINGS = "/etc/docker/daemon.json"


def started(lab: Lab, container: str) -> str:
    return lab.on("host2", "docker", "inspect", "--format", "{{.State.StartedAt}}", container)


def setting(lab: Lab, asked: dict[str, Any], options: str = "", **more: Any) -> Run:
    return lab.play("playbooks/docker.yml", limit="host2", options=options, docker_daemon_options=asked, **more)


@pytest.fixture
def mine(lab: Lab) -> Iterator[str]:
    """A container of somebody else's on host2. Afterwards its engine has no settings."""
    import_shell(lab, "host2", "shell:1")
    lab.on("host2", "docker", "run", "--detach", "--init", "--name", "mine", "shell:1", "sleep", "100000")
    yield "mine"
    lab.on("host2", "docker", "rm", "--force", "mine", check=False)
    lab.on("host2", "rm", "-f", SETTINGS)
    # Each test restarts it; systemd counts.
    lab.on("host2", "systemctl", "reset-failed", "docker")
    lab.on("host2", "systemctl", "restart", "docker")


def test_row_3_the_engine_is_not_restarted_under_other_peoples_containers(lab: Lab, mine: str) -> None:
    before, settings = started(lab, mine), lab.on("host2", "sh", "-c", f"cat {SETTINGS} 2>&1 || true")
    run = setting(lab, {"log-level": "warn"})
    assert run.rc != 0
    assert "runs the containers mine and was not restarted" in run.failure()
    assert "log-level in /etc/docker/daemon.json: nothing was changed" in run.failure()
    assert "docker_restart_during_training=true" in run.failure()
    assert (started(lab, mine), run.changed()) == (before, [])
    assert lab.on("host2", "sh", "-c", f"cat {SETTINGS} 2>&1 || true") == settings
    run = setting(lab, {"log-level": "warn"}, docker_restart_during_training=True)
    assert run.rc == 0, run.failure()
    assert lab.on("host2", "docker", "inspect", "--format", "{{.State.Running}}", mine).strip() == "false"
    assert setting(lab, {"log-level": "warn"}).changed() == []


def test_row_3_settings_that_the_engine_reads_anew_need_no_restart(lab: Lab, mine: str) -> None:
    before = started(lab, mine)
    assert json.loads(lab.on("host2", "docker", "info", "--format", "{{json .Debug}}")) is False
    foretold = setting(lab, {"debug": True}, "--check")
    assert foretold.rc == 0, foretold.failure()
    assert "would read its new settings without a restart" in foretold.said()
    run = setting(lab, {"debug": True})
    assert run.rc == 0, run.failure()
    assert json.loads(lab.on("host2", "docker", "info", "--format", "{{json .Debug}}")) is True
    assert started(lab, mine) == before
    assert setting(lab, {"debug": True}).changed() == []


def test_row_21_an_engine_is_not_replaced_under_what_it_runs(lab: Lab, mine: str) -> None:
    before = started(lab, mine)
    run = lab.play("playbooks/docker.yml", limit="host2", docker_source="docker")
    assert run.rc != 0
    assert (
        "host2 runs the containers mine, which would be stopped: docker_source=docker puts docker-ce in the place"
        in run.failure()
    )
    assert run.changed() == []
    assert started(lab, mine) == before
    # The same for what stops engines on purpose.
    for playbook in ("playbooks/upgrade.yml", "playbooks/reboot.yml"):
        run = lab.play(playbook, limit="host2")
        if "nothing to do" not in run.stdout and "has the newest engine" not in run.stdout:
            assert "mine on host2: these containers are not the swarm's" in run.failure(), playbook
        assert started(lab, mine) == before


def test_row_14_an_engine_does_not_leave_its_volumes_behind(lab: Lab) -> None:
    lab.on("host2", "docker", "volume", "create", "snapshots-of-last-week")
    try:
        run = setting(lab, {"data-root": "/srv/docker"})
        assert run.rc != 0
        assert "host2 has 1 volume(s) in /var/lib/docker (snapshots-of-last-week), and /srv/docker" in run.failure()
        assert run.changed() == []
    finally:
        lab.on("host2", "docker", "volume", "rm", "snapshots-of-last-week")


def test_row_14_the_engines_own_directory_is_looked_at(lab: Lab) -> None:
    """Nothing is left behind: there is no volume. The host is taken into the swarm again, as it is new to it there."""
    lab.on("host2", "sh", "-c", "rm -rf /srv/docker; docker image prune --all --force")
    try:
        run = setting(lab, {"data-root": "/srv/docker"})
        assert run.rc == 0, run.failure()
        lab.run("swarm")
        assert lab.on(
            "host2", "docker", "info", "--format", "{{.DockerRootDir}} {{.Swarm.LocalNodeState}}"
        ).split() == ["/srv/docker", "active"]
        told = lab.play("playbooks/docker.yml", limit="host2", docker_daemon_options={"data-root": "/srv/docker"})
        assert told.changed() == []
    finally:
        lab.on("host2", "docker", "swarm", "leave", "--force", check=False)
        lab.on("host2", "systemctl", "stop", "docker.socket", "docker")
        lab.on("host2", "sh", "-c", f"rm -rf {SETTINGS} /srv/docker")
        lab.on("host2", "systemctl", "start", "docker")
        lab.run("swarm")


@pytest.mark.parametrize("way", ["environment", "context"])
def test_row_23_a_docker_command_that_speaks_to_another_engine(lab: Lab, way: str) -> None:
    if way == "environment":
        lab.on(
            "host2",
            "sh",
            "-c",
            "cp -p /etc/environment /etc/environment.kept; echo DOCKER_HOST=tcp://127.0.0.1:9 >>/etc/environment",
        )
        # What sudo reads of it differs between distributions: here as Ubuntu has it.
        lab.on(
            "host2",
            "sh",
            "-c",
            "cp -p /etc/pam.d/sudo /etc/pam.d/sudo.kept; echo 'session required pam_env.so readenv=1' >>/etc/pam.d/sudo",
        )
    else:
        lab.on(
            "host2", "sh", "-c", "docker context create far --docker host=tcp://127.0.0.1:9 && docker context use far"
        )
    try:
        run = lab.play("playbooks/docker.yml", limit="host2")
        assert run.rc != 0
        assert "host2 has a docker command that speaks to another engine than the host's own" in run.failure()
        assert (
            "DOCKER_HOST is tcp://127.0.0.1:9 there" if way == "environment" else "its context is far"
        ) in run.failure()
        assert run.changed() == []
    finally:
        if way == "environment":
            lab.on(
                "host2",
                "sh",
                "-c",
                "mv /etc/environment.kept /etc/environment; mv /etc/pam.d/sudo.kept /etc/pam.d/sudo",
            )
        else:
            lab.on("host2", "sh", "-c", "docker context use default && docker context rm far")


DEAD = "/etc/apt/sources.list.d/dead.list"


def test_row_7_a_dead_repository_of_somebody_else(lab: Lab) -> None:
    lab.on(
        "host2",
        "sh",
        "-c",
        f"echo 'deb [trusted=yes] http://127.0.0.1:9/their/packages trixie main' >{DEAD}; touch -d '-2 days' /var/lib/apt/lists /var/cache/apt/pkgcache.bin",
    )
    try:
        run = lab.play("playbooks/docker.yml", limit="host2")
        assert (run.rc, run.changed()) == (0, []), run.failure()
        lab.on("host2", "apt-get", "purge", "-qq", "-y", "zstd")
        # An engine that is kept is installed nothing for; here its packages are asked for.
        run = lab.play("playbooks/docker.yml", limit="host2", docker_source="distribution")
        if run.rc != 0:
            assert "http://127.0.0.1:9/their/packages" in run.failure()
            assert "host2" in run.failure()
            assert "dpkg --audit" not in run.failure()
        else:
            assert "zstd" in lab.on("host2", "dpkg-query", "--show", "zstd")
    finally:
        lab.on("host2", "rm", "-f", DEAD)
        run = lab.play("playbooks/docker.yml", limit="host2", docker_source="distribution")
        assert run.rc == 0, run.failure()


def test_row_6_a_repository_that_was_added_before_with_another_key(lab: Lab) -> None:
    """Two entries with two keys would break apt on that host, for everybody."""
    theirs = "/etc/apt/sources.list.d/get-docker.list"
    offer = {"name": "docker", "uri": "http://127.0.0.1:9/linux/debian", "suite": "trixie", "component": "stable"}
    lab.on(
        "host2",
        "sh",
        "-c",
        f"echo 'deb [arch=amd64 signed-by=/usr/share/keyrings/docker.gpg] {offer['uri']} trixie stable' >{theirs}",
    )
    play = lab.directory / "repository.json"
    tasks = [
        {"ansible.builtin.include_role": {"name": "docker", "tasks_from": "gather", "public": True}},
        {
            "ansible.builtin.include_role": {
                "name": "docker",
                "tasks_from": "engine/repository",
                "apply": {"become": True},
            },
            "vars": {"_docker_offer": offer},
        },
    ]
    play.write_text(json.dumps([{"hosts": "host2", "gather_facts": False, "tasks": tasks}]))
    try:
        run = lab.play(str(play))
        assert (run.rc, run.changed()) == (0, []), run.failure()
        assert f"host2 has the repository {offer['uri']} in {theirs}: that entry stays as it is" in run.said()
        assert "Conflicting values" not in lab.on("host2", "sh", "-c", "apt-get indextargets 2>&1")
    finally:
        lab.on("host2", "rm", "-f", theirs)


def test_row_4_a_manager_whose_certificate_is_of_no_use(lab: Lab) -> None:
    """As after months in which it was switched off: to leave would cost the services."""
    certificate = "/var/lib/docker/swarm/certificates/swarm-node.crt"
    import_shell(lab, "host1", "shell:1")
    lab.on(
        "host1",
        "docker",
        "service",
        "create",
        "--detach",
        "--name",
        "theirs",
        "--constraint",
        "node.role==manager",
        "shell:1",
        "sleep",
        "100000",
    )
    lab.on("host1", "systemctl", "stop", "docker.socket", "docker")
    lab.on("host1", "sh", "-c", f"cp -p {certificate} /root/kept.crt; echo nonsense >{certificate}")
    lab.on("host1", "systemctl", "start", "docker")
    try:
        own = lab.on("host1", "docker", "info", "--format", "{{.Swarm.Error}}").strip()
        assert own
        run = lab.play("playbooks/swarm.yml")
        assert run.rc != 0
        assert f"host1's engine cannot take up its place in the swarm ({own.splitlines()[0]}" in run.failure()
        assert "do not let it leave" in run.failure()
        assert "swarm_rejoin" not in run.failure()
        assert run.changed() == []
    finally:
        lab.on("host1", "systemctl", "stop", "docker.socket", "docker")
        lab.on("host1", "mv", "/root/kept.crt", certificate)
        lab.on("host1", "systemctl", "start", "docker")
    lab.run("swarm")
    assert "theirs" in lab.on("host1", "docker", "service", "ls", "--format", "{{.Name}}")
    lab.on("host1", "docker", "service", "rm", "theirs")
