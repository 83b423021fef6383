"""Layers 6 and 7: the interfaces of the container, and the names of the ranks."""

from __future__ import annotations

import ctypes
import io
import socket
import struct
from types import SimpleNamespace

import pytest
from ddp_probe import checks
from probe_alone import Clock, Instead, alone, everywhere, record

# ---------------------------------------------------------------- what the kernel says


@pytest.mark.parametrize(("largest", "length"), [(2**63 - 1, 40), (2**31 - 1, 32)], ids=["64 bits", "32 bits"])
def test_interfaces_are_read_out_of_the_kernels_table(monkeypatch, largest, length):
    table = [("lo", "127.0.0.1"), ("eth0", "10.0.1.3"), ("eth0:1", "10.0.1.9"), ("a_name_of_15_ch", "192.168.7.200")]
    rows = [
        struct.pack("16sHH4s", name.encode(), 2, 0, socket.inet_aton(at)).ljust(length, b"\1") for name, at in table
    ]

    def ioctl(number, request, argument):
        assert (number > 2, request) == (True, 0x8912)
        room, address = struct.unpack("iL", argument)
        assert room == 256 * length
        ctypes.memmove(address, b"".join(rows), length * len(rows))
        return struct.pack("iL", length * len(rows), address)

    monkeypatch.setattr(checks.interface, "fcntl", SimpleNamespace(ioctl=ioctl))
    monkeypatch.setattr(checks.interface, "sys", SimpleNamespace(maxsize=largest))
    monkeypatch.setattr(
        checks.interface, "interface_mtu", {"lo": 65536, "eth0": 1450, "a_name_of_15_ch": None}.__getitem__
    )
    assert checks.interface.interfaces() == [
        {"name": "lo", "address": "127.0.0.1", "mtu": 65536},
        {"name": "eth0", "address": "10.0.1.3", "mtu": 1450},
        {"name": "eth0", "address": "10.0.1.9", "mtu": 1450},
        {"name": "a_name_of_15_ch", "address": "192.168.7.200", "mtu": None},
    ]


def test_this_machines_loopback_is_found():
    assert {"name": "lo", "address": "127.0.0.1", "mtu": 65536} in checks.interface.interfaces()


@pytest.mark.parametrize(("text", "mtu"), [("1450\n", 1450), ("", None), (None, None)])
def test_the_mtu_is_that_of_the_interface(monkeypatch, text, mtu):
    def read(path, encoding):
        assert path == "/sys/class/net/eth0/mtu"
        if text is None:
            raise FileNotFoundError(2, "No such file")
        return io.StringIO(text)

    monkeypatch.setattr(checks.interface, "open", read, raising=False)
    assert checks.interface.interface_mtu("eth0") == mtu


@pytest.mark.parametrize(
    ("value", "chosen"),
    [("eth0", ["eth0"]), ("eth", []), ("eth0,lo", ["eth0", "lo"]), (" eth1 , lo", ["eth1", "lo"]), ("^eth0", []), ("=eth0", [])],
)  # fmt: skip
def test_interface_variable_of_gloo(value, chosen):
    assert checks.interface.gloo_selects(value, ["eth0", "eth1", "lo"]) == chosen


@pytest.mark.parametrize(
    ("value", "chosen"), [("^", ["eth0", "lo"]), ("=", []), ("eth0,,", ["eth0"]), ("^^eth", ["lo"])]
)
def test_empty_parts_of_nccls_variable_stand_for_nothing(value, chosen):
    assert checks.interface.nccl_selects(value, ["eth0", "lo"]) == chosen


@pytest.mark.parametrize(("address", "local"), [("127.0.0.1", True), ("127.200.0.7", True), ("192.0.2.1", False)])
def test_an_address_is_local_if_it_can_be_bound(address, local):
    assert checks.names.is_local(address) is local


# ---------------------------------------------------------------- layer 6

LO, ETH0, ETH1 = ("lo", "127.0.0.1", 65536), ("eth0", "10.0.1.3", 1450), ("eth1", "172.18.0.3", 1500)
TWICE = ("eth0", "10.0.1.9", 1450)
LISTED = "lo 127.0.0.1, eth0 10.0.1.3, eth1 172.18.0.3"
INSIDE = record(6, "interface", True, LISTED, "an address in 10.0.1.0/24")


