"""Layer 6: the interface that the training will use."""

from __future__ import annotations

import array
import fcntl
import ipaddress
import socket
import struct
import sys
from typing import Any

from ..contract import SHARED_SUBNET
from ..state import State
from ..wire import describe
from . import names as dns


def interfaces() -> list[dict[str, Any]]:
    """Every IPv4 address of this network namespace with its interface and MTU."""
    siocgifconf = 0x8912
    entry = 40 if sys.maxsize > 2**32 else 32
    buffer = array.array("B", bytes(entry * 256))
    address, length = buffer.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock.fileno(), siocgifconf, struct.pack("iL", length, address))
    used = struct.unpack("iL", answer)[0]
    raw = buffer.tobytes()[:used]
    found = []
    for offset in range(0, used, entry):
        name = raw[offset : offset + 16].split(b"\0", 1)[0].decode(errors="replace").split(":")[0]
        found.append(
            {"name": name, "address": socket.inet_ntoa(raw[offset + 20 : offset + 24]), "mtu": interface_mtu(name)}
        )
    return found


def interface_mtu(name: str) -> int | None:
    try:
        with open(f"/sys/class/net/{name}/mtu", encoding="ascii") as stream:
            return int(stream.read())
    except (OSError, ValueError):
        return None


def nccl_selects(value: str, names: list[str]) -> list[str]:
    """The interfaces that NCCL_SOCKET_IFNAME stands for: prefixes, `=` for exact names, `^` for all but these."""
    exclude = value.startswith("^")
    exact = value.lstrip("^").startswith("=")
    wanted = [part for part in value.lstrip("^").lstrip("=").split(",") if part]

    def hit(name: str) -> bool:
        return any(name == part if exact else name.startswith(part) for part in wanted)

    return [name for name in names if hit(name) != exclude]


def gloo_selects(value: str, names: list[str]) -> list[str]:
    """GLOO_SOCKET_IFNAME is a list of exact names."""
    return [name for name in names if name in [part.strip() for part in value.split(",")]]


def named_exactly(variable: str, value: str) -> list[str]:
    """The names in a list of exact ones: gloo knows nothing else, NCCL has them after `=`."""
    if variable == "NCCL_SOCKET_IFNAME" and not value.startswith("="):
        return []
    return [part.strip() for part in value.lstrip("=").split(",") if part.strip()]


def check_interface(state: State) -> None:
    try:
        found = interfaces()
    except OSError as error:
        state.report.add(6, "interface", False, describe(error), "interfaces can be listed")
        return
    state.report.note(interfaces=found)
    subnet = state.settings.subnet
    names = sorted({entry["name"] for entry in found})
    if subnet is None:
        # On the hosts' own network: the one that holds the address under which the others know this rank.
        try:
            own = dns.resolve(state.settings.peers[state.settings.rank])[0]
        except OSError:
            own = "0.0.0.0"  # layer 7 says so
        subnet = ipaddress.IPv4Network(own)
    inside = [entry for entry in found if ipaddress.IPv4Address(entry["address"]) in subnet]
    listed = ", ".join(f"{entry['name']} {entry['address']}" for entry in found)
    if not inside:
        state.report.add(6, "interface", False, listed, f"an address in {subnet}")
        return
    holders = sorted({entry["name"] for entry in inside})
    if len(holders) > 1:
        state.report.add(
            6, "interface", False, listed, f"one interface in {subnet}", "two networks share this subnet",
            code=SHARED_SUBNET,
        )  # fmt: skip
    else:
        state.report.add(6, "interface", True, listed, f"an address in {subnet}")
    state.address, state.mtu = inside[0]["address"], inside[0]["mtu"]
    state.report.note(interface=inside[0]["name"], address=state.address, mtu=state.mtu)
    for variable, selects in (("NCCL_SOCKET_IFNAME", nccl_selects), ("GLOO_SOCKET_IFNAME", gloo_selects)):
        value = state.settings.env.get(variable, "")
        if not value:
            continue
        chosen = selects(value, names)
        # Several rails are meant where they are told by name, and can be on the hosts' own network alone.
        exact = named_exactly(variable, value) if state.settings.subnet is None else []
        rails = exact if len(exact) > 1 else []
        missing = [name for name in rails if name not in names]
        others = [name for name in chosen if name not in (*holders, *rails, "lo")]
        if not set(chosen) & set(holders):
            text = f"{value}, which no interface matches"
            if chosen:
                text = value if chosen == [value.lstrip("=")] else f"{value}, which is {', '.join(chosen)}"
            state.report.add(6, variable, False, text, holders[0], f"interfaces: {listed}", value=value)
        elif missing:
            state.report.add(
                6, variable, False, f"{value}, of which {', '.join(missing)} is missing", holders[0],
                f"interfaces: {listed}", value=value,
            )  # fmt: skip
        elif others:
            state.report.add(
                6, variable, False, f"{value}, which is {', '.join(chosen)}", holders[0],
                f"it also stands for {', '.join(others)}, which is not in {subnet}", value=value,
            )  # fmt: skip
        else:
            state.rails = sorted({*state.rails, *rails})
            state.report.add(6, variable, True, value, holders[0])
    if not state.settings.env.get("GLOO_SOCKET_IFNAME") and len(state.peers) > 0:
        # Without the variable, gloo binds to whatever the host name resolves to.
        try:
            own = socket.gethostbyname(socket.gethostname())
        except OSError as error:
            own = describe(error)
        inside_too = own in [entry["address"] for entry in inside]
        said = f"unset, the host name resolves to {own}"
        state.report.add(6, "GLOO_SOCKET_IFNAME", inside_too, said, holders[0], value=None if inside_too else "unset")
