"""Hosts that stand in for Ubuntu 24.04 and Rocky Linux 9: what they say of themselves is those', what they run is Debian's.

host1 takes docker.io from its distribution, as on Ubuntu, by apt. host2 takes docker-ce from Docker's repository by dnf, of which a repository
that the test makes is the stand-in: signed, with packages of the same names, which hold Debian's files. What cannot be seen here: the real
distributions' dependencies, SELinux, their kernels and their firewalls.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labs import Lab, Run

UBUNTU = """\
PRETTY_NAME="Ubuntu 24.04.3 LTS"
NAME="Ubuntu"
VERSION_ID="24.04"
VERSION_CODENAME=noble
ID=ubuntu
ID_LIKE=debian
"""
ROCKY = """\
NAME="Rocky Linux"
VERSION="9.6 (Blue Onyx)"
ID="rocky"
ID_LIKE="rhel centos fedora"
VERSION_ID="9.6"
PRETTY_NAME="Rocky Linux 9.6 (Blue Onyx)"
"""
PRESENTS = "rm -f /etc/os-release && printf %s '{}' >/etc/os-release"
# As they are there on a host of that family.
DNF = "mkdir -p /etc/yum.repos.d /etc/pki/rpm-gpg /etc/dnf/vars && echo 9 >/etc/dnf/vars/releasever"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """host1 is Debian 12 for its docker.io, which has the docker command in it, as Ubuntu's has."""
    with Lab("distributions", lab_releases={"host1": "bookworm"}).running() as lab:
        lab.on("host1", "sh", "-c", PRESENTS.format(UBUNTU))
        script = (Path(__file__).parent / "make-rpms.sh").read_text()
        lab.on(
            "host2",
            "sh",
            "-c",
            f"cat >/root/make-rpms.sh <<'SCRIPT'\n{script}\nSCRIPT\napt-get update -qq; {DNF}; sh /root/make-rpms.sh /srv/docker",
            timeout=600,
        )
        lab.on("host2", "sh", "-c", PRESENTS.format(ROCKY))
        yield lab


def play(lab: Lab, playbook: str, options: str = "", **variables: Any) -> Run:
    fingerprint = lab.on("host2", "cat", "/srv/docker/centos/fingerprint").strip()
    return lab.play(
        playbook,
        options=options,
        **{"docker_apt_repository": "file:///srv/docker", "docker_rpm_key_fingerprint": fingerprint, **variables},
    )


def good(run: Run) -> Run:
    assert run.rc == 0, run.failure() + run.stdout[-4000:]
    return run


def test_check_mode_on_bare_hosts_tells_what_would_be_installed(lab: Lab) -> None:
    run = good(play(lab, "playbooks/docker.yml", "--check --diff"))
    assert (
        "docker.io, containerd, runc, zstd would be installed on host1" in run.said()
        or "host1: Install the engine's packages" in str(run.changed())
    )
    assert (
        "docker-ce, docker-ce-cli, containerd.io, docker-buildx-plugin, zstd would be installed on host2" in run.said()
    )
    for host in lab.hosts:
        assert lab.on(host, "sh", "-c", "command -v docker", check=False) == ""


def test_another_key_than_dockers_is_refused(lab: Lab) -> None:
    run = play(lab, "playbooks/docker.yml", docker_rpm_key_fingerprint="060A61C51B558A7F742B77AAC52FEB6B621E9F35")
    assert run.rc != 0
    assert "host2 must not trust file:///srv/docker/centos/gpg: its fingerprint is " in run.said().replace("''", "'")
    assert "docker_rpm_key_fingerprint" in run.said()
    assert (
        lab.on("host2", "sh", "-c", "ls /etc/pki/rpm-gpg /etc/yum.repos.d | grep -c docker", check=False).strip() == "0"
    )


def test_the_distribution_of_rocky_has_no_engine(lab: Lab) -> None:
    run = lab.play("playbooks/docker.yml", limit="host2", docker_source="distribution")
    assert (
        "host2 runs Rocky Linux 9.6 (Blue Onyx), which has no Docker engine of its own: say docker_source=docker"
        in run.failure()
    )


def test_from_bare_hosts_to_a_finished_training(lab: Lab) -> None:
    good(play(lab, "site.yml", training_wait_for="complete"))
    log = (lab.artifacts / "node0.log").read_text()
    assert "weights are identical on all 2 ranks" in log
    assert lab.on("host2", "rpm", "--query", "docker-ce").startswith("docker-ce-26.1.5-1.el9")
    assert "docker.io" in lab.on("host1", "dpkg-query", "--show", "docker.io")
    # In rpm's store is the key that was checked, and no other.
    assert lab.on("host2", "sh", "-c", "rpm --query gpg-pubkey | wc -l").strip() == "1"
    again = good(play(lab, "site.yml", training_wait_for="complete"))
    assert again.changed() == []


def test_an_engine_that_is_there_is_kept_whoever_installed_it(lab: Lab) -> None:
    """Nothing is said of a repository, as if somebody had followed Docker's own guide."""
    assert good(lab.play("playbooks/docker.yml")).changed() == []


def test_a_missing_package_is_installed_and_nothing_else(lab: Lab) -> None:
    lab.on("host2", "dnf", "--assumeyes", "--quiet", "remove", "zstd")
    run = good(play(lab, "playbooks/docker.yml", docker_source="docker", docker_version="", options="--limit host2"))
    assert run.changed() == ["host2: Install the engine's packages"]
    assert lab.on("host2", "rpm", "--query", "zstd").startswith("zstd-26.1.5")


def test_packages_from_the_controller(lab: Lab, tmp_path: Path) -> None:
    """For a host that reaches no repository."""
    lab.on(
        "host2",
        "sh",
        "-c",
        "dnf --assumeyes --quiet remove docker-buildx-plugin; mv /etc/yum.repos.d/docker.repo /root/",
    )
    for name in ("docker-buildx-plugin",):
        with (tmp_path / f"{name}.rpm").open("wb") as file:
            file.write(lab.read("host2", f"/srv/docker/centos/9/x86_64/stable/{name}-26.1.5-1.el9.x86_64.rpm"))
    run = good(
        lab.play("playbooks/docker.yml", limit="host2", docker_source="docker", docker_packages_dir=str(tmp_path))
    )
    assert "host2: Install the packages" in run.changed()
    assert lab.on("host2", "rpm", "--query", "docker-buildx-plugin").startswith("docker-buildx-plugin-26.1.5")
    lab.on("host2", "mv", "/root/docker.repo", "/etc/yum.repos.d/")


def test_an_upgrade_asks_dnf(lab: Lab) -> None:
    run = good(play(lab, "playbooks/upgrade.yml", options="--limit host2"))
    assert "host2 has the newest engine that its repositories offer." in run.said()


def test_teardown(lab: Lab) -> None:
    good(play(lab, "playbooks/teardown.yml"))
    for host in lab.hosts:
        assert lab.on(host, "docker", "info", "--format", "{{.Swarm.LocalNodeState}}").strip() == "inactive"
