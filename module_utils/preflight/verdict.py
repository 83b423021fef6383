"""From all that was seen to one verdict: the order of the layers, the sentence and the table."""

from __future__ import annotations

import re

from .contract import ALL_GPUS, ASKED_FOR, LAYERS, NO_GPU, Json
from .judge.case import Case, pair_list
from .judge.compare import (
    judge_bandwidth,
    judge_host_network,
    judge_identity,
    judge_mtu,
    judge_resources,
    judge_stragglers,
)
from .judge.gpus import judge_gpus
from .judge.hosts import judge_clock, judge_hosts, judge_nodes, judge_reach
from .judge.links import judge_links
from .judge.network import judge_host_paths, judge_image, judge_subnet
from .judge.ranks import judge_presence, judge_records


def judge(
    reports: list[Json], ranks: list[Json], limits: Json, unreachable: Json | None = None, probed: bool = True
) -> Json:
    """The verdict over all ranks. A pure function: the same input always has the same answer."""
    case = Case(reports, ranks, limits)
    judge_reach(case, unreachable or {})
    judge_clock(case)
    judge_hosts(case)
    judge_nodes(case)
    judge_image(case)
    judge_subnet(case)
    judge_host_paths(case)
    if not probed:
        return conclude(case, probed=False)
    judge_presence(case)
    for rank in case.hosts:
        judge_records(case, rank)
    judge_identity(case)
    judge_resources(case)
    judge_gpus(case)
    judge_mtu(case)
    judge_links(case)
    judge_bandwidth(case)
    judge_host_network(case)
    judge_stragglers(case)
    return conclude(case)


def conclude(case: Case, probed: bool = True) -> Json:
    failed = [verdict for verdict in case.verdicts if verdict["ok"] is False]
    first = min((verdict["layer"] for verdict in failed), default=None)
    grid: dict[int, dict[int, str]] = {}
    for layer in LAYERS:
        grid[layer] = {}
        for rank in case.hosts:
            marks = [v["ok"] for v in case.verdicts if v["layer"] == layer and v["rank"] == rank]
            if (first is not None and layer > first) or not marks:
                grid[layer][rank] = "not reached"
            elif False in marks:
                grid[layer][rank] = "fail"
            else:
                grid[layer][rank] = "not reached" if None in marks else "ok"
    findings = [finding(verdict) for verdict in failed if verdict["layer"] == first]
    if not failed and probed:
        findings = not_reached(case, grid)
    ok = bool(case.hosts) and not findings and all(m == "ok" for row in grid.values() for m in row.values())
    results = [case.probe(rank) for rank in case.hosts]
    rates = [probe["allreduce"]["bus_bandwidth_mb_s"] for probe in results if probe.get("allreduce")]
    trips = [probe["allreduce"]["latency_us"] for probe in results if probe.get("allreduce")]
    backend = next((probe["backend"] for probe in results if probe.get("backend")), None)
    outcome: Json = {
        "ok": ok,
        "findings": findings,
        "remarks": [finding(remark) for remark in case.remarks],
        "layers": [
            {"layer": layer, "name": LAYERS[layer], "ranks": {str(rank): mark for rank, mark in row.items()}}
            for layer, row in grid.items()
        ],
        "pairs": pair_list(case),
        "backend": backend,
        "backend_reason": why(case, next((probe for probe in results if probe.get("backend")), {})),
        "bus_bandwidth": min(rates) if rates and len(case.hosts) > 1 else None,
        "latency": max(trips) if trips and len(case.hosts) > 1 else None,
        "versions": [versions(case, rank) for rank in case.hosts],
    }
    outcome["table"] = render_table(case, grid, outcome["pairs"], [(f["host"], f["layer"]) for f in findings])
    outcome["table"] += "".join(f"\n{remark_line(one)}" for one in outcome["remarks"])
    outcome["message"] = message(case, outcome)
    return outcome


def versions(case: Case, rank: int) -> Json:
    """What a rank runs on, as its host and its container say; null is what they do not say."""
    identity = case.probe(rank).get("identity") or {}
    engine = (case.checks(rank).get("engine") or {}).get("version")
    said = {key: identity.get(key) for key in ("python", "torch", "cuda", "nccl", "architecture", "files_hash")}
    words = {key: None if value is None else str(value)[:100] for key, value in {"engine": engine, **said}.items()}
    return {"rank": rank, "host": case.hosts[rank], **words}


def finding(verdict: Json) -> Json:
    """Whatever a rank has left unsaid, a finding says what was seen and what to do."""
    shown = {key: value for key, value in verdict.items() if key != "ok"}
    if not shown["observed"].strip(" .?"):
        shown["observed"] = "it said nothing of what it saw"
    if not shown["hint"].strip(" ."):
        shown["hint"] = (
            f"look at what the probe on {shown['host']} wrote ('journalctl -u docker' there), and run playbooks/preflight.yml again"
        )
    return shown


def remark_line(remark: Json) -> str:
    return f"Remark on {remark['host']}, {remark['check']}: {remark['observed']} (wanted: {remark['expected']}): {remark['hint']}."


