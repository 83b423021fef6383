"""From two bare hosts to a finished training run, and back. The tests build on each other, in the order they stand."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from labs import ROOT, Lab, Play

pytestmark = pytest.mark.usefixtures("lab")


def test_bad_settings_are_refused_before_anything_is_changed(play: Play) -> None:
    for variables, expected in [
        ({"training_nproc_per_node": 0}, "training_nproc_per_node is 0"),
        ({"training_dir": "/nowhere"}, "/nowhere"),
        ({"training_script": "missing.py"}, "missing.py"),
        ({"image_min_free_mb": 10**9}, "MB free under /var/lib/docker"),
        ({"training_wait_for": "tomorrow"}, "tomorrow"),
    ]:
        run = play("site.yml", **variables)
        assert run.rc != 0, variables
        assert expected in run.failure(), (variables, run.failure())
        assert run.changed() == [], variables


def test_a_bare_host_is_checked_without_being_changed(play: Play, lab: Lab) -> None:
    run = play("site.yml", options="--check --diff")
    assert run.rc == 0, run.stdout[-4000:]
    for foretold in (
        "would be installed on host2",
        "host1 is in no swarm: it starts one",
        "would be built on host2",
        "would be deployed on",
    ):
        assert foretold in run.stdout
    assert lab.on("host1", "sh", "-c", "command -v docker", check=False) == ""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda groups: groups.update(managers={"hosts": {}}, workers={"hosts": {}}), "group 'swarm' is empty"),
        (lambda groups: groups["managers"].update(hosts={}), "group 'managers' is empty"),
        (lambda groups: groups["workers"]["hosts"].update(host1=None), "host1 is in 'managers' and in 'workers'"),
        (lambda groups: groups["workers"]["hosts"].update(host2=groups["managers"]["hosts"]["host1"]), "same address"),
        (lambda groups: groups["workers"]["hosts"]["host2"].update(ansible_port=9), "host2"),
    ],
    ids=["no hosts", "no manager", "in both groups", "same address", "unreachable"],
)
def test_bad_inventories_are_refused(play: Play, lab: Lab, tmp_path: Path, change, expected: str) -> None:  # type: ignore[no-untyped-def]
    inventory = yaml.safe_load(lab.inventory.read_text())
    change(inventory["all"]["children"]["swarm"]["children"])
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump(inventory))
    run = play("site.yml", inventory=str(tmp_path / "inventory.yml"))
    assert run.rc != 0
    assert expected in run.failure(), run.failure()
    assert run.changed() == []


def test_site_trains_to_completion(play: Play, lab: Lab) -> None:
    run = play("site.yml", options="-vvv", training_wait_for="complete")
    assert run.rc == 0, run.stdout[-6000:]
    artifacts = lab.artifacts
    for rank in (0, 1):
        log = (artifacts / f"node{rank}.log").read_text()
        for epoch in range(10):
            assert f"[GPU{rank}] epoch {epoch} | batch_size: 32 | steps: 64" in log
    log = (artifacts / "node0.log").read_text()
    assert "Epoch 0 | train snapshot saved at /snapshots/snapshot.pt" in log
    assert "weights are identical on all 2 ranks" in log
    verdict = json.loads((artifacts / "preflight.json").read_text())
    assert verdict["ok"] is True
    assert verdict["backend"] == "gloo"
    metrics = [json.loads(line) for line in (artifacts / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in metrics if line["event"] == "epoch"]
    assert len(losses) == 10
    assert losses[-1] < losses[0] / 10
    torch = pytest.importorskip("torch")
    assert torch.load(artifacts / "snapshot.pt", weights_only=True)


def test_each_host_has_built_the_same_files(lab: Lab) -> None:
    """Content, times, owners and modes, by engines 26.1 and 20.10, whose builders are not the same."""
    look = "find /opt /workspace /snapshots -type f -exec sha256sum {} + && find /opt /workspace /snapshots -printf '%p %T@ %m %U %G %l\\n'"
    run = ["docker", "run", "--rm", "--network", "none", "my-ddp-trainer", "sh", "-c", look]
    files = [sorted(lab.on(host, *run).splitlines()) for host in lab.hosts]
    assert len(files[0]) > 10000
    assert files[0] == files[1]


def test_a_second_run_changes_nothing(play: Play) -> None:
    run = play("site.yml", training_wait_for="complete")
    assert run.rc == 0, run.stdout[-4000:]
    assert run.changed() == []
    assert not [event for event in run.events if event["event_data"]["task"] == "Start a probe on every rank"]


def test_check_mode_agrees_that_nothing_is_to_do(play: Play) -> None:
    run = play("site.yml", options="--check --diff")
    assert run.rc == 0, run.stdout[-4000:]
    assert run.changed() == []


def test_a_run_starts_at_the_swarm(play: Play) -> None:
    run = play("site.yml", options='--start-at-task "Note what the inventory asks of the host"')
    assert run.rc == 0, run.stdout[-4000:]
    assert "No matching task" not in run.stdout
    assert any(event["event_data"]["task"].endswith("Ask every host for its swarm") for event in run.events)
    assert run.changed() == []


def test_each_playbook_runs_alone_and_for_one_worker(play: Play) -> None:
    for playbook in ["docker", "swarm", "image", "preflight", "training", "collect", "status"]:
        run = play(f"playbooks/{playbook}.yml", limit="host2")
        assert run.rc == 0, run.stdout[-4000:]
        assert run.changed() == [], playbook


def test_status_names_nodes_tasks_and_the_last_lines(play: Play) -> None:
    run = play("playbooks/status.yml")
    assert run.rc == 0, run.stdout[-4000:]
    assert "node0 on host1: complete" in run.stdout
    assert "node1 on host2: complete" in run.stdout
    assert "weights are identical" in run.stdout


def test_a_worker_that_left_is_brought_back(play: Play, lab: Lab) -> None:
    lab.on("host2", "docker", "swarm", "leave")
    run = play("playbooks/swarm.yml", limit="host2")
    assert run.rc == 0, run.stdout[-4000:]
    assert swarm_state(lab, "host2") == "active"


def test_no_join_token_is_left_anywhere(lab: Lab) -> None:
    """The first run was at -vvv, and ansible-runner keeps every event: they must not hold the token."""
    files = [path for path in lab.directory.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [str(path) for path in files if re.search(rb"SWMTKN-1-\w", path.read_bytes())] == []


def test_teardown_leaves_no_swarm_and_keeps_the_snapshots(play: Play, lab: Lab) -> None:
    run = play("playbooks/teardown.yml")
    assert run.rc == 0, run.stdout[-4000:]
    assert swarm_state(lab, "host1") == swarm_state(lab, "host2") == "inactive"
    assert "simple-training_snapshots" in lab.on("host1", "docker", "volume", "ls")
    again = play("playbooks/teardown.yml")
    assert again.rc == 0
    assert again.changed() == []


def test_site_brings_all_back_and_does_not_train_again(play: Play, lab: Lab) -> None:
    run = play("site.yml", training_wait_for="complete")
    assert run.rc == 0, run.stdout[-4000:]
    assert "nothing left to train" in (lab.artifacts / "node0.log").read_text()


@pytest.fixture(scope="module")
def scripts_that_fail(play: Play, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Variables of a training with one image for all of them."""
    training = tmp_path_factory.mktemp("scripts") / "training"
    shutil.copytree(ROOT / "training", training)
    (training / "broken.py").write_text('raise SystemExit("the data are not here")\n')
    (training / "lacking.py").write_text("import nothere\n")
    common = {"training_dir": str(training), "training_max_restarts": 0}
    assert play("playbooks/image.yml", training_script="broken.py", training_stack="broken", **common).rc == 0
    return common


