"""Networks and ways in as people have them."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import job
import pytest
import yaml
from labs import Lab
from shell_image import import_shell


def address(lab: Lab, host: str) -> str:
    return lab.on(host, "docker", "info", "--format", "{{.Swarm.NodeAddr}}").strip()


def leave(lab: Lab, host: str) -> None:
    lab.on(host, "docker", "swarm", "leave", "--force")


def test_row_15_a_host_without_a_default_route(lab: Lab) -> None:
    was = address(lab, "host2")
    route = lab.on("host2", "ip", "route", "show", "default").strip()
    lab.on("host2", "ip", "route", "del", "default")
    try:
        run = lab.play("playbooks/swarm.yml")
        assert (run.rc, run.changed()) == (0, []), run.failure()
        leave(lab, "host2")
        run = lab.play("playbooks/swarm.yml")
        assert run.rc == 0, run.failure()
        assert f"It takes part by {was} on eth0, in the network that all hosts share." in run.said()
        assert address(lab, "host2") == was
        # And with the variable, as an interface.
        leave(lab, "host2")
        run = lab.play("playbooks/swarm.yml", swarm_advertise_addr="eth0")
        assert run.rc == 0, run.failure()
        assert address(lab, "host2") == was
    finally:
        lab.on("host2", "ip", "route", "add", *route.split())


def test_an_interface_that_a_host_has_not(lab: Lab) -> None:
    for playbook in ("site.yml", "playbooks/swarm.yml"):
        run = lab.play(playbook, swarm_advertise_addr="ib7")
        assert run.rc != 0
        assert (
            "has no interface 'ib7', which swarm_advertise_addr names, and that is no address: it has " in run.failure()
        )
        assert run.changed() == []


def test_hosts_whose_default_routes_have_the_same_address(lab: Lab) -> None:
    """Vagrant's machines have it so: each has a network of its own to the outside, and all have the same address in it."""
    routes = {host: lab.on(host, "ip", "route", "show", "default").strip() for host in lab.hosts}
    was = {host: address(lab, host) for host in lab.hosts}
    for host in lab.hosts:
        lab.on(
            host,
            "sh",
            "-c",
            "ip link add nat0 type bridge && ip address add 10.0.2.15/24 dev nat0 && ip link set nat0 up",
        )
        lab.on(host, "sh", "-c", "ip route del default && ip route add default via 10.0.2.2 dev nat0")
    leave(lab, "host2")
    try:
        run = lab.play("playbooks/swarm.yml")
        assert run.rc == 0, run.failure()
        said = f"It takes part by {was['host2']} on eth0, in the network that all hosts share, though its default route goes by 10.0.2.15."
        assert said in run.said()
        assert {host: address(lab, host) for host in lab.hosts} == was
        assert lab.play("playbooks/swarm.yml").changed() == []
    finally:
        for host, route in routes.items():
            lab.on(host, "ip", "link", "del", "nat0")
            lab.on(host, "ip", "route", "add", *route.split())


def test_the_gateway_bridge_and_the_data_path_where_networks_meet(lab: Lab) -> None:
    def subnet() -> str:
        return lab.on(
            "host2", "docker", "network", "inspect", "docker_gwbridge", "--format", "{{(index .IPAM.Config 0).Subnet}}"
        ).strip()

    was = subnet()
    run = lab.play("playbooks/swarm.yml", limit="host2", swarm_gwbridge_subnet="10.98.0.0/24")
    assert run.rc != 0
    assert (
        f"docker_gwbridge on host2 has the subnet {was}, and swarm_gwbridge_subnet asks for 10.98.0.0/24" in run.said()
    )
    assert run.changed() == []
    leave(lab, "host2")
    run = lab.play(
        "playbooks/swarm.yml", limit="host2", swarm_gwbridge_subnet="10.98.0.0/24", swarm_data_path_addr="eth0"
    )
    assert run.rc == 0, run.failure()
    assert subnet() == "10.98.0.0/24"
    again = lab.play("playbooks/swarm.yml", limit="host2", swarm_gwbridge_subnet="10.98.0.0/24")
    assert (again.rc, again.changed()) == (0, [])
    # What a swarm has from its beginning is not changed in silence.
    run = lab.play("playbooks/swarm.yml", swarm_data_path_port=7777, swarm_default_addr_pool=["10.97.0.0/16"])
    assert "swarm_data_path_port asks for 7777, and the swarm of host1 has 4789 from its beginning" in run.failure()
    assert "swarm_default_addr_pool asks for 10.97.0.0/16, and the swarm of host1 has 10.0.0.0/8" in run.failure()
    leave(lab, "host2")
    lab.on("host2", "docker", "network", "rm", "docker_gwbridge")
    lab.run("swarm")


