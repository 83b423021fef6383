"""What a host says about itself without asking its engine: kernel, ports, networks, drivers and the engine's journal."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
import types

import pytest
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe import wire
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe import wire as observed
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe.engine import (
    nvidia_driver,
    nvidia_gpus,
    vxlan_support,
)
from ansible_collections.ddp.swarm.plugins.module_utils.preflight.observe.wire import (
    check_port,
    check_ports,
    gossip_warnings,
    local_networks,
    path_mtu,
    silent_gossip,
)

DEP, BUILTIN, VXLAN = "lib/modules/6.1/modules.dep", "lib/modules/6.1/modules.builtin", "sys/module/vxlan/version"
VETH, HAS = "kernel/drivers/net/veth.ko:\n", "kernel/drivers/net/vxlan/vxlan.ko\n"


@pytest.mark.parametrize(
    ("files", "works"),
    [
        ({}, None),
        ({"lib/modules/5.4/modules.dep": HAS}, None),
        ({DEP: VETH}, False),
        ({BUILTIN: VETH}, False),
        ({DEP: VETH, BUILTIN: VETH}, False),
        ({DEP: HAS}, True),
        ({BUILTIN: HAS}, True),
        ({DEP: VETH, BUILTIN: HAS}, True),
        ({DEP: VETH + HAS, BUILTIN: VETH}, True),
        ({VXLAN: ""}, True),
        ({VXLAN: "", DEP: VETH}, True),
    ],
)
def test_a_kernel_that_can_do_vxlan_or_nobody_knows(tmp_path, files, works):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert vxlan_support("6.1", str(tmp_path)) is works


def test_the_driver_and_its_gpus(tmp_path):
    assert (nvidia_driver(str(tmp_path)), nvidia_gpus(str(tmp_path))) == ("", 0)
    (tmp_path / "sys/module/nvidia").mkdir(parents=True)
    (tmp_path / "sys/module/nvidia/version").write_text("535.104.05\n")
    for gpu in ("0000:17:00.0", "0000:65:00.0"):
        (tmp_path / "proc/driver/nvidia/gpus" / gpu).mkdir(parents=True)
    assert (nvidia_driver(str(tmp_path)), nvidia_gpus(str(tmp_path))) == ("535.104.05", 2)


# ---------------------------------------------------------------- the engine's journal


# As engines 26.1 and 20.10 print it.
GOSSIP_WARNINGS = [
    f'time="..." level=warning msg="memberlist: Was able to connect to 4f5211e90d77 {what}, network may be misconfigured"'
    for what in ("over TCP but UDP probes failed", "but other probes failed")
]


@pytest.mark.parametrize("words", GOSSIP_WARNINGS)
@pytest.mark.parametrize(
    ("ages", "goes_on", "silent"),
    [
        ((9, 7, 5, 3, 1), True, ["192.0.2.2"]),
        ((9, 7, 5, 3, 1), False, []),
        ((9.5, 7, 5, 3), True, ["192.0.2.2"]),
        ((10.5, 7, 5, 3), True, []),
        ((5, 3, 1), True, []),
        ((20, 18, 16, 14, 12), True, []),
        ((), False, []),
    ],
)
def test_the_engine_says_who_answers_by_tcp_alone(words, ages, goes_on, silent, monkeypatch, tmp_path):
    now = time.time()
    lines = [f"{now - age:.6f} host1 dockerd[15937]: {words}" for age in ages]
    (tmp_path / "journal").write_text("\n".join([f"{now:.6f} host1 dockerd[15937]: something else", *lines]))
    (tmp_path / "journalctl").write_text(f"#!/bin/sh\n/bin/cat {tmp_path}/journal\n")
    (tmp_path / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    def sleep(seconds):
        last = words if goes_on else "all is well"
        with (tmp_path / "journal").open("a") as file:
            file.write(f"\n{time.time() + seconds:.6f} host1 dockerd[15937]: {last}")

    monkeypatch.setattr(time, "sleep", sleep)
    networks = [{"Peers": [{"Name": "4f5211e90d77", "IP": "192.0.2.2"}, {"Name": "411fb8b73774", "IP": "192.0.2.1"}]}]
    docker = types.SimpleNamespace(run=lambda *args, **options: types.SimpleNamespace(stdout=json.dumps(networks)))
    assert silent_gossip(docker, "ddp-net") == silent
    monkeypatch.setenv("PATH", "")
    assert silent_gossip(docker, "ddp-net") == []


NAMES = ["4f5211e90d77", "411fb8b73774", "5ca1ab1e0000", "0ddba11cafe0"]


def says(name):
    return GOSSIP_WARNINGS[0].replace(NAMES[0], name)


@pytest.mark.parametrize(
    ("nodes", "window", "wait"),
    # Each node is asked every so many seconds: one a second, and nobody asks itself.
    [(1, 10, 5), (2, 10, 5), (3, 20, 10), (4, 30, 15)],
)
def test_the_more_nodes_the_longer_it_takes(monkeypatch, nodes, window, wait):
    peers = [{"Name": name, "IP": f"192.0.2.{9 - number}"} for number, name in enumerate(NAMES[:nodes])]
    rows = [{"Name": "ingress", "Peers": None}, {"Name": "ddp-net", "Peers": peers}]
    docker = types.SimpleNamespace(run=lambda *args, **options: types.SimpleNamespace(stdout=json.dumps(rows)))
    asked, waited = [], []

    def warnings(since):
        asked.append(round(1000 - since))
        # The third has been silent for long enough and speaks again by now.
        return NAMES[:2] * 4 + [NAMES[2]] * 4 if len(asked) == 1 else NAMES[:2]

    monkeypatch.setattr(observed, "time", types.SimpleNamespace(time=lambda: 1000.0, sleep=waited.append))
    monkeypatch.setattr(wire, "gossip_warnings", warnings)
    assert silent_gossip(docker, "ddp-net") == ["192.0.2.8", "192.0.2.9"][-nodes:]
    assert (asked, waited) == ([window, 0], [wait])


def test_who_hears_all_nodes_does_not_wait(monkeypatch):
    peers = [{"Name": name, "IP": name} for name in NAMES]
    docker = types.SimpleNamespace(
        run=lambda *args, **options: types.SimpleNamespace(stdout=json.dumps([{"Peers": peers}]))
    )
    monkeypatch.setattr(observed, "time", types.SimpleNamespace(time=lambda: 1000.0))
    monkeypatch.setattr(wire, "gossip_warnings", lambda since: NAMES[:3] * 3)
    assert silent_gossip(docker, "ddp-net") == []


@pytest.fixture
def journal(monkeypatch):
    """What journalctl prints, or the fault that it is."""
    asked = []

    def journal(answer, code=0):
        def run(command, **options):
            asked.append(command)
            if isinstance(answer, Exception):
                raise answer
            if options.get("check") and code:
                raise subprocess.CalledProcessError(code, command)
            assert options["capture_output"] and options["text"] and options["timeout"] > 0
            return types.SimpleNamespace(stdout=answer, returncode=code)

        monkeypatch.setattr(observed.subprocess, "run", run)
        return asked

    return journal


def test_warnings_are_of_the_engine_and_of_that_time(journal):
    asked = journal("\n".join(f"{when} h dockerd[1]: {says(name)}" for when, name in (
        ("1700000000.250000", NAMES[0]), ("1700000000.250001", NAMES[1]), ("1700000003.1", NAMES[1]), ("1700000004.1", NAMES[2])
    )))  # fmt: skip
    assert gossip_warnings(1700000000.25) == [NAMES[1], NAMES[1], NAMES[2]]
    (command,) = asked
    assert command[0] == "journalctl"
    assert {"--identifier=dockerd", "--output=short-unix", "--since=@1700000000"} <= set(command)


@pytest.mark.parametrize(
    "answer", [FileNotFoundError(), PermissionError(), subprocess.TimeoutExpired("journalctl", 10), ""]
)
def test_a_host_without_a_journal_has_no_warnings(journal, answer):
    journal(answer, code=1)
    assert gossip_warnings(0) == []


def test_what_the_journal_says_before_it_fails_counts(journal):
    journal(f"1700000001.1 h dockerd[1]: {says(NAMES[0])}", code=1)
    assert gossip_warnings(0) == [NAMES[0]]


# ---------------------------------------------------------------- ports and networks


def test_ports_and_paths_of_this_machine(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with socket.create_server(("127.0.0.1", 0)) as open_port, socket.create_server(("127.0.0.1", 0)) as closed:
        ports = [open_port.getsockname()[1], closed.getsockname()[1]]
        closed.close()
        seen = check_ports([{"host": "b", "address": "127.0.0.1", "ports": ports}])
    assert [bool(one["error"]) for one in seen] == [False, True] and "refused" in seen[1]["error"]
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
        largest = 1500
    except PermissionError:
        largest = None  # who may not send echoes cannot tell
    assert path_mtu("127.0.0.1", 1500) == {"mtu": largest, "tried": 1500}


@pytest.mark.parametrize(
    ("faults", "said", "waits"),
    [
        ([], "", 0),
        ([OSError(111, "Connection refused")], "", 1),
        ([OSError(113, "No route to host"), OSError(111, "Connection refused")], "connection refused", 1),
        ([TimeoutError("timed out")] * 2, "timed out", 1),
        ([OSError()] * 2, "timed out", 1),
    ],
)
def test_a_port_is_closed_if_it_does_not_answer_twice(monkeypatch, faults, said, waits):
    asked, waited = [], []

    def connect(address, timeout):
        asked.append(address)
        if len(asked) <= len(faults):
            raise faults[len(asked) - 1]
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(time, "sleep", waited.append)
    assert check_port("192.0.2.2", 7946) == said
    assert asked == [("192.0.2.2", 7946)] * (waits + 1)
    assert len(waited) == waits, "after the last try there is nothing to wait for"


def test_ports_are_asked_all_at_once_and_told_in_order(monkeypatch):
    assert check_ports([]) == []
    assert check_ports([{"host": "a", "address": "192.0.2.1", "ports": []}]) == []
    together = threading.Barrier(3)

    def check(address, port):
        together.wait(5)
        return f"{address} {port}"

    monkeypatch.setattr(wire, "check_port", check)
    seen = check_ports([
        {"host": "a", "address": "192.0.2.1", "ports": [7946, 2377]}, {"host": "b", "address": "192.0.2.2", "ports": [7946]},
    ])  # fmt: skip
    assert [tuple(one.values()) for one in seen] == [
        ("a", "192.0.2.1", 7946, "192.0.2.1 7946"),
        ("a", "192.0.2.1", 2377, "192.0.2.1 2377"),
        ("b", "192.0.2.2", 7946, "192.0.2.2 7946"),
    ]
    assert set(seen[0]) == {"host", "address", "port", "error"}


def test_attached_and_routed_networks_by_the_routing_table(tmp_path):
    """A route to 10.0.0.0/8 is nearly a default one, and a blackhole leads nowhere."""
    (tmp_path / "proc" / "net").mkdir(parents=True)
    (tmp_path / "proc" / "net" / "route").write_text(
        "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
        "eth0 00000000 010013AC 0003 0 0 0 00000000 0 0 0\n"
        "eth0 000013AC 00000000 0001 0 0 0 0000FFFF 0 0 0\n"
        "eth0 0000000A 010013AC 0003 0 0 0 000000FF 0 0 0\n"
        "ppp0 00000000 00000000 0001 0 0 0 00000000 0 0 0\n"
        "eth0 0001000A 020013AC 0003 0 0 0 00FFFFFF 0 0 0\n"
        "eth0 0000100A 020013AC 0003 0 0 0 0000FFFF 0 0 0\n"
        "* 0002000A 00000000 0201 0 0 0 00FFFFFF 0 0 0\n"
        "\n"
        "wg0 0001A8C0 00000000 0001 0 0 0\n"
        "wg1 0002A8C0 00000000 0001 0 0 0 00FFFFFF\n"
    )
    assert local_networks(str(tmp_path)) == [
        {"interface": "eth0", "network": "172.19.0.0/16"},
        {"interface": "eth0", "network": "10.0.1.0/24", "gateway": "172.19.0.2"},
        {"interface": "eth0", "network": "10.16.0.0/16", "gateway": "172.19.0.2"},
        {"interface": "wg1", "network": "192.168.2.0/24"},
    ]
    assert local_networks(str(tmp_path / "elsewhere")) == []
