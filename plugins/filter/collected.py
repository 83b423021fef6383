"""Filter: what collect.yml says of the results that it fetched, and of those that it did not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What the project's own trainer leaves: scripts of others may leave some of it, or nothing, and nobody asked for it.
BY_DEFAULT = ("snapshot.pt", "metrics.jsonl", "tensorboard", "metrics-rank*.jsonl")
SHOWN = 10


def in_words(size: float) -> str:
    """Bytes, as people write them: 12 kB, 3.4 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"


def _listed(entries: list[Mapping[str, Any]]) -> str:
    told = [
        f"{one['name']} ({str(one['files']) + ' files, ' if one['files'] > 1 else ''}{in_words(one['size'])})"
        for one in entries[:SHOWN]
    ]
    return ", ".join(told + ([f"and {len(entries) - SHOWN} more"] if len(entries) > SHOWN else []))


def _by_top(files: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    tops: dict[str, dict[str, Any]] = {}
    for file in files:
        name, _, below = str(file["name"]).partition("/")
        top = tops.setdefault(name, {"name": f"{name}/" if below else name, "files": 0, "size": 0})
        top["files"] += 1
        top["size"] += file["size"]
    return list(tops.values())


def collected_lines(laid_out: Mapping[str, Any], host: str, directory: str, max_mb: int) -> list[str]:
    """Sentences about one rank. `laid_out` is what training_results answered with that state, `directory` that of the results."""
    lines = []
    missing = [pattern for pattern in laid_out["missing"] if pattern not in BY_DEFAULT]
    if laid_out["instead"]:
        lines.append(
            f"Nothing in {directory} on {host} is named in training_collect ({', '.join(laid_out['missing'])}): all of it is fetched, "
            f"up to {max_mb} MB (training_collect_max_mb)."
        )
    elif missing:
        lines.append(
            f"Not there: training_collect names {', '.join(missing)}, which {directory} on {host} does not have."
        )
    if laid_out["files"]:
        lines.append(f"Fetched from {host}: {_listed(_by_top(laid_out['files']))}.")
    fetched = {file["name"] for file in laid_out["files"]}
    # The one before of a file that is fetched, as the trainer keeps it (snapshot.pt.1), nobody misses.
    unnamed = [one for one in laid_out["unnamed"] if not (one["name"][-2:] == ".1" and one["name"][:-2] in fetched)]
    if unnamed:
        lines.append(
            f"Not fetched, as training_collect does not name it: {_listed(unnamed)}, in {directory} on {host}."
        )
    return lines


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"collected_lines": collected_lines}
