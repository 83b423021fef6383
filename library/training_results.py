#!/usr/bin/python
# MIT License (see LICENSE), compatible with the GNU General Public License version 3
"""Ansible module: results of a training, taken on the host that has them from what containers wrote."""

from __future__ import annotations

DOCUMENTATION = r"""
module: training_results
short_description: Takes results and logs of a training from where its containers wrote them
description:
  - Works as root on a directory to which a container writes, and trusts nothing in it. Each name is opened relative to the descriptor of
    its directory and never through a link. What is no regular file or directory stays where it is, and RV(left_out) says why.
  - With O(state=named) tells the name of the run.
  - With O(state=laid_out) puts results and logs into O(stage), under numbers, where the user who logged in can read them.
  - With O(state=set_aside) moves all results into the directory C(runs/RUN) beside them, and removes earlier runs there that are old and many.
  - With O(state=packed) writes all results into one archive for the user who logged in.
  - What programs cache beside their results, in C(.ddp-caches), is no result. It is neither laid out nor packed, and stays where it is.
  - Where there is no such volume or directory, there are no results, and that is no error.
  - A volume with a driver or options of its own (NFS) is mounted meanwhile by a container that sleeps, made of an image of the host.
options:
  state:
    description: What is to be done.
    type: str
    required: true
    choices: [named, laid_out, set_aside, packed]
  volume:
    description: The Docker volume that holds the results.
    type: str
  path:
    description: The directory that holds the results, where they are in no volume.
    type: path
  patterns:
    description: Which files to lay out. A shell's patterns, relative to the results. A directory stands for all files below it.
    type: list
    elements: str
    default: []
  otherwise_max_mb:
    description:
      - Where nothing matches O(patterns) or, if there are any, O(copy_patterns), everything there is laid out instead, up to so many megabytes.
        V(0) lays out none.
    type: int
    default: 0
  copy_patterns:
    description: The same as O(patterns), of the second copy that the rank's launcher keeps beside its results.
    type: list
    elements: str
    default: []
  service:
    description: The Docker service whose containers' logs are laid out as well.
    type: str
  log_max_mb:
    description:
      - The engine removes what is old of a long log, and the whole log with its container. In its place is laid out what the rank's launcher
        has kept of it among the results, of all containers of the newest deployment, so many megabytes at most.
    type: float
    default: 100
  stage:
    description:
      - The directory that is made for what is laid out. What an interrupted run has left in it is removed.
      - Where its name ends with C(.) and 12 hexadecimal digits, so are those that are a day old and differ in the digits alone, or have none.
    type: path
  archive:
    description: The file to write with O(state=packed). It must not exist.
    type: path
  run:
    description: The name of the run whose results are set aside.
    type: str
  keep_runs:
    description: With O(state=set_aside), how many of the newest runs in C(runs) stay whatever their age. V(0) keeps all.
    type: int
    default: 0
  keep_days:
    description: Days after which the others of them are removed. They are as old as their directory.
    type: int
    default: 30
author:
  - ddp-swarm contributors (@ddp-swarm)
attributes:
  check_mode:
    description: Can run in check mode and predict changes without making them.
    support: full
notes:
  - A file with another name outside of the directory (a hard link) is left out. One with several names in it is taken.
  - At most 10000 files are laid out, from at most 32 directories deep.
"""

EXAMPLES = r"""
- name: Lay out the results
  training_results:
    state: laid_out
    volume: simple-training_snapshots
    patterns: [snapshot.pt, "metrics*.jsonl", tensorboard]
    service: simple-training_node0
    stage: /var/lib/ddp-swarm-collect-simple-training.0123456789ab
  register: laid_out
"""

