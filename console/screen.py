"""Jobs as a terminal shows them, as much of them as its width and height allow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

BARS = "▁▂▃▄▅▆▇█"
PLAIN_BARS = "_.-=*#"
STYLES = {"running": "green", "complete": "green", "failed": "bold red", "rejected": "bold red", "stopped": "dim", "shutdown": "dim"}  # fmt: skip
GAP = 2
# Seconds without a line, from which on a rank is shown as silent: its epoch and loss are of then.
SILENT = 120.0


def sparkline(values: Iterable[float | None], width: int, bars: str = BARS) -> str:
    """The values in as many stretches as there is room for, each with its mean. One with a value that is not finite is a cross."""
    kept = list(values)
    if width < 1 or not kept:
        return ""
    size = -(-len(kept) // width)
    stretches = [kept[start : start + size] for start in range(0, len(kept), size)]
    means = [None if None in stretch else sum(filter(None, stretch)) / len(stretch) for stretch in stretches]
    known = [mean for mean in means if mean is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    step = (high - low) / len(bars) or 1.0
    return "".join("x" if mean is None else bars[min(len(bars) - 1, int((mean - low) / step))] for mean in means)


def short(value: float | None, digits: int = 3) -> str:
    """A number in few characters: 0.0123, 412, 1.2k, 3.4M."""
    if value is None:
        return "-"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.3g}{unit}"
    return f"{value:.{digits}g}" if abs(value) < 100 else f"{value:.0f}"


def span(seconds: float | None) -> str:
    """Time in one or two units: 45s, 3m20s, 2h05m, 4d."""
    if seconds is None:
        return "-"
    left = round(seconds)
    if left < 60:
        return f"{left}s"
    if left < 3600:
        return f"{left // 60}m{left % 60:02d}s"
    return (
        f"{left // 3600}h{left % 3600 // 60:02d}m" if left < 86400 else f"{left // 86400}d{left % 86400 // 3600:02d}h"
    )


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}%"


def at(rank: dict[str, Any]) -> str:
    """epoch 3/10, step 50/64"""
    parts = []
    for one, all_ in (("epoch", "epochs"), ("step", "steps")):
        if rank[one] is not None:
            end = f"/{rank[all_]}" if rank[all_] else ""
            parts.append(f"{one} {rank[one]:g}{end}")
    return " ".join(parts) or "-"


def rate(rank: dict[str, Any]) -> str:
    if rank["samples_per_s"] is None and rank["iterations_per_s"] is not None:
        return f"{short(rank['iterations_per_s'])} it/s"
    return short(rank["samples_per_s"])


def is_quiet(rank: dict[str, Any]) -> bool:
    return rank["state"] == "running" and (rank["silent_s"] or 0.0) >= SILENT


def with_silence(job: dict[str, Any]) -> dict[str, Any]:
    """The job, and of each rank that runs whether what is shown of it is old. In many scripts rank 0 alone writes of its progress: the others are
    as well as it is."""
    all_quiet = all(is_quiet(rank) for rank in job["ranks"] if rank["state"] == "running")
    marked = [{**rank, "silent": is_quiet(rank) and bool(rank["losses"] or all_quiet)} for rank in job["ranks"]]
    return {**job, "ranks": marked}


def state(rank: dict[str, Any]) -> str:
    if rank["silent"]:
        return f"silent {span(rank['silent_s'])}"
    return str(rank["state"]) + (f" ({rank['exit_code']})" if rank["exit_code"] not in (None, 0) else "")


@dataclass
class Column:
    """`rank` is the order in which columns get room: 0 first. The sparkline is drawn when its width is known."""

    name: str
    order: int
    text: Callable[[dict[str, Any]], str]


CURVE = Column("loss", 4, lambda _rank: "")
COLUMNS = [
    Column("rank", 0, lambda rank: str(rank["rank"])),
    Column("host", 5, lambda rank: rank["host"] or "-"),
    Column("state", 1, state),
    Column("at", 2, at),
    Column("train loss", 3, lambda rank: short(rank["loss"], 4)),
    CURVE,
    Column("held-out loss", 8, lambda rank: short(rank["held_out_loss"], 4)),
    Column("samples/s", 6, rate),
    Column("ETA", 7, lambda rank: span(rank["eta_s"])),
    Column("restarts", 9, lambda rank: str(rank["restarts"])),
    Column("last line", 12, lambda rank: "-" if rank["silent_s"] is None else f"{span(rank['silent_s'])} ago"),
    Column("CPU", 10, lambda rank: percent(rank["cpu_percent"])),
    Column("GPU", 11, lambda rank: percent(rank["gpu_percent"])),
    Column("net/s", 13, lambda rank: "-" if rank["network_bytes_per_s"] is None else f"{short(rank['network_bytes_per_s'])}B"),
]  # fmt: skip
LEAST_CURVE, MOST_CURVE = 6, 32


def table(ranks: list[dict[str, Any]], width: int, bars: str = BARS) -> list[Text]:
    """A line of names and one for each rank. What finds no room is left out, and what nobody knows gives way first."""
    cells = {id(column): [column.text(rank) for rank in ranks] for column in COLUMNS}
    widths = {
        id(column): max([cell_len(column.name), *map(cell_len, cells[id(column)])])
        for column in COLUMNS
        if column is not CURVE and (column.order < 3 or set(cells[id(column)]) != {"-"})
    }
    if any(len(rank["losses"]) > 1 for rank in ranks):
        widths[id(CURVE)] = LEAST_CURVE
    taken: list[Column] = []
    left = width
    for column in sorted((column for column in COLUMNS if id(column) in widths), key=lambda column: column.order):
        needs = widths[id(column)] + (GAP if taken else 0)
        if needs <= left:
            taken.append(column)
            left -= needs
    if CURVE in taken:
        most = max(len(rank["losses"]) for rank in ranks)
        widths[id(CURVE)] = min(LEAST_CURVE + left, MOST_CURVE, max(LEAST_CURVE, most))
    shown = [column for column in COLUMNS if column in taken]
    lines = [row([("" if column is CURVE else column.name, widths[id(column)], "bold") for column in shown])]
    for number, rank in enumerate(ranks):
        entries = []
        for column in shown:
            text = cells[id(column)][number]
            if column is CURVE:
                text = sparkline(rank["losses"], widths[id(CURVE)], bars)
            shade = "yellow" if rank["silent"] else STYLES.get(rank["state"], "yellow")
            style = shade if column.name == "state" else ""
            entries.append((text, widths[id(column)], style))
        lines.append(row(entries))
    return lines


def row(entries: list[tuple[str, int, str]]) -> Text:
    line = Text(no_wrap=True, end="")
    for number, (text, width, style) in enumerate(entries):
        line.append(" " * GAP if number else "")
        line.append(set_cell_size(text, width), style=style)
    line.rstrip()
    return line


def head(job: dict[str, Any]) -> Text:
    line = Text(no_wrap=True, end="")
    line.append(job["name"], style="bold")
    line.append(f": {job['state']}", style=STYLES.get(job["state"], "yellow"))
    if job["restarts"]:
        line.append(f", {job['restarts']} restart{'s' if job['restarts'] > 1 else ''}")
    word, when = ("ended", job["ended"]) if job.get("ended") else ("since", job["since"])
    line.append(f", {word} {when[:16].replace('T', ' ')} UTC" if when else "")
    return line


def swarm(nodes: list[dict[str, Any]]) -> list[Text]:
    """The swarm's nodes: in one line those that are well, and each of the others in its own."""
    well = [node for node in nodes if (node["state"], node["availability"]) == ("Ready", "Active")]
    names = [node["name"] + (f" ({node['manager'].lower()})" if node["manager"] else "") for node in well]
    lines = [Text(f"Nodes: {', '.join(names)}", end="")] if names else []
    for node in nodes:
        if node not in well:
            lines.append(Text(f"{node['name']}: {node['state']}, {node['availability']}", style="bold red", end=""))
    return lines


