"""The role image, on hosts that lie and hosts that leave their swarm. Its tasks run for real, on this machine."""

import hashlib
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from by_path import ROOT
from plays import HERE, of_role, play

LAYER = b"a layer"
NAME = hashlib.sha256(LAYER).hexdigest()
DIGEST = f"sha256:{NAME}"
SAVED = {
    "changed": True,
    "id": DIGEST,
    "config": "",
    "diff_ids": [DIGEST],
    "layers": [{"diff_id": DIGEST, "chain": DIGEST, "file": f"{NAME}.tar", "sha256": NAME, "bytes": 7, "size": 7}],
    "source": "store",
    "inline": False,
    "bytes": 7,
    "size": 7,
}
# The Python of a host that somebody else has taken over: it answers image_save with what it likes.
LIAR = """#!{python}
import subprocess, sys
program = open(sys.argv[1]).read() if len(sys.argv) > 1 else sys.stdin.read()
if "image_save" in program:
    print(open({answer!r}).read())
else:
    sys.exit(subprocess.run([{python!r}, *sys.argv[1:]], input=program, text=True).returncode)
"""
DOCKER_STAND_IN = """#!/bin/sh
echo "$@" >>{place}/calls
case "$*" in
    "stack ls"*) [ ! -e {place}/stack ] || echo ddp-registry ;;
    "stack rm"*) rm {place}/stack ;;
    "volume ls"*) echo ddp-registry ;;
    "info"*) echo '{{"ServerVersion": "26.1.5", "Swarm": {{"LocalNodeState": "active", "ControlAvailable": true}}}}' ;;
    "config ls"*) [ ! -e {place}/stack ] || echo '{{"ID": "c1", "Name": "ddp-registry.swarm-stack"}}' ;;
    "service ls"* | "network ls"* | "secret ls"* | "node ls"* | "ps "* | "stack ps"*) ;;
    *) echo "Error: this stand-in for docker has no answer to: $*" >&2; exit 1 ;;
esac
"""