RETURN = r"""
run:
  description: The name of the run, as the last lines of C(metrics.jsonl) have it; empty where they have none that can name a directory.
  returned: O(state=named)
  type: str
empty:
  description: Whether there are no results at all.
  returned: O(state=named)
  type: bool
saved:
  description:
    - What the rank's launcher has counted, if it is rank 0's. Its C(lineage) is empty, and its C(counter) 0, where it has not.
  returned: O(state=named)
  type: dict
copied:
  description: The same of the newest second copy that lies here.
  returned: O(state=named)
  type: dict
files:
  description:
    - What was laid out. Each has its C(name) among the results, the C(file) in O(stage), C(public), whether others may read it, and its C(size)
      in bytes.
    - Of a O(service), also what its launcher keeps of stalls and torch's dumps of NCCL's collectives, up to 64 MB, named below C(diagnosis).
  returned: O(state=laid_out)
  type: list
  elements: dict
logs:
  description:
    - The same for the containers' logs. Their names are made of the time of the container's creation and of its ID. That of a container which has
      ended has its C(exit_code), and when that was (C(finished)).
  returned: O(state=laid_out)
  type: list
  elements: dict
missing:
  description: Which O(patterns) nothing matches.
  returned: O(state=laid_out)
  type: list
  elements: str
unnamed:
  description:
    - What lies among the results and matches none of O(patterns), by its C(name), with the number of its C(files) and their C(size) in bytes.
      Earlier runs, caches and hidden files are not told.
  returned: O(state=laid_out)
  type: list
  elements: dict
instead:
  description: Whether nothing matched, and all was laid out (O(otherwise_max_mb)).
  returned: O(state=laid_out)
  type: bool
left_out:
  description: What was not taken, by its C(name), and C(why). What a terminal would obey in a name is spelled out.
  returned: O(state=laid_out) and O(state=packed)
  type: list
  elements: dict
place:
  description: The directory that the results were moved to; empty where there was nothing to move.
  returned: O(state=set_aside)
  type: str
removed:
  description: The directories below the results of earlier runs that were removed.
  returned: O(state=set_aside)
  type: list
  elements: str
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from ..module_utils.docker.cli import DockerCli, DockerError
from ..module_utils.login import login_user
from ..module_utils.names import refusal
from ..module_utils.reporting import ReportingModule
from ..module_utils.results.lay_out import NOTHING_LAID_OUT, laid_out
from ..module_utils.results.state import named
from ..module_utils.results.tree import NEW, STAYS, Tree, pack, prune_runs, set_aside
from ..module_utils.results.volume_files import files_of


@contextmanager
def results(module: Any, docker: DockerCli) -> Iterator[Tree | None]:
    volume = module.params["volume"]
    with files_of(docker, volume) if volume else nullcontext(module.params["path"]) as path:
        if not path or not os.path.isdir(path):
            yield None
            return
        with Tree(path) as tree:
            yield tree


def put_aside(module: Any, tree: Tree | None) -> dict[str, Any]:
    run = module.params["run"]
    if tree is None:
        return {"place": "", "removed": [], "changed": False}
    place = "" if module.check_mode else moved_aside(module, tree, run)
    moves = bool(set(os.listdir(tree.root)) - STAYS) if module.check_mode else bool(place)
    removed, keep = [], (module.params["keep_runs"], module.params["keep_days"])
    try:
        removed = prune_runs(tree.root, *keep, module.check_mode, int(moves and module.check_mode))
    except OSError as error:
        module.warn(
            f"Old runs in the directory 'runs' of the results cannot be removed: {error}. Remove them on that host."
        )
    return {"place": place, "removed": removed, "changed": bool(moves or removed)}


def moved_aside(module: Any, tree: Tree, run: str) -> str:
    try:
        return set_aside(tree.root, run, [])
    except OSError as error:
        module.fail_json(
            msg=f"The results of {run} cannot be moved into the directory 'runs' beside them ({error.strerror}): it has to be "
            "a directory there, not a link. Move it away on that host, and run this again."
        )
        return ""


def packed(module: Any, tree: Tree | None) -> dict[str, Any]:
    if tree is None:
        module.fail_json(msg=f"There is no volume {module.params['volume']}.")
        return {}
    if not module.check_mode:
        with open(os.open(module.params["archive"], NEW, 0o600), "wb") as archive:
            os.fchown(archive.fileno(), login_user(), -1)
            pack(tree, archive)
    return {"left_out": tree.left_out}


def done(module: Any, docker: DockerCli, tree: Tree | None) -> dict[str, Any]:
    state = module.params["state"]
    if state == "named":
        return named(tree)
    if state == "set_aside":
        return put_aside(module, tree)
    if state == "packed":
        return packed(module, tree)
    if module.check_mode:
        return {**NOTHING_LAID_OUT, "logs": [], "left_out": []}
    return laid_out(docker, str(module.get_bin_path("docker")), module.params, tree)


def main() -> None:
    module = ReportingModule(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": ["named", "laid_out", "set_aside", "packed"]},
            "volume": {"type": "str"},
            "path": {"type": "path"},
            "patterns": {"type": "list", "elements": "str", "default": []},
            "otherwise_max_mb": {"type": "int", "default": 0},
            "copy_patterns": {"type": "list", "elements": "str", "default": []},
            "service": {"type": "str"},
            "log_max_mb": {"type": "float", "default": 100},
            "stage": {"type": "path"},
            "archive": {"type": "path"},
            "run": {"type": "str"},
            "keep_runs": {"type": "int", "default": 0},
            "keep_days": {"type": "int", "default": 30},
        },
        mutually_exclusive=[("volume", "path")],
        required_if=[
            ("state", "laid_out", ["stage"]),
            ("state", "set_aside", ["run"]),
            ("state", "packed", ["archive"]),
        ],
        supports_check_mode=True,
    )
    docker, problem = DockerCli(module), refusal("run", "run", module.params["run"] or "")
    if problem and module.params["state"] == "set_aside":
        module.fail_json(msg=f"{problem}.")
    try:
        with results(module, docker) as tree:
            found = done(module, docker, tree)
    except (DockerError, OSError) as error:
        module.fail_json(msg=f"The results cannot be read: {error}.")
    module.exit_json(**{"changed": False, **found})


if __name__ == "__main__":
    main()
