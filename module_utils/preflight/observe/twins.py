"""Whether another machine on the host's network has its address: an ARP probe, as RFC 5227 has it."""

from __future__ import annotations

import glob
import os
import socket
import struct
import threading
import time
from pathlib import Path

BROADCAST = b"\xff" * 6
ETHERTYPE_ARP, ETHERNET, IPV4, REQUEST = 0x0806, 1, 0x0800, 1
ARP = struct.Struct("!HHBBH6s4s6s4s")
ASKED, SECONDS = 3, 0.6  # how often in how long
NOARP = 0x80  # linux/if.h


def mac_of(folder: str) -> bytes:
    """Of a link that speaks ARP; empty for any other."""
    try:
        kind, flags, mac = (
            Path(folder, name).read_text(encoding="ascii").strip() for name in ("type", "flags", "address")
        )
        if int(kind) != ETHERNET or int(flags, 16) & NOARP:
            return b""
        found = bytes.fromhex(mac.replace(":", ""))
    except (OSError, ValueError):
        return b""
    return found if len(found) == 6 else b""


def probe(mac: bytes, address: bytes) -> bytes:
    """A frame that asks who has the address, and says of the sender only its card: nobody's table changes by it."""
    header = BROADCAST + mac + struct.pack("!H", ETHERTYPE_ARP)
    return header + ARP.pack(ETHERNET, IPV4, 6, 4, REQUEST, mac, bytes(4), bytes(6), address)


def holder(frame: bytes, address: bytes, own: set[bytes]) -> str:
    """The MAC address of another machine that says it has the address; empty if the frame says nothing of the kind."""
    if len(frame) < 14 + ARP.size or frame[12:14] != struct.pack("!H", ETHERTYPE_ARP):
        return ""
    _, protocol, _, _, _, mac, sender, _, _ = ARP.unpack_from(frame, 14)
    return mac.hex(":") if protocol == IPV4 and sender == address and mac not in own else ""


class Twins:
    """Asks in the background, since answers take their time."""

    def __init__(self, interface: str, address: str, root: str = "/sys/class/net") -> None:
        self.found: set[str] = set()
        self.thread = threading.Thread(target=self._ask, args=(interface, address, root), daemon=True)
        self.thread.start()

    def _ask(self, interface: str, address: str, root: str) -> None:
        mac = mac_of(os.path.join(root, interface)) if interface else b""
        try:
            wanted = socket.inet_aton(address)
        except OSError:  # none, or of IPv6, which has its own way
            return
        if not mac:
            return
        own = {mac_of(folder) for folder in glob.glob(os.path.join(root, "*"))}
        try:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE_ARP)) as wire:
                wire.bind((interface, ETHERTYPE_ARP))
                for _ in range(ASKED):
                    wire.send(probe(mac, wanted))
                    end = time.monotonic() + SECONDS / ASKED
                    while (left := end - time.monotonic()) > 0:
                        wire.settimeout(left)
                        try:
                            self.found.add(holder(wire.recv(2048), wanted, own))
                        except socket.timeout:
                            break
        except OSError:
            return

    def result(self) -> list[str]:
        """MAC addresses of others that have the address."""
        self.thread.join(SECONDS + 2)
        return sorted(self.found - {""})
