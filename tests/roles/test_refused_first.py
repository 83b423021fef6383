"""What would be refused in the end is refused by the first play of site.yml, and by a role alone before it changes anything.

Stand-ins for docker, systemctl and nvidia-smi write down each call: whatever is not a question is a change.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_swarm_role import NODE, Engine

QUESTIONS = (
    "--version|info|ps|version|volume ls|volume inspect|network ls|network inspect|node ls|node inspect|service ls|service inspect|service ps"
    "|config ls|config inspect|image ls|image inspect|system df|buildx version|stack ls"
)
# Before the one of the swarm's stand-in: answers that a test writes into files.
BEFORE = """cd {directory}
echo "$@" >>asked
[ -n "$SECOND" ] && [ "$1" = info ] && { case $3 in *LocalNodeState*) echo active;; *) cat second.json;; esac; exit; }
[ -e "says-$1-$2" ] && { cat "says-$1-$2"; exit; }
[ -e "says-$1" ] && { cat "says-$1"; exit; }
"""
FAILING_DRIVER = "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18"
DRIVER = "case $1 in -L) echo 'GPU 0: Invented (UUID: GPU-1)';; *) echo 535.104;; esac"
SITE = "../site.yml"
MACHINE = {"Architecture": "x86_64", "OSType": "linux"}


class Hosts(Engine):
    """Two hosts on this machine: host1 leads a swarm, host2 is in none."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.etc = directory / "etc"
        self.etc.mkdir()
        docker = directory / "bin/docker"
        docker.write_text(
            docker.read_text().replace(f"cd {directory}\n", BEFORE.replace("{directory}", str(directory)), 1)
        )
        self.second()

    def says(self, node: str = NODE, root: str = "", **swarm: Any) -> None:
        super().says(node, root, **swarm)
        for name in ("info", "unlocked", "locked"):
            file = self.directory / f"{name}.json"
            file.write_text(json.dumps({**json.loads(file.read_text()), **MACHINE}))

    def second(self, **swarm: Any) -> None:
        """What the engine of host2 says of itself."""
        own = {
            "ServerVersion": "26",
            "DockerRootDir": "/srv",
            **MACHINE,
            "Swarm": {"LocalNodeState": "inactive", **swarm},
        }
        (self.directory / "second.json").write_text(json.dumps(own))

    def answers(self, *command: str, text: str) -> None:
        (self.directory / "-".join(("says", *command))).write_text(text)

    def has(self, program: str, script: str) -> None:
        path = self.directory / "bin" / program
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def settings(self, text: str) -> None:
        """As the engine of this machine, if there is one, has read them."""
        (self.etc / "daemon.json").write_text(text)
        os.utime(self.etc / "daemon.json", (0, 0))

    def play(self, playbook: str, *options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        given = {"_docker_etc": str(self.etc), "docker_gpu": "false", "docker_firewall": "false", "lock_timeout": 1}
        artifacts = {"training_artifacts_dir": str(self.directory / "artifacts")}
        return super().play(playbook, "-v", *options, **{**given, **artifacts, **variables})

    def changes(self) -> list[str]:
        """Calls that change something, and files of the engine's settings that have become others."""
        asked = (self.directory / "asked").read_text().splitlines() if (self.directory / "asked").exists() else []
        done = [call for call in asked if call and "ddp-swarm-lease" not in call and not re.match(QUESTIONS, call)]
        return done + (self.directory / "calls").read_text().splitlines()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    yield Hosts(tmp_path)


def refused(hosts: Hosts, playbook: str, *sentences: str, **variables: Any) -> None:
    before = {path.name: path.read_text() for path in hosts.etc.iterdir()}
    done = hosts.play(playbook, **variables)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0, said[-3000:]
    assert [sentence for sentence in sentences if sentence not in said] == [], said[-5000:]
    assert hosts.changes() == []
    assert {path.name: path.read_text() for path in hosts.etc.iterdir()} == before
    assert not re.search(r"changed=[1-9]", said)
    if playbook == SITE:
        assert "PLAY [Check the machines and the settings]" in done.stdout
        assert "PLAY [Install Docker Engine]" not in done.stdout


# --- the engine's settings


@pytest.mark.parametrize("playbook", [SITE, "docker.yml"])
def test_settings_and_gpus_that_no_engine_can_have(playbook: str, hosts: Hosts) -> None:
    """All at once; each alone is in tests/unit/test_filter_engine_refusals.py."""
    hosts.has("ufw", "printf 'Status: active\\nDefault: deny (incoming), allow (outgoing)\\n'")
    hosts.has("nvidia-smi", DRIVER)
    hosts.answers("volume", "ls", text="snapshots\n")
    asked = {"live-restore": True, "data-root": "/srv/docker"}
    refused(
        hosts, playbook,
        "live-restore is on in /etc/docker/daemon.json on host1",
        f"host1 has 1 volume(s) in {hosts.root} (snapshots), and /srv/docker as the engine's data-root",
        "ufw on host1 lets in no 2377/tcp, 7946/tcp, 7946/udp, 4789/udp",
        "host1 has the NVIDIA driver 535.104, and the image's CUDA 13.0 needs 580 or newer",
        docker_daemon_options=asked, docker_firewall="auto", docker_gpu="auto", docker_gpu_cuda="13.0",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "variables", "sentence"),
    [
        ('["x"]', {}, "/etc/docker/daemon.json on host1 is not a JSON mapping"),
        ("{}", {"docker_gpu": True}, "host1 shall offer GPUs (docker_gpu is true), but nvidia-smi there fails"),
        ("{}", {"docker_gpu": "auto"}, "host1 offers GPUs to swarm, but nvidia-smi there fails: Failed to initialize"),
        ("{}", {"docker_gpu": "auto", "docker_gpu_uuids": ["GPU-2"]}, "but nvidia-smi there fails"),
    ],
)
def test_engines_that_are_refused_by_the_check_alone(
    found: str, variables: dict[str, Any], sentence: str, hosts: Hosts
) -> None:
    hosts.settings(found)
    hosts.has("nvidia-smi", FAILING_DRIVER)
    (hosts.etc / "before-gpus.json").write_text('{"settings": {}}')
    refused(hosts, "validate.yml", sentence, **variables)


