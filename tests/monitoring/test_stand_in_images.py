"""The monitoring on two hosts, seen through the console's tunnel while a job runs.

Its images are stand-ins for the official ones. The job is a shell that writes metrics.jsonl as the trainer does.
"""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from labs import ROOT, Lab, Run
from prometheus_stand_ins import STAND_INS, archive, settings, tunnel
from python_image import import_python
from waiting import until

IMAGE = "rank:1"
TORCHRUN = r"""#!/bin/sh
trap 'exit 143' TERM
case "$*" in *--node_rank=0*) rank=0; file=metrics.jsonl;; *) rank=1; file=metrics-rank1.jsonl;; esac
n=0
while :; do
  n=$((n+1)); echo loss $n
  about="\"time\": 1.5, \"rank\": $rank, \"world_size\": 2, \"run\": \"first\", \"restarts\": 0, \"token\": \"hunter2\""
  echo "{\"event\": \"step\", $about, \"epoch\": 3, \"step\": $n, \"loss\": 0.25, \"samples_per_s\": 100.5}" >>/snapshots/$file
  sleep 1 & wait $!
done
"""
PORTS = [9090, 9100, 9410, 3000, 8080, 9400]
REACH = """
import socket, sys
for port in map(int, sys.argv[2:]):
    try:
        socket.create_connection((sys.argv[1], port), timeout=3).close()
        print(port)
    except OSError:
        pass
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("monitoring", lab_releases={"host2": "bookworm"}).running("docker", "swarm") as lab:
        (lab.directory / "training").mkdir(exist_ok=True)
        (lab.directory / "training/rank.py").touch()
        for host in lab.hosts:
            import_python(lab, host, IMAGE, TORCHRUN)
        for part, name in STAND_INS.items():
            archive(lab, part, name)
        yield lab


def play(lab: Lab, options: str = "", **variables: Any) -> Run:
    run = lab.play("playbooks/monitoring.yml", options=options, **{**settings(lab), **variables})
    assert run.rc == 0, run.stdout[-4000:]
    return run


def listening(lab: Lab, host: str) -> set[str]:
    """What listens on the host's own network, but for its loopback, where the engine has a port of its own at times."""
    rows = lab.on(host, "ss", "-Hltn").splitlines()
    return {row.split()[3] for row in rows if not row.split()[3].startswith("127.")}


def address_of(lab: Lab, host: str) -> str:
    return lab.on(host, "sh", "-c", "hostname -I | cut -d' ' -f1").strip()


def ask(port: int, path: str, **query: str) -> Any:
    with urllib.request.urlopen(
        f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10
    ) as answer:
        return json.load(answer)["data"]


def values(port: int, query: str) -> dict[tuple[str, str, str], float]:
    found = ask(port, "query", query=query)["result"]
    return {
        (one["metric"]["stack"], one["metric"]["rank"], one["metric"]["host"]): float(one["value"][1]) for one in found
    }


def test_check_mode_changes_nothing(lab: Lab) -> None:
    # Of a lab that was kept.
    lab.on("host1", "docker", "stack", "rm", "ddp-monitoring", check=False)
    run = lab.play(
        "playbooks/training.yml",
        image_ref=IMAGE,
        training_dir=str(lab.directory / "training"),
        training_script="rank.py",
        training_started_pattern="loss",
    )
    assert run.rc == 0, run.stdout[-4000:]
    changed = play(lab, "--check").changed()
    assert "host1: Run the stack" in changed
    assert {change.partition(": ")[2] for change in changed} <= {
        "Report in check mode that they would be loaded",
        "Run the stack",
    }
    assert "ddp-monitoring" not in lab.on("host1", "docker", "stack", "ls")


def test_it_is_deployed_and_nothing_listens_on_the_hosts_network(lab: Lab) -> None:
    before = {host: listening(lab, host) for host in lab.hosts}
    play(lab)
    run = play(lab)
    assert run.changed() == []
    assert {host: listening(lab, host) for host in lab.hosts} == before
    services = lab.on(
        "host1", "docker", "stack", "services", "--format", "{{.Name}} {{.Replicas}}", "ddp-monitoring"
    ).split("\n")
    assert sorted(filter(None, services)) == [
        f"ddp-monitoring_{name} 1/1"
        for name in (
            "node-exporter-host1",
            "node-exporter-host2",
            "prometheus",
            "rank-simple-training-0",
            "rank-simple-training-1",
        )
    ]
    # The job has not noticed.
    assert "Running" in lab.on("host1", "docker", "stack", "ps", "--format", "{{.CurrentState}}", "simple-training")


