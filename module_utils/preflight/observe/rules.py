"""What of Docker's own rules a host's firewall has, and how full its table of connections is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

from ...text import lines_of
from ..contract import Json
from .engine import subnet_of

# Docker writes by the first; the others are there where a host has both kinds.
SAVERS = ("iptables-save", "iptables-nft-save", "iptables-legacy-save")
OTHER_RULES = ("--iptables=false", "--firewall-backend=nftables")


def saved_rules() -> list[str] | None:
    """The rules of the table nat, or None where they cannot be read."""
    found: list[str] | None = None
    for saver in SAVERS:
        if shutil.which(saver) is None:
            continue
        try:
            done = subprocess.run([saver, "-t", "nat"], capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            found = [*(found or []), *lines_of(done.stdout)]
    return found


def engine_writes_rules(root: str = "/") -> bool:
    """Whether the engine is to write rules for iptables: daemon.json or its command line can say otherwise."""
    try:
        with open(os.path.join(root, "etc/docker/daemon.json"), encoding="utf-8") as stream:
            settings = json.load(stream)
    except (OSError, ValueError, RecursionError):
        settings = {}
    if not isinstance(settings, dict):
        settings = {}
    command = ""
    for name in ("run/docker.pid", "var/run/docker.pid"):
        try:
            with open(os.path.join(root, name), encoding="ascii") as stream:
                process = str(int(stream.read()))
            with open(os.path.join(root, "proc", process, "cmdline"), "rb") as raw:
                command = raw.read().replace(b"\0", b" ").decode(errors="replace")
            break
        except (OSError, ValueError):
            continue
    told = settings.get("iptables") is False or settings.get("firewall-backend") == "nftables"
    return not told and not any(option in command for option in OTHER_RULES)


def masquerades(rules: list[str], subnet: str) -> bool:
    """Whether packets of this subnet leave under the host's address: by a rule for it, or by one for everything."""
    for rule in rules:
        words = rule.split()
        if words[:2] != ["-A", "POSTROUTING"] or not {"MASQUERADE", "SNAT"} & set(words):
            continue
        if "-s" not in words or subnet in words:
            return True
    return False


def nat_of_gwbridge(bridge: Json, root: str = "/") -> bool | None:
    """Whether the engine's rule for docker_gwbridge is there. None: there is none to be, or the rules cannot be read."""
    subnet = subnet_of(bridge)
    options = bridge.get("Options") or {}
    if not subnet or options.get("com.docker.network.bridge.enable_ip_masquerade") == "false":
        return None
    rules = saved_rules() if engine_writes_rules(root) else None
    return None if rules is None else masquerades(rules, subnet)


def conntrack(root: str = "/") -> Json:
    """How many connections the kernel keeps in mind, and how many it can; empty where it keeps none."""
    found = {}
    for name in ("count", "max"):
        try:
            with open(os.path.join(root, f"proc/sys/net/netfilter/nf_conntrack_{name}"), encoding="ascii") as stream:
                found[name] = int(stream.read())
        except (OSError, ValueError):
            return {}
    return found
