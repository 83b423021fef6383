"""Layer 4, and the GPUs of layer 5: what this container is."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import signal
from typing import Any

from ..contract import IMPORT_KILLED, IMPORT_UNFINISHED, NO_NCCL
from ..sizes import MEBIBYTE
from ..state import State

# torch.compile, and transformers' option torch_compile.
COMPILES = re.compile(rb"\btorch[._]compile\b")


def file_identity(paths: str, limit_files: int = 2000, limit_bytes: int = 256 * MEBIBYTE) -> dict[str, Any]:
    """Hash what the image holds at these paths. Mounted files are left out: they are not the image's."""
    mounts = mount_points()
    found: list[tuple[str, str]] = []
    hidden = {".git", "__pycache__"}
    notes: list[str] = []
    size = 0
    for start in paths.replace(",", " ").split():
        top = os.path.abspath(start)
        if os.path.isfile(top):
            found.append((start, top))
            continue
        if not os.path.isdir(top):
            found.append((start, ""))
            continue
        for folder, folders, names in os.walk(top):
            folders[:] = sorted(n for n in folders if n not in hidden and os.path.join(folder, n) not in mounts)
            if top == "/":
                folders[:] = []
            for name in sorted(names):
                full = os.path.join(folder, name)
                if name.endswith(".pyc") or full in mounts or not os.path.isfile(full):
                    continue
                found.append((os.path.relpath(full, top), full))
            if len(found) > limit_files:
                notes.append(f"only the first {limit_files} files were read")
                found = found[:limit_files]
                break
    files: dict[str, str] = {}
    compiles: set[str] = set()
    for shown, full in found:
        if not full:
            files[shown] = "missing"
            continue
        try:
            size += os.path.getsize(full)
            if size > limit_bytes:
                notes.append(f"only the first {limit_bytes // MEBIBYTE} MiB were read")
                break
            digest = hashlib.sha256()
            with open(full, "rb") as stream:
                for block in iter(lambda: stream.read(MEBIBYTE), b""):
                    digest.update(block)
                    if full.endswith(".py") and COMPILES.search(block):
                        compiles.add(shown)
            files[shown] = digest.hexdigest()[:16]
        except OSError as error:
            files[shown] = f"unreadable: {error.strerror}"
    whole = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    shown_files = dict(sorted(files.items())[:80])
    return {
        "hash": whole,
        "files": shown_files,
        "file_count": len(files),
        "notes": notes,
        "compiles": sorted(compiles)[:5],
    }


def mount_points() -> set[str]:
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as stream:
            return {line.split()[4].replace("\\040", " ") for line in stream if len(line.split()) > 4}
    except OSError:
        return set()


def check_identity(state: State, facts: dict[str, Any] | None, identity: dict[str, Any]) -> None:
    facts = facts or {}
    state.report.note(
        identity={
            "python": platform.python_version(),
            "torch": facts.get("torch"),
            "cuda": facts.get("cuda"),
            "nccl": facts.get("nccl"),
            "architecture": platform.machine(),
            "architectures": facts.get("architectures") or [],
            "capabilities": facts.get("capabilities") or [],
            "gpu_uuids": facts.get("gpu_uuids") or [],
            "files": identity.get("files"),
            "file_count": identity.get("file_count"),
            "files_hash": identity.get("hash"),
            "notes": identity.get("notes", []),
        }
    )
    if "torch" in facts:
        state.report.add(4, "torch", True, facts["torch"], seconds=facts.get("import_seconds", 0.0))
        expected = "at least 1" if state.settings.backend == "nccl" else None
        state.report.add(
            5, "gpu", state.settings.backend != "nccl" or state.gpus() > 0, state.gpus(), expected,
            "; ".join(facts.get("gpu_names") or []) or facts.get("gpu_error", ""),
        )  # fmt: skip
        state.report.note(gpus=state.gpus(), gpu_names=facts.get("gpu_names"), gpu_error=facts.get("gpu_error"))
        if state.settings.backend == "nccl" and not facts.get("nccl"):
            state.report.add(4, "nccl", False, "torch without NCCL", "a torch that has NCCL", code=NO_NCCL)
    elif facts.get("error"):
        state.report.add(4, "torch", False, "torch cannot be imported", "a working torch", facts["error"])
    else:
        words = state.child.last_words()
        code = IMPORT_KILLED if state.child.exit_code() == -signal.SIGKILL else IMPORT_UNFINISHED
        state.report.add(4, "torch", False, "import unfinished", "a working torch", words, code=code)
    if identity.get("hash"):
        state.report.add(4, "files", True, identity["hash"][:16], detail=f"{identity['file_count']} files")
    else:
        state.report.add(4, "files", None, detail="the work directory could not be read in time")