def test_curves_and_targets_are_there_through_the_tunnel_while_the_job_trains(lab: Lab) -> None:
    both = {("simple-training", str(rank), f"host{rank + 1}") for rank in (0, 1)}
    with tunnel(lab) as port:

        def targets() -> dict[tuple[str, str], str]:
            found = ask(port, "targets")["activeTargets"]
            return {(one["labels"]["job"], one["labels"]["host"]): one["health"] for one in found}

        def all_up() -> bool:
            found = targets()
            return len(found) == 5 and set(found.values()) == {"up"}

        with suppress(AssertionError):
            until(all_up, timeout=90)
        assert all_up(), targets()
        loss = until(lambda: values(port, "ddp_train_loss"))
        assert loss == dict.fromkeys(both, 0.25)
        step = values(port, "ddp_train_step")
        assert until(lambda: min(values(port, "ddp_train_step").values()) > max(step.values()))
        assert values(port, "ddp_samples_per_second") == dict.fromkeys(both, 100.5)
        assert values(port, "ddp_restarts_total") == dict.fromkeys(both, 0)
        memory = ask(port, "query", query="node_memory_MemTotal_bytes")["result"]
        assert {one["metric"]["host"] for one in memory} == {"host1", "host2"}
        about = ask(port, "query", query="ddp_container_info")["result"]
        assert {one["metric"]["host"] for one in about} == {"host1", "host2"}
        for one in about:
            ids = lab.on(
                one["metric"]["host"], "docker", "ps", "--quiet", "--no-trunc", "--filter", "name=simple-training_node"
            )
            assert one["metric"]["container"] in ids
        board = json.loads((ROOT / "roles/monitoring/files/grafana/ddp.json").read_text())
        shown = {
            panel["title"]: [target["expr"].replace("$stack", ".*") for target in panel["targets"]]
            for panel in board["panels"]
        }
        # Prometheus takes every query of the dashboard. Those of parts that are not there find nothing.
        found = {
            title: [bool(ask(port, "query", query=query)["result"]) for query in queries]
            for title, queries in shown.items()
        }
        there = {
            "Loss",
            "Samples per second",
            "Step",
            "Epoch and restarts",
            "CPU of the hosts",
            "Memory of the hosts in use",
            "Free where results lie",
        }
        assert {title for title, answers in found.items() if all(answers)} == there
        assert "hunter2" not in json.dumps(ask(port, "query", query='{__name__=~"ddp_.*"}'))


def test_from_another_host_nothing_answers(lab: Lab) -> None:
    bridge = json.loads(
        lab.on("host1", "docker", "network", "inspect", "--format", "{{json .Containers}}", "docker_gwbridge")
    )
    prometheus = lab.on(
        "host1", "docker", "ps", "--quiet", "--no-trunc", "--filter", "name=ddp-monitoring_prometheus"
    ).strip()
    inside = bridge[prometheus]["IPv4Address"].partition("/")[0]
    ports = list(map(str, PORTS))
    host1 = address_of(lab, "host1")
    # The same question finds it from its own host.
    assert lab.on("host1", "python3", "-c", REACH, inside, *ports).split() == ["9090"]
    assert lab.on("host2", "python3", "-c", REACH, host1, *ports).split() == []
    # Nor does a host that sends its packets there as if that were a router.
    lab.on("host2", "ip", "route", "add", f"{inside}/32", "via", host1)
    try:
        assert lab.on("host2", "python3", "-c", REACH, inside, *ports).split() == []
    finally:
        lab.on("host2", "ip", "route", "del", f"{inside}/32")


def test_it_is_removed_and_its_volume_when_that_is_asked_for(lab: Lab) -> None:
    def volumes() -> list[str]:
        return lab.on("host1", "docker", "volume", "ls", "--quiet", "--filter", "name=ddp-monitoring").split()

    assert play(lab, "--check", monitoring_state="absent").changed() != []
    assert play(lab, monitoring_state="absent").changed() != []
    assert "ddp-monitoring" not in lab.on("host1", "docker", "stack", "ls")
    assert volumes() == ["ddp-monitoring-prometheus"]
    assert play(lab, monitoring_state="absent").changed() == []
    assert play(lab, monitoring_state="absent", monitoring_keep_data=False).changed() == [
        "host1: Remove what Prometheus has stored"
    ]
    assert volumes() == []
    # The job and its results are as they were.
    assert "simple-training_snapshots" in lab.on("host2", "docker", "volume", "ls", "--quiet")
    assert "Running" in lab.on("host1", "docker", "stack", "ps", "--format", "{{.CurrentState}}", "simple-training")