class Hosts:
    """host1, which has the image, and host2, which lacks it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.cache = directory / "home/cache/ddp-swarm/trainer:1"
        self.work = directory / "work"
        (directory / "bin").mkdir()
        self.program("bin/docker", DOCKER_STAND_IN.format(place=directory))

    def program(self, name: str, text: str) -> str:
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    def play(self, tasks_from: str, variables: dict[str, Any], *options: str, liar: str = "") -> str:
        """What ansible-playbook says."""
        tasks = [{"ansible.builtin.include_role": {"name": "image", "tasks_from": tasks_from}}]
        (self.directory / "play.json").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        state = {"chains": [], "zstd": False, "free_mb": 1000, "architecture": "x86_64", "surplus": [], "services": []}
        hosts = {
            "host1": {
                **common,
                "_image_state": {**state, "id": DIGEST},
                "ansible_python_interpreter": liar or sys.executable,
            },
            "host2": {**common, "_image_state": {**state, "id": ""}},
        }
        (self.directory / "inventory.json").write_text(json.dumps({"swarm": {"hosts": hosts}}))
        variables = {
            "_image_host_dir": str(self.work),
            "image_ref": "trainer:1",
            "image_name": "trainer",
            "ansible_become": False,
            **variables,
        }
        command = [Path(sys.executable).parent / "ansible-playbook", self.directory / "play.json"]
        before = os.umask(0o022)
        done = subprocess.run(
            [*command, "-i", self.directory / "inventory.json", "-e", json.dumps(variables), *options],
            cwd=ROOT,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "NO_COLOR": "1",
                "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}",
                "XDG_CACHE_HOME": str(self.directory / "home/cache"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        os.umask(before)
        return " ".join(done.stdout.split()) + done.stderr

    def lie(self, saved: Any) -> str:
        (self.directory / "answer").write_text(json.dumps(saved))
        answer = str(self.directory / "answer")
        return self.program("liar", LIAR.format(python=sys.executable, answer=answer))


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return Hosts(tmp_path)


def named(file: str) -> dict[str, Any]:
    return {**SAVED, "layers": [{**SAVED["layers"][0], "file": file}]}  # type: ignore[index]


@pytest.mark.parametrize("where", ["above", "absolute"])
def test_a_host_that_lies_names_no_file_elsewhere(where: str, hosts: Hosts) -> None:
    """The file that it names is there on it, so that it would be fetched."""
    authorized = hosts.directory / "home/.ssh/authorized_keys"
    authorized.parent.mkdir(parents=True)
    authorized.write_text("mine\n")
    name = "../../../.ssh/authorized_keys"
    # On the host, the same name leads to what it wants to give away.
    (hosts.directory / "a/b/c").mkdir(parents=True)
    hosts.work.symlink_to(hosts.directory / "a/b/c")
    (hosts.directory / ".ssh").mkdir()
    (hosts.directory / ".ssh/authorized_keys").write_text("theirs\n")
    file = name if where == "above" else str(authorized)
    said = hosts.play("transfer/send", {}, liar=hosts.lie(named(file)))
    assert authorized.read_text() == "mine\n"
    assert f"host1 does not answer as image_save does: a layer's file is '{file}'" in said
    assert "Nothing was fetched from it." in said
    assert not hosts.cache.exists()


def test_what_is_honest_is_fetched_into_a_cache_of_ones_own(hosts: Hosts) -> None:
    """The cache is there already, from an earlier version, for all to read."""
    hosts.cache.mkdir(parents=True)
    hosts.cache.chmod(0o755)
    hosts.work.mkdir(mode=0o700)
    (hosts.work / f"{NAME}.tar").write_bytes(LAYER)
    said = hosts.play(
        "transfer/layers", {"_image_saved": SAVED, "_image_plan": {"source": "host1", "receivers": ["host2"]}}
    )
    assert "failed=0" in said, said
    assert (hosts.cache / f"{NAME}.tar").read_bytes() == LAYER
    assert stat.filemode(hosts.cache.stat().st_mode) == "drwx------"


def test_files_arrive_in_a_directory_of_roots_own(hosts: Hosts) -> None:
    """host1 gives them from one place, host2 takes them in another, as on two machines."""
    there = hosts.directory / "there"
    there.mkdir()
    (there / f"{NAME}.tar").write_bytes(LAYER)
    place = f"{{{{ '{there}' if inventory_hostname == 'host1' else '{hosts.work}' }}}}"
    said = hosts.play(
        "transfer/layers",
        {"_image_saved": SAVED, "_image_plan": {"source": "host1", "receivers": ["host2"]}, "_image_host_dir": place},
    )
    assert "failed=0" in said, said
    assert (hosts.work / f"{NAME}.tar").read_bytes() == LAYER
    assert stat.filemode(hosts.work.stat().st_mode) == "drwx------"
    assert stat.filemode((hosts.work / f"{NAME}.tar").stat().st_mode) == "-rw-------"


def certificate(path: Path, subject: str) -> None:
    """A CA certificate with the options that the role gives openssl."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650"]
    command = ["openssl", "req", *options, "-subj", subject, "-keyout", os.devnull, "-out", str(path)]
    subprocess.run(command, capture_output=True, check=True)


@pytest.fixture
def registry(hosts: Hosts) -> dict[str, Any]:
    """What the registry has left behind, beside what is somebody else's. Returns the variables that say where."""
    certs = hosts.directory / "certs.d"
    for folder, subject in {"192.0.2.1:5000": "ddp-swarm registry CA", "192.0.2.9:5000": "ddp-swarm registry CA",
                            "mixed:5000": "ddp-swarm registry CA", "theirs:5000": "Company CA"}.items():  # fmt: skip
        certificate(certs / folder / "ca.crt", f"/CN={subject}")
        (certs / folder / "client.key").write_text("key")
        (certs / folder / "client.cert").write_text("certificate")
    (certs / "mixed:5000" / "notes").write_text("mine")
    (certs / "unreadable:5000").mkdir()
    (certs / "unreadable:5000" / "ca.crt").write_text("no certificate")
    (hosts.directory / "etc/ddp-swarm/registry").mkdir(parents=True)
    (hosts.directory / "etc/ddp-swarm/registry/ca.key").write_text("key")
    (hosts.directory / "stack").write_text("")
    return {"_image_certs_dir": str(certs), "_image_registry_dir": str(hosts.directory / "etc/ddp-swarm/registry")}


def left(hosts: Hosts) -> set[str]:
    found = (path for name in ("certs.d", "etc") for path in (hosts.directory / name).rglob("*"))
    return {str(path.relative_to(hosts.directory)) for path in found if path.is_file()}


