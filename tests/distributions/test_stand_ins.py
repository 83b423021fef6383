"""Hosts that stand in for Ubuntu 24.04 and Rocky Linux 9: what they say of themselves is those', what they run is Debian's.

host1 takes docker.io from its distribution, as on Ubuntu, by apt. host2 takes docker-ce from Docker's repository by dnf, of which a repository
that the test makes is the stand-in: signed, with packages of the same names, which hold Debian's files. What cannot be seen here: the real
distributions' dependencies, SELinux, their kernels and their firewalls.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labs import Lab, Run, good
from presented import present_rocky, present_ubuntu
from tinyproxy import SECRET, address_of, run_tinyproxy

GPU_STAND_INS = Path(__file__).parents[1] / "gpu_stand_in"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """host1 is Debian 12 for its docker.io, which has the docker command in it, as Ubuntu's has."""
    with Lab("distributions", lab_releases={"host1": "bookworm"}).running() as lab:
        present_ubuntu(lab, "host1")
        present_rocky(lab, "host2")
        yield lab


def play(lab: Lab, playbook: str, options: str = "", **variables: Any) -> Run:
    fingerprint = lab.on("host2", "cat", "/srv/docker/centos/fingerprint").strip()
    return lab.play(
        playbook,
        options=options,
        **{"docker_apt_repository": "file:///srv/docker", "docker_rpm_key_fingerprint": fingerprint, **variables},
    )


def test_check_mode_on_bare_hosts_tells_what_would_be_installed(lab: Lab) -> None:
    run = good(play(lab, "playbooks/docker.yml", "--check --diff"))
    assert (
        "docker.io, containerd, runc, zstd would be installed on host1" in run.said()
        or "host1: Install the engine's packages" in str(run.changed())
    )
    assert (
        "docker-ce, docker-ce-cli, containerd.io, docker-buildx-plugin, zstd would be installed on host2" in run.said()
    )
    for host in lab.hosts:
        assert lab.on(host, "sh", "-c", "command -v docker", check=False) == ""


def test_another_key_than_dockers_is_refused(lab: Lab) -> None:
    run = play(lab, "playbooks/docker.yml", docker_rpm_key_fingerprint="060A61C51B558A7F742B77AAC52FEB6B621E9F35")
    assert run.rc != 0
    assert "host2 must not trust file:///srv/docker/centos/gpg: its fingerprint is " in run.said().replace("''", "'")
    assert "docker_rpm_key_fingerprint" in run.said()
    assert (
        lab.on("host2", "sh", "-c", "ls /etc/pki/rpm-gpg /etc/yum.repos.d | grep -c docker", check=False).strip() == "0"
    )


def test_the_distribution_of_rocky_has_no_engine(lab: Lab) -> None:
    run = lab.play("playbooks/docker.yml", limit="host2", docker_source="distribution")
    assert (
        "host2 runs Rocky Linux 9.6 (Blue Onyx), which has no Docker engine of its own: say docker_source=docker"
        in run.failure()
    )


def test_from_bare_hosts_to_a_finished_training(lab: Lab) -> None:
    good(play(lab, "site.yml", training_wait_for="complete"))
    log = (lab.artifacts / "node0.log").read_text()
    assert "weights are identical on all 2 ranks" in log
    assert lab.on("host2", "rpm", "--query", "docker-ce").startswith("docker-ce-26.1.5-1.el9")
    assert "docker.io" in lab.on("host1", "dpkg-query", "--show", "docker.io")
    # In rpm's store is the key that was checked, and no other.
    assert lab.on("host2", "sh", "-c", "rpm --query gpg-pubkey | wc -l").strip() == "1"
    again = good(play(lab, "site.yml", training_wait_for="complete"))
    assert again.changed() == []


def test_an_engine_that_is_there_is_kept_whoever_installed_it(lab: Lab) -> None:
    """Nothing is said of a repository, as if somebody had followed Docker's own guide."""
    assert good(lab.play("playbooks/docker.yml")).changed() == []


def test_a_missing_package_is_installed_and_nothing_else(lab: Lab) -> None:
    lab.on("host2", "dnf", "--assumeyes", "--quiet", "remove", "zstd")
    run = good(play(lab, "playbooks/docker.yml", docker_source="docker", docker_version="", options="--limit host2"))
    assert run.changed() == ["host2: Install the engine's packages"]
    assert lab.on("host2", "rpm", "--query", "zstd").startswith("zstd-26.1.5")


