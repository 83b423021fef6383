"""Backup and restore of the swarm's state, run for real on this machine with stand-ins for the engine: systemctl and docker.

The archive holds the swarm's CA key: whatever step fails, none is left on a host, and nothing is lost that was there.
"""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from by_path import ROOT

NODE = "n1".zfill(25)
SYSTEMCTL = """#!/bin/sh
# Stand-in: an engine that starts and stops, unless it is told not to, and a log of it.
cd {directory}
verb=$1; unit=$2
case $verb in
show)
  state=inactive; [ -e running ] && state=active
  printf 'Id=%s\\nLoadState=loaded\\nActiveState=%s\\nSubState=running\\nUnitFileState=enabled\\n' "$unit" $state;;
start|stop)
  echo "$verb $unit" >>calls
  [ -e "no-$verb" ] && { echo "$unit does not $verb" >&2; exit 1; }
  if [ $verb = start ]; then touch running; else rm -f running; fi;;
esac
exit 0
"""
DOCKER = """#!/bin/sh
# Stand-in: an engine that manages a swarm of one node.
cd {directory}
case "$1 $2" in
"info --format")
  [ -z "$SECOND" ] || { echo '{"ServerVersion": "26", "Swarm": {"LocalNodeState": "inactive"}}'; exit; }
  [ -e locks ] && grep -q start calls && { rm locks; cat locked.json >info.json; }
  case $3 in *LocalNodeState*) sed 's/.*"LocalNodeState": "\\([a-z]*\\)".*/\\1/' info.json;; *) cat info.json;; esac;;
"swarm init") [ -e no-init ] && { echo "the swarm does not start" >&2; exit 1; };;
"node ls") echo {node};;
"node inspect") cat nodes.json;;
"swarm unlock") cat >given-key; [ -e no-unlock ] && { echo invalid key >&2; exit 1; }; cat unlocked.json >info.json;;
esac
exit 0
"""


