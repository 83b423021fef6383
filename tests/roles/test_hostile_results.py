"""The role training, told to collect from and to start over in a volume that a hostile container has filled.

The playbooks run for real, on this machine; only the docker command is a stand-in, which says where the volume is.
"""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKER_STAND_IN = """#!/bin/sh
case "$*" in
    "volume inspect"*) echo {volume} ;;
    "service ls"*namespace=job*) echo '{{"ID": "s1", "Name": "job_node0"}}' ;;
    "inspect --type service"*) echo '[{{"ID": "s1", "CreatedAt": "2026-01-02T03:04:05Z", "Spec": {{"Name": "job_node0"}}}}]' ;;
    "config inspect"*) echo "Error: no such config: $3" >&2; exit 1 ;;
    "ps "* | "stack ps"* | "service ls"* | "network ls"* | "secret ls"* | "config ls"* | "node ls"* | "stack rm"*) ;;
    "info"*) echo '{{"Swarm": {{"LocalNodeState": "active", "ControlAvailable": true}}}}' ;;
    *) echo "Error: no such thing in this stand-in: $*" >&2; exit 1 ;;
esac
"""
HONEST = {
    "snapshot.pt": b"weights",
    "metrics.jsonl": b'{"event": "start", "run": "20260102T030405Z"}\n',
    "tensorboard/20260102T030405Z/events.out": b"events",
}


class Host:
    """This machine as the only host of a swarm, with a volume, a place for artifacts, and something that is nobody's business."""

    def __init__(self, directory: Path) -> None:
        self.volume = directory / "volume"
        self.artifacts = directory / "controller" / "artifacts" / "job"
        self.outside = directory / "outside"
        self.stage = directory / "stage"
        self.directory = directory
        for path in (self.volume, self.outside, directory / "bin", directory / "controller"):
            path.mkdir(parents=True)
        docker = directory / "bin" / "docker"
        docker.write_text(DOCKER_STAND_IN.format(volume=self.volume))
        docker.chmod(0o755)
        (self.outside / "root-only").write_text("S3CR3T\n")
        (self.outside / "root-only").chmod(0o600)
        (self.outside / "folder").mkdir()
        (self.outside / "folder" / "key").write_text("S3CR3T\n")
        (directory / "controller" / "authorized_keys").write_text("mine\n")

    def put(self, files: dict[str, bytes]) -> None:
        for name, content in files.items():
            path = self.volume / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def play(self, tasks_from: str, number: int = 0, **variables: Any) -> subprocess.CompletedProcess[str]:
        play = {
            "hosts": "swarm",
            "gather_facts": False,
            "tasks": [{"ansible.builtin.import_role": {"name": "training", "tasks_from": tasks_from}}],
        }
        playbook = self.directory / f"play{number}.json"
        playbook.write_text(json.dumps([play]))
        python = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        swarm = {"managers": {"hosts": {"host1": python}}, "workers": {}}
        inventory = self.directory / f"inventory{number}.json"
        inventory.write_text(json.dumps({"swarm": {"children": swarm}}))
        settings = {
            "training_stack": "job",
            "training_artifacts_dir": str(self.artifacts),
            "_training_stage": str(self.stage),
            "ansible_become": False,
            **variables,
        }
        command = [Path(sys.executable).parent / "ansible-playbook", playbook]
        return subprocess.run(
            [*command, "-i", inventory, "-e", json.dumps(settings)],
            cwd=ROOT,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}",
                "NO_COLOR": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def seen(self, root: Path) -> dict[str, str]:
        """All that lies under a directory, by its name: a file's content and mode, anything else by its kind."""
        found = {}
        for path in sorted(root.rglob("*")):
            mode = path.lstat().st_mode
            what = path.read_bytes().decode() if stat.S_ISREG(mode) else ""
            found[os.fsencode(path.relative_to(root)).decode(errors="replace")] = f"{stat.filemode(mode)} {what}"
        return found

    def everything_else(self) -> dict[str, str]:
        controller = self.seen(self.directory / "controller")
        mine = {name: what for name, what in controller.items() if not name.startswith("artifacts")}
        return {**self.seen(self.outside), **mine}

    def collected(self) -> dict[str, bytes]:
        """What a user finds in the artifacts, without what the tool keeps for itself."""
        files = [path for path in self.artifacts.rglob("*") if not path.is_dir() or path.is_symlink()]
        names = {str(path.relative_to(self.artifacts)): path for path in files}
        return {name: path.read_bytes() for name, path in names.items() if not name.startswith((".", "stack.yml"))}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def link(target: str, *, folder: bool = False) -> Callable[[Host, Path], None]:
    return lambda host, path: path.symlink_to(host.outside / target, target_is_directory=folder)


def write(content: bytes) -> Callable[[Host, Path], None]:
    return lambda host, path: path.write_bytes(content) and None


