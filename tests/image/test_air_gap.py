"""From bare hosts to a finished training where nothing outside can be reached."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from labs import Lab

PACKAGES = {
    "host1": ("trixie", "docker.io docker-cli zstd"),
    "host2": ("bookworm", "docker.io zstd"),
}
# The last address of a network, whose size is Docker's choice.
NOBODY = "python3 -c 'import ipaddress; print(ipaddress.ip_interface(input().split()[3]).network[-2])'"


@pytest.fixture(scope="module")
def gap() -> Iterator[Lab]:
    """Two hosts whose default route leads to an address that nobody has, and the packages that they had fetched before."""
    lab = Lab("air-gap", lab_releases={"host2": "bookworm"})
    with lab.running() as running:
        for host, (release, packages) in PACKAGES.items():
            folder = lab.directory / "packages" / release
            folder.mkdir(parents=True, exist_ok=True)
            fetch = f"apt-get update -qq && apt-get install -qq --download-only --no-install-recommends {packages}"
            running.on(
                host,
                "sh",
                "-c",
                f"{fetch} && rm -rf /root/debs && mkdir /root/debs && mv /var/cache/apt/archives/*.deb /root/debs",
                timeout=300,
            )
            subprocess.run(
                ["docker", "cp", f"{lab.name}-{host}:/root/debs/.", str(folder)], check=True, capture_output=True
            )
            running.on(
                host,
                "sh",
                "-c",
                f"rm -rf /root/debs; ip route replace default via $(ip -o -4 addr show dev eth0 | {NOBODY})",
            )
            reached = running.on(
                host,
                "sh",
                "-c",
                "timeout 60 apt-get update -o Acquire::Retries=0 2>&1 | grep -E '^(Err|Hit|Get)'",
                check=False,
            )
            assert "Err" in reached and "Hit" not in reached and "Get" not in reached
        yield running


def test_a_folder_without_packages(gap: Lab, tmp_path: Path) -> None:
    run = gap.play("playbooks/docker.yml", docker_packages_dir=str(tmp_path))
    assert run.rc != 0
    assert "no .deb file is in that folder on this machine" in run.failure()


def test_a_package_that_lacks_another(gap: Lab, tmp_path: Path) -> None:
    for package in (gap.directory / "packages" / "bookworm").glob("docker.io_*.deb"):
        (tmp_path / package.name).write_bytes(package.read_bytes())
    run = gap.play("playbooks/docker.yml", limit="host2", docker_packages_dir=str(tmp_path))
    assert "The engine could not be installed on host2 from" in run.failure()
    assert "docker.io depends on" in run.failure()


def test_from_nothing_to_a_finished_training(gap: Lab) -> None:
    releases = {host: release for host, (release, _) in PACKAGES.items()}
    given = {"docker_packages_dir": f"{gap.directory}/packages/{{{{ {releases}[inventory_hostname] }}}}"}
    check = gap.play("playbooks/docker.yml", options="--check", **given)
    assert check.rc == 0, check.stdout[-4000:]
    assert gap.on("host1", "sh", "-c", "command -v dockerd || true") == ""
    assert "would be installed on host1, from" in check.stdout
    run = gap.play("site.yml", training_wait_for="complete", **given)
    assert run.rc == 0, run.stdout[-4000:]
    assert "weights are identical on all 2 ranks" in (gap.artifacts / "node0.log").read_text()
    again = gap.play("site.yml", training_wait_for="complete", **given)
    assert (again.rc, again.changed()) == (0, [])
