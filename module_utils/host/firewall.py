"""Which ports a host's firewall lets in, of ufw and firewalld. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import re
from typing import Any

from ..names import DATA_PORT, GOSSIP_PORT, MANAGER_PORT

# What firewalld's own service docker-swarm lets in.
SERVICES = {"docker-swarm": [f"{MANAGER_PORT}/tcp", f"{GOSSIP_PORT}/tcp", f"{GOSSIP_PORT}/udp", f"{DATA_PORT}/udp"]}
NONE: dict[str, Any] = {"name": "", "open": [], "unsure": False, "zones": []}
NEEDED = set(SERVICES["docker-swarm"])


def look(module: Any) -> dict[str, Any]:
    """`name` is ufw, firewalld, or empty where neither runs. `open` are the ports that it lets in from everywhere, such as 7946/tcp.

    `unsure` says that other rules may let in more: those with sources, interfaces or applications, and another default than to refuse.
    `zones` are those of firewalld that have a network interface.
    """
    return ufw(module) or firewalld(module) or NONE


def ask(module: Any, program: str, *arguments: str) -> str:
    path = module.get_bin_path(program)
    # What they say is translated otherwise.
    code, out, _ = module.run_command([path, *arguments], environ_update={"LC_ALL": "C"}) if path else (1, "", "")
    return str(out) if code == 0 else ""


def ufw(module: Any) -> dict[str, Any] | None:
    lines = ask(module, "ufw", "status", "verbose").splitlines()
    if "Status: active" not in lines:
        return None
    unsure = not any(re.match(r"Default: (deny|reject) \(incoming\)", line) for line in lines)
    opened: set[str] = set()
    decided: set[str] = set()
    for line in lines:
        rule = re.match(r"(\S.*?)\s{2,}(ALLOW|DENY|REJECT|LIMIT)(?: IN)?\s{2,}(\S.*?)\s*(?:#.*)?$", line)
        if not rule:
            continue
        target, source = rule.group(1).replace(" (v6)", ""), rule.group(3).replace(" (v6)", "")
        # Of an application, it names the ports as well.
        ports = ports_of(re.sub(r" \([^)]*\)$", "", target))
        if source == "Anywhere" and ports:
            # The first rule that fits counts.
            opened.update(set(ports) - decided if rule.group(2) == "ALLOW" else ())
            decided.update(ports)
        elif rule.group(2) == "ALLOW" and (not ports or NEEDED & set(ports)):
            unsure = True
    return {"name": "ufw", "open": sorted(opened), "unsure": unsure, "zones": []}


def ports_of(target: str) -> list[str]:
    """Of 2377,7946/tcp or 7946, both protocols; nothing of what is no list of ports, such as an application or a range."""
    found = re.fullmatch(r"([0-9]+(?:,[0-9]+)*)(?:/(tcp|udp))?", target)
    protocols = [found.group(2)] if found and found.group(2) else ["tcp", "udp"]
    return [f"{port}/{protocol}" for port in found.group(1).split(",") for protocol in protocols] if found else []


def firewalld(module: Any) -> dict[str, Any] | None:
    if ask(module, "firewall-cmd", "--state").strip() != "running":
        return None
    zones = ask(module, "firewall-cmd", "--get-active-zones")
    opened: set[str] | None = None
    unsure = "sources:" in zones
    # The zone docker is the engine's own.
    names = [line.split()[0] for line in zones.splitlines() if line and not line[0].isspace()]
    names = [name for name in names if name != "docker"]
    for name in names:
        told = ask(module, "firewall-cmd", f"--zone={name}", "--list-all")
        said = dict(re.findall(r"(?m)^\s+([a-z -]+): ?(.*)$", told))
        unsure = (
            unsure
            or said.get("target", "default").strip("%") in ("ACCEPT",)
            or bool(re.search(r"rich rules:\s*\n\s*rule", told))
        )
        ports = set(said.get("ports", "").split())
        ports.update(port for service in said.get("services", "").split() for port in SERVICES.get(service, []))
        unsure = unsure or any("-" in port for port in ports)
        opened = ports if opened is None else opened & ports
    return {"name": "firewalld", "open": sorted(opened or ()), "unsure": unsure or opened is None, "zones": names}
