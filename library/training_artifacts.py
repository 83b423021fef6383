#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: results of a training, put in their place on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: training_artifacts
short_description: Puts results that were fetched from hosts in their place on the controller
description:
  - Names of results come from a host, and are checked here before they are part of a path. Nothing is written outside of O(path), or
    through a link. What cannot be taken is left out, and RV(left_out) says why.
  - What the tool itself keeps, lies in C(.ddp-swarm) below O(path), which no result can be named.
options:
  state:
    description:
      - V(begun) makes the directory, and moves the results of an earlier run into C(runs/RUN) in it.
      - V(placed) puts the files of one host in their place, and writes the log of its rank without control characters,
        and of each progress bar the last state. C(.ddp-swarm/logs) has all of it.
      - V(noted) keeps what a host answered about failures of its rank, for the report, in C(moment.nodeRANK.json) beside the logs. It has, by the
        container's ID, C(at), C(offset), C(error), C(events) and C(why).
    type: str
    required: true
    choices: [begun, placed, noted]
  path:
    description: The directory of the results.
    type: path
    required: true
  run:
    description: The name of the run whose results are about to come; empty if it is not known.
    type: str
    default: ""
  since:
    description: When that run was deployed, as O(state=begun) is told; empty if it is not known. What was diagnosed later, is of that run.
    type: str
    default: ""
  keep_runs:
    description: With O(state=begun), how many of the newest runs in C(runs) stay whatever their age. V(0) keeps all.
    type: int
    default: 0
  keep_days:
    description: Days after which the others of them are removed. They are as old as their directory.
    type: int
    default: 30
  source:
    description: The directory that holds the files that were fetched, under numbers.
    type: path
  rank:
    description: The rank of the host that they came from.
    type: int
  files:
    description: RV(ignore:files) of C(training_results).
    type: list
    elements: dict
    default: []
  logs:
    description: RV(ignore:logs) of C(training_results).
    type: list
    elements: dict
    default: []
  clock:
    description: With O(state=noted), what C(host_clock) returned of the host.
    type: dict
    default: {}
  moments:
    description: With O(state=noted), what C(host_events_info) returned for each of RV(moments), as C(results) of a loop.
    type: list
    elements: dict
    default: []
author:
  - ddp-swarm contributors (@ddp-swarm)
attributes:
  check_mode:
    description: Can run in check mode and predict changes without making them.
    support: none
"""

EXAMPLES = r"""
- name: Put what rank 0 has in its place
  training_artifacts:
    state: placed
    path: artifacts/simple-training
    source: artifacts/simple-training/.ddp-swarm/incoming/host1.0123456789ab
    rank: 0
    files: "{{ laid_out.files }}"
    logs: "{{ laid_out.logs }}"
"""

RETURN = r"""
kept:
  description: The directory below O(path) that the results of an earlier run were moved to; empty where there were none.
  returned: O(state=begun)
  type: str
removed:
  description: The directories below O(path) of earlier runs that were removed.
  returned: O(state=begun)
  type: list
  elements: str
collection:
  description: A name for what this run fetches, which no other run has. What interrupted runs have fetched is removed after a day.
  returned: O(state=begun)
  type: str
left_out:
  description: What was not taken, by its C(name), and C(why). What a terminal would obey in a name is spelled out.
  returned: O(state=placed)
  type: list
  elements: dict
moments:
  description:
    - Failures of the rank that its host has not been asked about, by their C(container), and when (C(at)) by the host's clock. Of many, the first
      and the newest.
  returned: O(state=placed)
  type: list
  elements: dict