HOSTILE: dict[str, tuple[bytes, Callable[[Host, Path], Any]]] = {
    "a line feed in a name": (b"tensorboard/a\nb", write(b"x")),
    "a line feed, then a path": (b"tensorboard/a\n..", lambda host, path: path.mkdir()),
    "an escape sequence in a name": (b"tensorboard/\x1b]52;c;YQ==\x07", write(b"x")),
    "no UTF-8": (b"tensorboard/\xff\xfe", write(b"x")),
    "a link to a file": (b"tensorboard/link*", link("root-only")),
    "a link to a folder": (b"tensorboard/link*", link("folder", folder=True)),
    "a link that was asked for": (b"metrics-rank9.jsonl", link("root-only")),
    "a second name of a file elsewhere": (
        b"tensorboard/hard",
        lambda host, path: path.hardlink_to(host.outside / "root-only"),
    ),
    "a pipe": (b"tensorboard/pipe", lambda host, path: os.mkfifo(path)),
    "what the tool keeps for itself": (b"stack.yml", write(b"x")),
}


def test_what_is_hostile_stays_and_what_is_honest_comes(host: Host) -> None:
    host.put(HONEST)
    for number, (name, make) in enumerate(HOSTILE.values()):
        where = name.replace(b"*", str(number).encode())
        make(host, Path(os.fsdecode(os.fsencode(host.volume) + b"/" + where)))
    before = host.everything_else()
    done = host.play("collect", training_collect=["snapshot.pt", "metrics.jsonl", "tensorboard", "stack.yml"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.collected() == HONEST
    assert "S3CR3T" not in str(host.seen(host.artifacts))
    assert host.everything_else() == before
    assert not host.stage.exists()
    assert "\x1b" not in done.stdout
    assert done.stdout.count("Left out: ") == len(HOSTILE)


def test_two_collections_at_once_do_not_share_what_they_have_laid_out(host: Host) -> None:
    host.put(HONEST)
    own = {"_training_stage": f"{host.stage}.{{{{ _training_begun.collection }}}}"}
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda number: host.play("collect", number, **own), range(2)))
    for done in runs:
        assert done.returncode == 0, done.stdout + done.stderr
    assert host.collected() == HONEST
    assert list(host.directory.glob("stage*")) == []
    assert list((host.artifacts / ".ddp-swarm" / "incoming").iterdir()) == []


def test_all_that_is_honest_comes_with_its_mode(host: Host) -> None:
    more = {f"tensorboard/{'n' * 255}": b"long", "tensorboard/Modèle final.pt": b"accent", "metrics-rank0.jsonl": b"1"}
    host.put({**HONEST, **more})
    (host.volume / "snapshot.pt").chmod(0o600)
    (host.volume / "tensorboard" / "best.pt").hardlink_to(host.volume / "snapshot.pt")
    done = host.play("collect")
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.collected() == {**HONEST, **more, "tensorboard/best.pt": b"weights"}
    assert "Left out" not in done.stdout
    for root in (host.artifacts, host.volume):
        assert stat.S_IMODE((root / "snapshot.pt").stat().st_mode) == 0o600


def test_a_hostile_run_moves_nothing(host: Host) -> None:
    """An earlier run's results are moved aside on the controller, into a folder that has the run's name."""
    before = host.everything_else()
    for run in ("../../../controller", "second"):
        metrics = f'{{"event": "start", "run": "{run}"}}\n'.encode()
        host.put({"metrics.jsonl": metrics, "run_id": run.encode(), "snapshot.pt": run.encode()})
        done = host.play("collect", training_collect=["snapshot.pt", "run_id", ".ddp-swarm"])
        assert done.returncode == 0, done.stdout + done.stderr
        assert host.everything_else() == before
    assert host.collected()["snapshot.pt"] == b"second"
    assert host.collected()["runs/20260102T030405Z/snapshot.pt"] == b"../../../controller"


def test_starting_over_says_which_old_runs_it_removes(host: Host) -> None:
    host.put({**HONEST, "runs/old/weights": b"1"})
    (host.volume / "runs" / "link").symlink_to(host.outside / "folder", target_is_directory=True)
    os.utime(host.volume / "runs" / "old", (1, 1))
    before = host.everything_else()
    done = host.play("start/fresh", training_keep_runs=1)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Removed on host1 from /snapshots, of runs that ended more than 30 days ago" in " ".join(done.stdout.split())
    assert sorted(path.name for path in (host.volume / "runs").iterdir()) == ["before", "link"]
    assert host.everything_else() == before


def test_starting_over_moves_nothing_out_of_the_volume(host: Host) -> None:
    """As `runs` may be a link, and the run's name a path: root must not follow either."""
    host.put({"snapshot.pt": b"weights", "evil.service": b"[Service]"})
    host.put({"metrics.jsonl": b'{"event": "start", "run": "../../outside/folder"}\n'})
    (host.volume / "runs").symlink_to(host.outside / "folder", target_is_directory=True)
    before = host.everything_else()
    done = host.play("start/fresh", training_collect=[])
    assert host.everything_else() == before, done.stdout
    assert done.returncode != 0
    assert "runs" in done.stdout
    assert (host.volume / "snapshot.pt").read_bytes() == b"weights"
