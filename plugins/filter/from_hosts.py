"""Filters: whether what hosts say may be used on the controller and on other hosts, and which certificates of a registry are the role's."""

import base64
import re
from pathlib import Path
from typing import Any

from ..module_utils.image.layers import saved_problem
from ..module_utils.names import is_address, is_name, shown

CA = b"ddp-swarm registry CA"
OURS = {"ca.crt", "client.cert", "client.key"}


def node_problem(node: Any) -> str:
    """Why this cannot be what an engine says of its swarm; empty if it can. One that is in no swarm has neither address nor ID."""
    if not isinstance(node, dict):
        return f"its swarm is {shown(node)}"
    address, name = node.get("NodeAddr", ""), node.get("NodeID", "")
    if address != "" and not is_address(address):
        return f"its address is {shown(address)}, which is no IP address"
    if name != "" and not is_name("node ID", name):
        return f"its node ID is {shown(name)}, which is not 25 small letters and digits"
    return ""


def registry_leftovers(certificates: list[dict[str, Any]], files: list[str]) -> list[str]:
    """The folders of certs.d that the role has made: they hold the CA of its registry. Of one that holds more, the files that are its own.

    `certificates` are CA certificates as slurp returns them, `files` the paths of all files.
    """
    found = []
    for certificate in certificates:
        folder = str(Path(certificate["source"]).parent)
        if CA in der(base64.b64decode(certificate["content"])):
            inside = {Path(file).name for file in files if str(Path(file).parent) == folder}
            found += [folder] if inside <= OURS else [f"{folder}/{name}" for name in sorted(inside & OURS)]
    return found


def der(pem: bytes) -> bytes:
    """The first certificate, in which its subject stands as it is."""
    block = re.search(b"-----BEGIN CERTIFICATE-----(.*?)-----END", pem, re.DOTALL)
    try:
        return base64.b64decode(block.group(1)) if block else b""
    except ValueError:
        return b""


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"node_problem": node_problem, "registry_leftovers": registry_leftovers, "saved_problem": saved_problem}
