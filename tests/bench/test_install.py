"""What the role docker costs on a bare host, beside the distribution's own command for the same packages, done by hand.

The lab's CA certificates, which that command does not install either, are left out. Ubuntu and Rocky Linux are stand-ins (presented.py).
"""

import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest
from labs import Lab
from presented import present_rocky, present_ubuntu

MORE = 3.0  # seconds, the goal
# What _docker_plan installs there.
APT = "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends"
DEBIAN = f"{APT} docker.io docker-cli zstd"
UBUNTU = f"{APT} docker.io zstd"
# As Docker's documentation has it for the family, and the start of the service, which apt's packages do by themselves.
ROCKY = """cat >/etc/yum.repos.d/docker.repo <<'END'
[docker]
name=docker
baseurl=file:///srv/docker/centos/9/$basearch/stable
gpgcheck=1
gpgkey=file:///srv/docker/centos/gpg
END
dnf --assumeyes --quiet --setopt=install_weak_deps=False install docker-ce docker-ce-cli containerd.io docker-buildx-plugin zstd
systemctl enable --now docker"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("install", lab_size=6).running() as lab:
        yield lab


@pytest.fixture(scope="module")
def presented() -> Iterator[Lab]:
    with Lab("install-presented", lab_size=4, lab_releases={"host1": "bookworm", "host2": "bookworm"}).running() as lab:
        for host in ("host1", "host2"):
            present_ubuntu(lab, host)
        for host in ("host3", "host4"):
            present_rocky(lab, host)
        yield lab


def by_hand(lab: Lab, host: str, command: str) -> float:
    began = time.monotonic()
    lab.on(host, "sh", "-c", command, timeout=600)
    return time.monotonic() - began


def by_role(lab: Lab, host: str, **variables: Any) -> float:
    began = time.monotonic()
    run = lab.play("playbooks/docker.yml", limit=host, docker_ca_certificates=[], **variables)
    took = time.monotonic() - began
    assert run.rc == 0, run.stdout[-4000:]
    assert lab.on(host, "docker", "info", "--format", "{{.ServerVersion}}") != ""
    return took


def compare(system: str, pairs: list[tuple[float, float]], capsys: pytest.CaptureFixture[str]) -> None:
    hand, role = (statistics.median(times) for times in zip(*pairs, strict=True))
    with capsys.disabled():
        shown = ", ".join(f"{one:.1f} and {other:.1f} s" for one, other in pairs)
        print(f"\n{system}: by hand and by the role: {shown}; {role - hand:.1f} s more (goal: {MORE:.0f})")
    assert role - hand <= MORE


def test_debian(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    hosts = (("host1", "host2"), ("host3", "host4"), ("host5", "host6"))
    pairs = [(by_hand(lab, hand, DEBIAN), by_role(lab, role)) for hand, role in hosts]
    packages = [
        lab.on(host, "sh", "-c", "dpkg-query --show --showformat='${Package} ' docker.io docker-cli zstd containerd")
        for host in hosts[0]
    ]
    assert packages[0] == packages[1]
    compare("Debian 13", pairs, capsys)


def test_ubuntu_presented(presented: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    compare("a stand-in for Ubuntu", [(by_hand(presented, "host1", UBUNTU), by_role(presented, "host2"))], capsys)


def test_rocky_presented(presented: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    keys = {host: presented.on(host, "cat", "/srv/docker/centos/fingerprint").strip() for host in ("host3", "host4")}
    role = {"docker_apt_repository": "file:///srv/docker", "docker_rpm_key_fingerprint": keys["host4"]}
    compare("a stand-in for Rocky", [(by_hand(presented, "host3", ROCKY), by_role(presented, "host4", **role))], capsys)
