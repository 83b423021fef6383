"""Layer 13 as the hosts' links and the pairs have it: loss, errors, and what a wire of their kind should carry."""

from __future__ import annotations

from typing import Any

from .. import contract as code
from ..contract import FAST_ENOUGH_MB_S, Json
from .case import Case, pair_list
from .compare import busy

# TCP halves its speed for each loss: at 1 % a connection carries some MB/s. Healthy wires lose less than a thousandth of
# that; what a queue overflow takes from a sender in a hurry is no fault, and the probe does not hurry when it counts.
LOSS_PERCENT = 1.0
# Fewer can be one busy moment.
LOST_DATAGRAMS, LOST_SEGMENTS = 5, 20
# A wire corrupts one bit in 10^12: two errors in the packets of a check are a fault of the link. But a counter can be odd.
ERRORS = 10
DROPS, DROP_PERCENT = 100, 1.0
# Virtual cards tell speeds that nobody gave them (VMware and veth: 10 Gbit/s): above this a link's own word proves nothing.
BELIEVED_MB_S = 100.0
# Programs that want a core, for each core: with more of them a CPU does not keep up with a fast link.
STRAINED = 2


def judge_links(case: Case) -> None:
    if len(case.hosts) < 2:
        return
    lossy = judge_loss(case)
    for rank in case.hosts:
        judge_link(case, rank)
    judge_pairs(case, lossy)
    if not lossy:
        judge_group(case)


def judge_loss(case: Case) -> set[tuple[int, int]]:
    """(rank, peer) of each pair that loses packets, each direction by itself."""
    found = {}
    for rank in case.hosts:
        for peer, pair in (case.probe(rank).get("pairs") or {}).items():
            if int(peer) in case.hosts and (lost := loss_of(pair)):
                found[rank, int(peer)] = lost
    senders, receivers = ({way[side] for way in found} for side in (0, 1))
    common = ""
    if len(found) > 1 and len(senders) == 1:
        common = f", as to every other host that {case.hosts[min(senders)]} sends to"
    if len(found) > 1 and len(receivers) == 1:
        common = f", as from every other host that sends to {case.hosts[min(receivers)]}"
    for (rank, peer), (share, what) in sorted(found.items()):
        case.fault(code.LOSS, rank, peer, share=share, what=what, limit=LOSS_PERCENT, common=common)
    return set(found)


def loss_of(pair: Json) -> tuple[float, str] | None:
    """Percent, and of what: of datagrams that were counted at their goal, or of a slow connection's segments."""
    for sent, lost, least, what in (
        ("datagrams", "datagrams_lost", LOST_DATAGRAMS, "{lost} of {sent} datagrams"),
        ("segments", "segments_again", LOST_SEGMENTS, "{lost} of {sent} segments of TCP were sent again"),
    ):
        total, gone = int(pair.get(sent) or 0), int(pair.get(lost) or 0)
        if total and gone >= least and 100 * gone >= LOSS_PERCENT * total:
            return min(100.0, 100 * gone / total), what.format(lost=gone, sent=total)
    return None


def judge_link(case: Case, rank: int) -> None:
    link = case.checks(rank).get("link") or {}
    if not link:
        return
    before, after = link.get("counters") or {}, case.checks(rank).get("counters_after") or {}

    def grown(*names: str) -> int:
        return sum(max(0, int(after.get(name, 0)) - int(before.get(name, 0))) for name in names) if after else 0

    packets = grown("rx_packets", "tx_packets")
    errors, drops = grown("rx_errors", "tx_errors"), grown("rx_missed_errors", "tx_dropped")
    if errors >= ERRORS:
        case.fault(code.LINK_ERRORS, rank, errors=errors, packets=packets, link=link["name"])
    if drops >= DROPS and 100 * drops >= DROP_PERCENT * packets:
        case.fault(code.LINK_DROPS, rank, drops=drops, packets=packets, link=link["name"], limit=DROP_PERCENT)
    members = link.get("members") or []
    best = max((int(member.get("speed") or 0) for member in members), default=0)
    for member in members:
        if member.get("speed") and member["speed"] < best and member.get("state") == "up":
            case.fault(
                code.BOND_MEMBER, rank, member=member["name"], link=link["name"], speed=member["speed"], best=best
            )
    for one in (link, *members):
        if one.get("duplex") == "half" and one.get("state") == "up":
            case.fault(code.HALF_DUPLEX, rank, link=one["name"])


def link_speed(case: Case, rank: int) -> int:
    """In Mbit/s, 0 where it is not told."""
    return int((case.checks(rank).get("link") or {}).get("speed") or 0)


def judge_pairs(case: Case, lossy: set[tuple[int, int]]) -> None:
    """Against a floor that no working Ethernet misses, and against the slower of both links. Loss explains slowness."""
    floor, fraction = case.limits["min_pair_bandwidth"], case.limits["min_speed_fraction"]
    for pair in pair_list(case):
        rank, peer, got = pair["rank"], pair["peer_rank"], pair["bandwidth"]
        if not got or not pair["steady"] or (rank, peer) in lossy or busy(case, rank) or busy(case, peer):
            continue
        speeds = {other: link_speed(case, other) for other in (rank, peer)}
        slower = min(filter(None, speeds.values()), default=0)
        facts: dict[str, Any] = {"got": got, "mbit": got * 8, "link": link_name(case, rank)}
        wanted = min(fraction * slower / 8, BELIEVED_MB_S)
        if got < floor:
            host = next((case.hosts[other] for other, speed in speeds.items() if speed == slower), "")
            speed = f" (the link of {host} runs at {slower} Mbit/s)" if 0 < slower < 1000 else ""
            case.fault(code.PAIR_SLOW, rank, peer, floor=floor, speed=speed, **facts)
        elif all(speeds.values()) and max(got, pair["host_bandwidth"] or 0) < wanted and not strained(case, rank, peer):
            case.fault(code.LINK_SLOW, rank, peer, floor=wanted, link_mbit=slower, **facts)


def strained(case: Case, *ranks: int) -> bool:
    return any(busy(case, rank, STRAINED) for rank in ranks)


def link_name(case: Case, rank: int) -> str:
    return str((case.checks(rank).get("link") or {}).get("name") or "eth0")


def judge_group(case: Case) -> None:
    """What each pair can do alone, all together do in part at least."""
    rates = [pair["bandwidth"] for pair in pair_list(case) if pair["bandwidth"]]
    fraction = case.limits["min_speed_fraction"]
    if not rates or strained(case, *case.hosts):
        return
    floor = fraction * min(*rates, FAST_ENOUGH_MB_S)
    reached = {rank: (case.probe(rank).get("allreduce") or {}).get("bus_bandwidth_mb_s") for rank in case.hosts}
    for rank, got in reached.items():
        if got is not None and got < floor:
            case.fault(code.GROUP_SLOW, rank, got=got, pair=min(rates), floor=floor)