"""

import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..module_utils.logs import moment_of, settled
from ..module_utils.names import is_name
from ..module_utils.report import moments
from ..module_utils.report.ends import containers
from ..module_utils.report.read import Reader
from ..module_utils.reporting import ReportingModule
from ..module_utils.results.tree import FOLDER, STAGED, Tree, folder_in, place, prune_runs, remove_old, set_aside

OWN = ".ddp-swarm"
CHECK = "preflight.json"
DIAGNOSIS = "diagnosis.json"
# What other parts of the tool write there, in small letters, as some file systems make no difference.
RESERVED = re.compile(r"\.ddp-swarm|runs|stack\.yml|preflight\.json|diagnosis\.json|report\.html|node[0-9]+\.log")
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
LOG = re.compile(r"[0-9]{8}T?[0-9]{0,6}\.[0-9a-f]{12}\.log")


@contextmanager
def folders(path: Path) -> Iterator[tuple[int, int]]:
    """Descriptors of the results' directory and of the tool's own in it. Whoever has them works alone: another run waits here."""
    root = os.open(path, FOLDER)
    try:
        own = folder_in(root, OWN, 0o700)
        try:
            fcntl.flock(own, fcntl.LOCK_EX)
            yield root, own
        finally:
            os.close(own)
    finally:
        os.close(root)


def begun(path: Path, run: str, since: str = "") -> str:
    """`since` is when the run was deployed: it may have been diagnosed before its results come."""
    path.mkdir(parents=True, exist_ok=True)
    with folders(path) as (root, _own):
        incoming = path / OWN / "incoming"
        if incoming.is_dir() and not incoming.is_symlink():
            # Of runs that did not come to an end. That of a run which goes on is younger.
            remove_old(incoming, lambda _name: True)
        record = path / OWN / "run_id"
        # Versions before this one kept it among the results.
        before = next((file.read_text().strip() for file in (record, path / "run_id") if file.is_file()), "")
        # The check of the next run is over, and has taken its place, before that run's results come.
        check, check_of_run = path / CHECK, path / OWN / CHECK
        kept = ""
        if is_name("run", run) and before != run:
            if is_name("run", before):
                later = changed(path / DIAGNOSIS) >= moment_of(since) > 0
                kept = set_aside(root, before, [OWN, CHECK, *([DIAGNOSIS] if later else [])])
                for own, name in ((path / OWN / "logs", "logs"), (check_of_run, CHECK)):
                    if kept and own.exists():
                        own.rename(path / kept / name)
            check_of_run.unlink(missing_ok=True)
            record.write_text(f"{run}\n")
        if check.is_file() and not check_of_run.exists():
            shutil.copyfile(check, check_of_run)
        return kept


def changed(file: Path) -> float:
    """Seconds since 1970; 0 where there is none."""
    return file.stat().st_mtime if file.is_file() else 0.0


def removed(path: Path, keep_runs: int, keep_days: int) -> list[str]:
    with folders(path) as (root, _own):
        return prune_runs(root, keep_runs, keep_days)


def write_log(path: Path, rank: int) -> None:
    """One container's log after the other: swarm forgets old containers, their logs stay here."""
    part = path / OWN / f"node{rank}.part"
    with part.open("w", encoding="utf-8") as target:
        for log in sorted((path / OWN / "logs").glob(f"node{rank}.*")):
            with log.open(encoding="utf-8", errors="replace", newline="\n") as source:
                target.writelines(f"{line}\n" for line in settled(text.removesuffix("\n") for text in source))
    part.replace(path / f"node{rank}.log")


def forget_former(logs: Path, rank: int, name: str) -> None:
    """The same container's log under another time, as it was fetched from the engine before and now from its launcher."""
    for former in logs.glob(f"node{rank}.*.{name.split('.')[1]}.log"):
        if former.name != f"node{rank}.{name}":
            former.unlink()


def note_ends(logs: Path, rank: int, entries: list[dict[str, Any]]) -> None:
    """How each container ended, by the beginning of its ID, beside their logs: swarm forgets it with the container."""
    file = logs / f"ended.node{rank}.json"
    try:
        ended = json.loads(file.read_text())
    except (OSError, ValueError):
        ended = {}
    for entry in entries:
        code, when = entry.get("exit_code"), entry.get("finished")
        if isinstance(code, int) and isinstance(when, str) and STAMP.fullmatch(when):
            ended[entry["name"].split(".")[1]] = {"exit_code": code, "finished": when}
    if ended:
        part = logs / f"ended.node{rank}.part"
        part.write_text(json.dumps(ended, sort_keys=True))
        part.replace(file)