@pytest.mark.parametrize("playbook", [SITE, "docker.yml"])
def test_engines_that_would_be_restarted_under_what_runs(playbook: str, hosts: Hosts) -> None:
    hosts.settings('{"mtu": 1400}')
    hosts.answers("ps", text="web\t\n")
    refused(
        hosts, playbook,
        "The engine on host1 runs the containers web and was not restarted, as it would have to be for log-level in",
        docker_daemon_options={"log-level": "warn"},
    )  # fmt: skip


def test_a_host_that_cannot_be_looked_at(hosts: Hosts) -> None:
    (hosts.directory / "second.json").write_text('{"ServerVersion": "26"}')
    refused(hosts, SITE, "host2 cannot be looked at:", "host2 failed above. Correct that and run this again.")


# --- the swarm

OTHER = "n2".zfill(25)
NONE = {
    "LocalNodeState": "inactive",
    "NodeID": "",
    "NodeAddr": "",
    "ControlAvailable": False,
    "Nodes": 0,
    "Cluster": None,
}
MEMBER = {"LocalNodeState": "active", "NodeID": OTHER, "NodeAddr": "127.0.0.2"}


def managed_by(address: str) -> dict[str, Any]:
    return {**MEMBER, "RemoteManagers": [{"NodeID": "x", "Addr": f"{address}:2377"}]}


@pytest.mark.parametrize("playbook", [SITE, "swarm.yml"])
def test_a_host_in_another_swarm(playbook: str, hosts: Hosts) -> None:
    hosts.second(**managed_by("192.0.2.9"))
    refused(
        hosts, playbook, "host2 is in another swarm, whose managers are at 192.0.2.9. Let it leave", "swarm_rejoin=true"
    )


def test_a_swarm_that_its_managers_have_lost(hosts: Hosts) -> None:
    hosts.says(**NONE)
    hosts.second(**managed_by("127.0.0.1"))
    refused(hosts, SITE, "host2 belongs to the swarm that host1 led before", "swarm_rebuild=true")


def test_a_swarm_without_its_quorum(hosts: Hosts) -> None:
    """The answer may be in the making: it is asked for again, before that is decided."""
    hosts.says(Nodes=0, Error="The swarm does not have a leader")
    hosts.second(**managed_by("127.0.0.1"))
    refused(hosts, SITE, "The swarm has lost its quorum: host1 finds no majority", "swarm_force_new_cluster=true")


