"""ufw and firewalld on a host that is to join: the ports that they keep closed are named before it tries, and opened where that is asked for."""

from collections.abc import Iterator

import pytest
from labs import Lab

NEEDED = {"7946/tcp", "7946/udp", "4789/udp"}
# SSH stays open: the lab is reached by it.
START = {
    "ufw": "ufw default deny incoming && ufw allow 22/tcp && ufw --force enable",
    "firewalld": "systemctl restart firewalld && firewall-cmd --set-default-zone=public && firewall-cmd --permanent --zone=public --add-interface=eth0 "
    "&& firewall-cmd --reload",
}
OPEN = {
    "ufw": "ufw status | awk '$2 == \"ALLOW\" && $0 !~ /v6/ { print $1 }'",
    "firewalld": "firewall-cmd --zone=public --list-ports | tr ' ' '\\n'",
}
STOP = {"ufw": "ufw --force disable", "firewalld": "systemctl stop firewalld"}


@pytest.fixture(params=["ufw", "firewalld"])
def firewall(request: pytest.FixtureRequest, lab: Lab) -> Iterator[str]:
    """On host2, which has left the swarm."""
    name: str = request.param
    lab.on(
        "host2", "sh", "-c", f"apt-get update -qq && apt-get install -qq -y --no-install-recommends {name}", timeout=300
    )
    lab.on("host2", "docker", "swarm", "leave", "--force")
    lab.on("host2", "sh", "-c", START[name])
    yield name
    lab.on("host2", "sh", "-c", f"{STOP[name]}; apt-get purge -qq -y {name}; systemctl restart docker", timeout=300)
    lab.run("docker", "swarm")


def opened(lab: Lab, name: str, host: str = "host2") -> set[str]:
    return set(lab.on(host, "sh", "-c", OPEN[name]).split())


def test_a_manager_that_was_alone_opens_its_ports_for_the_second_host(lab: Lab) -> None:
    """Of a swarm of one, nobody knows yet whether others reach it."""
    lab.on("host1", "sh", "-c", "apt-get update -qq && apt-get install -qq -y --no-install-recommends ufw", timeout=300)
    lab.on("host2", "docker", "swarm", "leave", "--force")
    others = "docker node ls --format '{{.ID}} {{.Self}}' | awk '$2 == \"false\" { print $1 }' | xargs docker node rm --force"
    lab.on("host1", "sh", "-c", others)
    lab.on("host1", "sh", "-c", START["ufw"])
    try:
        run = lab.play("site.yml")
        assert "ufw on host1 lets in no 2377/tcp, 7946/tcp, 7946/udp, 4789/udp" in run.said()
        assert lab.on("host2", "docker", "info", "--format", "{{.Swarm.LocalNodeState}}").strip() == "inactive"
        run = lab.play("playbooks/docker.yml", docker_firewall=True)
        assert run.rc == 0, run.failure()
        assert opened(lab, "ufw", "host1") >= {*NEEDED, "2377/tcp"}
        lab.run("swarm")
        # From now on it is known that it works.
        assert lab.play("playbooks/docker.yml").changed() == []
    finally:
        lab.on("host1", "sh", "-c", f"{STOP['ufw']}; apt-get purge -qq -y ufw; systemctl restart docker", timeout=300)
        lab.run("docker", "swarm")


def test_closed_ports_are_named_and_opened_if_that_is_asked_for(lab: Lab, firewall: str) -> None:
    assert not NEEDED & opened(lab, firewall)
    run = lab.play("site.yml")
    assert run.rc != 0
    assert (
        f"{firewall} on host2 lets in no 7946/tcp, 7946/udp, 4789/udp, which the swarm's other hosts need" in run.said()
    )
    assert "docker_firewall=true" in run.said()
    assert not NEEDED & opened(lab, firewall)
    foretold = lab.play("playbooks/docker.yml", options="--check", docker_firewall=True)
    assert foretold.rc == 0, foretold.failure()
    assert not NEEDED & opened(lab, firewall)
    run = lab.play("playbooks/docker.yml", docker_firewall=True)
    assert run.rc == 0, run.failure()
    assert opened(lab, firewall) >= NEEDED
    assert "2377/tcp" not in opened(lab, firewall)
    run = lab.play("playbooks/swarm.yml")
    assert run.rc == 0, run.failure()
    again = lab.play("playbooks/docker.yml", docker_firewall=True)
    assert (again.rc, again.changed()) == (0, [])
    # Of a host that is in a swarm, nothing is said.
    assert lab.play("playbooks/docker.yml").changed() == []
