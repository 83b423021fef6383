"""An overlay network as a manager describes it, and what is asked of it. Standard library only, Python 3.9 or newer."""

from __future__ import annotations

import json
from typing import Any

from ..docker.cli import ANSWER_TIMEOUT, DockerCli

MTU = "com.docker.network.driver.mtu"


def find(docker: DockerCli, name: str) -> list[dict[str, Any]]:
    """The networks of exactly this name as docker inspects them. Its filter takes a part of a name as well."""
    rows = docker.json_lines("network", "ls", "--no-trunc", "--filter", f"name={name}")
    ids = [row["ID"] for row in rows if row["Name"] == name]
    found: list[dict[str, Any]] = (
        json.loads(docker.run("network", "inspect", *ids, timeout=ANSWER_TIMEOUT).stdout) if ids else []
    )
    return found


def described(network: dict[str, Any]) -> dict[str, Any]:
    """What can be asked of a network, by the names that it is told by. `subnet` may be several, `mtu` is None if the engine chose it."""
    pools = (network.get("IPAM") or {}).get("Config") or []
    mtu = str((network.get("Options") or {}).get(MTU, ""))
    return {
        "driver": network["Driver"],
        "scope": network["Scope"],
        "attachable": network["Attachable"],
        "subnet": ", ".join(str(pool.get("Subnet")) for pool in pools),
        "mtu": int(mtu) if mtu.isdigit() else None,
    }


def asked(subnet: str | None, mtu: int | None) -> dict[str, Any]:
    """What an overlay for containers of several stacks has to be."""
    wanted = {"driver": "overlay", "scope": "swarm", "attachable": True, "subnet": subnet, "mtu": mtu}
    return {name: value for name, value in wanted.items() if value}


def differences(has: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    return [f"{name} {has[name]} instead of {value}" for name, value in wanted.items() if has[name] != value]
