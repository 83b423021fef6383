"""The verdict of the preflight, held against its shape, as a table and as a heat map of the bandwidth between ranks."""

from __future__ import annotations

from typing import Any

from .read import Reader, finite, parsed, shown, whole

SIZE = 8 << 20
RANKS = 64
LAYERS = 32
FINDINGS = 40
MARKS = {"ok": "ok", "fail": "FAIL", "not reached": "–"}
WORDS = ("host", "python", "torch", "cuda", "nccl", "architecture", "files_hash", "engine")


def read_preflight(reader: Reader, name: str = "preflight.json") -> dict[str, Any]:
    """What the page shows of the verdict; empty where there is none, or it has another shape."""
    text = reader.text(name, SIZE)
    if not text:
        return {}
    verdict = parsed(text)
    if not isinstance(verdict, dict) or not isinstance(verdict.get("layers"), list):
        reader.note(f"{name} is not a verdict of the preflight.")
        return {}
    pairs = pairs_of(verdict.get("pairs"))
    layers = layers_of(verdict["layers"])
    ranks = sorted({rank for layer in layers for rank in layer["marks"]} | {rank for pair in pairs for rank in pair})
    if len(ranks) > RANKS:
        reader.note(f"The preflight had {len(ranks)} ranks; the first {RANKS} are shown.")
        ranks = ranks[:RANKS]
    hosts = {pair["rank"]: pair["host"] for pair in pairs.values()} | {
        p["peer_rank"]: p["peer"] for p in pairs.values()
    }
    versions = versions_of(verdict.get("versions"))
    hosts |= {row["rank"]: row["host"] for row in versions if row["host"]}
    return {
        "ok": verdict.get("ok") is True,
        "message": shown(verdict.get("message") or "", 1000),
        "backend": shown(verdict.get("backend") or "", 40),
        "bus_bandwidth": finite(verdict.get("bus_bandwidth")),
        "latency": finite(verdict.get("latency")),
        "ranks": ranks,
        "hosts": hosts,
        "layers": layers,
        "findings": findings_of(verdict.get("findings")),
        "remarks": findings_of(verdict.get("remarks")),
        "heat": heat(pairs, ranks),
        "versions": versions,
    }


def records(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def layers_of(value: Any) -> list[dict[str, Any]]:
    found = []
    for entry in records(value)[:LAYERS]:
        given = entry.get("ranks")
        ranks = (
            {int(key): mark for key, mark in given.items() if key.isdecimal() and len(key) < 5}
            if isinstance(given, dict)
            else {}
        )
        marks = {rank: MARKS[mark] for rank, mark in ranks.items() if isinstance(mark, str) and mark in MARKS}
        found.append({"layer": whole(entry.get("layer"), 99), "name": shown(entry.get("name", ""), 60), "marks": marks})
    return found


def pairs_of(value: Any) -> dict[tuple[int, int], dict[str, Any]]:
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for entry in records(value):
        rank, peer = whole(entry.get("rank"), 9999), whole(entry.get("peer_rank"), 9999)
        if rank is None or peer is None:
            continue
        found[rank, peer] = {
            "rank": rank,
            "peer_rank": peer,
            "host": shown(entry.get("host", ""), 64),
            "peer": shown(entry.get("peer", ""), 64),
            "steady": entry.get("steady") is not False,
            **{key: finite(entry.get(key)) for key in ("bandwidth", "host_bandwidth", "latency", "path_mtu")},
        }
    return found


def findings_of(value: Any) -> list[dict[str, str]]:
    keys = ("layer", "layer_name", "rank", "host", "peer", "check", "observed", "expected", "hint")
    return [
        {key: shown(entry[key], 500) if entry.get(key) is not None else "" for key in keys}
        for entry in records(value)[:FINDINGS]
    ]


def versions_of(value: Any) -> list[dict[str, Any]]:
    found = []
    for entry in records(value)[:RANKS]:
        rank = whole(entry.get("rank"), 9999)
        if rank is not None:
            words = {key: shown(entry[key], 80) if entry.get(key) is not None else "" for key in WORDS}
            found.append({"rank": rank, **words})
    return found


def heat(pairs: dict[tuple[int, int], dict[str, Any]], ranks: list[int]) -> list[list[dict[str, Any]]]:
    """For each rank a row with a cell for each peer, empty where nothing was measured.

    `share` is the bandwidth (MB/s) as a part of the largest, in %.
    """
    if not pairs or len(ranks) < 2:
        return []
    best = max((pair["bandwidth"] or 0.0 for pair in pairs.values()), default=0.0)
    rows = []
    for rank in ranks:
        row = []
        for peer in ranks:
            pair = pairs.get((rank, peer), {}) if rank != peer else {}
            share = 100 * pair["bandwidth"] / best if pair.get("bandwidth") and best > 0 else 0.0
            row.append({**pair, "share": max(0.0, round(share, 1)), "own": rank == peer})
        rows.append(row)
    return rows
