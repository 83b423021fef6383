"""A host that is gone for good: the others go on from the newest snapshot, with one command. And hosts that come and go between two runs."""

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from conftest import flat
from labs import Lab, Run
from python_image import import_python
from waiting import until

IMAGE = "rank:1"
# Rank 0 counts on its volume, the others count along, and all load the same path if it is there.
TORCHRUN = r"""#!/bin/sh
trap 'echo "saved at $n"; exit 143' TERM
case "$*" in *--node_rank=0*) rank=0;; *) rank=other;; esac
n=$(cat /snapshots/n 2>/dev/null || echo 0); echo "starts at $n: $*"
while :; do
  n=$((n+1)); echo loss $n
  if [ $rank = 0 ]; then echo $n >/snapshots/new; mv /snapshots/new /snapshots/n; fi
  sleep 1 & wait $!
done
"""
# Rank 0 is on a worker: the swarm outlives its loss.
HOSTS = ["host2", "host1", "host3"]
VOLUME = "/var/lib/docker/volumes/simple-training_snapshots/_data"


@pytest.fixture(scope="module")
def three() -> Iterator[Lab]:
    with Lab("gone", lab_size=3, lab_inventory_vars={"training_hosts": HOSTS}).running("docker", "swarm") as lab:
        (lab.directory / "training").mkdir(exist_ok=True)
        (lab.directory / "training/rank.py").touch()
        for host in lab.hosts:
            import_python(lab, host, IMAGE, TORCHRUN)
        yield lab


def site(lab: Lab, playbook: str = "site.yml", **variables: Any) -> Run:
    own = {
        "image_ref": IMAGE,
        "training_dir": str(lab.directory / "training"),
        "training_script": "rank.py",
        "training_started_pattern": "loss",
        "training_collect": ["n"],
        "training_rendezvous_timeout": 60,
    }
    tags = "--tags docker,swarm,training" if playbook == "site.yml" else ""
    return lab.play(playbook, options=tags, **{**own, **variables})


def power(lab: Lab, what: str, host: str) -> None:
    subprocess.run(["docker", what, f"{lab.name}-{host}"], check=True, capture_output=True, timeout=120)


def nodes(lab: Lab) -> dict[str, str]:
    rows = lab.on("host1", "docker", "node", "ls", "--format", "{{.Hostname}} {{.Status}}")
    return dict(row.split() for row in rows.splitlines())


def rank_of(lab: Lab, host: str) -> str:
    return lab.on("host1", "docker", "node", "inspect", host, "--format", '{{index .Spec.Labels "ddp_rank"}}').strip()


def count(lab: Lab, host: str) -> int:
    return int(lab.on(host, "cat", f"{VOLUME}/n", check=False).strip() or 0)


def began(lab: Lab, host: str) -> tuple[int, int, int]:
    """Of the newest container there: the number that it started at, its rank and how many ranks there are."""
    said = lab.on(
        host, "sh", "-c", "docker logs $(docker ps -q --filter label=com.docker.swarm.service.name | head -1) 2>&1"
    )
    found = re.search(r"starts at (\d+): .*--nnodes=(\d+) --node_rank=(\d+)", said)
    assert found, said[-2000:]
    return int(found[1]), int(found[3]), int(found[2])


def test_it_trains_on_three(three: Lab) -> None:
    run = site(three)
    assert run.rc == 0, run.stdout[-4000:]
    assert [began(three, host)[1:] for host in HOSTS] == [(0, 3), (1, 3), (2, 3)]
    until(lambda: count(three, "host2") > 5)
    until(lambda: three.on("host1", "sh", "-c", f"ls -d {VOLUME}/.ddp-launcher/copy/*:* 2>/dev/null || true"))


def test_what_cannot_be_meant_is_refused(three: Lab) -> None:
    for wrong, said in (
        ("host7", "training_without names host7, and the inventory's group 'swarm' has"),
        ("host1", "training_without names every manager"),
        ("host3", "host3 is not gone: the swarm has it as Ready"),
    ):
        run = site(three, training_without=wrong)
        assert run.rc != 0
        assert said in flat(run.failure())
        assert run.changed() == []
    assert nodes(three) == {"host1": "Ready", "host2": "Ready", "host3": "Ready"}