def looked(monkeypatch, *found, names=None, size=2, **env):
    """A probe that has looked at these interfaces; `names` are what the DNS knows."""
    rows = [{"name": name, "address": address, "mtu": mtu} for name, address, mtu in found]
    monkeypatch.setattr(checks.interface, "interfaces", lambda: rows)

    def resolve(name):
        if name not in (names or {}):
            raise socket.gaierror(-2, "Name or service not known")
        return names[name]

    one = alone(size, **{"PROBE_SUBNET": "10.0.1.0/24", "GLOO_SOCKET_IFNAME": "eth0", **env})
    monkeypatch.setattr(checks.names, "resolve", resolve)
    checks.interface.check_interface(one)
    assert one.report.facts["interfaces"] == rows
    return one


def variable(name, ok, observed, detail="", value=None):
    """A failed one holds the value itself besides the words about it."""
    return record(6, name, ok, observed, "eth0", detail=detail, value=value)


GLOO = variable("GLOO_SOCKET_IFNAME", True, "eth0")


@pytest.mark.parametrize(
    ("value", "made"),
    [
        ("", []),
        ("eth0", [variable("NCCL_SOCKET_IFNAME", True, "eth0")]),
        ("^eth1", [variable("NCCL_SOCKET_IFNAME", True, "^eth1")]),  # NCCL leaves lo out by itself
        ("eth1", [variable("NCCL_SOCKET_IFNAME", False, "eth1", f"interfaces: {LISTED}", "eth1")]),
        ("=eth1", [variable("NCCL_SOCKET_IFNAME", False, "=eth1", f"interfaces: {LISTED}", "=eth1")]),
        ("ib0", [variable("NCCL_SOCKET_IFNAME", False, "ib0, which no interface matches", f"interfaces: {LISTED}", "ib0")]),
        ("eth", [variable("NCCL_SOCKET_IFNAME", False, "eth, which is eth0, eth1",
                          "it also stands for eth1, which is not in 10.0.1.0/24", "eth")]),
    ],
)  # fmt: skip
def test_nccls_variable_is_held_against_the_interface_of_the_subnet(monkeypatch, value, made):
    one = looked(monkeypatch, LO, ETH0, ETH1, NCCL_SOCKET_IFNAME=value)
    assert one.report.records == [INSIDE, *made, GLOO]
    assert {key: one.report.facts[key] for key in ("interface", "address", "mtu")} == {
        "interface": "eth0", "address": "10.0.1.3", "mtu": 1450,
    }  # fmt: skip
    assert (one.address, one.mtu) == ("10.0.1.3", 1450)


@pytest.mark.parametrize(
    ("value", "made"),
    [
        ("eth1", variable("GLOO_SOCKET_IFNAME", False, "eth1", f"interfaces: {LISTED}", "eth1")),
        (
            "eth",
            variable("GLOO_SOCKET_IFNAME", False, "eth, which no interface matches", f"interfaces: {LISTED}", "eth"),
        ),
        ("eth0,lo", variable("GLOO_SOCKET_IFNAME", True, "eth0,lo")),
    ],
)
def test_gloos_variable_is_held_against_it_as_well(monkeypatch, value, made):
    assert looked(monkeypatch, LO, ETH0, ETH1, GLOO_SOCKET_IFNAME=value).report.records == [INSIDE, made]


def test_rails_are_told_by_name_on_the_hosts_own_network(monkeypatch):
    """NCCL and gloo use both; `eth` alone would be two by chance, and one that is missing would end gloo."""
    host = {"names": {"node0": ["172.18.0.3"]}, "PROBE_SUBNET": "", "GLOO_SOCKET_IFNAME": "eth1,eth0"}
    one = looked(monkeypatch, LO, ETH0, ETH1, NCCL_SOCKET_IFNAME="=eth1,eth0", **host)
    assert ([entry["ok"] for entry in one.report.records], one.rails) == ([True] * 3, ["eth0", "eth1"])
    one = looked(monkeypatch, LO, ETH0, ETH1, NCCL_SOCKET_IFNAME="eth", **host)
    assert [entry["name"] for entry in one.report.records if not entry["ok"]] == ["NCCL_SOCKET_IFNAME"]
    one = looked(monkeypatch, LO, ETH0, ETH1, **{**host, "GLOO_SOCKET_IFNAME": "eth1,eth9"})
    assert one.report.records[-1]["observed"] == "eth1,eth9, of which eth9 is missing"
    # In a container on the overlay the second interface is no rail: it leads to the host.
    one = looked(monkeypatch, LO, ETH0, ETH1, NCCL_SOCKET_IFNAME="=eth0,eth1")
    assert (one.report.records[1]["ok"], one.rails) == (False, [])