def not_reached(case: Case, grid: dict[int, dict[int, str]]) -> list[Json]:
    """Nothing failed, yet something was not proven: that is no pass, and must be said."""
    for layer, row in grid.items():
        gaps = [rank for rank, mark in row.items() if mark != "ok"]
        if not gaps:
            continue
        found = []
        for rank in gaps:
            why = next((v["observed"] for v in case.verdicts
                        if v["layer"] == layer and v["rank"] == rank and v["ok"] is None), "")  # fmt: skip
            error = case.probe(rank).get("error")
            found.append(
                {
                    "layer": layer,
                    "layer_name": LAYERS[layer],
                    "rank": rank,
                    "host": case.hosts[rank],
                    "peer": None,
                    "check": "not reached",
                    "observed": error or why or "nothing reported",
                    "expected": "the check was made",
                    "hint": "run playbooks/preflight.yml again; if it stays, raise preflight_timeout",
                }
            )
        return found
    return []


def why(case: Case, probe: Json) -> str | None:
    """Why the probes took this backend."""
    reason = probe.get("backend_reason") or {}
    if reason.get("code") == NO_GPU:
        return "no GPU on " + ", ".join(str(case.host(rank)) for rank in reason["ranks"])
    words = {ASKED_FOR: f"PROBE_BACKEND={probe.get('backend')}", ALL_GPUS: "every rank has a GPU"}
    return words.get(str(reason.get("code")))


def message(case: Case, outcome: Json) -> str:
    findings = outcome["findings"]
    if not case.hosts:
        return "There is no rank to check."
    if not outcome["ok"] and not findings:
        return "Nothing is wrong with the hosts; the probes have not run."
    if outcome["ok"]:
        if len(case.hosts) == 1:
            only = next(iter(case.hosts.values()))
            return f"1 rank on {only} is ready: {outcome['backend']} ({outcome['backend_reason']})."
        return (
            f"{len(case.hosts)} ranks reach each other over {case.limits['network']}: {outcome['backend']} "
            f"({outcome['backend_reason']}), bus bandwidth {outcome['bus_bandwidth']:.0f} MB/s, "
            f"all-reduce latency {outcome['latency']:.0f} us."
        )
    first = findings[0]
    common = [
        host
        for host in sorted(set(case.hosts.values()))
        if len(findings) > 2 and all(host in (f["host"], f["peer"]) for f in findings)
    ]
    towards = f" towards {first['peer']}" if first["peer"] and first["peer"] != first["host"] else ""
    what = "" if first["check"] == "not reached" else f", {first['check']}"
    remedy = first["hint"]
    # A host keeps its name, also one that another sentence begins with.
    if re.split(r"[\s:,']", remedy, maxsplit=1)[0] not in case.hosts.values():
        remedy = remedy[:1].upper() + remedy[1:]
    who = f" (rank {first['rank']})" if first["rank"] in case.hosts else ""
    verb = "was not reached" if first["check"] == "not reached" else "fails"
    text = (
        f"Layer {first['layer']} ({first['layer_name']}) {verb} on {first['host']}{who}{towards}{what}: "
        f"{first['observed'].rstrip('.?')}. {remedy.rstrip('.')}."
    )
    if common:
        text += f" Every failing pair has {' and '.join(common)} in it."
    elif len(findings) > 1:
        hosts = sorted({f["host"] for f in findings[1:]})
        text += f" {len(findings) - 1} more at this layer, on {', '.join(hosts)}."
    return text


def render_table(
    case: Case, grid: dict[int, dict[int, str]], pairs: list[Json], failed: list[tuple[str, int]], per_block: int = 6
) -> str:
    """`failed` are hosts and layers, of which a manager without a rank gets a column, too."""
    ranks = list(case.hosts)
    others = [host for host in case.bystanders if host in [name for name, _layer in failed]]
    marks = {"ok": "ok", "fail": "FAIL", "not reached": "-"}
    lines: list[str] = []
    for start in range(0, len(ranks), per_block):
        block = ranks[start : start + per_block]
        heads = {rank: f"{rank} {case.hosts[rank]}" for rank in block}
        last = others if block[-1] == ranks[-1] else []
        rows = [["layer", *heads.values(), *(f"{host} (no rank)" for host in last)]]
        for n in LAYERS:
            own = ["FAIL" if (host, n) in failed else "" for host in last]
            rows.append([f"{n:2d} {LAYERS[n]}", *(marks[grid[n][rank]] for rank in block), *own])
        lines += [*columns(rows), ""]
    lines.append("ok: passed, FAIL: failed, -: not reached")
    known = {(pair["rank"], pair["peer_rank"]): pair for pair in pairs if pair["latency"] is not None}
    if known:
        bare = any(pair["host_bandwidth"] for pair in known.values())
        legend = "latency in us / bandwidth in MB/s" + (" (of the hosts' own network)" if bare else "")
        lines += ["", f"{legend} of one connection, from the row's rank to the column's"]
        for start in range(0, len(ranks), per_block):
            block = ranks[start : start + per_block]
            rows = [["", *(f"{rank} {case.hosts[rank]}" for rank in block)]]
            for rank in ranks:
                cells = []
                for peer in block:
                    pair = known.get((rank, peer))
                    rate = "-" if not pair or not pair["bandwidth"] else f"{pair['bandwidth']:.0f}"
                    if pair and pair["host_bandwidth"]:
                        rate += f" ({pair['host_bandwidth']:.0f})"
                    cells.append("." if peer == rank else f"{pair['latency']:.0f} / {rate}" if pair else "-")
                rows.append([f"{rank} {case.hosts[rank]}", *cells])
            lines += columns(rows)
    return "\n".join(lines)


def columns(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