def test_the_others_go_on_from_the_newest_snapshot(three: Lab) -> None:
    """Of rank 0's host: what is newest lies in the second copy."""
    reached = until(lambda: (n := count(three, "host2")) > 15 and n)
    power(three, "kill", "host2")
    until(lambda: nodes(three)["host2"] == "Down")
    refused = site(three)
    assert "host2" in flat(refused.failure())
    run = site(three, training_without="host2")
    assert run.rc == 0, run.stdout[-6000:]
    assert nodes(three) == {"host1": "Ready", "host3": "Ready"}
    assert (rank_of(three, "host1"), rank_of(three, "host3")) == ("0", "1")
    starts = [began(three, host) for host in ("host1", "host3")]
    assert [start[1:] for start in starts] == [(0, 2), (1, 2)]
    assert starts[0][0] == starts[1][0] >= reached - 10, starts
    # What the ranks that were left wrote to their end.
    for rank in (1, 2):
        assert "saved at" in (three.artifacts / f"node{rank}.log").read_text()


def test_a_second_run_has_nothing_to_do(three: Lab) -> None:
    again = site(three, training_without="host2")
    assert (again.rc, again.changed()) == (0, []), again.stdout[-4000:]


def smaller(lab: Lab) -> str:
    """The inventory without host2."""
    content = yaml.safe_load(lab.inventory.read_text())
    groups = content["all"]["children"]["swarm"]["children"]
    del groups["workers"]["hosts"]["host2"]
    content["all"]["vars"]["training_hosts"] = ["host1", "host3"]
    path = lab.directory / "smaller.yml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_without_it_in_the_inventory_nothing_changes_either(three: Lab) -> None:
    again = site(three, inventory=smaller(three))
    assert (again.rc, again.changed()) == (0, []), again.stdout[-4000:]


def test_a_host_that_is_added_while_it_runs_is_refused_and_joins_once_it_was_stopped(three: Lab) -> None:
    power(three, "start", "host2")
    until(lambda: "running" in three.on("host2", "systemctl", "is-system-running", check=False) or
          "degraded" in three.on("host2", "systemctl", "is-system-running", check=False))  # fmt: skip
    refused = site(three)
    assert refused.rc != 0
    assert "simple-training_node0 runs on host1, which would get rank 1 in place of rank 0" in flat(refused.failure())
    assert [task for task in refused.changed() if "lease" not in task] == []
    assert site(three, "playbooks/stop.yml", inventory=smaller(three)).rc == 0
    reached = count(three, "host1")
    run = site(three)
    assert run.rc == 0, run.stdout[-6000:]
    starts = [began(three, host) for host in HOSTS]
    assert [start[1:] for start in starts] == [(0, 3), (1, 3), (2, 3)]
    assert {start[0] for start in starts} == {reached}, "not from what host2 had when it went"


def test_ranks_that_move_are_replaced_where_that_is_allowed(three: Lab) -> None:
    reached = until(lambda: (n := count(three, "host2")) > began(three, "host2")[0] + 5 and n)
    order = ["host3", "host1", "host2"]
    refused = site(three, training_hosts=order)
    assert "training_replace=true ends it in order first" in flat(refused.failure())
    run = site(three, training_hosts=order, training_replace=True)
    assert run.rc == 0, run.stdout[-6000:]
    starts = [began(three, host) for host in order]
    assert [start[1:] for start in starts] == [(0, 3), (1, 3), (2, 3)]
    assert len({start[0] for start in starts}) == 1
    assert starts[0][0] >= reached, "rank 0 goes on from what host2 had"
    assert "saved at" in (three.artifacts / "node0.log").read_text()


def test_a_job_that_has_lost_a_host_is_stopped_without_it(three: Lab) -> None:
    """The order is that of the test before: host2 has rank 2."""
    power(three, "kill", "host2")
    until(lambda: nodes(three)["host2"] == "Down")
    refused = site(three, "playbooks/stop.yml")
    assert refused.rc != 0
    assert "say so: -e training_without=host2" in flat(refused.failure())
    assert three.on("host1", "docker", "service", "ls", "--quiet").split(), "nothing was stopped"
    run = site(three, "playbooks/stop.yml", training_without="host2")
    assert run.rc == 0, run.stdout[-6000:]
    assert three.on("host1", "docker", "service", "ls", "--quiet").split() == []
    assert count(three, "host3") > 0
    for rank in (0, 1):
        assert "saved at" in (three.artifacts / f"node{rank}.log").read_text()
