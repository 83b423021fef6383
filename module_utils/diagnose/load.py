"""What slows a host's ranks down from outside: other programs, too little processor, heat, swap, its link, its GPUs.

Two samples make the facts. Standard library only, Python 3.9 or newer.
"""

from __future__ import annotations

import glob
import os
import re
import time
from typing import Any

from ..docker.cli import DockerCli
from ..docker.info import ask
from ..preflight.observe.gpus import gpu_states
from ..preflight.observe.links import counters_of, interface_of, link_facts
from ..text import printable
from .ask import containers

PROGRAM = 0.3  # of a core, from which on a program is named
PROGRAMS = 3
SHORTEST = 1.0  # seconds
ERRORS = ("rx_errors", "tx_errors", "rx_missed_errors", "tx_dropped", "collisions")


def text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(2**18)
    except OSError:
        return ""


def sample(root: str = "/", link: str = "") -> dict[str, Any]:
    """Counters as they are now. `root` is where proc and sys are."""
    proc, cpus = os.path.join(root, "proc"), os.path.join(root, "sys/devices/system/cpu")
    times = (text_of(f"{proc}/stat").partition("\n")[0].split() + ["0"] * 9)[1:9]
    swapped = re.findall(r"^pswp(?:in|out) (\d{1,18})$", text_of(f"{proc}/vmstat"), re.MULTILINE)
    heat = [text_of(path).strip() for path in glob.glob(f"{cpus}/cpu[0-9]*/thermal_throttle/core_throttle_count")]
    return {
        "uptime": float((text_of(f"{proc}/uptime").split() or ["0"])[0]),
        "times": [int(word) for word in times if word.isdecimal()],
        "swapped": sum(map(int, swapped)),
        "heat": sum(int(word) for word in heat if word.isdecimal()),
        "programs": programs(proc),
        "link": counters_of(link, os.path.join(root, "sys/class/net")),
    }


def programs(proc: str) -> dict[int, tuple[str, int]]:
    """By process what it is called, and its ticks."""
    found = {}
    for path in glob.glob(f"{proc}/[0-9]*/stat"):
        head, _bracket, tail = text_of(path).rpartition(")")
        fields = tail.split()
        if len(fields) > 12 and fields[11].isdecimal() and fields[12].isdecimal():
            found[int(path.split("/")[-2])] = (head.partition("(")[2], int(fields[11]) + int(fields[12]))
    return found


def is_of(proc: str, pid: int, containers: list[str]) -> bool:
    text = text_of(f"{proc}/{pid}/cgroup")
    return any(container in text for container in containers)


def facts(
    before: dict[str, Any], after: dict[str, Any], containers: list[str], link: str = "", root: str = "/"
) -> dict[str, Any]:
    """Between the samples. `containers` are the job's, whose programs are left out. Fractions are of all the host's cores."""
    proc = os.path.join(root, "proc")
    seconds = max(after["uptime"] - before["uptime"], 0.01)
    spent = [now - then for then, now in zip(before["times"], after["times"])]
    total = max(sum(spent), 1)
    clock = os.sysconf("SC_CLK_TCK")
    busy = []
    for pid, (name, ticks) in after["programs"].items():
        used = (ticks - before["programs"].get(pid, (name, ticks))[1]) / clock / seconds
        if used >= PROGRAM and pid != os.getpid() and not is_of(proc, pid, containers):
            busy.append({"pid": pid, "name": printable(name)[:40], "cores": round(used, 1)})
    load = (text_of(f"{proc}/loadavg").split() or ["0"])[0]
    about = link_facts(link, os.path.join(root, "sys/class/net"))
    return {
        "cores": len(re.findall(r"^cpu\d", text_of(f"{proc}/stat"), re.MULTILINE)) or 1,
        "load": float(load) if re.fullmatch(r"\d{1,6}(\.\d{1,3})?", load) else 0.0,
        "waits_for_disks": round(spent[4] / total, 2) if len(spent) > 4 else 0.0,
        "stolen": round(spent[7] / total, 2) if len(spent) > 7 else 0.0,
        "slowed_by_heat": after["heat"] - before["heat"],
        "swapped_per_s": round((after["swapped"] - before["swapped"]) / seconds),
        "programs": sorted(busy, key=lambda one: -one["cores"])[:PROGRAMS],
        "link": {name: about.get(name) for name in ("name", "speed", "duplex")} if about else {},
        "link_errors": sum(after["link"].get(name, 0) - before["link"].get(name, 0) for name in ERRORS),
    }


class Look:
    """Over the time between its making and `facts`, at least for a second."""

    def __init__(self, docker: DockerCli, stack: str) -> None:
        self.containers = [container for container, _state in containers(docker, stack).values()]
        info, _silent = ask(docker)
        self.link = interface_of(str((info.get("Swarm") or {}).get("NodeAddr") or ""))
        self.began, self.before = time.monotonic(), sample(link=self.link)

    def facts(self) -> dict[str, Any]:
        time.sleep(max(0.0, self.began + SHORTEST - time.monotonic()))
        return {**facts(self.before, sample(link=self.link), self.containers, self.link), "gpus": gpu_states()}
