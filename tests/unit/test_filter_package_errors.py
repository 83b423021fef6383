"""What is said of a failed installation. The complaints are as apt 2.6, dpkg 1.21 and Ansible's module of dnf make them."""

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.package_errors import FilterModule, packages_problem
from package_complaints import FULL, HELD, HELD_OUT, LOCK, SIGNATURE, UNLOCATED, UNREACHED


@pytest.mark.parametrize(
    ("result", "words", "cure"),
    [
        (
            {"stdout": HELD_OUT, "stderr": HELD},
            "docker.io : Depends: containerd (>= 1.6) but 1.4 is to be installed Depends: runc but it is not installable E: Unable to correct",
            "Release there what is held or excluded, if anything is ('apt-mark showhold'",
        ),
        (
            {"stderr": LOCK},
            "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr) E: Unable to acquire",
            "Another program installs packages there: wait until it is done",
        ),
        (
            {"stderr": FULL},
            "cannot copy extracted data for './usr/sbin/dockerd': failed to write (No space left on device) E: Sub-process",
            "Make room on its disk",
        ),
        ({"stderr": UNREACHED + UNLOCATED}, "connect (113: No route to host) W: Some index files", "Make its mirrors reachable"),
        ({"stderr": SIGNATURE}, "BADSIG 7EA0A9C3F273FCD8 E: The repository", "Install the repository's right key"),
        ({"stderr": "dpkg: error: dpkg frontend lock was locked by another process with pid 812\n"}, "pid 812", "Another program"),
        ({"stderr": "sh: 1: apt-get: not found"}, "sh: 1: apt-get: not found", "Correct that there"),
        (
            {"msg": "Failed to lock apt for exclusive operation: E:Could not get lock /var/lib/dpkg/lock. It is held by process 9 (apt)"},
            "held by process 9 (apt)",
            "Another program",
        ),
        (
            {"msg": "Failed to download metadata for repo 'docker': Cannot download repomd.xml: All mirrors were tried", "results": []},
            "repo 'docker': Cannot download repomd.xml",
            "Make its mirrors reachable",
        ),
        (
            {"msg": "Depsolve Error occurred: \n Problem: package docker-ce conflicts with podman"},
            "occurred: Problem: package",
            "Remove podman and buildah",
        ),
        (
            {"msg": "Failed to install some of the specified packages", "failures": ["All matches were filtered out by exclude filtering for argument: docker-ce"]},
            "packages All matches were filtered out",
            "Release there what is held",
        ),
        ({"msg": "Failed to validate GPG signature for docker-ce: Public key is not installed"}, "docker-ce: Public", "Install the repository's"),
        ({"msg": "At least 87MB more space needed on the / filesystem."}, "on the / filesystem", "Make room"),
        ({"stderr": "E: Could not connect to http://me:S3CR3T@proxy:3128", "msg": ""}, "@proxy:3128", "Make its mirrors"),
        ({}, "it says nothing", "Correct that there"),
    ],
)  # fmt: skip
def test_what_is_said(result: dict[str, Any], words: str, cure: str) -> None:
    said = packages_problem(result, "The engine", "host1")
    assert said.startswith("The engine could not be installed on host1: ")
    assert words in said
    assert f". {cure}" in said
    assert said.endswith(", and run this again.")
    assert not {"\n", "\r"} & set(said)
    assert "S3CR3T" not in said and "N: Be aware" not in said and "299s" not in said


def test_names() -> None:
    assert set(FilterModule().filters()) == {"packages_problem"}