def test_a_bond_is_not_the_vlan_on_it(monkeypatch):
    bond, vlan = ("bond0", "10.0.1.3", 1500), ("bond0.100", "172.18.0.3", 1500)
    for value, ok in (("=bond0", True), ("bond0", False)):
        one = looked(monkeypatch, LO, bond, vlan, NCCL_SOCKET_IFNAME=value, GLOO_SOCKET_IFNAME="bond0")
        assert one.report.records[1]["ok"] is ok


def test_several_addresses_of_one_interface_are_one_network(monkeypatch):
    one = looked(monkeypatch, ETH0, TWICE)
    assert one.report.records == [
        record(6, "interface", True, "eth0 10.0.1.3, eth0 10.0.1.9", "an address in 10.0.1.0/24"),
        GLOO,
    ]


def test_two_interfaces_of_the_subnet_are_told(monkeypatch):
    one = looked(monkeypatch, ("eth1", "10.0.1.9", 9000), ETH0, NCCL_SOCKET_IFNAME="eth")
    assert one.report.records == [
        record(6, "interface", False, "eth1 10.0.1.9, eth0 10.0.1.3", "one interface in 10.0.1.0/24",
               detail="two networks share this subnet", code="shared_subnet"),
        variable("NCCL_SOCKET_IFNAME", True, "eth"),
        GLOO,
    ]  # fmt: skip
    assert (one.address, one.mtu) == ("10.0.1.9", 9000)


def test_of_two_interfaces_of_the_subnet_the_first_is_to_be_named(monkeypatch):
    one = looked(monkeypatch, ("eth1", "10.0.1.9", 9000), ETH0, ("eth2", "172.18.0.3", 1500), NCCL_SOCKET_IFNAME="eth")
    also = "it also stands for eth2, which is not in 10.0.1.0/24"
    assert one.report.records[1] == variable("NCCL_SOCKET_IFNAME", False, "eth, which is eth0, eth1, eth2", also, "eth")


def test_without_an_address_in_the_subnet_nothing_more_is_said(monkeypatch):
    one = looked(monkeypatch, LO, ETH1)
    assert one.report.records == [
        record(6, "interface", False, "lo 127.0.0.1, eth1 172.18.0.3", "an address in 10.0.1.0/24")
    ]
    assert (one.address, "interface" in one.report.facts) == (None, False)


def test_on_the_hosts_own_network_the_own_name_tells_the_interface(monkeypatch):
    one = looked(
        monkeypatch, LO, ETH0, ETH1, names={"node0": ["172.18.0.3"]}, PROBE_SUBNET="", GLOO_SOCKET_IFNAME="eth1"
    )
    assert one.report.records == [
        record(6, "interface", True, LISTED, "an address in 172.18.0.3/32"),
        record(6, "GLOO_SOCKET_IFNAME", True, "eth1", "eth1"),
    ]
    assert one.address == "172.18.0.3"


def test_an_own_name_that_nobody_knows_has_no_interface(monkeypatch):
    one = looked(monkeypatch, LO, ETH0, PROBE_SUBNET="")
    assert one.report.records == [
        record(6, "interface", False, "lo 127.0.0.1, eth0 10.0.1.3", "an address in 0.0.0.0/32")
    ]


def test_interfaces_that_cannot_be_listed_are_told(monkeypatch):
    def refuse():
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(checks.interface, "interfaces", refuse)
    one = alone()
    checks.interface.check_interface(one)
    assert one.report.records == [record(6, "interface", False, "operation not permitted", "interfaces can be listed")]
    assert one.report.facts == {}


@pytest.mark.parametrize(
    ("answer", "ok", "said"),
    [
        ("10.0.1.3", True, "10.0.1.3"),
        ("10.0.1.9", True, "10.0.1.9"),
        ("172.18.0.3", False, "172.18.0.3"),
        (socket.gaierror(-2, "Name or service not known"), False, "name or service not known"),
    ],
)
def test_without_its_variable_gloo_goes_by_the_host_name(monkeypatch, answer, ok, said):
    def gethostbyname(name):
        assert name == "box"
        if isinstance(answer, OSError):
            raise answer
        return answer

    everywhere(monkeypatch, "socket", Instead(socket, gethostname=lambda: "box", gethostbyname=gethostbyname))
    one = looked(monkeypatch, LO, ETH0, TWICE, ETH1, GLOO_SOCKET_IFNAME="")
    words = f"unset, the host name resolves to {said}"
    assert one.report.records[1:] == [variable("GLOO_SOCKET_IFNAME", ok, words, value=None if ok else "unset")]


def test_a_single_rank_binds_to_whatever_it_likes(monkeypatch):
    assert looked(monkeypatch, LO, ETH0, ETH1, size=1, GLOO_SOCKET_IFNAME="").report.records == [INSIDE]