def test_another_gateway_bridge(hosts: Hosts) -> None:
    hosts.answers("network", "inspect", text="172.18.0.0/16\n")
    done = hosts.play("swarm.yml", swarm_gwbridge_subnet="10.11.0.0/16", swarm_wait=0)
    assert "docker_gwbridge on host1 has the subnet 172.18.0.0/16" in " ".join(done.stdout.split())
    assert hosts.changes() == []


def formed(hosts: Hosts) -> None:
    """The swarm is as the inventory asks."""
    hosts.second(**managed_by("127.0.0.1"))
    nodes = [
        {
            "ID": node_id, "Spec": {"Role": role, "Availability": "active", "Labels": {"ddp_host": f"host{rank + 1}", "ddp_rank": str(rank)}},
            "Status": {"State": "ready", "Addr": f"127.0.0.{rank + 1}"}, "Description": {"Hostname": f"host{rank + 1}"},
            "ManagerStatus": {"Leader": True, "Reachability": "reachable"} if role == "manager" else None,
        }
        for rank, (node_id, role) in enumerate([(NODE, "manager"), (OTHER, "worker")])
    ]  # fmt: skip
    hosts.answers("node", "ls", text=f"{NODE}\n{OTHER}\n")
    hosts.answers("node", "inspect", text=json.dumps(nodes))
    network = {"Id": "x", "Name": "ddp-net", "Driver": "overlay", "Scope": "swarm", "Attachable": True}
    hosts.answers("network", "ls", text="x\n")
    hosts.answers("network", "inspect", text=json.dumps([network]))


def test_a_swarm_that_is_as_asked_is_compared_once(hosts: Hosts) -> None:
    formed(hosts)
    done = hosts.play(SITE, "--tags", "docker,swarm")
    assert done.returncode == 0, done.stdout[-4000:]
    assert hosts.changes() == []
    assert done.stdout.count("TASK [swarm : Compare the answers with the inventory]") == 1


# --- the job, which does not run


def test_gpus_that_no_host_will_offer(hosts: Hosts) -> None:
    refused(hosts, SITE, "training_gpus is 1, and host1 offers 0 GPU(s) to swarm", training_gpus=1, docker_gpu="auto")


def test_the_network_of_another_job(hosts: Hosts) -> None:
    formed(hosts)
    task = {"Networks": [{"Target": "x"}]}
    hosts.answers("service", "ls", text=json.dumps({"Name": "other_node0", "Replicas": "1/1"}))
    hosts.answers("service", "inspect", text=json.dumps([{"Spec": {"Name": "other_node0", "TaskTemplate": task}}]))
    refused(
        hosts, SITE, "other_node0 runs in the network ddp-net, where node0 would then be two. Give simple-training a"
    )


@pytest.mark.parametrize("there", [False, True], ids=["no swarm", "swarm"])
def test_the_results_of_another_program(there: bool, hosts: Hosts) -> None:
    """They stay where a job was removed, and where its swarm was."""
    formed(hosts) if there else hosts.says(**NONE)
    (hosts.directory / "results").mkdir()
    (hosts.directory / "results/model.pt").touch()
    (hosts.directory / "artifacts").mkdir()
    node0 = {"command": ["python3", "/ddp-launcher", "torchrun", "old.py"]}
    stack = {"services": {"node0": node0}, "volumes": {"x": {"name": "simple-training_caches"}}}
    (hosts.directory / "artifacts/stack.yml").write_text(json.dumps(stack))
    mounts = [{"type": "bind", "source": str(hosts.directory / "results"), "target": "/app/snapshots"}]
    asked = {"training_mounts": mounts, "training_results_dir": "/app/snapshots"}
    refused(hosts, SITE, "simple-training last ran old.py, whose results are on host1, and would now run", **asked)
    if there:
        # A job that has ended is taken out of the way in order.
        hosts.answers("service", "ls", text=json.dumps({"Name": "simple-training_node0", "Replicas": "0/1"}))
        done = hosts.play("validate.yml", **asked)
        assert done.returncode == 0, done.stdout[-3000:]
