"""Artifacts of made-up jobs, and the page that is made of them, as a browser's parser reads it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from ansible_collections.ddp.swarm.plugins.module_utils.report import page
from by_path import ROOT

TEMPLATES = ROOT / "roles/training/templates/report"
BEGAN = 1_800_000_000.0
TORCHRUN = """\
{first}[rank{rank}]: Traceback (most recent call last):
{says}
E0115 08:00:{second:09.6f} 1 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: {code}) local_rank: 0 (pid: 9)
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
Root Cause (first observed failure):
[0]:
  time      : 2027-01-15_08:00:{whole:02}
  host      : x
  rank      : {rank} (local_rank: 0)
  exitcode  : {code} (pid: 9)
  error_file: <N/A>
  traceback : {trace}
"""
# Void in HTML, and the shapes that an SVG closes by itself.
VOID = {"meta", "br", "hr", "img", "input", "link"}


def event(kind: str, rank: int = 0, after: float = 0.0, **values: Any) -> dict[str, Any]:
    return {"event": kind, "time": BEGAN + after, "rank": rank, "world_size": 2, "run": "r", "restarts": 0, **values}


def lines(*records: Any) -> str:
    return "".join((record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records)


def attempt(rank: int, after: float = 0.0, since: int = 0, until: int = 40, end: str = "end") -> list[dict[str, Any]]:
    """What the project's trainer writes: a step each second, an epoch each ten."""
    found = [event("start", rank, after, epoch=since // 10, step=since, host=f"host{rank + 1}")]
    for step in range(since + 1, until + 1):
        name = "first_step" if step == since + 1 else "step"
        found.append(event(name, rank, after + step - since, epoch=step // 10, step=step, loss=40.0 / step + rank))
        if step % 10 == 0:
            values = {
                "loss": 40.0 / step,
                "held_out_loss": 50.0 / step,
                "held_out_accuracy": step / 50,
                "lr": 0.1 / step,
            }
            rate = {"samples_per_s": 1000.0 + rank * 100 + step}
            found.append(event("epoch", rank, after + step - since, epoch=step // 10 - 1, step=step, **values, **rate))
    return [*found, event(end, rank, after + until - since + 1, step=until)] if end else found


def preflight(*bandwidths: list[float | None]) -> dict[str, Any]:
    """A verdict with these bandwidths in MB/s, a row for each rank."""
    size = len(bandwidths)
    pairs = [
        {"rank": rank, "host": f"host{rank + 1}", "peer_rank": peer, "peer": f"host{peer + 1}", "bandwidth": rate,
         "host_bandwidth": 1000.0, "latency": 30.0 + peer, "path_mtu": 1450, "steady": True}
        for rank, row in enumerate(bandwidths) for peer, rate in enumerate(row) if rank != peer
    ]  # fmt: skip
    layers = [{"layer": n, "name": f"layer{n}", "ranks": {str(r): "ok" for r in range(size)}} for n in range(1, 15)]
    return {"ok": True, "message": "all is well", "findings": [], "layers": layers, "pairs": pairs, "backend": "gloo",
            "bus_bandwidth": 400.0, "latency": 200.0}  # fmt: skip


def put(root: Path, **files: Any) -> Path:
    """Files by name, in which __ is a slash."""
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
    return root


def failed_log(rank: int, second: float, says: str, code: int = 1, first: str = "", trace: str = "To enable") -> str:
    return TORCHRUN.format(rank=rank, second=second, whole=int(second), says=says, code=code, first=first, trace=trace)


class Page(HTMLParser):
    """Elements with their attributes and their own text. Fails on tags that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.raw = text
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[tuple[str, dict[str, str]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = (tag, {key: value or "" for key, value in attrs})
        self.elements.append(found)
        if tag not in VOID:
            self.open.append(found)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag, tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open:
            self.texts.append((self.open[-1][0], data.strip()))

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [
            attributes for name, attributes in self.elements
            if name == tag and all(value in attributes.get(key.rstrip("_"), "").split() for key, value in wanted.items())
        ]  # fmt: skip

    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(text for tag, text in self.texts if tag != "style"))

    def chart(self, title: str) -> str:
        """The markup of one chart."""
        return next(figure for figure in self.raw.split("<figure")[1:] if f"<b>{title}</b>" in figure).split(
            "</figure>"
        )[0]


def made(root: Path, name: str = "job") -> Page:
    text, _notes = page.make(root, name, TEMPLATES, {"ddp.swarm": "1"})
    return Page(text)
