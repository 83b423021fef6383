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

import glob
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO, Any

from ..module_utils import launcher_logs
from ..module_utils.docker.cli import DockerCli, DockerError
from ..module_utils.image_layers import streamed
from ..module_utils.kept import NOTHING, age_of, newest_copy, opened, saved_here
from ..module_utils.login import login_user
from ..module_utils.logs import merged
from ..module_utils.names import LAUNCHER, SERVICE_LABEL, is_name, refusal
from ..module_utils.reporting import ReportingModule
from ..module_utils.text import lines_of
from ..module_utils.tree import FOLDER, NEW, STAYS, Tree, lay_out, pack, prune_runs, remove_old, set_aside, tail
from ..module_utils.volume_files import files_of

# How training_artifacts names a collection.
COLLECTION = re.compile("[0-9a-f]{12}")
LAST_LINES = 65536  # bytes
ID = "0123456789abcdef"
UNNAMED = 50
NOTHING_LAID_OUT: dict[str, Any] = {"files": [], "missing": [], "unnamed": [], "instead": False}
# Lines among which the first is looked for that a launcher has kept: before it stands what the launcher itself says.
HEAD = 400
# What launchers keep for people: what the ranks said when none of them moved, and what torch dumped of NCCL's collectives.
DIAGNOSES = ["stalls/*", "dumps/*"]
DIAGNOSES_BYTES = 64e6


@contextmanager
def results(module: Any, docker: DockerCli) -> Iterator[Tree | None]:
    volume = module.params["volume"]
    with files_of(docker, volume) if volume else nullcontext(module.params["path"]) as path:
        if not path or not os.path.isdir(path):
            yield None
            return
        with Tree(path) as tree:
            yield tree


def copy_in(tree: Tree) -> AbstractContextManager[Tree | None]:
    """The files of the newest second copy."""
    return below(tree, LAUNCHER, "copy", newest_copy(tree) or "none", "files")


@contextmanager
def below(tree: Tree, *names: str) -> Iterator[Tree | None]:
    folder = opened(tree, *names)
    if folder is None:
        yield None
        return
    try:
        with Tree(f"/proc/self/fd/{folder}") as files:
            yield files
    finally:
        os.close(folder)


def named(tree: Tree | None) -> dict[str, Any]:
    ages = (saved_here(tree), age_of(newest_copy(tree))) if tree else (NOTHING, NOTHING)
    run = run_name(tree) if tree else ""
    if tree and not run:
        with copy_in(tree) as copy:
            run = run_name(copy) if copy else ""
    saved, copied = ({"lineage": lineage, "counter": counter} for lineage, counter in ages)
    empty = tree is None or not set(os.listdir(tree.root)) - STAYS - {LAUNCHER}
    return {"run": run, "empty": empty, "saved": saved, "copied": copied}


def run_name(tree: Tree) -> str:
    """Of lines that a container wrote: the last that names a run decides."""
    for line in reversed(lines_of(tail(tree, "metrics.jsonl", LAST_LINES).decode(errors="replace"))):
        try:
            run = json.loads(line).get("run")
        except (ValueError, AttributeError, RecursionError):
            continue
        if run is not None:
            return str(run) if is_name("run", run) else ""
    return ""


