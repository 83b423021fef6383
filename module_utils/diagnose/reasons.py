"""Sentences about the hosts of slow ranks: what is otherwise there than with the others. Used by the controller.

Whatever a host tells is looked at as data.
"""

from __future__ import annotations

import math
from statistics import median
from typing import Any

from ..preflight.judge.gpus import SLOWDOWNS, number
from ..text import printable
from .verdict import fields, items, plain, several

LOADED, MORE = 1.2, 1.5  # programs for a core; times the load of the others
STOLEN, DISKS, THROTTLED = 0.05, 0.2, 0.1  # of the time
SWAPS = 100  # pages a second


def value(facts: dict[str, Any], name: str) -> float:
    found = facts.get(name)
    return float(found) if isinstance(found, (int, float)) and math.isfinite(found) else 0.0


def compared(name: str, facts: dict[str, Any], others: list[dict[str, Any]]) -> str:
    """What the others have."""
    known = [value(one, name) for one in others if one]
    return f" (the others: {median(known):g})" if known else ""


def load_words(facts: dict[str, Any], others: list[dict[str, Any]]) -> str:
    cores = max(1, int(value(facts, "cores")))
    load = value(facts, "load")
    words = f"a load of {load:g} on {cores} core{'s' if cores > 1 else ''}{compared('load', facts, others)}"
    busy = [fields(one) for one in items(facts.get("programs"), 3)]
    if busy:
        named = [
            f"{plain(one.get('name'), 40)} (process {plain(one.get('pid'), 9)}) uses {value(one, 'cores'):g} of a core"
            for one in busy
        ]
        words += f", where {several(named)} beside the job"
    return words


def link_words(facts: dict[str, Any], others: list[dict[str, Any]]) -> str:
    link = fields(facts.get("link"))
    if not link.get("name"):
        return "a link that nobody knows"
    name, speed = plain(link["name"], 20), value(link, "speed")
    speeds = [value(fields(one.get("link")), "speed") for one in others]
    words = f"{name} at {speed:g} Mbit/s" if speed else f"{name}, whose speed it does not tell"
    if speed and any(speeds) and median([one for one in speeds if one]) != speed:
        words += f" (the others: {median([one for one in speeds if one]):g})"
    if link.get("duplex") == "half":
        words += ", half duplex"
    if value(facts, "link_errors") > 0:
        words += f", with {value(facts, 'link_errors'):g} errors and drops while it was looked at"
    return words


def throttle_words(facts: dict[str, Any]) -> list[str]:
    found = []
    if value(facts, "throttled") >= THROTTLED:
        found.append(
            f"its container had used up its share of the processor in {value(facts, 'throttled'):.0%} of the time (training_cpus)"
        )
    if value(facts, "stolen") >= STOLEN:
        found.append(f"whoever runs this virtual machine gave {value(facts, 'stolen'):.0%} of its processors to others")
    if value(facts, "slowed_by_heat") > 0:
        found.append("its processors were slowed down for their heat or power")
    if value(facts, "waits_for_disks") >= DISKS:
        found.append(f"it waited for disks in {value(facts, 'waits_for_disks'):.0%} of the time")
    if value(facts, "swapped_per_s") >= SWAPS:
        found.append("it swaps: its memory is too small")
    for gpu in [fields(one) for one in items(facts.get("gpus"), 64)]:
        bits = int(number(gpu, "throttle"))
        why = [words for bit, words in SLOWDOWNS.items() if bits & bit]
        if why:
            found.append(
                f"GPU {plain(gpu.get('index'), 4)} is slowed down by {' and '.join(why)}, at {plain(gpu.get('temperature'), 4)} degrees C"
            )
    return found or ["nothing is throttled"]


def host_words(host: str, facts: dict[str, Any], others: list[dict[str, Any]]) -> str:
    """Load, throttling and link of a host beside the others'. Empty where it told nothing."""
    if not facts:
        return ""
    parts = [load_words(facts, others), *throttle_words(facts), link_words(facts, others)]
    return str(printable(f"{host} has {'; '.join(parts)}."))
