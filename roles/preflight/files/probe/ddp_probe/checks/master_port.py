"""Layer 10: the port at which rank 0 will listen."""

from __future__ import annotations

import socket
import threading
import time

from .. import wire
from ..state import State
from ..wire import describe


def open_master_port(state: State) -> None:
    """Hold the port as the store will, and greet those who come, so that nobody takes a stranger for rank 0."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("0.0.0.0", state.settings.master_port))
        sock.listen(128)
    except OSError as error:
        sock.close()
        state.report.add(
            10, "master port free", False, f"port {state.settings.master_port}: {describe(error)}", "a free port"
        )
        return
    state.report.add(10, "master port free", True, f"port {state.settings.master_port}", "a free port")
    state.master = sock

    def greet() -> None:
        while True:
            try:
                caller, _ = sock.accept()
                with caller:
                    caller.sendall(b"ddp-probe master\n")
            except OSError:
                if sock.fileno() < 0:
                    return

    threading.Thread(target=greet, daemon=True).start()


def close_master_port(state: State) -> None:
    if state.master is not None:
        try:
            state.master.shutdown(socket.SHUT_RDWR)  # wakes the accept
        except OSError:
            pass
        state.master.close()
        state.master = None


def check_master_port(state: State) -> None:
    if state.settings.rank == 0:
        return
    state.stage = "reaching the master port"
    began = time.monotonic()
    said = ""
    ok = False
    limit = min(state.work_deadline, began + 8)
    while not ok and time.monotonic() < limit:
        try:
            address = (str(state.peers[0].address), state.settings.master_port)
            with socket.create_connection(address, timeout=2) as sock:
                sock.settimeout(2)
                said = sock.recv(64).decode(errors="replace").strip()
                ok = said == "ddp-probe master"
                said = "answered" if ok else f"another program answers: {said[:40]!r}"
        except OSError as error:
            said = describe(error)
        if not ok:
            time.sleep(0.3)
            try:
                master = wire.ask(state.settings, str(state.peers[0].address), {"op": "status"}, timeout=2)
            except (OSError, ValueError):
                continue
            if str(master.get("status")).startswith("failed"):
                said = f"{said}; rank 0 {master['status']}"
                break
    state.report.add(
        10, "master port reachable", ok, f"{state.settings.peers[0]}:{state.settings.master_port} {said}",
        "rank 0 answers", peer=0, seconds=time.monotonic() - began,
    )  # fmt: skip