def lines_in(stage: int, name: str = "") -> IO[str]:
    """A new file for lines of any bytes, in the directory on whose disk there is room; without a name it goes when it is closed."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    descriptor = os.open(name or "unnamed", flags, 0o600, dir_fd=stage)
    if not name:
        os.unlink("unnamed", dir_fd=stage)
    return open(descriptor, "w+", encoding="utf-8", errors="surrogateescape", newline="\n")


def containers_of(docker: DockerCli, service: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """By its ID, when a container of the service was made, and how it ended, if it has; the newest first."""
    label = f"label={SERVICE_LABEL}={service}"
    found = {}
    for container in docker.run("ps", "--all", "--no-trunc", "--quiet", "--filter", label).stdout.split():
        told = docker.run(
            "inspect",
            "--format",
            "{{.Created}},{{.State.Status}},{{.State.ExitCode}},{{.State.FinishedAt}}",
            container,
            check=False,
        )
        if told.rc or set(container) - set(ID):  # it was removed meanwhile
            continue
        created, state, code, when = (told.stdout.strip().split(",") + [""] * 3)[:4]
        made = "".join(letter for letter in created[:19] if letter.isdigit() or letter == "T")
        found[container] = (
            made,
            ({"exit_code": int(code), "finished": when} if state == "exited" and code.isdecimal() else {}),
        )
    return found


def lay_out_log(command: list[str], stage: int, log: IO[str]) -> list[str]:
    """What the engine has of a container. Returns its first lines."""
    head: list[str] = []
    with lines_in(stage) as out, lines_in(stage) as err:
        with streamed(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err):
            pass
        for stream in (out, err):
            stream.seek(0)
        streams = ((line.removesuffix("\n") for line in stream) for stream in (out, err))
        for _stamp, text in merged(*streams):
            if len(head) < HEAD:
                head.append(text.rstrip("\r"))
            log.write(f"{text}\n")
    return head


def lay_out_logs(module: Any, docker: DockerCli, tree: Tree | None, stage: int, owner: int) -> list[dict[str, Any]]:
    """On the host itself, because `docker service logs` of a manager can lose and reorder lines (moby#33183).

    The engine removes what is old of a long log, and a container's log with the container: what the rank's launcher has kept takes its place.
    """
    command = [str(module.get_bin_path("docker")), "logs", "--timestamps"]
    kept = {start.container: start for start in launcher_logs.starts(tree)} if tree else {}
    laid: list[dict[str, Any]] = []

    def new_log(name: str, container: str, ended: dict[str, Any] | None = None) -> IO[str]:
        laid.append({"name": f"{name}.{container[:12]}.log", "file": f"log{len(laid):05}", **(ended or {})})
        log = lines_in(stage, laid[-1]["file"])
        os.fchown(log.fileno(), owner, -1)
        return log

    left = int(module.params["log_max_mb"] * 1e6)
    for container, (created, ended) in containers_of(docker, module.params["service"]).items():
        start = kept.pop(container, None)
        with new_log(created, container, ended) as log:
            head = lay_out_log([*command, container], stage, log)
            if tree and start and launcher_logs.first_line(tree, start) not in head:
                left -= take_kept(tree, start, log, left)
    for container, start in kept.items():
        if tree and launcher_logs.size_of(tree, start) <= left:
            with new_log(start.at, container) as log:
                left -= take_kept(tree, start, log, left)
    return laid


def take_kept(tree: Tree, start: launcher_logs.Start, log: IO[str], most: int) -> int:
    """The launcher's log in place of what the file has, if it is not too large. Returns its size."""
    size = launcher_logs.size_of(tree, start)
    if not 0 < size <= most:
        return 0
    log.flush()
    os.ftruncate(log.fileno(), 0)
    os.lseek(log.fileno(), 0, os.SEEK_SET)
    with open(log.fileno(), "wb", closefd=False) as target:
        launcher_logs.copy(tree, start, target)
    return size


def forget_interrupted(path: str) -> None:
    """What runs have laid out that did not come to an end. That of a run which still fetches is younger."""
    folder, name = os.path.split(path)
    stem, dot, digits = name.rpartition(".")
    if not dot or not COLLECTION.fullmatch(digits):
        return
    alike = re.compile(rf"{re.escape(stem)}(?:\.{COLLECTION.pattern})?")
    remove_old(folder, lambda name: alike.fullmatch(name) is not None)


def laid_out(module: Any, docker: DockerCli) -> dict[str, Any]:
    if module.check_mode:
        return {**NOTHING_LAID_OUT, "logs": [], "left_out": []}
    path, owner, patterns = module.params["stage"], login_user(), module.params["patterns"]
    most = module.params["otherwise_max_mb"] * 1e6
    forget_interrupted(path)
    shutil.rmtree(path, ignore_errors=True)
    os.mkdir(path, 0o700)
    stage = os.open(path, FOLDER | os.O_NOFOLLOW)
    try:
        with results(module, docker) as tree:
            # Logs first: what launchers have kept lies among the results.
            logs = lay_out_logs(module, docker, tree, stage, owner) if module.params["service"] else []
            laid = taken_from(tree, patterns, stage, owner, 0, 0 if module.params["copy_patterns"] else most)
            left_out = tree.left_out if tree else []
            if tree and module.params["copy_patterns"]:
                with copy_in(tree) as copy:
                    copied = taken_from(copy, module.params["copy_patterns"], stage, owner, len(laid["files"]), most)
                    laid = {**copied, "files": laid["files"] + copied["files"]}
                    left_out = left_out + (copy.left_out if copy else [])
            if tree and module.params["service"]:
                with below(tree, LAUNCHER) as own:
                    if own:
                        kept = lay_out(own, DIAGNOSES, stage, owner, len(laid["files"]), DIAGNOSES_BYTES)
                        laid["files"] += [{**one, "name": f"diagnosis/{one['name']}"} for one in kept]
                        left_out = left_out + own.left_out
        os.fchown(stage, owner, -1)
    finally:
        os.close(stage)
    return {**laid, "logs": logs, "left_out": left_out}


def taken_from(
    tree: Tree | None, patterns: list[str], stage: int, owner: int, first: int, most: float
) -> dict[str, Any]:
    """What matches; where nothing does, all there is, up to `most` bytes. And which patterns, and which results, found nothing."""
    if tree is None or not patterns:
        return dict(NOTHING_LAID_OUT)
    files = lay_out(tree, patterns, stage, owner, first)
    tops = {one["name"].split("/")[0] for one in files}
    unnamed = [one for one in tree.contents() if one["name"] not in tops]
    instead = bool(most and unnamed and not files)
    if instead:
        files = lay_out(tree, [glob.escape(one["name"]) for one in unnamed], stage, owner, first, most)
    return {
        "files": files,
        "missing": [pattern for pattern in patterns if next(tree.files([pattern]), None) is None],
        "unnamed": [] if instead else unnamed[:UNNAMED],
        "instead": instead,
    }


def put_aside(module: Any, docker: DockerCli) -> dict[str, Any]:
    run = module.params["run"]
    if refusal("run", "run", run):
        module.fail_json(msg=f"{refusal('run', 'run', run)}.")
    with results(module, docker) as tree:
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


def packed(module: Any, docker: DockerCli) -> dict[str, Any]:
    with results(module, docker) as tree:
        if tree is None:
            module.fail_json(msg=f"There is no volume {module.params['volume']}.")
            return {}
        if not module.check_mode:
            with open(os.open(module.params["archive"], NEW, 0o600), "wb") as archive:
                os.fchown(archive.fileno(), login_user(), -1)
                pack(tree, archive)
        return {"left_out": tree.left_out}


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
    docker, state = DockerCli(module), module.params["state"]
    found: dict[str, Any]
    try:
        if state == "named":
            with results(module, docker) as tree:
                found = named(tree)
        else:
            found = {"laid_out": laid_out, "set_aside": put_aside, "packed": packed}[state](module, docker)
    except (DockerError, OSError) as error:
        module.fail_json(msg=f"The results cannot be read: {error}.")
    module.exit_json(**{"changed": False, **found})


if __name__ == "__main__":
    main()