class Engine:
    """An engine's directory, and what stands in for the engine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "docker"
        self.backups = directory / "backups"
        self.archives = directory / "var-tmp"
        self.archives.mkdir()
        (self.root / "swarm" / "certificates").mkdir(parents=True)
        (self.root / "swarm" / "certificates" / "swarm-root-ca.key").write_text("the key of today")
        (self.root / "swarm" / "docker-state.json").write_text("{}")
        (directory / "running").touch()
        (directory / "calls").touch()
        for name, script in (("systemctl", SYSTEMCTL), ("docker", DOCKER)):
            (directory / "bin").mkdir(exist_ok=True)
            (directory / "bin" / name).write_text(script.replace("{directory}", str(directory)).replace("{node}", NODE))
            (directory / "bin" / name).chmod(0o755)
        node = {
            "ID": NODE,
            "Spec": {"Role": "manager"},
            "Status": {"State": "ready"},
            "ManagerStatus": {"Leader": True},
        }
        (directory / "nodes.json").write_text(json.dumps([node]))
        self.says()

    def says(self, node: str = NODE, root: str = "", **swarm: Any) -> None:
        """What the engine says of itself; `locked.json` is what it says after a start, if it is told to lock."""
        own = {
            "LocalNodeState": "active",
            "NodeID": node,
            "NodeAddr": "127.0.0.1",
            "ControlAvailable": True,
            "Nodes": 1,
            "Managers": 1,
        }
        own["Cluster"] = {"ID": "c1"}
        told = {"ServerVersion": "26", "DockerRootDir": root or str(self.root), "Swarm": {**own, **swarm}}
        locked = {**told, "Swarm": {"LocalNodeState": "locked", "Error": "Swarm is encrypted"}}
        for name, text in (("info", told), ("unlocked", told), ("locked", locked)):
            (self.directory / f"{name}.json").write_text(json.dumps(text))

    def fails(self, *steps: str) -> None:
        for step in steps:
            (self.directory / step).touch()

    def play(self, playbook: str, *options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        host = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}
        host["swarm_advertise_addr"] = "127.0.0.1"
        # Two hosts, as a task that runs once ends a play otherwise than one of all hosts. The second is in no swarm.
        python = self.directory / "python-of-host2"
        python.write_text(f'#!/bin/sh\nSECOND=yes exec {sys.executable} "$@"\n')
        python.chmod(0o755)
        other = {
            **host,
            "swarm_advertise_addr": "127.0.0.2",
            "ansible_python_interpreter": str(python),
            "ansible_remote_tmp": str(self.directory / "other"),
        }
        groups = {"managers": {"hosts": {"host1": host}}, "workers": {"hosts": {"host2": other}}}
        inventory = self.directory / "inventory.json"
        inventory.write_text(json.dumps({"swarm": {"children": groups}}))
        variables = {
            "backup": "test",
            "backup_dir": str(self.backups),
            "swarm_wait": 0,
            "_swarm_archives_dir": str(self.archives),
            "_lock_path": str(self.directory / "run" / "lease.json"),
        } | variables
        return subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", ROOT / "playbooks" / playbook, "-i", inventory]
            + ["-e", json.dumps(variables), *options],
            cwd=ROOT,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_PIPELINING": "1",
                "NO_COLOR": "1",
                "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}",
            },
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def key(self) -> str:
        path = self.root / "swarm" / "certificates" / "swarm-root-ca.key"
        return path.read_text() if path.exists() else ""

    @property
    def beside(self) -> set[str]:
        return {path.name for path in self.root.iterdir()} - {"swarm"}

    @property
    def runs(self) -> bool:
        return (self.directory / "running").exists()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path)
    yield engine
    assert list(engine.archives.iterdir()) == [], "an archive is left on the host"


def flat(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_a_backup_is_for_its_owner_alone(engine: Engine) -> None:
    done = engine.play("backup.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert {path.name: mode(path) for path in (engine.backups / "test").iterdir()} == {"swarm.tar.gz": 0o600}
    assert (mode(engine.backups / "test"), mode(engine.backups)) == (0o700, 0o700)
    assert engine.runs
    with tarfile.open(engine.backups / "test" / "swarm.tar.gz") as archive:
        assert "swarm/certificates/swarm-root-ca.key" in archive.getnames()


def test_a_folder_of_the_users_keeps_its_mode(engine: Engine) -> None:
    engine.backups.mkdir(mode=0o755)
    assert engine.play("backup.yml").returncode == 0
    assert (mode(engine.backups), mode(engine.backups / "test")) == (0o755, 0o700)


def test_a_backup_without_a_name_gets_one(engine: Engine) -> None:
    assert engine.play("backup.yml", backup="").returncode == 0
    (made,) = engine.backups.iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d{6}Z", made.name)


def test_packing_fails(engine: Engine) -> None:
    (engine.root / "swarm").rename(engine.root / "away")
    assert engine.play("backup.yml").returncode != 0
    assert engine.runs


def test_the_engine_does_not_start_again(engine: Engine) -> None:
    engine.fails("no-start")
    assert engine.play("backup.yml").returncode != 0


def test_fetching_fails(engine: Engine) -> None:
    (engine.backups / "test" / "swarm.tar.gz" / "x").mkdir(parents=True)
    assert engine.play("backup.yml").returncode != 0
    assert engine.runs


def test_unlocking_fails_after_a_backup(engine: Engine) -> None:
    engine.fails("locks", "no-unlock")
    done = engine.play("backup.yml", swarm_unlock_key="SWMKEY-1-S3CR3T")
    assert done.returncode != 0
    assert "could not be unlocked" in flat(done.stdout)
    assert "S3CR3T" not in done.stdout


def test_what_an_interrupted_backup_has_left_goes_with_the_next(engine: Engine) -> None:
    left, beside = engine.archives / "ddp-swarm-backup.old", engine.archives / "ddp-swarm-backup.new"
    left.mkdir(mode=0o700)
    os.utime(left, (0, 0))
    beside.mkdir(mode=0o700)
    assert engine.play("backup.yml").returncode == 0
    assert list(engine.archives.iterdir()) == [beside]
    beside.rmdir()


def test_a_backup_that_could_not_be_restored_is_told(engine: Engine) -> None:
    (engine.root / "swarm").rename(engine.root / "elsewhere")
    (engine.root / "swarm").symlink_to("elsewhere")
    done = engine.play("backup.yml")
    assert done.returncode != 0
    assert "'swarm' is neither a file nor a directory" in flat(done.stdout)


@pytest.mark.parametrize("root", ["docker", "../x", "/a\nb"], ids=ascii)
def test_a_host_that_lies_about_its_directory(root: str, engine: Engine) -> None:
    engine.says(root=root)
    done = engine.play("backup.yml")
    assert done.returncode != 0
    assert "host1 does not answer as an engine does" in flat(done.stdout)
    assert (engine.directory / "calls").read_text() == ""


def saved(engine: Engine, key: str = "the key of the backup") -> None:
    """A backup, as playbooks/backup.yml writes it."""
    with tarfile.open(folder(engine) / "swarm.tar.gz", "w:gz") as archive:
        for name in ("swarm", "swarm/certificates"):
            add(archive, name, type=tarfile.DIRTYPE, mode=0o700)
        add(archive, "swarm/certificates/swarm-root-ca.key", key.encode())
        add(archive, "swarm/docker-state.json", b"{}")


def folder(engine: Engine) -> Path:
    (engine.backups / "test").mkdir(parents=True, exist_ok=True)
    return engine.backups / "test"


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **attributes: Any) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o600
    for attribute, value in attributes.items():
        setattr(member, attribute, value)
    archive.addfile(member, io.BytesIO(content))


REBUILD = {"swarm_rebuild": True}


def test_a_restore_leaves_neither_archive_nor_what_was_before(engine: Engine) -> None:
    saved(engine)
    # Of restores that were interrupted, of older versions of this project, and of the user.
    (engine.root / "swarm-before-20260101T000000Z" / "certificates").mkdir(parents=True)
    (engine.root / "swarm-restore").mkdir()
    (engine.root / "swarm-backup.tar.gz").touch()
    (engine.root / "swarm-before-upgrade").mkdir()
    done = engine.play("restore.yml", **REBUILD, swarm_unlock_key="SWMKEY-1-S3CR3T")
    assert done.returncode == 0, done.stdout[-3000:]
    assert engine.key == "the key of the backup"
    assert engine.beside == {"swarm-before-upgrade"}
    assert mode(engine.root / "swarm") == 0o700
    assert engine.runs


def test_a_backup_that_is_locked_is_unlocked(engine: Engine) -> None:
    saved(engine)
    engine.fails("locks")
    done = engine.play("restore.yml", **REBUILD, swarm_unlock_key="SWMKEY-1-S3CR3T")
    assert done.returncode == 0, done.stdout[-3000:]
    assert (engine.directory / "given-key").read_text().strip() == "SWMKEY-1-S3CR3T"
    assert (engine.key, engine.beside) == ("the key of the backup", set())
    assert "S3CR3T" not in done.stdout


def test_check_mode_of_a_restore_changes_nothing(engine: Engine) -> None:
    saved(engine)
    done = engine.play("restore.yml", "--check", **REBUILD)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "changed=1" in done.stdout
    assert (engine.key, engine.beside, (engine.directory / "calls").read_text()) == ("the key of today", set(), "")


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (["no-stop"], "does not stop"),
        (["no-init"], "the swarm does not start"),
        (["locks", "no-unlock"], "swarm_unlock_key does not unlock it: invalid key"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_a_restore_that_fails_brings_back_what_was_there(steps: list[str], said: str, engine: Engine) -> None:
    saved(engine)
    engine.fails(*steps)
    done = engine.play("restore.yml", **REBUILD, swarm_unlock_key="SWMKEY-1-S3CR3T")
    assert done.returncode != 0
    assert said in flat(done.stdout)
    assert "has what it had before" in flat(done.stdout)
    assert engine.key == "the key of today"
    assert engine.beside == set()
    assert engine.runs
    assert "S3CR3T" not in done.stdout


def test_a_restore_that_fails_on_a_new_machine_leaves_it_new(engine: Engine) -> None:
    (engine.root / "swarm").rename(engine.directory / "away")
    saved(engine)
    engine.fails("no-init")
    assert engine.play("restore.yml", **REBUILD).returncode != 0
    assert [path.name for path in engine.root.iterdir()] == []


def test_an_engine_that_does_not_start_at_all_is_told_with_where_its_state_is(engine: Engine) -> None:
    saved(engine)
    engine.fails("no-start")
    done = engine.play("restore.yml", **REBUILD)
    assert done.returncode != 0
    assert f"{engine.root}/swarm" in flat(done.stdout)
    assert "systemctl start docker" in flat(done.stdout)
    # Brought back all the same.
    assert engine.key == "the key of today"
    assert engine.beside == set()


def test_a_crafted_backup_is_refused_before_anything_is_changed(engine: Engine) -> None:
    with tarfile.open(folder(engine) / "swarm.tar.gz", "w:gz") as archive:
        add(archive, "swarm", type=tarfile.DIRTYPE)
        add(archive, "swarm/../../planted", b"x")
    done = engine.play("restore.yml", **REBUILD)
    assert done.returncode != 0
    assert "'swarm/../../planted' lies outside of the folder swarm" in flat(done.stdout)
    assert (engine.key, engine.beside, (engine.directory / "calls").read_text()) == ("the key of today", set(), "")


@pytest.mark.parametrize("hidden", ["swarm/link", "swarm/pipe", "swarm/setuid"])
def test_what_only_tar_sees_in_a_backup_is_found_on_the_host(
    hidden: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs may read an archive differently. Here the check on the controller is made blind, and the host's has to do."""
    with tarfile.open(folder(engine) / "swarm.tar.gz", "w:gz") as archive:
        add(archive, "swarm", type=tarfile.DIRTYPE, mode=0o700)
        add(archive, "swarm/link", type=tarfile.SYMTYPE, linkname="/etc") if hidden == "swarm/link" else None
        add(archive, "swarm/pipe", type=tarfile.FIFOTYPE) if hidden == "swarm/pipe" else None
        add(archive, "swarm/setuid", b"x", mode=0o4755) if hidden == "swarm/setuid" else None
    done = engine.play("restore.yml", **REBUILD, _swarm_backup_problem="")
    assert done.returncode != 0
    assert hidden in done.stdout
    assert (engine.key, engine.beside, (engine.directory / "calls").read_text()) == ("the key of today", set(), "")


