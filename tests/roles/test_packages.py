"""Packages that cannot be installed. The roles run on this machine; apt-get and dpkg are stand-ins that fail as the real ones do, and the
module of dnf fails since this machine has no dnf."""

import os
from pathlib import Path
from typing import Any

import pytest
from package_complaints import FULL, HELD, HELD_OUT, LISTS, LOCK, SIGNATURE, UNLOCATED, UNREACHED
from plays import HERE, play, stand_in

# By the host: what apt-get writes when it updates its lists and when it installs, what dpkg --audit finds and dpkg --configure complains of.
FAILURES = {
    "held": {"install.out": HELD_OUT, "install": HELD},
    "route": {"update": UNREACHED, "install": UNLOCATED},
    "signature": {"update": SIGNATURE},
    "full": {"install": FULL, "audit.out": "docker.io"},
    "lock": {"install": LOCK},
    "lists": {"update": LISTS},
    "meanwhile": {
        "install": LOCK,
        "audit.out": "docker.io",
        "configure": "dpkg: error: dpkg frontend lock was locked by another process with pid 812\n",
    },
}
APT = """step=$1; [ $step = --audit ] && step=audit; [ $step = --configure ] && step=configure
echo "$HOST $step $*" >>{place}/calls
cat {place}/$HOST.$step.out 2>/dev/null
cat {place}/$HOST.$step >&2 2>/dev/null || exit 0
! grep -q -e '^E: ' -e '^dpkg: ' {place}/$HOST.$step || exit 100"""


def installing(role: str, tasks_from: str, **variables: Any) -> list[Any]:
    return [
        {
            "ansible.builtin.import_role": {"name": role, "tasks_from": tasks_from},
            "vars": {"_docker_packages": ["docker.io"], **variables},
            "environment": {"HOST": "{{ inventory_hostname }}"},
        }
    ]


def test_what_apt_says_is_said_with_the_host_and_what_to_do(tmp_path: Path, stand_ins: Path) -> None:
    for name in ("apt-get", "dpkg"):
        stand_in(stand_ins, name, APT.replace("{place}", str(tmp_path)))
    for host, said in FAILURES.items():
        for step, text in said.items():
            (tmp_path / f"{host}.{step}").write_text(text)
    inventory = {"all": {"hosts": dict.fromkeys(FAILURES, HERE)}}
    done = play(tmp_path, installing("docker", "debian/packages"), inventory, _docker_lock_seconds=10)
    said = " ".join(done.stdout.split())
    for host, words, cure in (
        ("held", "docker.io : Depends: containerd (>= 1.6)", "Release there what is held"),
        ("route", "W: Failed to fetch http://deb.debian.org", "Make its mirrors reachable"),
        ("signature", "W: GPG error: https://mirror", "Install the repository's right key"),
        ("full", "dpkg: error processing archive", "Make room on its disk"),
        ("lock", "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)", "Another program"),
        ("lists", "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 812 (apt-get)", "Another program"),
        ("meanwhile", "dpkg: error: dpkg frontend lock was locked by another process with pid 812", "Another program"),
    ):  # fmt: skip
        sentence = said.partition(f"docker.io could not be installed on {host}: ")[2].partition(
            ", and run this again."
        )[0]
        assert sentence.startswith(words), done.stdout
        assert f". {cure}" in sentence
    calls = (tmp_path / "calls").read_text().splitlines()
    tries = {host: sum(line.startswith(f"{host} update") for line in calls) for host in FAILURES}
    # What was interrupted is finished and tried again; for dpkg's lock apt-get waits by itself, for the lists' it is called again.
    assert tries == {**dict.fromkeys(FAILURES, 1), "full": 2, "lists": 2}
    assert any(line.startswith("lock install") and "DPkg::Lock::Timeout=10" in line for line in calls)


@pytest.mark.parametrize("held", [True, False])
def test_what_dnf_says(held: bool, tmp_path: Path) -> None:
    (tmp_path / "a_lock.pid").write_text(f"{os.getpid() if held else 2**31}\n")
    host = {"distribution": {"id": "rocky", "family": "redhat"}}
    variables = {
        "docker_host_info": host,
        "_docker_dnf_by_proxy": False,
        "_docker_dnf_locks": [f"{tmp_path}/*_lock.pid"],
    }
    done = play(tmp_path, installing("docker", "redhat/packages", **variables), _docker_lock_seconds=0, **variables)
    said = " ".join(done.stdout.split())
    words = f"a_lock.pid is held by process {os.getpid()} (" if held else "Could not import the dnf python module"
    assert words in said.partition("docker.io could not be installed on host1: ")[2], done.stdout


def test_what_dnf_says_of_an_upgrade(tmp_path: Path, stand_ins: Path) -> None:
    stand_in(
        stand_ins, "dnf", "echo 'Error: Failed to download metadata for repo docker: No URLs in mirrorlist' >&2; exit 1"
    )
    plan = {"_docker_plan": {"upgrade": ["docker-ce"]}, "_docker_dnf_conf": "/etc/dnf/dnf.conf"}
    tasks = [{"ansible.builtin.import_role": {"name": "docker", "tasks_from": "redhat/upgradable"}}]
    said = " ".join(play(tmp_path, tasks, **plan).stdout.split())
    assert (
        "Newer docker-ce could not be installed on host1: Error: Failed to download metadata for repo docker: No URLs in mirrorlist. Make its "
        "mirrors reachable (network, name server, or docker_proxy), and run this again." in said
    )
