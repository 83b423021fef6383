"""What ./ddp writes with --json, as JSON schemas: JOBS and RESULT. Fields may be added; `schema` changes when one is renamed or goes."""

from __future__ import annotations

from typing import Any

WORD = {"type": "string"}
AMOUNT = {"type": ["number", "null"]}
COUNT = {"type": "integer", "minimum": 0}
RANK: dict[str, Any] = {
    "rank": COUNT, "host": WORD, "state": WORD, "exit_code": {"type": ["integer", "null"]}, "error": WORD, "since": WORD, "restarts": COUNT,
    "last": WORD, "epoch": AMOUNT, "epochs": AMOUNT, "step": AMOUNT, "steps": AMOUNT, "loss": AMOUNT, "losses": {"type": "array", "items": AMOUNT},
    "held_out_loss": AMOUNT, "samples_per_s": AMOUNT, "iterations_per_s": AMOUNT, "eta_s": AMOUNT, "silent_s": AMOUNT, "cpu_percent": AMOUNT, "memory_bytes": AMOUNT,
    "gpu_percent": AMOUNT, "network_bytes_per_s": AMOUNT,
}  # fmt: skip


def exactly(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }


FAILURE = exactly({"rank": COUNT, "host": WORD, "time": WORD, "error": WORD})
JOB = exactly(
    {
        "name": WORD,
        "state": {"enum": ["running", "starting", "stopped", "complete", "failed"]},
        "since": WORD,
        "ended": WORD,
        "restarts": COUNT,
        "slow": WORD,
        "failure": {"anyOf": [{"type": "null"}, FAILURE]},
        "planned": {"type": "object", "additionalProperties": COUNT},
        "ranks": {"type": "array", "items": exactly(RANK)},
    }
)
NODE = exactly({"name": WORD, "state": WORD, "availability": WORD, "manager": WORD, "engine": WORD})
# What `ddp status --json` and each line of `ddp watch --json` are.
JOBS = exactly(
    {
        "schema": {"const": 1},
        "command": {"enum": ["status", "watch"]},
        "at": WORD,
        "state": {"enum": ["running", "done", "failed", "none"]},
        "jobs": {"type": "array", "items": JOB},
        "nodes": {"type": "array", "items": NODE},
    }
)
# What every other subcommand is with --json.
RESULT = exactly(
    {
        "schema": {"const": 1},
        "command": WORD,
        "run": WORD,
        "state": {"enum": ["done", "failed"]},
        "rc": COUNT,
        "seconds": {"type": "number"},
        "changed": {"type": "object", "additionalProperties": COUNT},
        "failures": {"type": "array", "items": exactly({"host": WORD, "phase": WORD, "task": WORD, "message": WORD})},
        "message": WORD,
    }
)
