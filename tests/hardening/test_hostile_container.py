"""A training that has been taken over plants what it can; the playbooks then collect, start over, back up and tear down.

Nothing outside of its own volume changes on a host, nothing outside of the artifacts on the controller, and the honest results come.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from labs import ROOT, Lab, Play, Run

LISTING = """
find /etc /root /home /srv /opt /usr/local /var/spool /var/lib/docker/volumes /var/lib/docker/plugins -xdev \
    -path '*/volumes/hostile_*' -prune -o -path /var/lib/docker/volumes/metadata.db -prune -o -path '/home/*/.ansible*' -prune -o \
    -path '/root/.ansible*' -prune -o -printf '%p %y %m %u %l\\n' | sort
find /etc /root /srv /opt /usr/local /var/spool -xdev -type f -print0 | sort -z | xargs -0 sha256sum
ls -d /var/lib/ddp-swarm-collect* /var/tmp/ansible* 2>/dev/null || true
"""
SETTINGS = {
    "training_stack": "hostile",
    "training_dir": str(ROOT / "tests/hardening/hostile"),
    "training_script": "train.py",
    "training_max_restarts": 0,
    "training_wait_for": "complete",
    "preflight_enforce": False,
    # All that a user could ask for, so that nothing is spared by not being asked for.
    "training_collect": ["*"],
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("hardening").running("docker", "swarm", "image") as lab:
        yield lab


@pytest.fixture(scope="module")
def outside(lab: Lab) -> Path:
    """What is beside the artifacts on the controller: a run that leads out of them would move it."""
    directory = lab.directory / "controller"
    for name in (".ssh/authorized_keys", "artifacts-of-others/snapshot.pt", ".bashrc"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("mine\n")
    return directory


@pytest.fixture
def train(lab: Lab, outside: Path) -> Play:
    def run(playbook: str = "training", args: tuple[str, ...] = ("honest-run",), **settings: object) -> Run:
        artifacts = str(outside / "artifacts" / "hostile")
        given = {**SETTINGS, "training_args": list(args), "training_artifacts_dir": artifacts, **settings}
        return lab.play(f"playbooks/{playbook}.yml", **given)

    return run


def on_hosts(lab: Lab) -> dict[str, str]:
    return {host: lab.on(host, "sh", "-c", LISTING) for host in lab.hosts}


def on_controller(outside: Path) -> dict[str, str]:
    files = (path for path in outside.rglob("*") if path.is_file() or path.is_symlink())
    return {str(path): path.read_text() for path in files if "artifacts/hostile" not in str(path)}


def forget(lab: Lab) -> None:
    """What the container had planted, so that it can plant again."""
    volume = "/var/lib/docker/volumes/hostile_snapshots/_data"
    for host in lab.hosts:
        lab.on(
            host,
            "sh",
            "-c",
            f"rm -rf {volume}/runs {volume}/was-runs {volume}/tensorboard {volume}/metrics-rank7.jsonl",
        )


def test_what_is_planted_leads_nowhere(train: Play, lab: Lab, outside: Path) -> None:
    assert train("image").rc == 0
    before, mine = on_hosts(lab), on_controller(outside)
    run = train()
    assert run.rc == 0, run.stdout[-6000:]
    assert on_hosts(lab) == before
    assert on_controller(outside) == mine
    artifacts = outside / "artifacts" / "hostile"
    assert (artifacts / "snapshot.pt").read_bytes() == b"honest weights"
    assert (artifacts / "metrics-rank1.jsonl").read_text() == '{"event": "honest"}\n'
    assert (artifacts / "tensorboard" / ("n" * 255)).read_text() == "planted\n"
    assert (artifacts / "node0.log").read_text() == "loss 0.5\n"
    assert [str(path) for path in artifacts.rglob("*") if path.is_symlink()] == []
    assert [str(path) for path in artifacts.rglob("*") if path.is_file() and b"root:" in path.read_bytes()] == []
    for left in ("shadow", "engine", "line", "escape", "no-utf8", "pipe", "metrics-rank7"):
        assert re.search(f"Left out: .*{left}", run.stdout), left


def test_no_escape_sequence_reaches_the_terminal(lab: Lab, outside: Path) -> None:
    given = {
        **SETTINGS,
        "training_args": ["other-run"],
        "training_artifacts_dir": str(outside / "artifacts" / "hostile"),
    }
    for playbook, expected in (("training", b"loss 0.5"), ("status", b"loss 0.5"), ("collect", b"Left out")):
        command = [
            "ansible-playbook",
            "-v",
            "-i",
            lab.inventory,
            ROOT / f"playbooks/{playbook}.yml",
            "-e",
            json.dumps(given),
        ]
        done = subprocess.run(command, capture_output=True, check=False, cwd=ROOT)
        shown = done.stdout + done.stderr
        assert done.returncode == 0, shown
        assert expected in shown
        assert re.findall(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", shown) == []


@pytest.mark.parametrize("name", ["../../../../root/.ssh", "/etc/systemd/system", "a/b", ".", ""], ids=ascii)
def test_starting_over_after_a_hostile_run(name: str, train: Play, lab: Lab, outside: Path) -> None:
    forget(lab)
    before, mine = on_hosts(lab), on_controller(outside)
    run = train(args=(name,), training_fresh=True)
    assert run.rc == 0, run.stdout[-6000:]
    run = train("collect")
    assert run.rc == 0, run.stdout[-6000:]
    assert on_hosts(lab) == before
    assert on_controller(outside) == mine


def test_a_link_where_runs_should_be_stops_starting_over(train: Play, lab: Lab, outside: Path) -> None:
    forget(lab)
    assert train(args=("link", "runs-is-a-link"), training_fresh=True).rc == 0
    before, mine = on_hosts(lab), on_controller(outside)
    run = train(args=("link",), training_fresh=True)
    assert run.rc != 0
    assert "has to be a directory there, not a link" in run.failure()
    assert on_hosts(lab) == before
    assert on_controller(outside) == mine


def test_backup_and_teardown(train: Play, lab: Lab, outside: Path) -> None:
    before, mine = on_hosts(lab), on_controller(outside)
    run = train("backup", backup="hostile", backup_dir=str(lab.directory / "backups"))
    assert run.rc == 0, run.stdout[-6000:]
    assert on_hosts(lab) == before
    archives = list((lab.directory / "backups" / "hostile").iterdir())
    assert len(archives) == 3
    assert [path.name for path in archives if path.stat().st_mode & 0o077] == []
    run = train("teardown")
    assert run.rc == 0, run.stdout[-6000:]
    assert on_hosts(lab) == before
    assert on_controller(outside) == mine
