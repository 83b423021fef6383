"""Results and logs, put under numbers where the user who logged in can read them."""

from __future__ import annotations

import glob
import os
import re
import shutil
from typing import Any

from ..docker.cli import DockerCli
from ..login import login_user
from ..names import LAUNCHER
from .rank_logs import lay_out_logs
from .state import below, copy_in
from .tree import FOLDER, Tree, lay_out, remove_old

# How training_artifacts names a collection.
COLLECTION = re.compile("[0-9a-f]{12}")
UNNAMED = 50
NOTHING_LAID_OUT: dict[str, Any] = {"files": [], "missing": [], "unnamed": [], "instead": False}
# What launchers keep for people: what the ranks said when none of them moved, and what torch dumped of NCCL's collectives.
DIAGNOSES = ["stalls/*", "dumps/*"]
DIAGNOSES_BYTES = 64e6


def forget_interrupted(path: str) -> None:
    """What runs have laid out that did not come to an end. That of a run which still fetches is younger."""
    folder, name = os.path.split(path)
    stem, dot, digits = name.rpartition(".")
    if not dot or not COLLECTION.fullmatch(digits):
        return
    alike = re.compile(rf"{re.escape(stem)}(?:\.{COLLECTION.pattern})?")
    remove_old(folder, lambda name: alike.fullmatch(name) is not None)


def laid_out(docker: DockerCli, program: str, params: dict[str, Any], tree: Tree | None) -> dict[str, Any]:
    """What the module training_results does with its `params` for `state: laid_out`. `program` is the path of the docker command."""
    path, owner, service, copied = params["stage"], login_user(), params["service"], params["copy_patterns"]
    most = params["otherwise_max_mb"] * 1e6
    forget_interrupted(path)
    shutil.rmtree(path, ignore_errors=True)
    os.mkdir(path, 0o700)
    stage = os.open(path, FOLDER | os.O_NOFOLLOW)
    try:
        # Logs first: what launchers have kept lies among the results.
        logs = lay_out_logs(docker, program, service, params["log_max_mb"], tree, stage, owner) if service else []
        laid = taken_from(tree, params["patterns"], stage, owner, 0, 0 if copied else most)
        left_out = tree.left_out if tree else []
        if tree and copied:
            with copy_in(tree) as copy:
                second = taken_from(copy, copied, stage, owner, len(laid["files"]), most)
                laid = {**second, "files": laid["files"] + second["files"]}
                left_out = left_out + (copy.left_out if copy else [])
        if tree and service:
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
