"""What takes hosts out of a swarm, or a swarm from its hosts, first ends the jobs in order and collects them. Docker is a stand-in."""

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.names import RESULTS_LABEL
from console_schema import FAILURE
from swarm_stand_in import executable
from two_hosts import TwoHosts

BOTH = ["node0.log", "node1.log"]
NEVER = 10**9


def flat(text: str) -> str:
    return " ".join(text.split())


def test_a_restore_ends_and_collects_what_the_old_swarm_has(tmp_path: Path) -> None:
    hosts = TwoHosts(tmp_path, active="runs", ended="complete")
    (tmp_path / "backups/b/swarm").mkdir(parents=True)
    (tmp_path / "backups/b/swarm/docker-state.json").write_text("{}")
    with tarfile.open(tmp_path / "backups/b/swarm.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "backups/b/swarm", "swarm")
    allowed = {"swarm_rebuild": True, "swarm_disturb_training": True}
    done = hosts.play("restore.yml", backup="b", backup_dir=str(tmp_path / "backups"), **allowed)
    assert hosts.collected("active") == hosts.collected("ended") == BOTH, done.stdout[-6000:]
    assert (
        hosts.asked("constraint-add", "active_node0") < hosts.asked("logs --timestamps") < hosts.asked("systemctl stop")
    )
    assert hosts.asked("systemctl stop") < NEVER


def test_a_host_that_leaves_is_collected_also_of_what_has_ended(tmp_path: Path) -> None:
    hosts = TwoHosts(tmp_path, ended="complete", broken="failed")
    done = hosts.play("remove.yml", host="host1")
    assert done.returncode == 0, done.stdout[-6000:]
    assert hosts.collected("ended") == hosts.collected("broken") == BOTH
    assert hosts.asked("logs --timestamps") < hosts.asked("swarm leave") < NEVER
    assert hosts.asked("stack rm") == NEVER


def test_a_host_that_cannot_be_collected_stays(tmp_path: Path) -> None:
    hosts = TwoHosts(tmp_path, ended="complete")
    done = hosts.play(
        "remove.yml",
        host="host1",
        _training_stage="{{ '/proc/none' if inventory_hostname == 'host1' else stage }}",
        stage=str(tmp_path / "stage"),
    )
    assert "What host1 has of ended could not be collected" in flat(done.stdout), done.stdout[-6000:]
    assert hosts.asked("swarm leave") == NEVER


def test_a_teardown_says_which_jobs_it_ended_and_where_their_results_are(tmp_path: Path) -> None:
    hosts = TwoHosts(tmp_path, active="runs", ended="complete")
    done = hosts.play("teardown.yml", swarm_disturb_training=True)
    folders = ", ".join(f"{hosts.artifacts}/{name}" for name in ("active", "ended"))
    said = f"Stopped, collected and removed: active, ended. The volumes stay. Logs and results: {folders}."
    assert said in flat(done.stdout), done.stdout[-6000:]


def test_a_teardown_without_a_quorum_finds_the_jobs_on_the_hosts(tmp_path: Path) -> None:
    hosts = TwoHosts(tmp_path, active="runs", ended="complete")
    hosts.loses_quorum()
    done = hosts.play("teardown.yml")
    assert "active runs in the swarm" in flat(done.stdout), done.stdout[-6000:]
    done = hosts.play("teardown.yml", swarm_disturb_training=True)
    assert done.returncode == 0, done.stdout[-6000:]
    assert hosts.collected("active") == hosts.collected("ended") == BOTH, done.stdout[-6000:]
    assert hosts.asked("stop -t 40") < hosts.asked("logs --timestamps") < hosts.asked("swarm leave") < NEVER


@pytest.mark.parametrize("which", [{"all": True}, {"training_stack": "gpt"}])
def test_a_job_is_collected_as_it_was_started_whatever_the_inventory_says(
    tmp_path: Path, which: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("ckpt.pt", "metrics.jsonl", "cache"):
        (out / name).write_text(name)
    said = {"directory": "/out", "from_rank_0": ["ckpt.pt"], "from_each": []}
    mounts = [{"type": "bind", "source": str(out), "target": "/out"}]
    hosts = TwoHosts(tmp_path, {"volumes": mounts, "labels": {RESULTS_LABEL: json.dumps(said)}}, gpt="complete")
    done = hosts.play("stop.yml", **which)
    assert done.returncode == 0, done.stdout[-6000:]
    fetched = {path.name for path in (hosts.artifacts / "gpt").iterdir()}
    assert {"ckpt.pt", "metrics.jsonl"} <= fetched, done.stdout[-6000:]
    assert "cache" not in fetched
    assert "Not fetched, as training_collect does not name it: cache (5 B), in /out on host0." in flat(done.stdout)


def test_ranks_that_move_are_ended_in_order_and_go_on(tmp_path: Path) -> None:
    hosts = TwoHosts(tmp_path, active="runs", ended="complete")
    done = hosts.play("swarm.yml", swarm_rank_hosts=["host1", "host0"])
    assert "active_node1 runs there and would be ended" in flat(done.stdout), done.stdout[-6000:]
    assert hosts.asked("constraint-add") == hosts.asked("node update") == NEVER
    hosts.play("swarm.yml", swarm_rank_hosts=["host1", "host0"], swarm_disturb_training=True)
    assert hosts.collected("active") == BOTH
    assert hosts.asked("constraint-add") < hosts.asked("logs --timestamps") < hosts.asked("node update")
    assert hosts.asked("node update") < hosts.asked("constraint-rm", "active_node0") < NEVER


def failed(directory: Path) -> TwoHosts:
    """The job bad, whose rank 1 failed of an error, with torchrun's banner below it."""
    hosts = TwoHosts(directory, bad="failed")
    texts = [
        "Traceback (most recent call last):",
        "ValueError: no data",
        "failed (exitcode: 1) local_rank: 0",
        "=" * 60,
    ]
    hosts.cluster.log("bad_node1.1", *(f"!2026-01-01T00:00:0{number}Z {text}" for number, text in enumerate(texts)))
    executable.install(hosts.cluster, hosts.directory / "swarm")
    return hosts


def test_a_status_of_a_failed_job_says_who_was_first_and_what_to_type(tmp_path: Path) -> None:
    hosts = failed(tmp_path)
    done = hosts.play("status.yml")
    said = flat(done.stdout)
    assert "bad: failed" in said, done.stdout
    assert "failed first: rank 1 on host1: ValueError: no data" in said
    assert "=====" not in said
    assert re.search(r"Whole log of bad: \S*ansible-playbook \S*playbooks/collect.yml ", said)
    assert "-e training_stack=bad" in said
    assert re.search(r"Start bad again with the settings \(-e\) of its run: \S*ansible-playbook \S*site.yml ", said)
    (job,) = json.loads((hosts.artifacts / "status.json").read_text())["jobs"]
    jsonschema.validate(job["failure"], FAILURE)
    assert job["failure"]["error"] == job["ranks"][1]["last"] == "ValueError: no data"


def test_a_start_says_that_the_job_had_failed(tmp_path: Path) -> None:
    hosts = failed(tmp_path)
    tell = {"ansible.builtin.include_role": {"name": "training", "tasks_from": "start/earlier"}}
    (tmp_path / "earlier.yml").write_text(json.dumps([{"hosts": "swarm", "gather_facts": False, "tasks": [tell]}]))
    said = flat(hosts.play(str(tmp_path / "earlier.yml"), training_stack="bad", training_pending=True).stdout)
    assert "bad had failed: rank 1 on host1: ValueError: no data; it starts again, from its snapshot" in said, said


def test_a_status_of_one_job_shows_it_in_detail(tmp_path: Path) -> None:
    hosts = TwoHosts(tmp_path, active="runs", ended="complete")
    said = flat(hosts.play("status.yml", training_stack="ended").stdout)
    assert "ended: complete" in said
    assert "image: trainer:1" in said
    assert "active: running" not in said
    assert [job["name"] for job in json.loads((hosts.artifacts / "status.json").read_text())["jobs"]] == [
        "active",
        "ended",
    ]