def trouble(job: dict[str, Any]) -> list[Text]:
    """Who is slow, who failed first, why a rank failed, and of a job that says nothing of epochs or loss, what it wrote last."""

    def line(text: str, style: str = "") -> Text:
        return Text(text, style=style, no_wrap=True, end="")

    lines = [line(job["slow"], "yellow")] if job.get("slow") else []
    first = job.get("failure")
    if first:
        lines.append(line(f"Failed first: rank {first['rank']} on {first['host']}: {first['error']}", "bold red"))
    lines += [line(f"node{rank['rank']}: {rank['error']}", "red") for rank in job["ranks"] if rank["error"]]
    numbers = ("loss", "held_out_loss", "epoch", "step")
    mute = [rank for rank in job["ranks"] if all(rank[number] is None for number in numbers)]
    for rank in mute or [rank for rank in job["ranks"] if rank["error"]]:
        if rank["last"].strip() and not (first and first["rank"] == rank["rank"]):
            lines.append(line(f"node{rank['rank']}: {rank['last'].strip()}", "dim"))
    if job["state"] == "failed":
        lines += [
            line(f"Whole log: 'ddp collect {job['name']}'."),
            line(f"Start again: 'ddp up {job['name']}' with the settings (-e) of its run."),
        ]
    return lines


def frame(jobs: list[dict[str, Any]], width: int, height: int | None = None, bars: str = BARS) -> list[Text]:
    """All jobs. With a height, of what does not fit the ranks that are well give way first."""
    if not jobs:
        return [Text("No job is in the swarm: 'ddp up' starts one.", end="")]
    jobs = list(map(with_silence, jobs))
    blocks = []
    for job in jobs:
        rows = table(job["ranks"], width, bars)
        blocks.append([head(job), *rows, *trouble(job)])
    total = sum(map(len, blocks)) + len(blocks) - 1
    if height is not None and total > height:
        blocks = [squeezed(job, width, max(2, (height - len(blocks) + 1) // len(blocks)), bars) for job in jobs]
    lines: list[Text] = []
    for block in blocks:
        lines += [Text("", end=""), *block] if lines else block
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines if height is None else lines[: max(1, height)]


def squeezed(job: dict[str, Any], width: int, height: int, bars: str) -> list[Text]:
    """A job in so many lines: ranks that are not running first."""
    room = max(0, height - 3)
    order = sorted(job["ranks"], key=lambda rank: (rank["state"] == "running" and not rank["silent"], rank["rank"]))
    kept = sorted(order[:room], key=lambda rank: rank["rank"])
    left = len(job["ranks"]) - len(kept)
    lines = [head(job), *(table(kept, width, bars) if kept else [])]
    wrong = sum(rank["state"] not in ("running", "complete") for rank in order[room:])
    if left:
        well = "all well" if not wrong else f"{wrong} of them not running"
        lines.append(Text(f"and {left} more rank{'s' if left > 1 else ''}, {well}", style="dim", end=""))
    elif len(lines) < height:
        lines += trouble(job)[: height - len(lines)]
    return lines[:height]