def test_a_swarm_with_a_port_and_subnets_of_its_own(lab: Lab) -> None:
    lab.on("host1", "docker", "network", "rm", "ddp-net")
    for host in reversed(lab.hosts):
        leave(lab, host)
    run = lab.play(
        "playbooks/swarm.yml",
        swarm_data_path_port=7777,
        swarm_default_addr_pool=["10.97.0.0/16"],
        swarm_default_addr_pool_mask_length=25,
    )
    assert run.rc == 0, run.failure()
    form = "{{.Swarm.Cluster.DataPathPort}} {{.Swarm.Cluster.DefaultAddrPool}} {{.Swarm.Cluster.SubnetSize}}"
    assert lab.on("host1", "docker", "info", "--format", form).strip() == "7777 [10.97.0.0/16] 25"
    assert lab.on(
        "host1", "docker", "network", "inspect", "ddp-net", "--format", "{{(index .IPAM.Config 0).Subnet}}"
    ).startswith("10.97.")
    lab.on("host1", "docker", "network", "rm", "ddp-net")
    for host in reversed(lab.hosts):
        leave(lab, host)
    lab.run("swarm")


def test_row_20_ipv6_addresses(lab: Lab) -> None:
    """Both hosts have engine 26: the overlay's packets go over IPv6. An engine of Debian 12 is refused, see the unit tests."""
    was = {host: address(lab, host) for host in lab.hosts}
    six = {host: f"fd00:77::{number + 1}" for number, host in enumerate(lab.hosts)}
    for host in lab.hosts:
        lab.on(
            host,
            "sh",
            "-c",
            f"sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0; ip -6 address add {six[host]}/64 dev eth0 nodad",
        )
        import_shell(lab, host, "ping:1", programs="sh sleep ping")
    try:
        run = lab.play("playbooks/swarm.yml", swarm_advertise_addr=f"{{{{ {json.dumps(six)}[inventory_hostname] }}}}")
        assert run.rc == 0, run.failure()
        assert {host: address(lab, host) for host in lab.hosts} == six
        lab.on(
            "host1",
            "docker",
            "run",
            "--detach",
            "--init",
            "--name",
            "far",
            "--network",
            "ddp-net",
            "ping:1",
            "sleep",
            "1000",
        )
        time.sleep(1)
        told = lab.on(
            "host2",
            "docker",
            "run",
            "--rm",
            "--network",
            "ddp-net",
            "ping:1",
            "ping",
            "-c",
            "3",
            "-W",
            "3",
            "far",
            check=False,
        )
        assert " 0% packet loss" in told
    finally:
        lab.on("host1", "docker", "rm", "--force", "far", check=False)
        for host in lab.hosts:
            lab.on(host, "sh", "-c", f"ip -6 address del {six[host]}/64 dev eth0")
        lab.run("swarm")
    assert {host: address(lab, host) for host in lab.hosts} == was


class Inventory:
    """The lab's inventory under other names, with another way in."""

    def __init__(self, lab: Lab, name: str, names: dict[str, str], **common: Any) -> None:
        content = yaml.safe_load(lab.inventory.read_text())
        self.vars = {**content["all"]["vars"], **common}
        groups = content["all"]["children"]["swarm"]["children"]
        for group in groups.values():
            group["hosts"] = {names.get(host, host): own for host, own in (group.get("hosts") or {}).items()}
        content["all"]["vars"] = self.vars
        self.path: Path = lab.directory / name
        self.path.write_text(yaml.safe_dump(content))


def ssh_command(lab: Lab, inventory: Inventory, host: str, command: str) -> str:
    """What the playbooks would print."""
    play = lab.directory / "ssh_command.json"
    said = f"{{{{ hostvars['{host}'] | ddp.swarm.ssh_command('{host}', '{command}') }}}}"
    play.write_text(
        json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [{"ansible.builtin.debug": {"msg": said}}]}])
    )
    run = lab.play(str(play), inventory=str(inventory.path))
    (event,) = [event for event in run.events if event["event"] == "runner_on_ok"]
    return str(event["event_data"]["res"]["msg"])


@pytest.fixture
def ada(lab: Lab) -> Iterator[str]:
    """Another user: with the same key, as the lab has it, and no sudo. Root has a password."""
    for host in lab.hosts:
        lab.on(host, "useradd", "--create-home", "--shell", "/bin/bash", "ada")
        lab.on(host, "sh", "-c", "echo root:of-the-field | chpasswd")
    yield "ada"
    for host in lab.hosts:
        lab.on(
            host,
            "sh",
            "-c",
            "passwd --lock root; pkill -KILL -u ada; userdel --remove ada; rm -f /etc/sudoers.d/ada",
            check=False,
        )


