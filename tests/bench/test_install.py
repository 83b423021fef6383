"""What the role docker costs on a bare host, beside the distribution's own command for the same packages."""

import statistics
import time
from collections.abc import Iterator

import pytest
from labs import Lab

BY_HAND, BY_ROLE = ("host1", "host3", "host5"), ("host2", "host4", "host6")
MORE = 3.0  # seconds, the goal
# What _docker_plan installs on Debian 13.
COMMAND = "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends docker.io docker-cli zstd"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("install", lab_size=6).running() as lab:
        yield lab


def by_hand(lab: Lab, host: str) -> float:
    began = time.monotonic()
    lab.on(host, "sh", "-c", COMMAND, timeout=600)
    return time.monotonic() - began


def by_role(lab: Lab, host: str) -> float:
    began = time.monotonic()
    run = lab.play("playbooks/docker.yml", limit=host)
    assert run.rc == 0, run.stdout[-4000:]
    return time.monotonic() - began


def test_bare_to_engine(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [(by_hand(lab, hand), by_role(lab, role)) for hand, role in zip(BY_HAND, BY_ROLE, strict=True)]
    hand, role = (statistics.median(times) for times in zip(*pairs, strict=True))
    packages = [
        lab.on(host, "sh", "-c", "dpkg-query --show --showformat='${Package} ' docker.io docker-cli zstd containerd")
        for host in (BY_HAND[0], BY_ROLE[0])
    ]
    assert packages[0] == packages[1]
    assert lab.on(BY_ROLE[0], "docker", "info", "--format", "{{.ServerVersion}}") != ""
    with capsys.disabled():
        shown = ", ".join(f"{one:.1f} and {other:.1f} s" for one, other in pairs)
        print(f"\nby hand and by the role: {shown}; {role - hand:.1f} s more (goal: {MORE:.0f})")
    assert role - hand <= MORE