def test_a_script_that_fails_is_shown_with_its_own_words(
    play: Play, scripts_that_fail: dict[str, Any], tmp_path: Path
) -> None:
    own = {
        "training_script": "broken.py",
        "training_stack": "broken",
        "training_artifacts_dir": str(tmp_path / "broken"),
    }
    common = {**own, **scripts_that_fail}
    run = play("playbooks/training.yml", training_wait_for="complete", **common)
    assert run.rc != 0
    assert "broken_node" in run.failure()
    assert "the data are not here" in run.failure()
    assert f"Logs of host1, host2: {tmp_path}/broken" in run.failure()
    logs = [tmp_path / "broken" / f"node{rank}.log" for rank in (0, 1)]
    assert all("the data are not here" in log.read_text() for log in logs)
    # While its start is waited for, as well.
    for log in logs:
        log.unlink()
    assert play("playbooks/training.yml", **common).rc != 0
    assert all("the data are not here" in log.read_text() for log in logs)


def test_a_package_that_the_image_lacks_is_named_in_few_lines(
    lab: Lab, scripts_that_fail: dict[str, Any], tmp_path: Path
) -> None:
    """As a terminal shows it: without ansible-runner, which shows all."""
    variables = {
        "training_script": "lacking.py",
        "training_stack": "lacking",
        "training_artifacts_dir": str(tmp_path),
        "preflight_artifacts_dir": str(tmp_path),
        **scripts_that_fail,
    }
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", lab.inventory, "playbooks/training.yml", "-e", json.dumps(variables)],
        cwd=ROOT, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0, done.stdout
    lines = done.stdout.splitlines()
    begin = next((number for number, line in enumerate(lines) if "failed" in line), len(lines))
    told = "\n".join(lines[begin:])
    assert 0 < len(lines) - begin <= 40, done.stdout
    assert re.search(r"First to fail was lacking_node[01] on host[12]\b", told), done.stdout
    assert "ModuleNotFoundError: No module named 'nothere'" in told
    assert "Add what has nothere to requirements.txt, and run this again." in told


def swarm_state(lab: Lab, host: str) -> str:
    return lab.on(host, "docker", "info", "--format", "{{.Swarm.LocalNodeState}}").strip()
