"""What ufw and firewalld let in. Their answers are shaped as ufw 0.36 and firewalld 2.3 gave them on Debian 13."""

from typing import Any

import pytest
from ansible_collections.ddp.swarm.plugins.filter.closed_ports import FilterModule, closed_ports
from ansible_collections.ddp.swarm.plugins.module_utils.host import firewall

NOBODY = {"name": "", "open": [], "unsure": False, "zones": []}


class Host:
    def __init__(self, **answers: str) -> None:
        self.answers = answers

    def get_bin_path(self, name: str) -> str | None:
        key = name.replace("-", "_")
        return f"/usr/sbin/{name}" if any(asked.startswith(key) for asked in self.answers) else None

    def run_command(self, command: list[str], environ_update: dict[str, str]) -> tuple[int, str, str]:
        assert environ_update == {"LC_ALL": "C"}
        name = command[0].rpartition("/")[2].replace("-", "_")
        key = "_".join([name, *(part.strip("-").replace("-", "_").replace("=", "_") for part in command[1:])])
        return (0, self.answers[key], "") if key in self.answers else (1, "", "")


def ufw(*rules: str, default: str = "deny", status: str = "active") -> Host:
    text = f"""Status: {status}
Logging: on (low)
Default: {default} (incoming), allow (outgoing), deny (routed)
New profiles: skip

To                         Action      From
--                         ------      ----
"""
    return Host(ufw_status_verbose=text + "\n".join(rules) + "\n")


@pytest.mark.parametrize(
    ("rules", "opened", "unsure"),
    [
        ((), [], False),
        (("22/tcp                     ALLOW IN    Anywhere",), ["22/tcp"], False),
        (("22/tcp (v6)                ALLOW IN    Anywhere (v6)",), ["22/tcp"], False),
        (
            ("2377,7946/tcp              ALLOW IN    Anywhere                   # swarm",),
            ["2377/tcp", "7946/tcp"],
            False,
        ),
        (("7946                       ALLOW       Anywhere",), ["7946/tcp", "7946/udp"], False),
        (("7946                       DENY IN     Anywhere",), [], False),
        (("7946                       ALLOW OUT   Anywhere",), [], False),
        (("7946/tcp                   ALLOW IN    10.0.0.0/24",), [], True),
        (("Anywhere                   ALLOW IN    10.0.0.0/24",), [], True),
        (("Anywhere on eth1           ALLOW IN    Anywhere",), [], True),
        (("OpenSSH                    ALLOW IN    Anywhere",), [], True),
        (("22/tcp (OpenSSH)           ALLOW IN    Anywhere",), ["22/tcp"], False),
        (("22/tcp (OpenSSH (v6))      ALLOW IN    Anywhere (v6)",), ["22/tcp"], False),
        (("22/tcp                     ALLOW IN    10.0.0.0/8",), [], False),
        (("22/tcp                     LIMIT IN    Anywhere",), [], False),
        (
            ("7946/tcp                   DENY IN     Anywhere", "7946/tcp                   ALLOW IN    Anywhere"),
            [],
            False,
        ),
        (
            ("7946/tcp                   ALLOW IN    Anywhere", "7946/tcp                   DENY IN     Anywhere"),
            ["7946/tcp"],
            False,
        ),
        (("4000:5000/udp              ALLOW IN    Anywhere",), [], True),
    ],
)
def test_ufw(rules: tuple[str, ...], opened: list[str], unsure: bool) -> None:
    assert firewall.look(ufw(*rules)) == {"name": "ufw", "open": opened, "unsure": unsure, "zones": []}


def test_ufw_that_lets_in_all_or_is_off() -> None:
    assert firewall.look(ufw(default="allow"))["unsure"] is True
    assert firewall.look(ufw(default="reject"))["unsure"] is False
    assert firewall.look(ufw(status="inactive")) == NOBODY
    assert firewall.look(Host()) == NOBODY


def zone(target: str = "default", ports: str = "", services: str = "dhcpv6-client ssh", rich: str = "") -> str:
    return f"""public (default, active)
  target: {target}
  ingress-priority: 0
  interfaces: eth0
  sources:
  services: {services}
  ports: {ports}
  protocols:
  forward: yes
  rich rules:
{rich}"""


def firewalld(public: str, zones: str = "public (default)\n  interfaces: eth0\n", **more: str) -> Host:
    return Host(
        firewall_cmd_state="running\n",
        firewall_cmd_get_active_zones="docker\n  interfaces: docker0 docker_gwbridge\n" + zones,
        firewall_cmd_zone_public_list_all=public,
        firewall_cmd_zone_docker_list_all=zone("ACCEPT"),
        **more,
    )