def test_the_registry_is_forgotten(hosts: Hosts, registry: dict[str, Any]) -> None:
    before = left(hosts)
    foretold = hosts.play("forget", registry, "--check", "--limit", "host1")
    assert "changed=3 " in foretold
    assert left(hosts) == before
    assert "stack rm" not in (hosts.directory / "calls").read_text()
    said = hosts.play("forget", registry, "--limit", "host1")
    assert "changed=3 " in said
    assert "The volume ddp-registry on host1 is kept" in said
    assert left(hosts) == {
        "certs.d/mixed:5000/notes",
        "certs.d/theirs:5000/ca.crt",
        "certs.d/theirs:5000/client.key",
        "certs.d/theirs:5000/client.cert",
        "certs.d/unreadable:5000/ca.crt",
    }
    assert not (hosts.directory / "certs.d/192.0.2.1:5000").exists()
    assert not (hosts.directory / "etc/ddp-swarm/registry").exists()
    assert not (hosts.directory / "stack").exists()
    assert "volume rm" not in (hosts.directory / "calls").read_text()
    again = hosts.play("forget", registry, "--limit", "host1")
    assert ("changed=0 " in again, "failed=0" in again) == (True, True)


def test_one_manager_removes_the_stack(hosts: Hosts, registry: dict[str, Any]) -> None:
    """Both see it here, as two managers of a swarm do."""
    assert "failed=0" in hosts.play("forget", registry)
    assert (hosts.directory / "calls").read_text().count("stack rm ddp-registry") == 1


def test_a_host_that_ran_no_registry(hosts: Hosts) -> None:
    nothing = {
        "_image_certs_dir": str(hosts.directory / "none"),
        "_image_registry_dir": str(hosts.directory / "none/x"),
    }
    hosts.program(
        "bin/docker", "#!/bin/sh\necho 'Error response from daemon: This node is not a swarm manager.' >&2\nexit 1\n"
    )
    said = hosts.play("forget", nothing)
    assert "changed=0 " in said
    assert "failed=0" in said
    assert "kept" not in said