def test_packages_from_the_controller(lab: Lab, tmp_path: Path) -> None:
    """For a host that reaches no repository."""
    lab.on(
        "host2",
        "sh",
        "-c",
        "dnf --assumeyes --quiet remove docker-buildx-plugin; mv /etc/yum.repos.d/docker.repo /root/",
    )
    for name in ("docker-buildx-plugin",):
        with (tmp_path / f"{name}.rpm").open("wb") as file:
            file.write(lab.read("host2", f"/srv/docker/centos/9/x86_64/stable/{name}-26.1.5-1.el9.x86_64.rpm"))
    run = good(
        lab.play("playbooks/docker.yml", limit="host2", docker_source="docker", docker_packages_dir=str(tmp_path))
    )
    assert "host2: Install the packages" in run.changed()
    assert lab.on("host2", "rpm", "--query", "docker-buildx-plugin").startswith("docker-buildx-plugin-26.1.5")
    lab.on("host2", "mv", "/root/docker.repo", "/etc/yum.repos.d/")


def test_an_upgrade_asks_dnf(lab: Lab) -> None:
    run = good(play(lab, "playbooks/upgrade.yml", options="--limit host2"))
    assert "host2 has the newest engine that its repositories offer." in run.said()


def test_the_engine_is_held_and_no_longer(lab: Lab) -> None:
    def held() -> list[str]:
        return lab.on("host2", "sh", "-c", "grep ^docker-ce- /etc/dnf/plugins/versionlock.list || true").split()

    run = good(play(lab, "playbooks/docker.yml", "--limit host2", docker_hold=True))
    assert run.changed() == ["host2: Install packages", "host2: Hold the engine at its version, or no longer"]
    assert [line for line in held() if line.startswith("docker-ce-0:26.1.5-1.el9")] == held() != []
    assert good(play(lab, "playbooks/docker.yml", "--limit host2", docker_hold=True)).changed() == []
    # As it is, whoever held it, where nothing is said.
    assert good(play(lab, "playbooks/docker.yml", "--limit host2")).changed() == []
    good(play(lab, "playbooks/upgrade.yml", options="--limit host2"))
    assert held() != []
    run = good(play(lab, "playbooks/docker.yml", "--limit host2", docker_hold=False))
    assert run.changed() == ["host2: Hold the engine at its version, or no longer"]
    assert held() == []


@pytest.fixture
def gpus(lab: Lab) -> Iterator[list[str]]:
    """Two invented ones on host2. Afterwards it has none, and offers none."""
    found = ["GPU-20000000-1111-2222-3333-444444444444", "GPU-20000001-1111-2222-3333-444444444444"]
    put(lab, "/usr/local/bin/nvidia-smi", (GPU_STAND_INS / "nvidia-smi-stand-in").read_text())
    put(
        lab,
        "/etc/nvidia-smi-stand-in/gpus",
        "".join(f"GPU {n}: Invented (UUID: {uuid})\n" for n, uuid in enumerate(found)),
    )
    put(lab, "/etc/nvidia-smi-stand-in/driver", "580.95.05\n" * 2)
    put(lab, "/root/runtime", (GPU_STAND_INS / "nvidia-container-runtime-stand-in").read_text())
    put(lab, "/root/make-toolkit-rpm.sh", (Path(__file__).parent / "make-toolkit-rpm.sh").read_text())
    lab.on(
        "host2",
        "sh",
        "-c",
        "chmod 0755 /usr/local/bin/nvidia-smi; sh /root/make-toolkit-rpm.sh /root/runtime /srv/nvidia",
    )
    yield found
    good(play(lab, "playbooks/docker.yml", "--limit host2", docker_gpu=False, docker_restart_during_training=True))
    lab.on("host2", "rm", "-r", "/usr/local/bin/nvidia-smi", "/etc/nvidia-smi-stand-in")


def put(lab: Lab, path: str, text: str) -> None:
    argv = ["docker", "exec", "--interactive", f"{lab.name}-host2", "sh", "-c", 'mkdir -p "${0%/*}" && cat >"$0"', path]
    subprocess.run(argv, input=text, text=True, check=True, timeout=60)


def test_the_container_toolkit_comes_by_dnf(lab: Lab, gpus: list[str]) -> None:
    """Of NVIDIA's repository, the list is signed and the packages are not: dnf has to check the list, by the key that was checked."""
    nvidia = {"docker_gpu_apt_repository": "file:///srv/nvidia", "docker_restart_during_training": True}
    run = play(lab, "playbooks/docker.yml", "--limit host2", **nvidia)
    assert "host2 must not trust file:///srv/nvidia/gpgkey: its fingerprint is " in run.failure()
    nvidia["docker_gpu_apt_key_fingerprint"] = lab.on("host2", "cat", "/srv/docker/centos/fingerprint").strip()
    good(play(lab, "playbooks/docker.yml", "--limit host2", **nvidia))
    assert lab.on("host2", "rpm", "--query", "nvidia-container-toolkit").startswith("nvidia-container-toolkit-1.19.0-1")
    said = lab.on("host2", "cat", "/etc/yum.repos.d/nvidia-container-toolkit.repo").replace(" ", "")
    assert "repo_gpgcheck=1" in said
    settings = json.loads(lab.on("host2", "cat", "/etc/docker/daemon.json"))
    assert settings["node-generic-resources"] == [f"NVIDIA-GPU={uuid}" for uuid in gpus]
    assert lab.on("host2", "docker", "info", "--format", "{{.DefaultRuntime}}").strip() == "nvidia"
    assert 'swarm-resource = "DOCKER_RESOURCE_NVIDIA-GPU"' in lab.on(
        "host2", "cat", "/etc/nvidia-container-runtime/config.toml"
    )
    assert good(play(lab, "playbooks/docker.yml", "--limit host2", **nvidia)).changed() == []