def wanted(path: Path, rank: int) -> list[dict[str, str]]:
    """Which failures of a rank its host has not been asked about."""
    with Tree(path) as tree:
        return moments.wanted(containers(Reader(tree), f"{OWN}/logs/", rank))


def noted(path: Path, rank: int, clock: dict[str, Any], answers: list[Any]) -> None:
    with folders(path):
        file = path / OWN / "logs" / moments.file_name(rank)
        text = file.read_text() if file.is_file() else ""
        part = file.with_suffix(".part")
        part.write_text(moments.added(text, clock, answers))
        part.replace(file)


def placed(params: dict[str, Any]) -> list[dict[str, str]]:
    path, source, rank = Path(params["path"]), Path(params["source"]), params["rank"]
    left_out = []
    with folders(path) as (root, own):
        for folder, entry in [(root, entry) for entry in params["files"]] + [(own, entry) for entry in params["logs"]]:
            name = entry.get("name")
            try:
                if not isinstance(name, str) or not STAGED.fullmatch(str(entry.get("file"))):
                    raise ValueError("the host says that it lies outside of what it has laid out")
                if folder == root and RESERVED.fullmatch(name.split("/")[0].lower()):
                    raise ValueError("the tool itself has a file of this name")
                if folder == own and not LOG.fullmatch(name):
                    raise ValueError("it is not the name of a container's log")
                if folder == own:
                    forget_former(path / OWN / "logs", rank, name)
                mode = 0o644 if entry.get("public") or folder == own else 0o600
                place(folder, name if folder == root else f"logs/node{rank}.{name}", source / entry["file"], mode)
            except (ValueError, OSError) as error:
                why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
                left_out.append(
                    {"name": name if isinstance(name, str) and name.isprintable() else ascii(name), "why": why}
                )
        if params["logs"]:
            refused = {entry["name"] for entry in left_out}
            note_ends(path / OWN / "logs", rank, [one for one in params["logs"] if one.get("name") not in refused])
            write_log(path, rank)
    return left_out


def main() -> None:
    module = ReportingModule(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": ["begun", "placed", "noted"]},
            "path": {"type": "path", "required": True},
            "run": {"type": "str", "default": ""},
            "since": {"type": "str", "default": ""},
            "keep_runs": {"type": "int", "default": 0},
            "keep_days": {"type": "int", "default": 30},
            "source": {"type": "path"},
            "rank": {"type": "int"},
            "files": {"type": "list", "elements": "dict", "default": []},
            "logs": {"type": "list", "elements": "dict", "default": []},
            "clock": {"type": "dict", "default": {}},
            "moments": {"type": "list", "elements": "dict", "default": []},
        },
        required_if=[("state", "placed", ["source", "rank"]), ("state", "noted", ["rank"])],
        supports_check_mode=False,
    )
    try:
        if module.params["state"] == "begun":
            kept = begun(Path(module.params["path"]), module.params["run"], module.params["since"])
            gone = removed(Path(module.params["path"]), module.params["keep_runs"], module.params["keep_days"])
            name = secrets.token_hex(6)
            module.exit_json(changed=bool(kept or gone), kept=kept, removed=gone, collection=name)
        path, rank = Path(module.params["path"]), module.params["rank"]
        if module.params["state"] == "noted":
            noted(path, rank, module.params["clock"], module.params["moments"])
            module.exit_json(changed=False)
        left_out = placed(module.params)
        module.exit_json(changed=False, left_out=left_out, moments=wanted(path, rank))
    except OSError as error:
        module.fail_json(msg=f"Results cannot be written to {module.params['path']} on the controller: {error}.")


if __name__ == "__main__":
    main()