# ---------------------------------------------------------------- layer 7


def test_a_name_stands_for_its_addresses_each_once(monkeypatch):
    def getaddrinfo(*asked):
        assert asked == ("node1", None, socket.AF_INET, socket.SOCK_STREAM)
        return [(2, 1, 6, "", (address, 0)) for address in ("10.0.1.9", "10.0.1.3", "10.0.1.9")]

    everywhere(monkeypatch, "socket", Instead(socket, getaddrinfo=getaddrinfo))
    assert checks.names.resolve("node1") == ["10.0.1.3", "10.0.1.9"]


class Names:
    """A probe for which the DNS gives one answer after the other, and then the last one for ever."""

    def __init__(self, monkeypatch, *answers, local=("10.0.1.3",), **env):
        self.clock = Clock()
        everywhere(monkeypatch, "time", self.clock)
        monkeypatch.setattr(checks.names, "is_local", lambda address: address in local)
        self.state = alone(**{"PROBE_APPEAR_TIMEOUT": "5", **env})
        self.answers = list(answers)
        self.asked = []
        self.reached = []
        monkeypatch.setattr(checks.names, "resolve", self.resolve)
        monkeypatch.setattr(checks.names, "search_domain", lambda name, addresses: "")
        monkeypatch.setattr(checks.reach, "reach", lambda _, peer: self.reached.append(("reach", peer.address)))
        monkeypatch.setattr(checks.path, "check_size", lambda _, peer: self.reached.append(("size", peer.address)))

    def resolve(self, name):
        self.asked.append(name)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


UNKNOWN = socket.gaierror(-2, "Name or service not known")
NOWHERE = "does not resolve (name or service not known)"
ELSEWHERE = "not only this task's address"


@pytest.mark.parametrize(
    ("answers", "ok", "observed", "problem", "tries", "seconds"),
    [
        ([["10.0.1.3"]], True, "10.0.1.3", "", 1, 0.0),
        ([UNKNOWN, ["10.0.1.3"]], True, "10.0.1.3", "", 2, 0.3),
        ([["10.0.1.3", "10.0.1.9"], ["10.0.1.3"]], True, "10.0.1.3", "", 2, 0.3),
        ([["10.0.1.9"], UNKNOWN, ["10.0.1.3"]], True, "10.0.1.3", "", 3, 0.6),
        ([["10.0.1.3", "10.0.1.9"]], False, "10.0.1.3, 10.0.1.9", ELSEWHERE, 18, 5.1),
        ([["10.0.1.9"]], False, "10.0.1.9", ELSEWHERE, 18, 5.1),
        ([[]], False, ELSEWHERE, ELSEWHERE, 18, 5.1),
        ([["10.0.1.9"], UNKNOWN], False, "10.0.1.9", NOWHERE, 18, 5.1),
        ([UNKNOWN], False, NOWHERE, NOWHERE, 18, 5.1),
    ],
)
def test_the_own_name_must_lead_here_alone(monkeypatch, answers, ok, observed, problem, tries, seconds):
    names = Names(monkeypatch, *answers)
    checks.names.check_own_name(names.state)
    assert names.state.report.records == [
        record(
            7,
            "own name",
            ok,
            f"node0: {observed}",
            "this task's address",
            detail=problem,
            seconds=seconds,
            code="unresolved" if observed == NOWHERE else None,
        )
    ]
    assert names.asked == ["node0"] * tries
    assert names.state.stage == "resolving names"
    assert names.state.address == names.state.report.facts.get("address") == ("10.0.1.3" if ok else None)


def test_an_address_that_is_known_is_what_the_own_name_should_lead_to(monkeypatch):
    names = Names(monkeypatch, ["10.0.1.9"])
    names.state.address = "10.0.1.3"
    checks.names.check_own_name(names.state)
    assert names.state.report.records[0]["expected"] == names.state.address == "10.0.1.3"


@pytest.mark.parametrize(("patience", "seconds"), [("0.3", 0.6), ("8", 8.1), ("30", 10.2)])
def test_a_dead_tasks_address_is_waited_for_ten_seconds_at_most(monkeypatch, patience, seconds):
    names = Names(monkeypatch, ["10.0.1.3", "10.0.1.9"], PROBE_APPEAR_TIMEOUT=patience)
    checks.names.check_own_name(names.state)
    assert names.state.report.records[0]["seconds"] == seconds