@pytest.fixture
def proxy(lab: Lab) -> Iterator[str]:
    """tinyproxy on host1, which also serves host2's packages, under a name that is not the inventory's."""
    address = lab.on("host1", "hostname", "--ip-address").split()[0]
    run_tinyproxy(lab, "host1", 'LogFile "/var/log/site-proxy"', "LogLevel Connect")
    lab.on("host1", "mkdir", "-p", "/srv/site")
    archive = subprocess.run(
        ["docker", "cp", f"{lab.name}-host2:/srv/docker/baseos", "-"], capture_output=True, check=True, timeout=60
    ).stdout
    subprocess.run(["docker", "cp", "-", f"{lab.name}-host1:/srv/site"], input=archive, check=True, timeout=60)
    lab.on("host1", "systemd-run", "--unit=site", "python3", "-m", "http.server", "--directory", "/srv/site", "8000")
    for host in lab.hosts:
        lab.on(host, "sh", "-c", f"cp /etc/hosts /root/hosts; echo {address} packages.site.example >>/etc/hosts")
    lab.on("host2", "sh", "-c", "cp /etc/yum.repos.d/baseos.repo /root/; cp /etc/dnf/dnf.conf /root/")
    lab.on(
        "host2",
        "sed",
        "-i",
        "s,^baseurl=.*,baseurl=http://packages.site.example:8000/baseos,",
        "/etc/yum.repos.d/baseos.repo",
    )
    lab.on(
        "host2",
        "sh",
        "-c",
        "printf '[main]\ngpgcheck=1\nproxy=http://127.0.0.1:9\nmax_parallel_downloads=7\n' >/etc/dnf/dnf.conf",
    )
    yield address_of(address)
    lab.on("host2", "sh", "-c", "cp /root/baseos.repo /etc/yum.repos.d/; cp /root/dnf.conf /etc/dnf/")
    for host in lab.hosts:
        lab.on(host, "sh", "-c", "cat /root/hosts >/etc/hosts")
    lab.on("host1", "systemctl", "stop", "site", "tinyproxy")


def test_dnf_takes_the_proxy_with_its_exceptions_and_the_hosts_own_settings(lab: Lab, proxy: str) -> None:
    def install(**settings: str) -> tuple[Run, int]:
        """The run, and how often the proxy was asked for the packages' host."""
        lab.on("host2", "sh", "-c", "dnf --assumeyes --quiet --disablerepo='*' remove zstd; dnf clean all")
        lab.on("host1", "sh", "-c", ": >/var/log/site-proxy")
        run = play(
            lab, "playbooks/docker.yml", "--limit host2 -vvv --diff", docker_source="docker",
            docker_proxy={"http": proxy, **settings}, docker_restart_during_training=True,
        )  # fmt: skip
        return good(run), lab.on("host1", "cat", "/var/log/site-proxy").count("packages.site.example")

    run, asked = install()
    assert asked > 0
    assert lab.on("host2", "rpm", "--query", "zstd").startswith("zstd-26.1.5")
    assert SECRET not in run.stdout
    merged = lab.on("host2", "cat", "/etc/ddp-swarm/dnf.conf")
    assert "max_parallel_downloads=7" in merged
    assert "127.0.0.1:9" not in merged
    assert lab.on("host2", "sh", "-c", "stat --format=%a /etc/ddp-swarm/* | sort -u").split() == ["600"]
    started = lab.on("host2", "systemctl", "show", "docker", "--property=ActiveEnterTimestamp")
    run, asked = install(no_proxy=".site.example")
    assert asked == 0
    assert lab.on("host2", "rpm", "--query", "zstd").startswith("zstd-26.1.5")
    assert lab.on("host2", "systemctl", "show", "docker", "--property=ActiveEnterTimestamp") != started
    # Without it, nothing of it stays.
    good(play(lab, "playbooks/docker.yml", "--limit host2", docker_restart_during_training=True))
    assert lab.on("host2", "sh", "-c", "cat /etc/ddp-swarm/*") == ""


def test_teardown(lab: Lab) -> None:
    good(play(lab, "playbooks/teardown.yml"))
    for host in lab.hosts:
        assert lab.on(host, "docker", "info", "--format", "{{.Swarm.LocalNodeState}}").strip() == "inactive"
