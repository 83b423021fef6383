"""Hosts that cannot manage a swarm, and an old engine that does."""

import os

from conftest import ALL_READY
from labs import Lab
from stacks import Manager, two

STACK = two()


def test_rounds(manager: Manager) -> None:
    """Deployed and removed, again and again, nothing is left. `make rounds` goes for thirty."""
    compose = {
        **two(networks=["own"], configs=["text"], secrets=["key"]),
        "networks": {"own": {}},
        "configs": {"text": {"content": "hello"}},
        "secrets": {"key": {"content": "not to be known"}},
    }
    for number in range(int(os.environ.get("DDP_ROUNDS", "2"))):
        made = manager.call(name="round", compose=compose, wait_for="running", stability_period=0)
        assert not made.get("failed"), (number, made["msg"])
        made = manager.call(name="round", state="absent")
        assert not made.get("failed"), (number, made["msg"])
        assert manager.left_of("round") == "", number


def refused(manager: Manager, *sentences: str) -> None:
    """Whatever is asked of this host, it says why not, and changes nothing."""
    present, absent = {"name": "refused", "compose": STACK}, {"name": "refused", "state": "absent"}
    for made in manager.play(
        {"swarm_stack": present, "check_mode": True},
        {"swarm_stack": present},
        {"swarm_stack": absent, "check_mode": True},
        {"swarm_stack": absent},
        {"swarm_stack_info": {"name": "refused"}},
    ):
        assert made["failed"]
        assert not made["changed"]
        assert "\n" not in made["msg"]
        for sentence in sentences:
            assert sentence in made["msg"]


def test_worker(lab: Lab, manager: Manager) -> None:
    address = manager.docker("info --format '{{.Swarm.NodeAddr}}'")
    refused(Manager(lab, "host2"), f"host2 is a swarm worker, not a manager: run this on a manager ({address}:2377).")


def test_no_swarm(lab: Lab) -> None:
    lab.on("host2", "docker", "swarm", "leave")
    try:
        refused(Manager(lab, "host2"), "host2 is not part of a swarm")
    finally:
        run = lab.play("playbooks/swarm.yml")
    assert run.rc == 0, run.stdout[-4000:]


def test_locked(lab: Lab, manager: Manager) -> None:
    manager.docker("swarm update --autolock")
    key = manager.docker("swarm unlock-key --quiet")
    lab.on("host1", "systemctl", "restart", "docker")
    try:
        refused(manager, "The swarm on host1 is locked: run `docker swarm unlock` there")
    finally:
        lab.on("host1", "sh", "-c", f"echo {key} | docker swarm unlock")
        manager.docker("swarm update --autolock=false")
        lab.on("host1", "sh", "-c", ALL_READY)


class TestOldManager:
    """The worker's engine, Debian 12's 20.10, as a manager, driven by its own command line."""

    def test_engine(self, old: Manager) -> None:
        assert old.docker("version --format '{{.Server.Version}} {{.Client.Version}}'").startswith("20.10.")

    def test_life(self, old: Manager, name: str) -> None:
        made = old.succeed(name, STACK, wait_for="running")
        assert made["state"]["converged"]
        made = old.succeed(name, STACK, wait_for="running")
        assert (made["changed"], made["calls"] <= 6) == (False, True)
        old.docker(f"service scale --detach {name}_b=2")
        changed = {"services": {**STACK["services"], "a": two("echo done")["services"]["a"]}}
        made = old.succeed(name, changed, wait_for="running")
        assert made["actions"] == ["update service a: command.2", "repair service b: Mode.Replicated.Replicas"]
        old.remove(name)

    def test_no_quorum(self, lab: Lab, old: Manager, manager: Manager) -> None:
        """Of two managers one is off. The one that is left may not decide anything; the other one does not answer."""
        lab.on("host2", "systemctl", "stop", "docker.socket", "docker")
        # A leader needs a while to notice that it leads nobody. One that starts does not lead.
        lab.on("host1", "systemctl", "restart", "docker")
        try:
            refused(manager, "The swarm of host1 has no quorum: more than half of its managers must be up")
            refused(old, "Docker on host2 does not answer: Cannot connect to the Docker daemon")
        finally:
            lab.on("host2", "systemctl", "start", "docker.socket", "docker")
