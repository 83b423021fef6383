"""What NCCL says in its log."""

from __future__ import annotations

import re
from typing import Any

from ..contract import NO_INFINIBAND, NO_VERBS

NO_LIBRARY = "Failed to open libibverbs"


def nccl_facts(log: Any) -> dict[str, Any]:
    """What NCCL's own log (NCCL_DEBUG=INFO) says that it took: network, interfaces, transport of the channels.

    A plugin gives its network a name of its own, such as IBext_v8 (NVIDIA's, for InfiniBand) or AWS Libfabric.
    """
    text = "\n".join(log)
    transports = {name.strip() for name in re.findall(r"Channel .* via (P2P|SHM|NET/[^/\n]+)", text)}
    networks = re.findall(r"(?m)(?:Using network|Assigned NET plugin) (.+?)(?: to comm.*)?\s*$", text)
    using = re.findall(r"NET/(Socket|IB\w*) *: Using (.*)", text)
    cards = [rest for kind, rest in using if kind != "Socket"]
    sockets = [rest for kind, rest in using if kind == "Socket"]
    # InfiniBand has its own devices, and an interface (OOB) to set the connections up.
    sockets += re.findall(r"OOB (\S+)", text) + re.findall(r"Bootstrap *: Using (\S+)", text)
    version = re.search(r"NCCL version ([\w.+-]+)", text)
    # Without the library NCCL takes another network, which is no failure.
    warnings = [warning for warning in re.findall(r"NCCL WARN (.*)", text) if NO_LIBRARY not in warning]
    return {
        "network": networks[-1] if networks else using[-1][0] if using else None,
        "transports": sorted(transports),
        "interfaces": sorted(set(re.findall(r"(?m)(?:^|\]| )([\w.-]+):\S+<", "\n".join(sockets)))),
        "devices": sorted(set(re.findall(r"\]([\w.-]+):\d", "\n".join(cards)))),
        "version": version.group(1) if version else None,
        "no_verbs": NO_LIBRARY in text,
        "warnings": [warning[:300] for warning in warnings][:5],
    }


def plain(network: str) -> str:
    """A network's name without its plugin's version."""
    return re.sub(r"_v\d+$", "", network.lower())


def nccl_compared(
    facts: dict[str, Any], env: dict[str, str], holder: str, rails: list[str] | None = None
) -> list[tuple[str, bool, Any, Any, str | None]]:
    """Records (check, ok, observed, expected, code): what NCCL took against what its environment asks for."""
    records: list[tuple[str, bool, Any, Any, str | None]] = []
    taken = ", ".join(facts["interfaces"])
    if taken and holder:
        wanted = [holder, *(name for name in rails or [] if name != holder)]
        records.append(("nccl interface", set(facts["interfaces"]) <= set(wanted), taken, ", ".join(wanted), None))
    network = facts["network"]
    asked = env.get("NCCL_NET", "")
    disabled = env.get("NCCL_IB_DISABLE")
    kind = plain(network or "")
    lacking = NO_VERBS if facts.get("no_verbs") else NO_INFINIBAND
    if network and asked and plain(asked) != kind:
        code = lacking if kind == "socket" and "IB" in asked else None
        records.append(("nccl network", False, network, f"{asked} (NCCL_NET)", code))
    elif network and disabled == "1":
        records.append(("nccl network", not kind.startswith("ib"), network, "no IB (NCCL_IB_DISABLE=1)", None))
    elif network and disabled == "0":
        code = None if kind != "socket" else lacking
        records.append(("nccl network", kind != "socket", network, "IB (NCCL_IB_DISABLE=0)", code))
    elif network:
        records.append(("nccl network", True, network, "any", None))
    for variable, transport in (("NCCL_P2P_DISABLE", "P2P"), ("NCCL_SHM_DISABLE", "SHM")):
        if env.get(variable) == "1":
            found = facts["transports"]
            records.append(
                ("nccl transport", transport not in found, ", ".join(found), f"no {transport} ({variable}=1)", None)
            )
    return records