def test_leaving_removes_what_restores_have_kept(engine: Engine) -> None:
    (engine.root / "swarm-before-20260101T000000Z").mkdir()
    (engine.root / "swarm-before-mine").mkdir()
    file = engine.directory / "leave.json"
    tasks = [{"ansible.builtin.import_role": {"name": "swarm", "tasks_from": "leave"}}]
    file.write_text(json.dumps([{"hosts": "host1", "gather_facts": False, "tasks": tasks}]))
    told = engine.play(str(file), "--check")
    assert told.returncode == 0, told.stdout[-3000:]
    assert engine.beside == {"swarm-before-20260101T000000Z", "swarm-before-mine"}
    done = engine.play(str(file))
    assert done.returncode == 0, done.stdout[-3000:]
    assert engine.beside == {"swarm-before-mine"}


def test_a_node_that_calls_itself_an_option_is_refused(engine: Engine) -> None:
    engine.says(node="--help")
    file = engine.directory / "guard.json"
    tasks = [{"ansible.builtin.import_role": {"name": "swarm", "tasks_from": "guard"}}]
    file.write_text(json.dumps([{"hosts": "swarm", "gather_facts": False, "tasks": tasks}]))
    done = engine.play(str(file), swarm_touched=["host2"])
    assert done.returncode != 0
    assert "host1 does not answer as an engine does" in flat(done.stdout)


def test_backups_are_no_part_of_the_project() -> None:
    assert "backups/" in (ROOT / ".gitignore").read_text().splitlines()
