"""Filters: where hosts have other data than the first of them, told by what the module dataset_info said of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# How many buckets two hosts are asked about, and how many files are named.
ASKED = 4
NAMED = 3


def data_sets(given: Any) -> list[dict[str, str]]:
    """Each of training_data with its `path` on the hosts, and where it is on the `controller`."""
    entries = given if isinstance(given, (list, tuple)) else [given] if given else []
    found = []
    for entry in entries:
        known = entry if isinstance(entry, Mapping) else {"path": entry}
        path = str(known.get("path") or "")
        found.append({"path": path, "controller": str(known.get("controller") or path)})
    return found


def looks_of(results: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """By path and host, of the results of a loop over hosts."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for result in results:
        for one in result.get("sets") or []:
            found.setdefault(str(one["path"]), {})[str(result["item"])] = one
    return found


def unlike(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[int]:
    """Buckets that differ: by the names and sizes in them, and where these are all alike by what was read."""
    for kind in ("names", "contents"):
        pairs = zip(first.get(kind) or [], other.get(kind) or [])
        if found := [bucket for bucket, (one, two) in enumerate(pairs) if one != two]:
            return found
    return []


def data_buckets(results: Iterable[Mapping[str, Any]], hosts: Sequence[str]) -> dict[str, list[int]]:
    """By path, the buckets to ask about; empty where all hosts have what the first has."""
    asked: dict[str, list[int]] = {}
    for path, by_host in looks_of(results).items():
        first = by_host.get(hosts[0], {})
        found = {bucket for host in hosts[1:] for bucket in unlike(first, by_host.get(host, {}))[:ASKED]}
        if found:
            asked[path] = sorted(found)
    return asked


def word(entry: Sequence[Any] | None) -> str:
    if entry is None:
        return "not there"
    size, kind, _content = entry
    return f"{size} bytes" if kind == "file" else str(kind)


def differing(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The first files that differ, by their names."""
    here, there = first.get("listed") or {}, other.get("listed") or {}
    # Where names or sizes differ, hosts may have read other files.
    parts = slice(0, 2) if first.get("names") != other.get("names") else slice(0, 3)
    said = []
    for name in sorted({*here, *there}):
        one, two = here.get(name), there.get(name)
        if (one and one[parts]) == (two and two[parts]):
            continue
        same = one and two and one[:2] == two[:2]
        said.append(f"{name or 'it'} ({'other content' if same else f'{word(two)}, there {word(one)}'})")
    return said[:NAMED]


def data_reports(
    results: list[Mapping[str, Any]], listed: list[Mapping[str, Any]], hosts: Sequence[str]
) -> list[dict[str, Any]]:
    """For the judge: by rank, what of the data is missing or other than on the first host."""
    looks, lists = looks_of(results), looks_of(listed)
    reports: list[dict[str, Any]] = []
    for rank, host in enumerate(hosts):
        found: list[dict[str, Any]] = []
        for path, by_host in looks.items():
            first, own = by_host.get(hosts[0]), by_host.get(host)
            if not first or not own:
                continue
            if own["missing"]:
                found.append({"path": path, "lack": "missing"})
            elif rank and not first["missing"] and unlike(first, own):
                known = lists.get(path, {})
                files = differing(known.get(hosts[0], {}), known.get(host, {}))
                found.append(
                    {
                        "path": path, "lack": "other", "first": hosts[0], "files": files,
                        "has": f"{own['files']} files of {own['bytes']} bytes",
                        "there": f"{first['files']} files of {first['bytes']} bytes",
                    }
                )  # fmt: skip
        if found:
            reports.append({"rank": rank, "host": host, "host_checks": {"datasets": found}})
    return reports


def data_refusals(settings: Mapping[str, Any], _swarm: list[str]) -> str:
    """What is compared has to be a directory of the hosts, and what it is copied from one of them."""
    sets, source = data_sets(settings["training_data"]), str(settings["training_data_from"] or "")
    bad = [one["path"] or "nothing" for one in sets if not one["path"].startswith("/") or one["path"] == "/"]
    if bad:
        return f"training_data has {', '.join(bad)}: each is a directory of the hosts, an absolute path such as /srv/images, or {{path: /srv/images, controller: images}}."
    if source and source not in ("controller", *settings["training_hosts"]):
        return f"training_data_from is '{source}': it is controller, or one of training_hosts ({', '.join(settings['training_hosts'])})."
    return ""


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"data_buckets": data_buckets, "data_reports": data_reports, "data_sets": data_sets}
