"""Three hosts, of which one pair, or one host, is cut off: the preflight names those, and no other."""

import itertools
from collections.abc import Iterator
from functools import partial

import pytest
from conftest import Check
from labs import Lab, Play
from planting import VXLAN, Fault, gossip_udp_dropped, large_packets_dropped, vxlan_dropped

HOSTS = ("host1", "host2", "host3")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("three", lab_size=3, lab_releases={"host2": "bookworm"}).running("docker", "swarm", "image") as lab:
        yield lab


@pytest.fixture(scope="module")
def play(lab: Lab) -> Play:
    return lab.play


def ways(*pairs: tuple[str, str]) -> set[tuple[str, str | None]]:
    return {way for one, other in pairs for way in ((one, other), (other, one))}


def test_three_healthy_hosts_pass(check: Check) -> None:
    verdict, _ = check("none, three hosts")
    assert verdict["ok"], verdict["message"]
    assert {(pair["host"], pair["peer"]) for pair in verdict["pairs"]} == ways(*itertools.combinations(HOSTS, 2))


PAIR = ("host2", "host3")
TO_HOST3 = [("host1", "host3"), ("host2", "host3")]
FAULTS = [
    Fault("4789/udp dropped between host2 and host3, of three", partial(vxlan_dropped, ways=sorted(ways(PAIR))), 8, ways(PAIR),
          r"4789.*between host[23] and host[23].*\(both directions are lost\)"),
    Fault("4789/udp dropped between host3 and both others", partial(vxlan_dropped, ways=sorted(ways(PAIR, ("host1", "host3")))), 8,
          ways(PAIR, ("host1", "host3")), r"4789.*\(both directions are lost\)"),
    Fault("7946/udp alone dropped from both others to host3", partial(gossip_udp_dropped, ways=TO_HOST3), 3,
          ways(PAIR, ("host1", "host3")), r"7946/udp is closed between host"),
    Fault("VXLAN packets over 1400 bytes dropped between host2 and host3, of three",
          partial(large_packets_dropped, kind=VXLAN, pair=PAIR), 9, ways(PAIR), r"MTU to 1400 with swarm_network_mtu"),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_of_some(fault: Fault, check: Check, lab: Lab) -> None:
    with fault.plant(lab) as settings:
        verdict, _ = check(fault.name, **settings)
    assert fault.missed_by(verdict) == ""
    common = [host for host in HOSTS if all(host in (one["host"], one["peer"]) for one in verdict["findings"])]
    assert len(verdict["findings"]) == 2 or f"Every failing pair has {' and '.join(common)} in it" in verdict["message"]