SWARM = ["2377/tcp", "4789/udp", "7946/tcp", "7946/udp"]


@pytest.mark.parametrize(
    ("public", "opened", "unsure"),
    [
        (zone(), [], False),
        (zone(ports="7946/tcp 22/tcp"), ["22/tcp", "7946/tcp"], False),
        (zone(services="ssh docker-swarm"), SWARM, False),
        (zone("ACCEPT"), [], True),
        (zone("%%REJECT%%"), [], False),
        (zone(rich='\trule family="ipv4" source address="10.0.0.0/24" accept\n'), [], True),
        (zone(ports="4000-5000/udp"), ["4000-5000/udp"], True),
    ],
)
def test_firewalld(public: str, opened: list[str], unsure: bool) -> None:
    assert firewall.look(firewalld(public)) == {
        "name": "firewalld",
        "open": opened,
        "unsure": unsure,
        "zones": ["public"],
    }


def test_firewalld_with_several_zones() -> None:
    """By which of them a packet comes is not known: a port is open if all let it in."""
    zones = "public\n  interfaces: eth0\ninternal\n  interfaces: eth1\n"
    found = firewall.look(
        firewalld(zone(ports="7946/tcp 7946/udp"), zones, firewall_cmd_zone_internal_list_all=zone(ports="7946/tcp"))
    )
    assert (found["open"], found["unsure"], found["zones"]) == (["7946/tcp"], False, ["public", "internal"])
    by_source = firewall.look(
        firewalld(
            zone(), "public\n  interfaces: eth0\nhome\n  sources: 10.0.0.0/24\n", firewall_cmd_zone_home_list_all=zone()
        )
    )
    assert by_source["unsure"] is True
    assert firewall.look(firewalld(zone(), ""))["unsure"] is True


def test_firewalld_that_is_off() -> None:
    assert firewall.look(Host(firewall_cmd_state="not running\n")) == NOBODY


@pytest.mark.parametrize(
    ("found", "manager", "port", "closed"),
    [
        (NOBODY, True, 0, []),
        ({"name": "ufw", "open": [], "unsure": True}, True, 0, []),
        ({"name": "ufw", "open": [], "unsure": False}, True, 0, ["2377/tcp", "7946/tcp", "7946/udp", "4789/udp"]),
        ({"name": "ufw", "open": [], "unsure": False}, False, "7777", ["7946/tcp", "7946/udp", "7777/udp"]),
        ({"name": "firewalld", "open": [*SWARM], "unsure": False}, True, 0, []),
        ({"name": "firewalld", "open": ["7946/tcp", "7946/udp"], "unsure": False}, False, 0, ["4789/udp"]),
    ],
)
def test_ports_that_are_closed(found: dict[str, Any], manager: bool, port: Any, closed: list[str]) -> None:
    new = {"engine": {"swarm_address": "", "swarm_nodes": 0}}
    assert closed_ports({"firewall": found, **new}, manager, "auto", 2, port) == closed
    sure = {"firewall": {**found, "unsure": False}, **new}
    assert closed_ports({"firewall": found, **new}, manager, True, 2, port) == closed_ports(
        sure, manager, "auto", 2, port
    )
    assert set(FilterModule().filters()) == {"closed_ports"}


@pytest.mark.parametrize(
    ("address", "nodes", "mode", "hosts", "closed"),
    [
        ("", 0, "auto", 2, True),
        # A worker, and a manager that has others: it is known that it works.
        ("10.0.0.1", 0, "auto", 2, False),
        ("10.0.0.1", 2, "auto", 2, False),
        # One that was alone so far.
        ("10.0.0.1", 1, "auto", 2, True),
        ("10.0.0.1", 1, "auto", 1, False),
        ("10.0.0.1", 2, True, 2, True),
        ("", 0, "auto", 1, False),
        ("", 0, "true", 1, True),
        ("", 0, False, 2, False),
        ("", 0, "False", 2, False),
    ],
)
def test_whom_closed_ports_concern(address: str, nodes: int, mode: Any, hosts: int, closed: bool) -> None:
    found = {
        "engine": {"swarm_address": address, "swarm_nodes": nodes},
        "firewall": {**NOBODY, "name": "ufw", "open": ["7946/udp", "4789/udp"]},
    }
    assert closed_ports(found, False, mode, hosts) == (["7946/tcp"] if closed else [])
