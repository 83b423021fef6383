"""A host whose only way out is an HTTP proxy that asks for a password: nobody but root gets to see that."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network

import pytest
import yaml
from labs import Lab
from shell_image import import_shell
from stacks import Manager
from tinyproxy import SECRET, address_of, run_tinyproxy

# Each command line that is seen on the host meanwhile.
WATCH = "while [ -e /root/watching ]; do cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' >>/root/command-lines; sleep 0.05; done"


@pytest.fixture(scope="module")
def proxy(lab: Lab) -> Iterator[str]:
    """On host1. host2 has no route to anybody else."""
    run_tinyproxy(lab, "host1", "ConnectPort 443")
    address = lab.on("host1", "docker", "info", "--format", "{{.Swarm.NodeAddr}}").strip()
    route = lab.on("host2", "ip", "route", "show", "default").strip()
    # BuildKit, as the command that many have.
    lab.on(
        "host2",
        "sh",
        "-c",
        "apt-get update -qq && apt-get install -qq -y --no-install-recommends docker-buildx",
        timeout=300,
    )
    lab.on("host2", "ip", "route", "del", "default")
    yield address_of(address)
    lab.on("host2", "ip", "route", "replace", *route.split())
    assert lab.play("playbooks/docker.yml", limit="host2").rc == 0
    lab.on("host1", "apt-get", "purge", "-qq", "-y", "tinyproxy")


@contextmanager
def watched(lab: Lab) -> Iterator[list[str]]:
    """All command lines that are seen on host2 meanwhile; afterwards they are in the list."""
    lines: list[str] = []
    lab.on("host2", "sh", "-c", "rm -f /root/command-lines; touch /root/watching")
    watch = subprocess.Popen(["docker", "exec", f"{lab.name}-host2", "sh", "-c", WATCH])
    try:
        yield lines
    finally:
        lab.on("host2", "rm", "-f", "/root/watching")
        watch.wait(timeout=60)
    lines += lab.on("host2", "cat", "/root/command-lines").splitlines()


def test_packages_and_the_engine_take_it_and_nobody_sees_its_password(lab: Lab, proxy: str) -> None:
    lab.on("host2", "dpkg", "--purge", "zstd")
    lab.on("host2", "sh", "-c", "rm -rf /var/lib/apt/lists/*")
    with watched(lab) as lines:
        run = lab.play(
            "playbooks/docker.yml",
            limit="host2",
            options="-vvv --diff",
            docker_source="distribution",
            docker_proxy={"http": proxy},
        )
    assert run.rc == 0, run.failure()
    assert "ok installed" in lab.on("host2", "dpkg-query", "--show", "--showformat=${Status}", "zstd")
    assert SECRET not in run.stdout
    assert "apt-get" in lines
    assert SECRET not in str(lines)
    # What every user of the host may read.
    everybody = "cd / && systemctl show docker; docker info 2>&1; journalctl --no-pager 2>/dev/null; cat /etc/ddp-swarm/* /etc/systemd/system/docker.service.d/* /etc/docker/*"
    lab.on("host2", "usermod", "--append", "--groups", "docker,systemd-journal", "nobody")
    try:
        shown = lab.on(
            "host2",
            "setpriv",
            "--reuid=nobody",
            "--regid=nogroup",
            "--init-groups",
            "sh",
            "-c",
            f"{everybody} 2>/dev/null",
            check=False,
        )
    finally:
        lab.on("host2", "gpasswd", "--delete", "nobody", "docker")
        lab.on("host2", "gpasswd", "--delete", "nobody", "systemd-journal")
    assert "EnvironmentFile=-/etc/ddp-swarm/proxy.env" in shown
    assert SECRET not in shown
    assert "3128" in lab.on("host2", "docker", "info", "--format", "{{.HTTPProxy}}")
    again = lab.play("playbooks/docker.yml", limit="host2", docker_source="distribution", docker_proxy={"http": proxy})
    assert (again.rc, again.changed()) == (0, []), again.failure()


@pytest.mark.parametrize("builder", ["classic", "buildkit"])
def test_a_build_takes_it_and_no_image_keeps_it(lab: Lab, proxy: str, builder: str) -> None:
    import_shell(lab, "host2", "shell:1")
    dockerfile = 'FROM shell:1\nRUN [ -n "$HTTP_PROXY" ] && [ "$https_proxy" = "$HTTP_PROXY" ] && echo built >/built\n'
    lab.on(
        "host2",
        "sh",
        "-c",
        f"mkdir -p /root/context && cat >/root/context/Dockerfile <<'END'\n{dockerfile}END\ntar -C /root/context -cf /root/context.tar .",
    )
    arguments = {name: proxy for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")}
    with watched(lab) as lines:
        built = Manager(lab, "host2").results(
            "ansible", "host2", "--become", "-m", "ddp.swarm.image_build",
            "-a", json.dumps({"tags": ["behind:1"], "context": "/root/context.tar", "builder": builder, "args": arguments}),
        )[0]  # fmt: skip
    assert built.get("changed"), built
    # BuildKit's client has the word buildx in its command line.
    assert ("buildx" in str(lines)) is (builder == "buildkit")
    assert SECRET not in str(lines)
    assert SECRET not in lab.on("host2", "journalctl", "--no-pager")
    shown = lab.on("host2", "sh", "-c", "docker history --no-trunc behind:1; docker image inspect behind:1")
    assert "behind:1" in shown
    assert SECRET not in shown
    saved = f"docker save behind:1 >/root/saved && grep --text --count {SECRET} /root/saved; rm /root/saved"
    assert lab.on("host2", "sh", "-c", saved, check=False).strip() == "0"
    lab.on("host2", "docker", "image", "rm", "behind:1")


def test_a_host_that_is_added_restarts_no_engine(lab: Lab, proxy: str) -> None:
    """It is in a network of the others, which their engines reach without the proxy."""
    content = yaml.safe_load(lab.inventory.read_text())
    groups = content["all"]["children"]["swarm"]["children"]
    beside = groups["workers"]["hosts"]["host2"]["ansible_host"].rpartition(".")[0] + ".250"
    groups["workers"]["hosts"]["host3"] = {"ansible_host": beside}
    (lab.directory / "three.yml").write_text(yaml.safe_dump(content))
    run = lab.play(
        "playbooks/docker.yml", inventory=str(lab.directory / "three.yml"), limit="host2", docker_proxy={"http": proxy}
    )
    assert (run.rc, run.changed()) == (0, []), run.failure()
    said = lab.on("host2", "docker", "info", "--format", "{{.NoProxy}}")
    assert any(ip_address(beside) in ip_network(one) for one in said.strip().split(",") if "/" in one), said


def test_it_is_given_up_again(lab: Lab, proxy: str) -> None:
    run = lab.play("playbooks/docker.yml", limit="host2")
    assert run.rc == 0, run.failure()
    assert lab.on("host2", "docker", "info", "--format", "{{.HTTPProxy}}").strip() == ""
    assert lab.on("host2", "sh", "-c", "cat /etc/ddp-swarm/*") == ""
    assert lab.play("playbooks/docker.yml", limit="host2").changed() == []


def test_what_is_no_proxy(lab: Lab) -> None:
    run = lab.play("playbooks/docker.yml", limit="host2", docker_proxy={"http": f"{SECRET}:3128"})
    assert run.rc != 0
    assert "docker_proxy.http is no address such as http://proxy.example:3128 on host2." in run.failure()
    assert SECRET not in run.stdout