def tag_of(directory: Path, **variables: Any) -> str:
    """The tag that the role computes, of a copy of the project's own training directory."""
    show = [{"ansible.builtin.debug": {"msg": "tag {{ image_ref }}"}}]
    done = play(
        directory,
        [*of_role("image", "reference"), *show],
        groups(),
        image_name="trainer",
        image_training_dir=str(ROOT / "training"),
        **variables,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (tag,) = set(re.findall(r"tag trainer:([0-9a-f]{12})", done.stdout))
    return str(tag)


def groups() -> dict[str, Any]:
    return {"swarm": {"hosts": {"host1": HERE}}}


def test_packages_of_the_system_are_part_of_the_tag(tmp_path: Path) -> None:
    """In whatever order; without any, it is as if there was no such setting."""
    plain = tag_of(tmp_path)
    assert tag_of(tmp_path, image_apt_packages=[]) == plain
    some = tag_of(tmp_path, image_apt_packages=["g++", "ffmpeg"])
    assert some != plain
    assert tag_of(tmp_path, image_apt_packages=["ffmpeg", "g++", "g++"]) == some
    assert tag_of(tmp_path, image_apt_packages=["ffmpeg"]) not in (some, plain)


def test_packages_that_a_dockerfile_does_not_install_are_refused(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "training_code.py").write_text("")
    given = {"image_training_dir": str(own)}

    def validated(packages: list[str]) -> subprocess.CompletedProcess[str]:
        return play(tmp_path, of_role("image", "reference"), groups(), image_apt_packages=packages, **given)

    assert validated(["g++"]).returncode == 0
    (own / "Dockerfile").write_text("FROM python\n")
    assert validated([]).returncode == 0
    done = validated(["g++"])
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert f"{own}/Dockerfile does not mention APT_PACKAGES, so image_apt_packages would not be in the image" in said
    assert f"as {ROOT}/training/Dockerfile does" in said


FINISHED = "registry.example:5000/team/trainer"
PULLS = """#!/bin/sh
echo "$*" >>{place}/calls
case "$*" in
    "image inspect --format"*) ;;
    "image inspect"*) echo '[{{"Id": "{digest}", "RepoDigests": ["{name}@{digest}"]}}]' ;;
    "pull --quiet {name}:gone") echo "Error response from daemon: manifest unknown" >&2; exit 1 ;;
    "pull --quiet {name}"* | "tag "* | "image tag"* | "load "*) ;;
    *) echo "Error: this stand-in for docker has no answer to: $*" >&2; exit 1 ;;
esac
"""


class Finished:
    """host1 and host2 without an image, whose docker is the same stand-in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        docker = directory / "bin" / "docker"
        docker.parent.mkdir()
        docker.write_text(PULLS.format(place=directory, name=FINISHED, digest=DIGEST))
        docker.chmod(0o755)
        self.path = {"PATH": f"{docker.parent}:{os.environ['PATH']}"}
        self.state: dict[str, Any] = {
            "id": "", "others": [], "digests": {}, "chains": [], "zstd": True, "surplus": [], "services": [], "engine": "26", "free_mb": 9999,
        }  # fmt: skip

    def play(self, image: str, **variables: Any) -> str:
        hosts = {host: {**HERE, "_image_state": self.state} for host in ("host1", "host2")}
        given = {
            "training_image": image,
            "_image_host_dir": f"{self.directory}/{{{{ inventory_hostname }}}}/work",
            **variables,
        }
        tasks = [
            *of_role("image", "reference", "build/finished"),
            {"ansible.builtin.debug": {"msg": "it is {{ image_ref }}"}},
        ]
        done = play(self.directory, tasks, {"swarm": {"hosts": hosts}}, environment=self.path, **given)
        self.failed = done.returncode != 0
        return " ".join(done.stdout.split()) + done.stderr

    def calls(self) -> list[str]:
        """What changes something, sorted."""
        file = self.directory / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return sorted(line for line in lines if not line.startswith("image inspect"))


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    return Finished(tmp_path)


def names_of(image: str) -> list[str]:
    tag = hashlib.sha256(image.encode()).hexdigest()[:12]
    return [f"image tag {image} my-ddp-trainer:{tag}", f"image tag {image} my-ddp-trainer:latest"]


def test_an_image_that_exists_is_pulled_by_one_digest(finished: Finished) -> None:
    """What the first host gets by the tag, each takes by its digest; no directory is read, and its name is that of no registry."""
    image = f"{FINISHED}:1"
    said = finished.play(image, image_training_dir="/nowhere")
    assert not finished.failed, said
    by_digest = [f"pull --quiet {FINISHED}@{DIGEST}", f"tag {FINISHED}@{DIGEST} {image}"]
    assert finished.calls() == sorted([f"pull --quiet {image}", *2 * [*by_digest, *names_of(image)]])
    assert f"it is {names_of(image)[0].split()[-1]}" in said


def test_an_image_with_a_digest_is_pulled_by_it(finished: Finished) -> None:
    image = f"{FINISHED}@{DIGEST}"
    assert "failed=0" in finished.play(f"{FINISHED}:1@{DIGEST}")
    assert finished.calls() == sorted(2 * [f"pull --quiet {image}", *names_of(image)])


def test_an_image_that_a_host_has_is_not_pulled(finished: Finished) -> None:
    finished.state["others"] = [f"{FINISHED}:1"]
    assert "failed=0" in finished.play(f"{FINISHED}:1")
    assert finished.calls() == sorted(2 * names_of(f"{FINISHED}:1"))


def test_an_image_comes_from_an_archive(finished: Finished) -> None:
    image, archive = f"{FINISHED}:1", finished.directory / "trainer.tar"
    archive.write_text("an archive")
    said = finished.play(image, training_image_archive=str(archive), image_base_archive="/nowhere/base.tar")
    assert not finished.failed, said
    loads = [f"load --quiet --input {finished.directory}/{host}/work/trainer.tar" for host in ("host1", "host2")]
    assert finished.calls() == sorted([*loads, *2 * names_of(image)])
    assert not list(finished.directory.glob("host*/work"))


def test_an_image_that_no_registry_has(finished: Finished) -> None:
    said = finished.play(f"{FINISHED}:gone")
    assert finished.failed
    assert f"host1 has no {FINISHED}:gone (training_image)" in said
    assert "manifest unknown" in said
    assert "With image_distribution=ship one host is enough" in said


def test_what_an_image_that_exists_cannot_have(finished: Finished) -> None:
    said = finished.play(f"{FINISHED}:1", image_apt_packages=["g++"])
    assert finished.failed
    assert f"or build on that image with image_base={FINISHED}:1" in said
    assert finished.calls() == []