def test_row_25_root_by_su(lab: Lab, ada: str) -> None:
    inventory = Inventory(
        lab, "su.yml", {}, ansible_user=ada, ansible_become_method="su", ansible_become_password="of-the-field"
    )
    run = lab.play("playbooks/swarm.yml", inventory=str(inventory.path))
    assert (run.rc, run.changed()) == (0, []), run.failure()
    job.deploy(lab, "host1", lab.hosts)
    try:
        run = lab.play(
            "playbooks/collect.yml",
            inventory=str(inventory.path),
            training_collect=["n"],
            training_mounts=[{"type": "volume", "source": "snapshots", "target": "/snapshots"}],
        )
        assert run.rc == 0, run.failure()
        assert int((lab.artifacts / "n").read_text()) > 0
        assert "resumed at 0" in (lab.artifacts / "node1.log").read_text()
    finally:
        lab.on("host1", "docker", "stack", "rm", job.STACK)
        for host in lab.hosts:
            # Until the tasks' containers are gone.
            gone = (
                f"for i in $(seq 60); do docker volume rm --force {job.STACK}_snapshots && exit; sleep 1; done; exit 1"
            )
            lab.on(host, "sh", "-c", gone)


def test_another_port_a_jump_and_sudo_with_a_password(lab: Lab, ada: str) -> None:
    """Names with capitals, dots and underscores; host2 is reached through host1 alone. What is printed to be typed takes the same way."""
    for host in lab.hosts:
        lab.on(
            host,
            "sh",
            "-c",
            "echo 'ada ALL=(ALL) ALL' >/etc/sudoers.d/ada; echo ada:of-ada | chpasswd; /usr/sbin/sshd -p 2222",
        )
    content = yaml.safe_load(lab.inventory.read_text())["all"]
    gate = content["children"]["swarm"]["children"]["managers"]["hosts"]["host1"]["ansible_host"]
    key, known = content["vars"]["ansible_ssh_private_key_file"], lab.directory / "known_hosts"
    keys = (lab.directory / "lab" / "known_hosts").read_text().splitlines()
    known.write_text(
        "\n".join(keys + [f"[{line.split(' ', 1)[0]}]:2222 {line.split(' ', 1)[1]}" for line in keys]) + "\n"
    )
    options = f"-o UserKnownHostsFile={known} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
    jump = f"{options} -o 'ProxyCommand=ssh -i {key} {options} -p 2222 -W %h:%p ada@{gate}'"
    inventory = Inventory(
        lab, "ways.yml", {"host1": "GPU-Box_1", "host2": "gpu.Box.2"},
        ansible_user=ada, ansible_port=2222, ansible_become_password="of-ada", ansible_ssh_common_args=jump,
    )  # fmt: skip
    try:
        run = lab.play("playbooks/swarm.yml", inventory=str(inventory.path))
        assert run.rc == 0, run.failure()
        assert lab.play("playbooks/swarm.yml", inventory=str(inventory.path)).changed() == []
        labels = [
            lab.on("host1", "docker", "node", "inspect", node, "--format", "{{json .Spec.Labels}}")
            for node in lab.on("host1", "docker", "node", "ls", "--quiet").split()
        ]
        assert {json.loads(label)["ddp_host"] for label in labels} == {"GPU-Box_1", "gpu.Box.2"}
        command = ssh_command(lab, inventory, "gpu.Box.2", "id --user --name")
        assert "-p 2222" in command
        # Nobody is there to type sudo's password.
        typed = subprocess.run(
            command.replace(" sudo ", " sudo -S "),
            shell=True,
            input="of-ada\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert typed.stdout.strip().endswith("root"), (command, typed.stderr)
    finally:
        for host in lab.hosts:
            lab.on(host, "pkill", "-f", "sshd -p 2222", check=False)
        lab.run("swarm")
    assert lab.play("playbooks/swarm.yml").changed() == []


def test_an_ini_inventory_of_aliases_from_an_ssh_config(lab: Lab) -> None:
    """As people have them in ~/.ssh/config: the inventory has names alone, and box is reached through gate."""
    content = yaml.safe_load(lab.inventory.read_text())["all"]
    groups, common = content["children"]["swarm"]["children"], content["vars"]
    address = {
        host: own["ansible_host"] for group in groups.values() for host, own in (group.get("hosts") or {}).items()
    }
    config, inventory = lab.directory / "ssh_config", lab.directory / "aliases.ini"
    config.write_text(
        f"Host gate box\n  User {common['ansible_user']}\n  IdentityFile {common['ansible_ssh_private_key_file']}\n"
        f"  UserKnownHostsFile {lab.directory / 'lab' / 'known_hosts'}\n  IdentitiesOnly yes\n"
        f"Host gate\n  HostName {address['host1']}\nHost box\n  HostName {address['host2']}\n  ProxyJump gate\n"
    )
    inventory.write_text(
        "[managers]\ngate\n[workers]\nbox\n[swarm:children]\nmanagers\nworkers\n"
        f"[all:vars]\nansible_ssh_common_args=-F {config}\nansible_become=true\n"
    )
    try:
        run = lab.play("playbooks/swarm.yml", inventory=str(inventory))
        assert run.rc == 0, run.failure()
        assert lab.play("playbooks/swarm.yml", inventory=str(inventory)).changed() == []
        nodes = lab.on("host1", "docker", "node", "ls", "--quiet").split()
        told = lab.on("host1", "docker", "node", "inspect", *nodes, "--format", "{{.Spec.Labels.ddp_host}}").split()
        assert set(told) == {"gate", "box"}
    finally:
        lab.run("swarm")