@pytest.mark.parametrize(
    ("answers", "observed", "problem", "tries", "seconds"),
    [
        ([["10.0.1.4"]], "10.0.1.4", "", 1, 0.0),
        ([UNKNOWN, ["10.0.1.4"]], "10.0.1.4", "", 2, 0.3),
        ([["10.0.1.4", "10.0.1.5"], ["10.0.1.4"]], "10.0.1.4", "", 2, 0.3),
        ([["10.0.1.4", "10.0.1.5"]], "10.0.1.4, 10.0.1.5", "2 addresses", 17, 5.1),
        ([["10.0.1.4", "10.0.2.5"]], "10.0.1.4, 10.0.2.5", "2 addresses", 17, 5.1),
        ([UNKNOWN], NOWHERE, NOWHERE, 17, 5.1),
        ([[]], "0 addresses", "0 addresses", 17, 5.1),
        ([["10.0.2.4"]], "10.0.2.4", "not in 10.0.1.0/24", 17, 5.1),
        # A DNS that knows every name answers until the task is there.
        ([["10.0.2.4"], ["10.0.1.4"]], "10.0.1.4", "", 2, 0.3),
    ],
)
def test_a_peers_name_must_lead_to_one_address_of_the_subnet(monkeypatch, answers, observed, problem, tries, seconds):
    names = Names(monkeypatch, *answers, PROBE_SUBNET="10.0.1.0/24")
    peer = names.state.peers[1]
    checks.reach.check_peer(names.state, peer)
    assert names.state.report.records == [
        record(7, "peer name", not problem, f"node1: {observed}", "one address of the overlay", detail=problem, peer=1,
               seconds=seconds, code="outside_subnet" if problem == "not in 10.0.1.0/24" else None),
    ]  # fmt: skip
    assert names.asked == ["node1"] * tries
    assert names.reached == ([] if problem else [("reach", "10.0.1.4")])


@pytest.mark.parametrize("late", [0, 60])
def test_a_peer_is_asked_once_even_when_time_is_over(monkeypatch, late):
    names = Names(monkeypatch, UNKNOWN)
    names.clock.now = names.state.appear_deadline + late
    checks.reach.check_peer(names.state, names.state.peers[1])
    assert (names.asked, names.state.report.records[0]["detail"]) == (["node1"], NOWHERE)


def test_without_a_subnet_every_address_is_fine(monkeypatch):
    names = Names(monkeypatch, ["10.0.2.4"])
    checks.reach.check_peer(names.state, names.state.peers[1])
    assert names.state.report.records[0]["ok"] is True


def test_the_path_to_a_peer_is_measured_once_it_answers(monkeypatch):
    names = Names(monkeypatch, ["10.0.1.4"])
    names.state.peers[1].reached = True
    checks.reach.check_peer(names.state, names.state.peers[1])
    assert names.reached == [("reach", "10.0.1.4"), ("size", "10.0.1.4")]


@pytest.mark.parametrize(
    ("text", "addresses", "domain"),
    [
        ("nameserver 127.0.0.11\nsearch lab.example wild.example\noptions ndots:0\n", ["192.0.2.9"], "wild.example"),
        ("domain wild.example\n", ["192.0.2.9"], "wild.example"),
        ("search wild.example\nsearch lab.example\n", ["192.0.2.9"], ""),
        ("search wild.example\n", ["192.0.2.8"], ""),
        ("search .\n", ["192.0.2.9"], ""), ("", ["192.0.2.9"], ""), (None, ["192.0.2.9"], ""),
    ],
)  # fmt: skip
def test_a_search_domain_that_knows_every_name_is_named(monkeypatch, tmp_path, text, addresses, domain):
    def resolve(name):
        if name == "node1.wild.example.":
            return ["192.0.2.9"]
        raise OSError("no such name")

    monkeypatch.setattr(checks.names, "resolve", resolve)
    if text is not None:
        (tmp_path / "resolv.conf").write_text(text)
    assert checks.names.search_domain("node1", addresses, str(tmp_path / "resolv.conf")) == domain


def test_a_name_that_a_search_domain_answers_is_told(monkeypatch):
    names = Names(monkeypatch, ["192.0.2.9"], PROBE_SUBNET="10.0.1.0/24")
    monkeypatch.setattr(checks.names, "search_domain", lambda name, addresses: f"of {name} {addresses[0]}")
    checks.reach.check_peer(names.state, names.state.peers[1])
    checks.names.check_own_name(names.state)
    assert [(one["code"], one["value"]) for one in names.state.report.records] == [
        ("search_domain", "of node1 192.0.2.9"), ("search_domain", "of node0 192.0.2.9"),
    ]  # fmt: skip
