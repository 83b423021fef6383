"""What the ranks on one host tell of themselves, through their launchers. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from ..docker.cli import ANSWER_TIMEOUT, DockerCli, DockerError, parse_json_lines
from ..names import LAUNCHED, NAMESPACE, SERVICE_LABEL, STACKS, rank_of, service_of
from ..text import printable

RECORD_BYTES = 2**23
RECORD_TIMEOUT = 90.0


def containers(docker: DockerCli, stack: str) -> dict[int, tuple[str, str]]:
    """By rank its container on this host and that one's state: the one that runs, else the newest."""
    form = f'{{{{.ID}}}}\t{{{{.State}}}}\t{{{{.Label "{SERVICE_LABEL}"}}}}'
    label = f"label={NAMESPACE}={stack}"
    rows = docker.run("ps", "--all", "--no-trunc", "--filter", label, "--format", form, timeout=ANSWER_TIMEOUT).stdout
    found: dict[int, tuple[str, str]] = {}
    for row in rows.splitlines():
        container, state, service = [*row.split("\t"), "", ""][:3]
        rank = rank_of(service.removeprefix(f"{stack}_"))
        if rank is None or service != service_of(stack, rank) or not re.fullmatch("[0-9a-f]{12,64}", container):
            continue
        if rank not in found or (state in ("running", "paused") and found[rank][1] not in ("running", "paused")):
            found[rank] = (container, state)
    return found


def ended(docker: DockerCli, container: str) -> str:
    said = docker.run("inspect", "--format", "{{json .State}}", container, check=False, timeout=ANSWER_TIMEOUT)
    try:
        (state,) = parse_json_lines(said.stdout)
    except (DockerError, ValueError):
        return "its container has ended"
    killed = ", killed by the kernel for its memory" if state.get("OOMKilled") is True else ""
    return printable(
        f"its container ended at {str(state.get('FinishedAt'))[:19]}Z with exit code {str(state.get('ExitCode'))[:4]}{killed}"
    )


def bounded(value: Any, depth: int = 0) -> Any:
    """The same, as far as it is of a reasonable size: whoever passes it on may not break at it."""
    if depth > 10:
        return None
    if isinstance(value, dict):
        return {str(name)[:200]: bounded(one, depth + 1) for name, one in list(value.items())[:512]}
    if isinstance(value, list):
        return [bounded(one, depth + 1) for one in value[:4096]]
    if isinstance(value, str):
        return printable(value[:2000].encode("utf-8", "replace").decode())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if not isinstance(value, int) or abs(value) < 2**63 else None


def asked(docker: DockerCli, container: str) -> dict[str, Any]:
    """What the launcher says, as it says it: it is judged as data. `why` is a sentence where there is nothing."""
    rc, said, complaint = docker.limited(
        "exec", container, *LAUNCHED, "--dump", STACKS, limit=RECORD_BYTES, timeout=RECORD_TIMEOUT
    )
    try:
        record = json.loads(said)
    except (ValueError, RecursionError):
        record = None
    if isinstance(record, dict):
        return {"record": bounded(record)}
    if len(said) >= RECORD_BYTES:
        return {"why": f"its launcher says more than {RECORD_BYTES >> 20} MiB"}
    if "ddp-launcher" in complaint or "python3" in complaint:
        return {"why": "it runs without a launcher (training_snapshots=none), and nobody there can be asked"}
    return {"why": printable(f"docker exec ended with exit code {rc}: {complaint[:300]}")}


def read_ranks(docker: DockerCli, stack: str) -> list[dict[str, Any]]:
    """Each rank on this host with its `record`, or `why` there is none."""
    ranks = []
    for rank, (container, state) in sorted(containers(docker, stack).items()):
        if state == "running":
            try:
                told = asked(docker, container)
            except DockerError as error:
                told = {"why": str(error)}
        elif state == "paused":
            told = {"why": f"its container is paused: docker unpause {container[:12]} lets it go on"}
        else:
            told = {"why": ended(docker, container)}
        ranks.append({"rank": rank, **told})
    return ranks
