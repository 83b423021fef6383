"""NVSwitch and the service that sets it up, and DCGM's quick diagnosis. Made-up answers stood in for both: no such machine was at hand."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

from ...host.gpus import BRIDGE, cards, complaint
from ..contract import Json
from .gpus import printed

SERVICE = "nvidia-fabricmanager"
# `-r 1` takes seconds: https://docs.nvidia.com/datacenter/dcgm/latest/user-guide/dcgm-diagnostics.html
DIAG_SECONDS = 60
# The name that DCGM 4 gives its results, and the one before.
ROOTS = ("DCGM Diagnostic", "DCGM GPU Diagnostic")
CONFIGURATION = 5  # dcgm_errors.h: a fault of how the host is set up, such as persistence mode, and not of the card


def fabric() -> Json:
    """Where there are NVSwitches: how many, and whether Fabric Manager runs, as systemd says."""
    switches = cards(kind=BRIDGE)
    if not switches:
        return {}
    out, _ = printed(["systemctl", "show", SERVICE, "--property=LoadState,ActiveState"], 10)
    told = dict(line.partition("=")[::2] for line in out.splitlines())
    state = "not installed" if told.get("LoadState") == "not-found" else told.get("ActiveState", "")
    return {"switches": switches, "service": state}


def diagnosis() -> Json:
    """What `dcgmi diag -r 1` found, or why it found nothing; empty where it is not installed."""
    if not shutil.which("dcgmi"):
        return {}
    command = ["dcgmi", "diag", "-r", "1", "-j"]
    try:
        # It also ends with an error after a test that failed, and after a warning.
        done = subprocess.run(command, capture_output=True, text=True, timeout=DIAG_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {DIAG_SECONDS} s"}
    except OSError as error:
        return {"error": str(error.strerror)}
    found = results(done.stdout)
    if found is None:
        return {"error": complaint(f"{done.stdout}\n{done.stderr}\nexit code {done.returncode}")[:300]}
    return {"results": found}


def results(text: str) -> list[Json] | None:
    """Each test that did not pass: its name, whether it failed or warns, the GPUs and the first words; None without any test."""
    try:
        # Lines that are no JSON can come before.
        answer, _ = json.JSONDecoder().raw_decode(text[max(0, text.find("{")) :])
    except (ValueError, RecursionError):
        return None
    root = next((answer[name] for name in ROOTS if isinstance(answer, dict) and name in answer), None)
    tests = [test for category in dicts(root, "test_categories") for test in dicts(category, "tests")]
    if not tests:
        return None
    found: dict[tuple[str, bool], Json] = {}
    for test in tests:
        for result in dicts(test, "results"):
            status = str(result.get("status")).lower()
            if not status.startswith(("fail", "warn")):
                continue
            given = result.get("warnings")
            warnings: list[Any] = given if isinstance(given, list) else []
            settings = warnings and all(
                isinstance(one, dict) and one.get("error_severity") == CONFIGURATION for one in warnings
            )
            failed = status.startswith("fail") and not settings
            one = found.setdefault(
                (str(test.get("name")), failed),
                {"test": str(test.get("name")), "failed": failed, "gpus": [], "said": said(warnings)},
            )
            one["gpus"].append(str(result.get("entity_id", result.get("gpu_ids", "?"))))
    return list(found.values())


def dicts(parent: Any, name: str) -> list[Json]:
    """DCGM has `null` between its tests."""
    entries = parent.get(name) if isinstance(parent, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def said(warnings: list[Any]) -> str:
    """Of DCGM 3 and 4 a mapping, before that a text."""
    first = warnings[0] if warnings else ""
    return str(first.get("warning") if isinstance(first, dict) else first)[:300]
