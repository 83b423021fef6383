"""What the ranks on one host use: processor, memory and network of each container, and the host's GPUs."""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any

from ..docker.cli import ANSWER_TIMEOUT, DockerCli
from ..names import SERVICE_LABEL, job_and_rank, service_of
from ..results.kept import noted
from ..results.tree import Tree
from ..text import printable

# As `docker stats` writes amounts: 12.3MiB of memory, 1.2kB of network.
UNITS = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS.update({"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40})
AMOUNT = re.compile(r"\s*(\d{1,18}(?:\.\d{1,6})?)\s*([kKMGT]?i?B)\s*", re.ASCII)
GPU_QUERY = ["--query-gpu=index,utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits"]

# What rank 0's launcher notes of the ranks' pace, how much of it is read, and how old it may be, in seconds.
PACE, PACE_BYTES, PACE_AGE = "pace.json", 65536, 1800.0


def amount(text: str) -> int | None:
    """Bytes; None for what is no amount, such as the "--" of a container that has just ended."""
    found = AMOUNT.fullmatch(text)
    return round(float(found[1]) * UNITS[found[2]]) if found and found[2] in UNITS else None


def percent(text: str) -> float | None:
    found = re.fullmatch(r"\s*(\d{1,7}(?:\.\d{1,6})?)\s*%?\s*", text, re.ASCII)
    return float(found[1]) if found else None


def described(row: dict[str, Any]) -> dict[str, Any]:
    """One row of `docker stats`. Network amounts count since the container began; processor percents are of one core."""
    received, _slash, sent = str(row.get("NetIO", "")).partition("/")
    return {
        "cpu_percent": percent(str(row.get("CPUPerc", ""))),
        "memory_bytes": amount(str(row.get("MemUsage", "")).partition("/")[0]),
        "received_bytes": amount(received),
        "sent_bytes": amount(sent),
    }


def ranks_here(docker: DockerCli) -> dict[str, str]:
    """By the ID of its container the service of each rank that runs on this host."""
    form = f'{{{{.ID}}}} {{{{.Label "{SERVICE_LABEL}"}}}}'
    listed = docker.run(
        "ps", "--no-trunc", "--format", form, "--filter", f"label={SERVICE_LABEL}", timeout=ANSWER_TIMEOUT
    )
    services = {}
    for line in listed.stdout.splitlines():
        container, _blank, service = line.partition(" ")
        if job_and_rank(service):
            services[container] = service
    return services


def read_slow(docker: DockerCli) -> dict[str, str]:
    """By the service of a rank 0 on this host, what its launcher says of ranks that are slow."""
    found = {}
    for container, service in ranks_here(docker).items():
        if not service.endswith(service_of("", 0)):
            continue
        said = docker.run(
            "inspect", "--format", "{{json .Mounts}}", container, check=False, timeout=ANSWER_TIMEOUT
        ).stdout
        sentences = [sentence for path in volumes(said) if (sentence := slow_in(path))]
        if sentences:
            found[service] = sentences[0]
    return found


def volumes(said: str) -> list[str]:
    """Where the volumes of a container lie."""
    try:
        mounts = json.loads(said)
    except ValueError:
        return []
    rows = [one for one in mounts if isinstance(one, dict)] if isinstance(mounts, list) else []
    return [str(one.get("Source")) for one in rows if one.get("Type") == "volume"]


def slow_in(path: str) -> str:
    """A container wrote it."""
    if not os.path.isdir(path):
        return ""
    with Tree(path) as tree:
        value = noted(tree, PACE, PACE_BYTES)
    if not isinstance(value, dict) or not isinstance(value.get("sentence"), str):
        return ""
    written = value.get("time")
    known = isinstance(written, (int, float)) and abs(time.time() - written) < PACE_AGE
    return printable(value["sentence"])[:400].replace("\n", " ") if known else ""


def read_usage(docker: DockerCli) -> dict[str, dict[str, Any]]:
    """By the name of its service, such as simple-training_node0, what each rank on this host uses. docker takes two seconds to measure."""
    services = ranks_here(docker)
    if not services:
        return {}
    # One that ends meanwhile makes the command fail; what it says of the others counts.
    said = docker.run(
        "stats", "--no-stream", "--no-trunc", "--format", "{{json .}}", *services, check=False, timeout=ANSWER_TIMEOUT
    )
    usage = {}
    for line in said.stdout.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and row.get("ID") in services:
            usage[services[row["ID"]]] = described(row)
    return usage


def gpus(listing: str) -> list[dict[str, Any]]:
    """What nvidia-smi says to GPU_QUERY. Memory is in MiB; None is what a GPU does not tell."""
    found = []
    for line in listing.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 4 and cells[0].isdecimal():
            used, total = percent(cells[2]), percent(cells[3])
            found.append({"index": int(cells[0]), "percent": percent(cells[1]), "used_mib": used, "total_mib": total})
    return found
